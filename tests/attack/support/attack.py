"""A server under attack, an upstream that records what reaches it, and clients that send any bytes."""

import os
import re
import resource
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

BINARY = os.path.abspath(os.environ["TOLLGATE_BIN"])
# Longer than any response takes on a busy machine.
TIMEOUT = 20
# Addresses of an honest client and of an attacker.
HONEST, ATTACKER = "127.0.0.2", "127.0.0.3"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    kept.pop("RUST_LOG", None)
    return kept


class Server:
    """A server on a free port of 127.0.0.1 with these flags and this configuration file. Leaving the
    context stops it, and fails if it had died or panicked."""

    def __init__(self, *flags, toml="", open_files=None):
        self.directory = tempfile.TemporaryDirectory()
        self.arguments = [BINARY, "--listen", "127.0.0.1:0", *flags]
        if toml:
            path = Path(self.directory.name, "tollgate.toml")
            path.write_text(toml)
            path.chmod(0o600)
            self.arguments += ["--config", str(path)]
        self.log_path = Path(self.directory.name, "log")
        self.open_files = open_files

    def _limit(self):
        if self.open_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, self.open_files)

    def _spawn(self):
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=environment(), cwd=self.directory.name, preexec_fn=self._limit,
            )

    def __enter__(self):
        self._spawn()
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not start: {line}{self.log()}")
        self.port = int(found[1])
        return self

    def __exit__(self, kind, *_):
        died = self.process.poll() is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        log = self.log()
        self.directory.cleanup()
        if kind is None:
            assert not died and "panicked" not in log, f"the server died: {log}"

    def start_error(self):
        """Exit code and log of a server that must not start."""
        self._spawn()
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            pass
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        return self.process.returncode, self.log()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def connect(self, source=HONEST, timeout=TIMEOUT):
        return connect(self.port, source, timeout)

    def request(self, method, path, headers=(), body=b"", source=HONEST, timeout=TIMEOUT):
        """Sends a request on a connection of its own; `None`: no response."""
        try:
            with self.connect(source, timeout) as stream:
                stream.sendall(encode(method, path, [*headers, ("Connection", "close")], body))
                return Response.read(stream)
        except OSError:
            return None

    def get(self, path="/", headers=(), source=HONEST, timeout=TIMEOUT):
        return self.request("GET", path, headers, source=source, timeout=timeout)

    def status(self, *arguments, **options):
        response = self.get(*arguments, **options)
        return response.status if response else None

    def cpu(self):
        """Processor time that the server has used, in seconds."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def connect(port, source=HONEST, timeout=TIMEOUT):
    address = ("127.0.0.1", port)
    stream = socket.create_connection(address, timeout, source_address=(source, 0))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream


def encode(method, path, headers=(), body=b""):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Response:
    def __init__(self, head, body):
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        pairs = [line.split(":", 1) for line in lines[1:] if ":" in line]
        self.headers = {name.lower(): value.strip() for name, value in pairs}
        self.body = body

    @staticmethod
    def read(stream):
        """Reads the only response on a connection; `None` when the connection ends before it."""
        return Reader(stream).response()


class Reader:
    """Responses on a connection."""

    def __init__(self, stream):
        self.stream = stream
        self.data = b""

    def response(self):
        """Reads one response; `None` when the connection ends before it."""
        while b"\r\n\r\n" not in self.data:
            if not self._receive():
                return None
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        response = Response(head, b"")
        length = int(response.headers.get("content-length", 0))
        while len(self.data) < length and self._receive():
            pass
        response.body, self.data = self.data[:length], self.data[length:]
        return response

    def _receive(self):
        more = self.stream.recv(65536)
        self.data += more
        return more


class Upstream:
    """An HTTP/1.1 server. `respond(connection, head, body)` sends the response; by default `ok`."""

    def __init__(self, respond=None):
        self.respond = respond or (lambda connection, head, body: connection.sendall(OK))
        self.heads = []

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        data = b""
        try:
            with connection:
                while True:
                    while b"\r\n\r\n" not in data:
                        more = connection.recv(65536)
                        if not more:
                            return
                        data += more
                    head, _, data = data.partition(b"\r\n\r\n")
                    head = head.decode("latin-1")
                    self.heads.append(head)
                    length = re.search(r"(?im)^content-length: *(\d+)", head)
                    length = int(length[1]) if length else 0
                    while len(data) < length:
                        more = connection.recv(65536)
                        if not more:
                            return
                        data += more
                    body, data = data[:length], data[length:]
                    self.respond(connection, head, body)
        except OSError:
            pass


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Http2:
    """A client that opens no flow-control window of its own accord: `window` bytes for each stream."""

    def __init__(self, server, source=ATTACKER, window=65535):
        self.stream = server.connect(source)
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def flush(self):
        self.stream.sendall(self.connection.data_to_send())

    def request(self, path, method="GET", headers=(), end=True):
        """Sends a request head and returns the number of its stream."""
        number = self.connection.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        self.connection.send_headers(number, [*pseudo, *headers], end_stream=end)
        self.flush()
        return number

    def events(self, seconds):
        """Receives for this long, or until the server closes the connection."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.stream.settimeout(left)
            try:
                data = self.stream.recv(65536)
                if not data:
                    break
                yield from self.connection.receive_data(data)
                self.flush()
            except TimeoutError:
                return
            except (OSError, h2.exceptions.ProtocolError):
                break
        yield None

    def receive(self, streams, seconds=20):
        """Receives responses, and opens the window for them. Returns the streams whose response has not
        ended when the time is over, or when the server has closed the connection."""
        left = set(streams)
        for event in self.events(seconds):
            if event is None:
                break
            if isinstance(event, h2.events.DataReceived) and event.data:
                size = event.flow_controlled_length
                self.connection.acknowledge_received_data(size, event.stream_id)
            if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                left.discard(event.stream_id)
            if not left:
                break
        return left


def is_open(stream):
    """Returns true unless the server has closed the connection. Discards what was received."""
    stream.setblocking(False)
    try:
        while stream.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        stream.settimeout(TIMEOUT)
