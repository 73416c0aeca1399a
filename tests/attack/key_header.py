"""A request is limited under one API key, and reaches the upstream with another."""

from attack import ATTACKER, Server, Upstream

KEYED = 'quota = "3 per hour, all at once"\nclient = { header = "X-API-Key" }\n'


def values(heads, name):
    """Values of the header in all requests, with `_` for `-` as WSGI servers read names."""
    found = []
    for head in heads:
        for line in head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower().replace("_", "-") == name:
                found.append(value.strip())
    return found


def attack_connection_names_the_key():
    with Upstream() as upstream, Server(toml=f'upstream = "{upstream.url}"\n{KEYED}') as server:
        for number, connection in enumerate(["close, X-API-Key", "x-api-key", "close ,\tX-Api-Key ,x"]):
            headers = [("X-API-Key", f"junk{number}"), ("X_API_Key", "valid"), ("Connection", connection)]
            response = server.request("GET", "/", headers, source=ATTACKER)
            assert response.status == 400, f"Connection: {connection}: {response.status}"
        assert not upstream.heads, "the upstream got a request"


def attack_underscore():
    with Upstream() as upstream, Server(toml=f'upstream = "{upstream.url}"\n{KEYED}') as server:
        for number in range(6):
            headers = [("X-API-Key", f"junk{number}"), ("X_API_Key", "valid")]
            server.request("GET", "/", headers, source=ATTACKER)
        got = values(upstream.heads, "x-api-key")
        assert "valid" not in got, f"keys at the upstream: {got}"


def attack_connection_names_other_identity():
    toml = 'trust_proxy = ["127.0.0.0/8"]\n'
    with Upstream() as upstream, Server(toml=f'upstream = "{upstream.url}"\n{toml}') as server:
        for name in ("X-Forwarded-For", "Forwarded"):
            value = "for=192.0.2.1" if name == "Forwarded" else "192.0.2.1"
            headers = [(name, value), ("Connection", name)]
            response = server.request("GET", "/", headers, source=ATTACKER)
            assert response.status == 400, f"Connection: {name}: {response.status}"


def attack_authorization():
    keyed = KEYED.replace("X-API-Key", "Authorization")
    with Upstream() as upstream, Server(toml=f'upstream = "{upstream.url}"\n{keyed}') as server:
        headers = [("Authorization", "Bearer junk"), ("Connection", "authorization")]
        assert server.request("GET", "/", headers, source=ATTACKER).status == 400
