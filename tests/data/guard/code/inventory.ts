type Option<T> = { some: T } | { none: true };

interface Shelf<K extends string = string> {
  readonly id: number;
  location: K;
  onlyBooks?: boolean;
}

export function find<T extends Shelf>(shelves: T[], id: number): Option<T> {
  const position = shelves.findIndex((shelf) => shelf.id === id);
  const once = position < 0 ? undefined : shelves[position];
  return once ? { some: once } : { none: true };
}

const version: Record<string, number> = { typescript: 5, node: 22 };
