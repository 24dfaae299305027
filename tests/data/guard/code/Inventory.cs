using System;
using System.Collections.Generic;
using System.Linq;

namespace Shop;

public sealed record Shelf(int Id, string Region = "north");

public class Inventory
{
    private readonly List<Shelf> shelves = new();
    private Action<Shelf>? onCounted = null;

    public int Count(Func<Shelf, bool> condition)
    {
        var once = shelves.Where(condition).ToList();
        once.ForEach(shelf => onCounted?.Invoke(shelf));
        return once.Count > 0 ? once.Count : -1;
    }
}
