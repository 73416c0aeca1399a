"""Several spellings of one identity get several buckets."""

from attack import Server

QUOTA = 'quota = "3 per hour, all at once"\n'
PROXY = "127.0.0.3"


def attack_authorization_spellings():
    with Server(toml=QUOTA + 'client = { header = "Authorization" }\n') as server:
        spellings = ["Bearer abc", "bearer abc", "Bearer  abc", "BEARER abc", "Bearer \t abc", "Bearer abc "]
        got = [server.status(headers=[("Authorization", text)]) for text in spellings * 2]
        assert got.count(200) == 3, f"of a quota of 3: {got}"
        other = server.status(headers=[("Authorization", "Bearer ABC")])
        assert other == 200, "credentials are case-sensitive"


def forwarded(server, **headers):
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return server.status(headers=pairs, source=PROXY)


def attack_two_forwarding_headers():
    with Server(toml=QUOTA + f'trust_proxy = ["{PROXY}"]\n') as server:
        for number in range(6):
            got = forwarded(server, X_Forwarded_For="192.0.2.1", Forwarded=f"for=192.0.2.{number + 10}")
            assert got == 400, f"two clients in one request: {got}"
        got = [forwarded(server, X_Forwarded_For="192.0.2.1") for _ in range(4)]
        assert got == [200] * 3 + [429], f"tokens were spent: {got}"
        got = [forwarded(server, Forwarded="for=192.0.2.10") for _ in range(4)]
        assert got == [200] * 3 + [429], f"tokens were spent: {got}"
        got = [server.status(source=PROXY) for _ in range(4)]
        assert got == [200] * 3 + [429], f"the proxy's bucket was charged: {got}"
        log = server.log()
        conflicts = [line for line in log.splitlines() if "different clients" in line]
        named = [line for line in conflicts if "client_address_header" in line]
        assert len(named) == len(conflicts) == 1, f"logged once, with the setting's name: {log}"
        same = forwarded(server, X_Forwarded_For="192.0.2.99", Forwarded='for="192.0.2.99"')
        assert same == 200, f"one client in both headers: {same}"


def attack_named_forwarding_header():
    for name, counts in [
        ("x-forwarded-for", {"X_Forwarded_For": "192.0.2.1"}),
        ("forwarded", {"Forwarded": "for=192.0.2.1"}),
        ("x-real-ip", {"X_Real_IP": "192.0.2.1"}),
    ]:
        toml = QUOTA + f'trust_proxy = ["{PROXY}"]\nclient_address_header = "{name}"\n'
        with Server(toml=toml) as server:
            got = []
            for number in range(6):
                others = {
                    "X_Forwarded_For": f"192.0.2.{number + 10}",
                    "Forwarded": f"for=192.0.2.{number + 10}",
                    "X_Real_IP": f"192.0.2.{number + 10}",
                }
                got.append(forwarded(server, **{**others, **counts}))
            assert got == [200] * 3 + [429] * 3, f"{name}: {got}"
