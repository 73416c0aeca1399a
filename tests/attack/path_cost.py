"""Paths with many readings take processor time before the request is refused."""

import h2.events

from attack import ATTACKER, Http2, Reader, Server, encode

ROUTES = 'quota = "1 per hour, all at once"\n[[routes]]\npath = "/api/report"\ncost = 1\n'
LENGTH = 15_000
REQUESTS = 300
UNITS = [
    "/a", "//", "/..", "/.", "/%2e%2e", "%2f", "%5c", "\\", "/a%2f..\\b", "/a%5c..%2f", "%25", "%252f",
    "/%ff", "/a;x", ";", "/a/..%2fb\\", "/A", "%41",
]


def cost(server, path):
    """Processor time of a refused request for this path, in seconds."""
    request = encode("GET", path)
    reader = Reader(server.connect(ATTACKER))
    before = server.cpu()
    for _ in range(REQUESTS):
        reader.stream.sendall(request)
        response = reader.response()
        assert response and response.status in (400, 404, 429), f"{path[:20]}: {response}"
        if response.headers.get("connection") == "close":
            reader = Reader(server.connect(ATTACKER))
    return (server.cpu() - before) / REQUESTS


def attack_readings():
    with Server(toml=ROUTES) as server:
        server.get("/x", source=ATTACKER)
        cost(server, "/x")
        plain = cost(server, "/" + "a" * LENGTH)
        slow = []
        for unit in UNITS:
            taken = cost(server, "/" + unit * (LENGTH // len(unit)))
            if taken > 3 * plain:
                slow.append(f"{unit} {taken / plain:.0f}x")
        assert not slow, f"of a plain path's {plain * 1e6:.0f} µs: {', '.join(slow)}"


def attack_indexed_header():
    """Over HTTP/2 a long path is sent once, and then named by its index in the HPACK table."""
    with Server(toml=ROUTES) as server:
        server.get("/x", source=ATTACKER)

        def http2_cost(path):
            client = Http2(server)
            before = server.cpu()
            for _ in range(10):
                left = client.receive({client.request(path) for _ in range(60)})
                assert not left, f"{len(left)} requests without a response"
            return server.cpu() - before

        http2_cost("/x")
        plain, hostile = http2_cost("/" + "a" * 3800), http2_cost("/" + "//" * 1900)
        assert hostile <= 3 * plain, f"{hostile / plain:.1f}x of a plain path"
