"""The admin API behind a local proxy that adds no headers: strangers arrive from a loopback address."""

from attack import Server, Upstream, free_port

LOCAL = "127.0.0.1"
CHANGE = b'{"capacity": 77}'


def change(server, port=None, headers=()):
    response = server.request("POST", "/config", headers, CHANGE, source=LOCAL)
    return response.status if response else None


def at(server, port):
    """The same server, on another port."""
    other = object.__new__(Server)
    other.__dict__.update(server.__dict__, port=port)
    return other


def attack_gateway_without_token():
    with Upstream() as upstream, Server("--upstream", upstream.url) as server:
        assert (got := change(server)) != 200, "POST /config is served without a token"
        for path in ("/metrics", "/config"):
            response = server.get(path, source=LOCAL)
            served = response and response.status == 200 and response.body != b"ok"
            assert not served, f"GET {path} is served without a token"
        assert got is not None


def attack_trusted_proxies_without_token():
    with Server("--trust-proxy", "10.0.0.0/8") as server:
        assert change(server) != 200, "POST /config is served without a token"
        got = server.request("POST", "/check", (), b'{"key": "a"}', source=LOCAL)
        assert got.status != 200, "POST /check is served without a token"


def attack_demo():
    with Server() as server:
        assert (got := change(server)) == 200, f"the demo's POST /config: {got}"
        got = change(server, headers=[("X-Forwarded-For", "192.0.2.1")])
        assert got == 403, f"a forwarded POST /config: {got}"


def attack_gateway_with_token():
    token = "0123456789abcdef0123"
    with Upstream() as upstream, Server(
        "--upstream", upstream.url, "--admin-token", token
    ) as server:
        assert change(server) == 401
        assert change(server, headers=[("Authorization", f"Bearer {token}")]) == 200


def attack_admin_listen():
    port = free_port()
    with Upstream() as upstream, Server(
        "--upstream", upstream.url, "--admin-listen", f"127.0.0.1:{port}"
    ) as server:
        admin = at(server, port)
        assert (got := change(admin)) == 200, f"POST /config on the admin port: {got}"
        for path in ("/metrics", "/config", "/health"):
            assert admin.status(path, source=LOCAL) == 200, f"{path} on the admin port"
        # The application's own.
        for path in ("/config", "/metrics", "/admin/login", "/health"):
            response = server.get(path, source=LOCAL)
            assert response.body == b"ok", f"{path} on the public port: {response.body}"
        paths = [head.split(" ")[1] for head in upstream.heads]
        assert "/admin/login" in paths, paths


def attack_public_admin_listen():
    code, log = Server("--admin-listen", f"0.0.0.0:{free_port()}").start_error()
    assert code == 2, f"exit code {code}: {log}"
    assert "admin" in log and "token" in log, log
