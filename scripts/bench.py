#!/usr/bin/env python3
"""CPU of one Check: Latchkey beside a stock tonic service that does nothing, in the same run.

Each server runs on core 0, h2load on core 1 (two connections, a hundred streams each, as a busy Envoy has them). Rounds are
interleaved; the ratio is what counts, since the absolute figures depend on the machine. Build first:

    cargo build --release --locked --bin latchkey --example stock
"""

import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "target" / "release"
CHECK = "/envoy.service.auth.v3.Authorization/Check"
REQUESTS = int(os.environ.get("BENCH_REQUESTS", "100000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CONFIG = """
listen: {{grpc: 127.0.0.1:0, http: 127.0.0.1:0, ops: 127.0.0.1:0}}
store: sqlite://{folder}/keys.db
telemetry: {{log: {{level: warn}}}}
drain: {{settle: 100ms, grace: 1s}}
apis: [{{id: api_ai, name: AI, audience: https://api.example.com, scopes: [read:ai_chats, write:ai_chat]}}]
routes:
  - {{name: chat, methods: [POST], path: /ai/chat, api: api_ai, scopes: [write:ai_chat], rate_limit: many}}
rate_limits:
  many: {{limit: 1000000000, window: 15m, per: key, error: over, code: OVER}}
"""


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def check_request(key):
    """A CheckRequest as Envoy sends it: attributes 1, source 1, request 4, http 2, headers 3."""
    headers = {
        ":authority": "api.example.com", ":method": "POST", ":path": "/ai/chat", ":scheme": "https",
        "accept": "*/*", "accept-encoding": "gzip, deflate, br", "authorization": f"Bearer {key}",
        "content-length": "52", "content-type": "application/json", "user-agent": "bench/1.0",
        "x-envoy-external-address": "192.0.2.7", "x-forwarded-for": "192.0.2.7", "x-forwarded-proto": "https",
        "x-request-id": "0b1c1a52-6d38-4f38-8e26-1a3a3a3e4f51",
    }
    http = field(1, b"17") + field(2, b"POST")
    for name, value in headers.items():
        http += field(3, field(1, name.encode()) + field(2, value.encode()))
    http += field(4, b"/ai/chat") + field(5, b"api.example.com") + field(6, b"https") + field(10, b"HTTP/1.1")
    source = field(1, field(1, field(2, b"192.0.2.7")))
    return field(1, field(1, source) + field(4, field(2, http)))


def cpu_seconds(pid):
    user, system = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def load(pid, address, body, requests):
    """Microseconds of the server's CPU a request, and requests a second."""
    before = cpu_seconds(pid)
    told = subprocess.run(
        ["taskset", "-c", "1", "h2load", "-n", str(requests), "-c", "2", "-m", "100", "-d", body,
         "-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{CHECK}"],
        check=True, capture_output=True, text=True, timeout=300).stdout
    spent = cpu_seconds(pid) - before
    good = int(re.search(r"(\d+) 2xx", told).group(1))
    if good != requests:
        sys.exit(f"bench: {requests - good} of {requests} requests failed\n{told}")
    return spent / requests * 1e6, float(re.search(r"([\d.]+) req/s", told).group(1))


def main():
    servers = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = folder / "latchkey.yaml"
        config.write_text(CONFIG.format(folder=folder))
        binary = RELEASE / "latchkey"
        made = subprocess.run(
            [binary, "keys", "create", "-c", config, "--name", "bench", "--api", "api_ai", "--scope", "write:ai_chat",
             "--org", "org_acme", "--output", "json"], check=True, capture_output=True, text=True).stdout
        message = check_request(json.loads(made)["key"])
        body = folder / "check.bin"
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        try:
            stock = subprocess.Popen(["taskset", "-c", "0", RELEASE / "examples" / "stock"],
                                     stdout=subprocess.PIPE, text=True)
            servers.append(stock)
            addresses = folder / "addresses.json"
            latchkey = subprocess.Popen(["taskset", "-c", "0", binary, "serve", "-c", config,
                                         "--addresses-file", addresses])
            servers.append(latchkey)
            deadline = time.monotonic() + 20
            while not addresses.exists():
                if time.monotonic() > deadline or latchkey.poll() is not None:
                    sys.exit("bench: latchkey did not start")
                time.sleep(0.05)
            bound = json.loads(addresses.read_text())
            sides = {"stock": (stock.pid, stock.stdout.readline().strip()), "latchkey": (latchkey.pid, bound["grpc"])}
            results = {side: [] for side in sides}
            for side, (pid, address) in sides.items():
                load(pid, address, body, REQUESTS // 10)
            for _ in range(ROUNDS):
                for side, (pid, address) in sides.items():
                    results[side].append(load(pid, address, body, REQUESTS))
            metrics = subprocess.run(["curl", "-s", f"http://{bound['ops']}/metrics"],
                                     check=True, capture_output=True, text=True).stdout
        finally:
            for server in servers:
                server.terminate()
                server.wait(timeout=30)
    allowed = re.search(r'latchkey_checks_total\{.*outcome="allow".*\} (\d+)', metrics)
    if allowed is None or int(allowed.group(1)) != REQUESTS * ROUNDS + REQUESTS // 10:
        sys.exit("bench: not every check was an allow; the figures would mean nothing")
    print(f"{len(message)}-byte requests, {ROUNDS} rounds of {REQUESTS}, server on one core")
    for side, rounds in results.items():
        cpu = sorted(each[0] for each in rounds)
        rate = statistics.median(each[1] for each in rounds)
        print(f"  {side:9} {statistics.median(cpu):6.1f} us of CPU a check ({cpu[0]:.1f}-{cpu[-1]:.1f}), {rate:,.0f} checks/s")
    pairs = sorted(own[0] / other[0] for own, other in zip(results["latchkey"], results["stock"]))
    print(f"  ratio     {statistics.median(pairs):.2f} ({pairs[0]:.2f}-{pairs[-1]:.2f})")


main()
