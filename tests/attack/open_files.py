"""Idle clients take all file descriptors, and nothing is left for connections to the upstream."""

import time
from pathlib import Path

from attack import ATTACKER, HONEST, Response, Server, Upstream, encode


def crowded(open_files):
    """Statuses of a client that was connected before a crowd, and of a new one."""
    with Upstream() as upstream, Server(
        "--upstream", upstream.url, "--capacity", "100000", open_files=open_files
    ) as server:
        connected = server.connect(HONEST)
        crowd = [server.connect(ATTACKER) for _ in range(1100)]
        for stream in crowd:
            try:
                stream.sendall(encode("GET", "/health"))
            except OSError:
                pass
        time.sleep(0.5)
        connected.sendall(encode("GET", "/x"))
        before = Response.read(connected)
        statuses = before and before.status, server.status("/y", source="127.0.0.4", timeout=5)
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        soft = next(line.split()[3] for line in limits.splitlines() if line.startswith("Max open"))
        return statuses, soft, server.log()


def attack_soft_limit():
    statuses, soft, log = crowded((1024, 4096))
    assert statuses == (200, 200), f"connected and new client: {statuses}"
    assert soft == "4096", f"the soft limit is {soft} of 4096"
    assert "4096" in log, "the log does not name the limit"


def attack_hard_limit():
    statuses, _, log = crowded((1024, 1024))
    assert statuses == (200, 200), f"connected and new client: {statuses}"
    assert "connections.max" in log, "the log does not say that connections.max was reduced"
