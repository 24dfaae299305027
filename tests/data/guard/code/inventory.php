<?php
declare(strict_types=1);

final class Inventory
{
    private array $onHand = [];

    public function __construct(private PDO $connection, private bool $once = true)
    {
    }

    public function count(string $name): int
    {
        $condition = $this->connection->prepare('SELECT amount FROM shelf WHERE name = :name');
        $condition->execute(['name' => $name]);
        $one = (int) $condition->fetchColumn();
        return $this->onHand[$name] = $one < 0 ? 0 : $one;
    }
}
