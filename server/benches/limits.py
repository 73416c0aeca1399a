#!/usr/bin/env python3
"""Counts the instructions of a request under no, one and several limits, without the system's.

First without the headers of limits, and then with the default ones, which grow with each quota.

    cargo build --release --package tollgate-server
    server/benches/limits.py target/release/tollgate

callgrind counts (apt-get install valgrind): the difference of runs of 500 and 2500 requests on one
connection, so that neither the start nor the connection counts.
"""

import pathlib
import re
import socket
import subprocess
import sys
import tempfile

QUOTA = "1000000/s"
LIMITS = {
    "the default limit": "capacity = 1000000\nrefill_rate = 1000000\n",
    "one limit": f"[[limits]]\nname = 'a'\nkey = 'ip'\nquota = '{QUOTA}'\n",
    "one limit, two quotas": f"[[limits]]\nname = 'a'\nkey = 'ip'\nquota = ['{QUOTA}', '9{QUOTA}']\n",
    "one limit, three quotas": f"[[limits]]\nname = 'a'\nkey = 'ip'\nquota = ['{QUOTA}', '9{QUOTA}', '8{QUOTA}']\n",
    "two limits, two keys": f"[[limits]]\nname = 'a'\nkey = 'ip'\nquota = '{QUOTA}'\n"
    f"[[limits]]\nname = 'b'\nkey = 'header:X-API-Key'\nquota = '{QUOTA}'\n",
}
HEADERS = {"without headers": "headers = 'none'\n", "with headers": ""}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-API-Key: alice\r\nUser-Agent: bench\r\n\r\n"
RUNS = (500, 2500)


def send(port, requests):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        stream = connection.makefile("rb")
        for _ in range(requests):
            connection.sendall(REQUEST)
            status = stream.readline()
            assert b" 200 " in status, status
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            stream.read(length)


def instructions(server, settings, requests):
    """Returns the instructions of a run of the server."""
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory, "tollgate.toml")
        config.write_text("listen = '127.0.0.1:0'\n" + settings)
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        process = subprocess.Popen(
            [*command, server, "--config", config],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        log = []
        try:
            for line in process.stderr:
                log.append(line)
                if port := re.search(r"127\.0\.0\.1:(\d+)", line):
                    break
            else:
                sys.exit("the server did not start:\n" + "".join(log))
            send(int(port[1]), requests)
        finally:
            process.terminate()
        return int(re.search(r"Collected : (\d+)", process.communicate()[1])[1])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for title, headers in HEADERS.items():
        print(title, flush=True)
        first = None
        for name, settings in LIMITS.items():
            runs = (instructions(sys.argv[1], headers + settings, requests) for requests in RUNS)
            short, long = runs
            count = (long - short) / (RUNS[1] - RUNS[0])
            first = first or count
            print(f"  {name}: {count:.0f} instructions, {count - first:+.0f}", flush=True)


if __name__ == "__main__":
    main()
