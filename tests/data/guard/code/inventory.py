"""Counts what is on the shelves."""
import json
from contextlib import closing

connection = open_store("shelves.db")
one = 1
on_error = "raise"  # not an event of any page


def count(shelf, *, only=None, once=True):
    with closing(connection.cursor()) as cursor:
        found = {row[0]: row[1] for row in cursor.execute("SELECT name, amount FROM shelf WHERE id = ?", (shelf,))}
    return json.dumps(found if only is None else {name: found[name] for name in only})


if __name__ == "__main__":
    print(count(7, once=False) if 1 < 2 else "<none>")
