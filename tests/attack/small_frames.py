"""HTTP/2 frames with a single byte of a body, from a client or from an upstream, delay other clients
more than large frames do."""

import multiprocessing
import os
import socket
import statistics
import time

import h2.config
import h2.connection
import h2.events

from attack import ATTACKER, HONEST, OK, TIMEOUT, Http2, Reader, Server, Upstream, connect, encode

# Attackers and their upstreams are processes with a low priority, so that they take no processor time
# from the server and from the honest client.
PROCESS = multiprocessing.get_context("fork")

# Bytes of one body: below the initial window of a stream.
BODY = 60_000
CLIENTS = 4
LARGE, TINY = 15_000, 1


def frames(stream, size, total):
    """DATA frames of this size, with at most `total` bytes."""
    head = size.to_bytes(3, "big") + b"\0\0" + stream.to_bytes(4, "big")
    return (head + b"x" * size) * (total // size)


def low_priority(run):
    os.nice(19)
    run()


class OtherUpstream(Upstream):
    """An upstream in a process of its own, which counts the bytes of bodies."""

    def __init__(self):
        super().__init__(self._count)
        self.received = PROCESS.Value("q", 0)

    def _count(self, connection, head, body):
        with self.received.get_lock():
            self.received.value += len(body)
        connection.sendall(OK)

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.process = PROCESS.Process(target=low_priority, args=(self._accept,), daemon=True)
        self.process.start()
        return self

    def __exit__(self, *arguments):
        self.process.kill()
        self.process.join()
        super().__exit__(*arguments)


class EndlessFrames(OtherUpstream):
    """An h2c upstream whose responses are endless streams of frames of one size."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def _serve(self, connection):
        config = h2.config.H2Configuration(client_side=False)
        http2 = h2.connection.H2Connection(config)
        http2.initiate_connection()
        window, windows = 65535, {}
        try:
            with connection:
                while True:
                    connection.sendall(http2.data_to_send())
                    for event in http2.receive_data(connection.recv(65536)):
                        if isinstance(event, h2.events.RequestReceived):
                            http2.send_headers(event.stream_id, [(":status", "200")])
                            windows[event.stream_id] = http2.remote_settings.initial_window_size
                        elif isinstance(event, h2.events.WindowUpdated) and event.stream_id:
                            windows[event.stream_id] += event.delta
                        elif isinstance(event, h2.events.WindowUpdated):
                            window += event.delta
                        elif isinstance(event, h2.events.StreamReset):
                            windows.pop(event.stream_id, None)
                    connection.sendall(http2.data_to_send())
                    for stream, free in windows.items():
                        sent = min(free, window) // self.size * self.size
                        connection.sendall(frames(stream, self.size, sent))
                        windows[stream] -= sent
                        window -= sent
        except OSError:
            pass


def toml(upstream, prefix, url):
    """Configuration of a gateway with another upstream for the paths below a prefix."""
    return f'upstream = "{upstream.url}"\ncapacity = 1000000\n[[upstreams]]\nprefix = "{prefix}"\nurl = "{url}"\n'


def latency(server, count=200):
    """Median response time of an honest client, in seconds."""
    reader, taken = Reader(server.connect(HONEST)), []
    for _ in range(count):
        begun = time.monotonic()
        reader.stream.sendall(encode("GET", "/x"))
        response = reader.response()
        assert response and response.status == 200, response
        taken.append(time.monotonic() - begun)
    return statistics.median(taken)


def latency_during(server, attack):
    """Median response time of an honest client while processes repeat the attack."""
    done = PROCESS.Event()

    def repeat():
        while not done.is_set():
            try:
                attack(done)
            except OSError:
                pass

    attackers = [PROCESS.Process(target=low_priority, args=(repeat,), daemon=True) for _ in range(CLIENTS)]
    for attacker in attackers:
        attacker.start()
    try:
        time.sleep(1)
        return latency(server)
    finally:
        done.set()
        for attacker in attackers:
            attacker.join(TIMEOUT)
            attacker.kill()


def assert_equal_delays(large, tiny):
    # A debug build takes milliseconds for the frames of one window.
    assert tiny <= max(5 * large, 0.1), f"p50 {tiny * 1e3:.1f} ms, {large * 1e3:.1f} ms during the same with large frames"


def attack_uploads():
    with Upstream() as upstream, OtherUpstream() as other, Server(toml=toml(upstream, "/up", other.url)) as server:

        def upload(size):
            def attack(done):
                client = Http2(server, ATTACKER)
                with client.stream:
                    # The server opens the window of the connection.
                    next(client.events(1))
                    left = set()
                    for _ in range(8):
                        length = [("content-length", str(BODY))]
                        number = client.request("/up", "POST", length, end=False)
                        client.stream.sendall(frames(number, size, BODY))
                        left.add(number)
                    for event in client.events(TIMEOUT):
                        if isinstance(event, h2.events.StreamEnded):
                            left.discard(event.stream_id)
                        if event is None or not left or done.is_set():
                            break

            return attack

        delays = [latency_during(server, upload(size)) for size in (LARGE, TINY)]
        assert other.received.value >= BODY, f"{other.received.value} bytes of uploads"
        assert_equal_delays(*delays)


def attack_upstream():
    delays = []
    for size in (LARGE, TINY):
        with Upstream() as upstream, EndlessFrames(size) as hostile:
            url = hostile.url.replace("http", "h2c")
            with Server(toml=toml(upstream, "/endless", url)) as server:
                received = PROCESS.Value("q", 0)

                def download(done):
                    with connect(server.port, ATTACKER) as stream:
                        stream.sendall(encode("GET", "/endless"))
                        stream.settimeout(1)
                        while not done.is_set():
                            try:
                                count = len(stream.recv(65536))
                            except TimeoutError:
                                continue
                            with received.get_lock():
                                received.value += count

                delays.append(latency_during(server, download))
                assert received.value > 1000, f"{received.value} bytes of the hostile upstream"
    assert_equal_delays(*delays)
