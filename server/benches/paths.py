#!/usr/bin/env python3
"""Processor time of a refused request by the shape of its path, beside a plain path of its length.

    server/benches/paths.py [requests]

Starts `tollgate` with routes and pipelines requests on one connection. Each shape is measured five
times, alternating with the plain path, and the least time counts. Exits with 1 when a shape costs more
than three times the plain path. Build first: cargo build --release --package tollgate-server
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BINARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/tollgate"
CONFIG = """
listen = "127.0.0.1:0"
quota = "1 per hour, all at once"
[[routes]]
path = "/api/report"
cost = 1
[[routes]]
path = "/a/*"
cost = 1
"""
SHAPES = [
    "/a", "//", "/..", "/.", "/%2e%2e", "%2f", "%5c", "\\", "/a%2f..\\b", "/a/..%2fb\\", "%25", "%61", "%ff",
    "%C3%A9", "A", ";", "%3b", "/a;", "%", "%00", "a.php/", "/a/..;", "%u0061", "%c0%af",
]
LENGTHS = [30, 120, 1000, 15000]
LIMIT = 3.0


def processor_time(pid):
    # Nanoseconds on a processor, of all threads.
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def cost(pid, address, path, requests):
    """Returns the microseconds of a request."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with socket.create_connection(address) as connection:
        before, answered = processor_time(pid), 0
        for sent in range(1, requests + 1):
            connection.sendall(request)
            while sent - answered >= 16 or sent == requests and answered < requests:
                data = connection.recv(1 << 20)
                if not data:
                    sys.exit(f"{path[:40]}: the connection was closed")
                answered += data.count(b"HTTP/1.1 ")
        return (processor_time(pid) - before) / requests / 1000


def main():
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "paths.toml"
        config.write_text(CONFIG)
        server = subprocess.Popen(
            [BINARY, "--config", config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            host, port = re.search(r"http://([\d.]+):(\d+)", server.stdout.readline()).groups()
            address = (host, int(port))
            failed = False
            print("| length | shape | µs | of the plain path |\n| ---: | --- | ---: | ---: |")
            for length in LENGTHS:
                plain = "/" + "a" * length
                for shape in SHAPES:
                    path = "/" + shape * (length // len(shape))
                    pairs = [
                        (cost(server.pid, address, path, requests), cost(server.pid, address, plain, requests))
                        for _ in range(5)
                    ]
                    own, beside = (min(side) for side in zip(*pairs))
                    ratio = own / beside
                    failed |= ratio > LIMIT
                    print(f"| {length} | `{shape}` | {own:.1f} | {ratio:.2f} |")
        finally:
            server.terminate()
            server.wait()
    sys.exit(failed)


main()
