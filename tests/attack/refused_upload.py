"""A client that sends a large body at once reads its refusal afterwards."""

import time

from attack import HONEST, Response, Server, Upstream, encode

MEGABYTE = 1_000_000


def upload(server, size):
    """Sends all of the body, then reads. Returns the status, or the error."""
    with server.connect(HONEST) as stream:
        try:
            stream.sendall(encode("POST", "/api/upload", [("Content-Length", str(size))]))
            block = b"x" * 65536
            for sent in range(0, size, len(block)):
                stream.sendall(block[: size - sent])
            response = Response.read(stream)
            return response.status if response else "closed"
        except OSError as error:
            return repr(error)


def refusals(server, sizes):
    server.status("/api/ping")
    return [upload(server, size * MEGABYTE) for size in sizes]


SIZES = [5, 5, 12, 12, 30, 30]


def attack_server():
    with Server("--capacity", "1", "--refill-rate", "0.001") as server:
        assert (got := refusals(server, SIZES)) == [429] * 6, got


def attack_gateway():
    with Upstream() as upstream, Server(
        "--capacity", "1", "--refill-rate", "0.001", "--upstream", upstream.url
    ) as server:
        assert (got := refusals(server, SIZES)) == [429] * 6, got


def long_attack_endless_upload():
    """What a refused client still sends is bounded in time."""
    with Server("--capacity", "1", "--refill-rate", "0.001") as server:
        server.status("/api/ping")
        stream = server.connect(HONEST)
        stream.sendall(encode("POST", "/api/upload", [("Content-Length", "1000000000")]))
        deadline = time.monotonic() + 90
        try:
            while time.monotonic() < deadline:
                stream.sendall(b"x" * 1000)
                time.sleep(0.1)
        except OSError:
            return
        raise AssertionError("a refused upload is read for longer than 90 s")
