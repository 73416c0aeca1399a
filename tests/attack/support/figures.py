"""Figures of a server under attack: latency of an honest client, memory and processor time.

Attacker, honest client and upstream are processes of their own. The honest client connects anew for
each of its requests, one after another with a pause in between."""

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import h2.events
import h2.exceptions

import attack
from attack import ATTACKER, HONEST, OK, Http2, Reader, Server, Upstream, encode

PAUSE = 0.01
# An honest client gives up after this time.
PATIENCE = 5
BIG = b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + b"x" * (4 << 20)
FORK = multiprocessing.get_context("fork")


def respond(connection, head, body):
    connection.sendall(BIG if " /big" in head else OK)


def serve_upstream(pipe):
    with Upstream(respond) as upstream:
        pipe.send(upstream.url)
        threading.Event().wait()


def honest(port, seconds, pipe):
    """Sends the latencies of the requests with status 200, and the number of all others."""
    took, failed, end = [], 0, time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        status = None
        try:
            with attack.connect(port, HONEST, PATIENCE) as stream:
                stream.sendall(encode("GET", "/", [("Connection", "close")]))
                response = Reader(stream).response()
                status = response and response.status
        except OSError:
            pass
        if status == 200:
            took.append(time.monotonic() - begun)
        else:
            failed += 1
        time.sleep(PAUSE)
    pipe.send((took, failed))


def unread_responses(server):
    """1000 responses of 4 MB on 8 connections, with a window of 0."""
    clients = [Http2(server, window=0) for _ in range(8)]
    for client in clients:
        for _ in range(125):
            client.request("/big")
    return clients


def idle_connections(server):
    """2200 connections to a server of at most 2000, with one free request on each."""
    opened = []
    for _ in range(2200):
        try:
            stream = server.connect(ATTACKER, timeout=2)
            stream.sendall(encode("GET", "/health"))
            opened.append(stream)
        except OSError:
            pass
    return opened


def unread_echoes(server):
    """14 bodies of 1 MB that the server echoes, with a window of 0."""
    clients = []
    for _ in range(14):
        client = Http2(server, window=0)
        number = client.request("/api/submit", "POST", [("content-type", "text/plain")], end=False)
        left = 1_000_000
        while left:
            size = min(
                left,
                client.connection.local_flow_control_window(number),
                client.connection.max_outbound_frame_size,
            )
            if size == 0:
                # The server may open no more window, and the attacker waits for it.
                if None in [*client.events(0.2)]:
                    break
                continue
            left -= size
            client.connection.send_data(number, b"\0" * size, end_stream=left == 0)
            client.flush()
        clients.append(client)
    return clients


def costly_paths(server):
    """Refused paths of 1900 double slashes, named by their index in the HPACK table, in a closed loop."""
    while True:
        client = Http2(server)
        try:
            for _ in range(50):
                client.receive({client.request("/" + "//" * 1900) for _ in range(60)})
                client.flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        client.stream.close()


def run_attack(start, server, pipe):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if start is costly_paths:
        pipe.send(None)
    held = start(server)
    pipe.send(None)
    threading.Event().wait()
    del held


# Name, function, configuration.
ATTACKS = [
    ("A1, 1000 unread responses", unread_responses, 'upstream = "{url}"\ncapacity = 100000\n'),
    ("A2, 2200 idle connections", idle_connections, "capacity = 100000\n[connections]\nmax = 2000\n"),
    ("A3, 14 unread echoes", unread_echoes, "capacity = 100000\n"),
    (
        "A4, refused double slashes", costly_paths,
        'capacity = 1\nrefill_rate = 0.001\n[[routes]]\npath = "/api/report"\ncost = 1\n'
        f'[[rules]]\nclient_id = "{HONEST}"\ncapacity = 1000000\nrefill_rate = 1000\n',
    ),
]


def spawn(function, *arguments):
    """Starts a process. Returns it and the end of its pipe."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    return process, ours


def end(process):
    process.kill()
    process.join()


def memory(server):
    """Resident memory in MB."""
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    return 0.0


def latencies(server, seconds):
    """Honest latencies in this time, failures, greatest memory, and share of a core."""
    process, pipe = spawn(honest, server.port, seconds)
    begun, used, greatest = time.monotonic(), server.cpu(), 0.0
    while not pipe.poll(0.1):
        greatest = max(greatest, memory(server))
    took, failed = pipe.recv()
    share = (server.cpu() - used) / (time.monotonic() - begun)
    process.join()
    return took, failed, greatest, share


def shown(took, failed):
    if len(took) < 2:
        return f"no 200, {failed} failed"
    cuts = statistics.quantiles(took, n=100, method="inclusive")
    text = f"{cuts[49] * 1e3:.1f}, {cuts[98] * 1e3:.1f} ms"
    return f"{text}, {failed} of {failed + len(took)} failed" if failed else text


def measure(binary, start, toml, seconds):
    attack.BINARY = os.path.abspath(binary)
    upstream, pipe = spawn(serve_upstream)
    with Server(toml=toml.replace("{url}", pipe.recv())) as server:
        quiet = latencies(server, seconds / 2)
        attacker, pipe = spawn(run_attack, start, server)
        # The attack is complete, or goes on.
        pipe.poll(60)
        time.sleep(0.5)
        attacked = latencies(server, seconds)
        end(attacker)
    end(upstream)
    return (
        shown(*quiet[:2]), shown(*attacked[:2]),
        f"{quiet[2]:.0f}, {attacked[2]:.0f} MB", f"{attacked[3]:.0%}",
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--server", action="append", metavar="PATH")
    arguments = parser.parse_args()
    print("| attack | server | p50, p99 quiet | p50, p99 attacked | memory quiet, attacked | of a core |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name, start, toml in ATTACKS:
        for binary in arguments.server or [attack.BINARY]:
            figures = measure(binary, start, toml, arguments.seconds)
            print(f"| {name} | {Path(binary).name} | {' | '.join(figures)} |", flush=True)


main()
