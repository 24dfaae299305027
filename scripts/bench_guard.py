#!/usr/bin/env python3
"""What the external processor costs a route without a guard, and one with: latency through Envoy, in one run.

Three ways, interleaved: an Envoy without ext_proc; the shipped one on a route without a guard; the same on a guarded route.
Each answers with what it received. `make bench` builds what this runs.
"""

import contextlib
import io
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

import demo

PROFILE = os.environ.get("BENCH_PROFILE", "release")
REQUESTS = os.environ.get("BENCH_GUARD_REQUESTS", "4000")
ROUNDS = int(os.environ.get("BENCH_GUARD_ROUNDS", "5"))
FIRST_LINE = "          # What goes into an AI backend and what comes out of it."
NEXT_FILTER = "          # A Check cannot touch trailers"


def latency(address, path, key, body):
    """Mean of one round: milliseconds a request, four connections."""
    told = subprocess.run(
        ["h2load", "--h1", "-n", REQUESTS, "-c", "4", "-d", body, "-H", "content-type: application/json",
         "-H", f"x-api-key: {key}", f"http://{address}{path}"],
        check=True, capture_output=True, text=True, timeout=300).stdout  # fmt: skip
    good = re.search(r"(\d+) 2xx", told).group(1)
    if good != REQUESTS:
        raise SystemExit(f"bench: {good} of {REQUESTS} requests were answered well\n{told}")
    line = re.search(r"time for request:\s+(.*)", told).group(1)
    return milliseconds(line.split()[2])


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def main():
    demo.BUILT = demo.ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / PROFILE
    demo.CONFIG = demo.CONFIG.replace("limit: 50", "limit: 1000000000")
    shipped = demo.ENVOY_CONFIG.read_text()
    processes = demo.Processes(Path(tempfile.mkdtemp(prefix="latchkey-bench-")))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            backend = demo.start_backend(processes)
            addresses = demo.start_latchkey(processes)
            latchkey = addresses["grpc"]
            with_filter, _ = demo.start_envoy(processes, latchkey, backend)
            plain = processes.folder / "plain.yaml"
            plain.write_text(shipped[: shipped.index(FIRST_LINE)] + shipped[shipped.index(NEXT_FILTER) :])
            demo.ENVOY_CONFIG = plain
            os.remove(processes.folder / "envoy.admin")
            without_filter, _ = demo.start_envoy(processes, latchkey, backend)
            management = demo.management_client(processes.folder, addresses["http"])
            key = demo.create_key(management, "KEY", "bench", {"org_code": "org_acme"})["key"]
        body = processes.folder / "body.json"
        body.write_text('{"message": "Hello"}')
        ways = {
            "no ext_proc": (without_filter, "/ai/chat"),
            "ext_proc, no guard": (with_filter, "/ai/chat"),
            "ext_proc, guarded": (with_filter, "/ai/support"),
        }
        results = {way: [] for way in ways}
        for _ in range(ROUNDS + 1):
            for way, (address, path) in ways.items():
                results[way].append(latency(address, path, key, body))
        print(f"latency through Envoy, {ROUNDS} rounds of {REQUESTS} requests on four connections, after one to warm up")
        for way, rounds in results.items():
            rounds = rounds[1:]
            print(f"  {way:20} {statistics.median(rounds):.3f} ms ({min(rounds):.3f}-{max(rounds):.3f})")
    finally:
        processes.stop()
        subprocess.run(["rm", "-r", str(processes.folder)], check=False)


main()
