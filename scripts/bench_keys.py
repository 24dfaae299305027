#!/usr/bin/env python3
"""What one page of keys and one verification take among a thousand keys, and among a million.

The keys are written into the SQLite file directly, which is much faster than making each; then a server is asked over HTTP,
one request after the other. A verification is of a key that the server has not seen yet, so that it reads the store. Build
first:

    cargo build --release --locked --bin latchkey
"""

import hashlib
import http.client
import json
import os
import pathlib
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("BENCH_BINARY", ROOT / "target" / "release" / "latchkey")
SIZES = [int(size) for size in os.environ.get("BENCH_KEYS", "1000,1000000").split(",")]
REQUESTS = int(os.environ.get("BENCH_KEY_REQUESTS", "300"))
# What is flat may still be a few cache misses slower, on a machine that others use too.
MOST_RATIO = 3.0
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CONFIG = """
listen: {{grpc: 127.0.0.1:0, http: 127.0.0.1:0, ops: 127.0.0.1:0}}
store: sqlite://{folder}/keys.db
telemetry: {{log: {{level: warn}}}}
drain: {{settle: 0s, grace: 1s}}
apis: [{{id: api_ai, name: AI, audience: https://api.example.com, scopes: [read:ai_chats, write:ai_chat]}}]
routes: []
"""


def secret(number):
    """The key with this number: of the shape of our own, and anything but random."""
    body = hashlib.sha256(str(number).encode()).digest()
    characters = "".join(ALPHABET[byte % 62] for byte in body + body)[:43]
    left, digits = zlib.crc32(characters.encode()), ""
    for _ in range(6):
        left, digit = divmod(left, 62)
        digits = ALPHABET[digit] + digits
    return f"lk_{characters}{digits}"


def rows(count):
    for number in range(count):
        key = secret(number)
        # Few owners, so that each has a full page among a thousand keys too.
        organization, user = (f"org_{number % 10}", None) if number % 2 else (None, f"user_{number % 10}")
        yield (
            f"api_key_{number:032x}", f"key {number}", "organization" if organization else "user", organization, user,
            "api_ai", "read:ai_chats write:ai_chat", "revoked" if number % 10 == 0 else "active",
            hashlib.sha256(key.encode()).digest(), key[:6], key[-4:], "", 1_700_000_000_000 + number,
        )


def fill(file, count):
    database = sqlite3.connect(file)
    with database:
        database.executemany(
            "INSERT INTO keys (id, name, key_type, org_code, user_id, api_id, scopes, status, digest, prefix, suffix, "
            "allowed_networks, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows(count))
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


class Server:
    def __init__(self, folder):
        config, addresses = folder / "latchkey.yaml", folder / "addresses.json"
        config.write_text(CONFIG.format(folder=folder))
        addresses.unlink(missing_ok=True)
        self.process = subprocess.Popen([BINARY, "serve", "-c", config, "--addresses-file", addresses], cwd=folder)
        deadline = time.monotonic() + 60
        while not addresses.exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit("bench: latchkey did not start")
            time.sleep(0.02)
        self.connection = http.client.HTTPConnection(json.loads(addresses.read_text())["http"], timeout=30)
        self.token = (folder / "keys.db.management-token").read_text().strip()

    def ask(self, method, target, body=None):
        """The answer, and the milliseconds that it took."""
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        began = time.perf_counter()
        self.connection.request(method, target, body and json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        took = (time.perf_counter() - began) * 1000
        if answer.status != 200:
            sys.exit(f"bench: {method} {target}: {answer.status} {text[:300]}")
        return json.loads(text), took

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


def measure(server, count):
    """Medians in milliseconds by what was asked."""
    chance = random.Random(1)
    list_path = "/api/v1/api_keys?page_size=50"
    anywhere = lambda: f"starting_after=api_key_{chance.randrange(count):032x}"
    pages = {
        "list, newest": lambda: list_path,
        "list, anywhere": lambda: f"{list_path}&{anywhere()}",
        "list, one organization": lambda: f"{list_path}&org_code=org_{chance.randrange(5) * 2 + 1}",
        "list, one user": lambda: f"{list_path}&user_id=user_{chance.randrange(5) * 2}",
        "list, revoked": lambda: f"{list_path}&status=revoked&{anywhere()}",
        "list, active users'": lambda: f"{list_path}&status=active&key_type=user&{anywhere()}",
    }
    results = {}
    for what, target in pages.items():
        server.ask("GET", target())
        results[what] = statistics.median(server.ask("GET", target())[1] for _ in range(REQUESTS))
    good = [number for number in range(1, count) if number % 10]
    chosen = chance.sample(good, min(REQUESTS, len(good)))
    times = []
    for number in chosen:
        answer, took = server.ask("POST", "/api/v1/api_keys/verify", {"api_key": secret(number)})
        if not answer["is_valid"] or answer["key_id"] != f"api_key_{number:032x}":
            sys.exit(f"bench: verify said {answer}")
        times.append(took)
    results["verify"] = statistics.median(times)
    return results


def main():
    results = {}
    for count in SIZES:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            Server(folder).stop()  # makes the file and its tables
            fill(folder / "keys.db", count)
            server = Server(folder)
            try:
                results[count] = measure(server, count)
            finally:
                server.stop()
    print(f"milliseconds of one request, median of {REQUESTS}, one after the other over HTTP, keys in SQLite")
    print(f"  {'':24}" + "".join(f"{count:>14,}" for count in SIZES) + "     ratio")
    worst = 0.0
    for what in results[SIZES[0]]:
        first, last = results[SIZES[0]][what], results[SIZES[-1]][what]
        worst = max(worst, last / first)
        print(f"  {what:24}" + "".join(f"{results[count][what]:14.2f}" for count in SIZES) + f"{last / first:10.2f}")
    if worst > MOST_RATIO:
        sys.exit(f"bench: {worst:.1f} times as long is not flat")


main()
