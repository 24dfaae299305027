-- Counts what is on the shelves.
CREATE TABLE shelf (
    id INTEGER PRIMARY KEY,
    region TEXT NOT NULL DEFAULT 'north',
    amount INTEGER NOT NULL CHECK (amount >= 0)
);

UPDATE shelf SET region = 'south', amount = amount + 1
WHERE id IN (SELECT s.id FROM shelf AS s JOIN person ON person.region = s.region AND person.position <> 'none');

SELECT region, SUM(amount) AS total FROM shelf GROUP BY region HAVING COUNT(*) > 1 ORDER BY total DESC;
