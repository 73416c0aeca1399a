"""A service of prefork workers, as gunicorn has them: each asks a tollgate of its own.

Arguments: the port of the service, and the address of a tollgate for each worker.
"""

import http.client
import http.server
import json
import os
import signal
import socket
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    tollgate = None

    def do_GET(self):
        question = json.dumps({"key": self.headers["X-Client"], "cost": 1})
        Handler.tollgate.request("POST", "/check", question)
        answer = json.load(Handler.tollgate.getresponse())
        body = b"worker %d\n" % os.getpid()
        self.send_response(200 if answer["allowed"] else 429)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port, *tollgates = sys.argv[1:]
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=128)
    # Its end tells the workers that their parent has ended.
    ended, parent = os.pipe()
    for tollgate in tollgates:
        if os.fork() == 0:
            os.close(parent)
            threading.Thread(target=lambda: os.read(ended, 1) or os._exit(0), daemon=True).start()
            Handler.tollgate = http.client.HTTPConnection(tollgate)
            server = http.server.HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
            server.socket = listener
            server.serve_forever()
    signal.pause()


main()
