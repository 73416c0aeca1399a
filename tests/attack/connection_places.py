"""One address takes all connections of the server, with requests that cost nothing."""

from attack import ATTACKER, HONEST, Http2, Server, encode, is_open

MAX = 200
LIMITS = f"capacity = 1000000\n[connections]\nmax = {MAX}\n"


def idle(server, count, source=ATTACKER):
    """Opens connections with one request for /health on each."""
    opened = []
    for _ in range(count):
        stream = server.connect(source)
        stream.sendall(encode("GET", "/health"))
        opened.append(stream)
    return opened


def busy(server, count, source=ATTACKER):
    """Opens connections with a request whose body does not arrive."""
    opened = []
    for _ in range(count):
        stream = server.connect(source)
        head = [("Expect", "100-continue"), ("Content-Length", "8")]
        stream.sendall(encode("POST", "/api/submit", head))
        assert stream.recv(25).startswith(b"HTTP/1.1 100"), "no 100 Continue"
        opened.append(stream)
    return opened


def served(server, path="/", source=HONEST, headers=()):
    return [server.status(path, headers, source=source, timeout=3) for _ in range(5)]


def attack_idle_connections():
    with Server(toml=LIMITS) as server:
        crowd = idle(server, MAX + 100)
        assert (got := served(server)) == [200] * 5, f"honest client: {got}"
        assert (got := served(server, "/health", "127.0.0.1")) == [200] * 5, f"health check: {got}"
        del crowd


def attack_silent_connections():
    with Server(toml=LIMITS) as server:
        crowd = [server.connect(ATTACKER) for _ in range(MAX + 100)]
        assert (got := served(server)) == [200] * 5, f"honest client: {got}"
        del crowd


def attack_unread_http2_responses():
    with Server(toml=LIMITS) as server:
        crowd = []
        for _ in range(MAX):
            client = Http2(server, window=0)
            client.request("/health")
            crowd.append(client)
        assert (got := served(server)) == [200] * 5, f"honest client: {got}"


def attack_others_idle_connections():
    """An address with many connections does not close those of others."""
    with Server(toml=LIMITS) as server:
        honest = idle(server, 20, HONEST)
        crowd = idle(server, 3 * MAX)
        kept = sum(is_open(stream) for stream in honest)
        assert kept == 20, f"{kept} of 20 connections of an honest client are open"
        del crowd


def attack_trusted_proxy():
    """Connections of a trusted proxy are not those of one client."""
    with Server(toml=f'trust_proxy = ["{HONEST}"]\n{LIMITS}') as server:
        proxy = idle(server, MAX // 2 + 20, HONEST)
        crowd = idle(server, MAX)
        kept = sum(is_open(stream) for stream in proxy)
        assert kept == len(proxy), f"{kept} of {len(proxy)} connections of the proxy are open"
        assert (got := served(server, source="127.0.0.4")) == [200] * 5, f"honest client: {got}"
        del crowd


def attack_reserve():
    """All connections are busy: this machine's health check works, also beside requests that take
    the reserved connections for something else."""
    with Server(toml="capacity = 1000000\n[connections]\nmax = 20\n") as server:
        crowd = busy(server, 20)
        assert (got := served(server, "/health", "127.0.0.1")) == [200] * 5, f"health check: {got}"
        others = [server.connect(ATTACKER) for _ in range(40)]
        for stream in others:
            stream.sendall(encode("GET", "/"))
        assert (got := served(server, "/health", "127.0.0.1")) == [200] * 5, f"health check: {got}"
        forwarded = [("X-Forwarded-For", "192.0.2.1")]
        got = server.status("/health", forwarded, source="127.0.0.1", timeout=1)
        assert got != 200, "a forwarded request used a reserved connection"
        del crowd


def attack_hard_bound():
    limits = "capacity = 1000000\n[connections]\nmax_per_address = 10\n"
    with Server(toml=limits) as server:
        crowd = idle(server, 10)
        got = [server.status(source=ATTACKER, timeout=3) for _ in range(5)]
        assert 200 not in got, f"beyond the bound: {got}"
        assert (got := served(server)) == [200] * 5, f"honest client: {got}"
        del crowd
