#!/usr/bin/env python3
"""Instructions of each piece of a check, counted by callgrind, and whether the route table is flat.

A piece runs twice, with different numbers of turns; the difference leaves out all that is done once. Build first:

    cargo bench --locked --bench instructions --no-run
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
FEW, MANY = 1024, 3072  # whole rounds of the paths that a table is asked for
FLAT = 2.0


def program():
    """The built benchmark, as cargo tells it."""
    told = subprocess.run(
        ["cargo", "bench", "--locked", "--bench", "instructions", "--no-run", "--message-format=json"],
        cwd=ROOT, check=True, capture_output=True, text=True).stdout
    built = [message["executable"] for message in map(json.loads, told.splitlines())
             if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "instructions"]
    return built[-1]


def counted(binary, piece, turns):
    told = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, piece, str(turns)],
        check=True, capture_output=True, text=True, timeout=300).stderr
    return int(re.search(r"Collected : (\d+)", told).group(1))


def main():
    binary = program()
    pieces = subprocess.run([binary], check=True, capture_output=True, text=True).stdout.split()

    def each(piece):
        return (counted(binary, piece, MANY) - counted(binary, piece, FEW)) / (MANY - FEW)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        figures = dict(zip(pieces, pool.map(each, pieces)))
    print("instructions, user space:")
    for piece, instructions in figures.items():
        print(f"  {piece:24} {instructions:10,.0f}")
    for ours, theirs in (("decode/latchkey", "decode/prost"), ("write/latchkey", "write/prost")):
        print(f"  {ours} to {theirs}: {figures[ours] / figures[theirs]:.2f}")
    failed = False
    for kind in ("exact", "pattern", "none", "hash_map"):
        few, many = figures[f"routes/{kind}/10"], figures[f"routes/{kind}/10000"]
        verdict = "flat" if many / few <= FLAT else f"NOT FLAT: more than {FLAT}"
        failed |= many / few > FLAT
        print(f"  routes/{kind}: 10,000 routes to 10: {many / few:.2f}, {verdict}")
    sys.exit(1 if failed else 0)


main()
