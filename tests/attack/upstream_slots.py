"""One address holds all concurrent requests to an upstream."""

import time

import h2.exceptions

from attack import ATTACKER, HONEST, OK, Http2, Server, Upstream, encode, is_open

SLOTS = 16
BIG = 4 << 20


def respond(connection, head, body):
    if " /big" in head:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG + b"x" * BIG)
    elif "websocket" in head.lower():
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        connection.recv(1)
    else:
        connection.sendall(OK)


def gateway(upstream, more=""):
    return Server(
        toml=f'upstream = "{upstream.url}"\ncapacity = 100000\n'
        f'[gateway]\nmax_requests = {SLOTS}\nconnect_timeout = "1s"\n{more}'
    )


def assert_others_are_served(server):
    got = [server.status("/x", source=HONEST, timeout=10) for _ in range(5)]
    assert got == [200] * 5, f"honest client: {got}"


def streams(server, request, count=2 * SLOTS):
    opened = []
    for _ in range(count):
        stream = server.connect(ATTACKER)
        stream.sendall(request)
        opened.append(stream)
    time.sleep(1)
    return opened


def http2_without_window(server):
    clients = [Http2(server, window=0) for _ in range(4)]
    for client in clients:
        for _ in range(SLOTS):
            client.request("/big")
    time.sleep(1)
    return clients


def attack_http2_window_0():
    with Upstream(respond) as upstream, gateway(upstream) as server:
        clients = http2_without_window(server)
        assert_others_are_served(server)
        del clients


def attack_slow_uploads():
    with Upstream(respond) as upstream, gateway(upstream) as server:
        head = encode("POST", "/up", [("Content-Length", "60000000")])
        opened = streams(server, head + b"x" * 1000)
        assert_others_are_served(server)
        del opened


def attack_unread_downloads():
    with Upstream(respond) as upstream, gateway(upstream) as server:
        opened = streams(server, encode("GET", "/big"))
        assert_others_are_served(server)
        del opened


def attack_idle_tunnels():
    with Upstream(respond) as upstream, gateway(upstream) as server:
        handshake = [
            ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
        opened = streams(server, encode("GET", "/ws", handshake))
        assert_others_are_served(server)
        del opened


def attack_bound_per_client():
    with Upstream(respond) as upstream, gateway(upstream, "max_concurrent_per_client = 2\n") as server:
        opened = streams(server, encode("GET", "/big"), 3)
        statuses = sorted(int(stream.recv(12).split(b" ")[1]) for stream in opened)
        assert statuses[:2] == [200, 200] and statuses[2] >= 429, f"at a bound of 2: {statuses}"


def long_attack_stalled_streams_end():
    """Requests for /health on the same connection do not keep its unread responses."""
    with Upstream(respond) as upstream, gateway(upstream) as server:
        clients = http2_without_window(server)
        ended = set()
        deadline = time.monotonic() + 75
        while time.monotonic() < deadline and len(ended) < len(clients):
            for client in clients:
                number = client.connection.get_next_available_stream_id()
                try:
                    client.request("/health")
                    client.connection.increment_flow_control_window(1000, number)
                    client.flush()
                    for event in client.events(0.2):
                        if event is None or type(event).__name__ in ("StreamReset", "ConnectionTerminated"):
                            ended.add(id(client))
                except (OSError, h2.exceptions.ProtocolError):
                    ended.add(id(client))
        assert len(ended) == len(clients), f"{len(ended)} of {len(clients)} connections lost streams"


def long_attack_slow_upload_ends():
    with Upstream(respond) as upstream, gateway(upstream) as server:
        head = encode("POST", "/up", [("Content-Length", "60000000")])
        [stream] = streams(server, head, 1)
        for _ in range(75):
            if not is_open(stream):
                return
            try:
                stream.sendall(b"x" * 100)
            except OSError:
                return
            time.sleep(1)
        raise AssertionError("an upload of 100 bytes a second lasts longer than 75 s")
