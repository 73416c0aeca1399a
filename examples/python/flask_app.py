"""Flask service without rate limiting; the gateway in front of it applies the limits:

waitress-serve --listen 127.0.0.1:5000 --trusted-proxy 127.0.0.1 --trusted-proxy-headers "x-forwarded-for" flask_app:app
tollgate --upstream http://127.0.0.1:5000
"""

import hashlib
import threading
from collections import Counter

from flask import Flask, jsonify, request

app = Flask(__name__)
seen = Counter()
lock = threading.Lock()
more = threading.Event()


@app.before_request
def count():
    if request.path != "/seen":
        with lock:
            seen[f"{request.method} {request.path}"] += 1


@app.get("/")
def index():
    # The client's address, not the gateway's: the WSGI server reads it from X-Forwarded-For, and trusts only the gateway.
    return jsonify({"from": request.remote_addr, "message": "Access granted"})


@app.get("/api/data")
def data():
    return jsonify({"data": [1, 2, 3], "query": request.args.to_dict(flat=False)})


@app.post("/api/submit")
def submit():
    response = jsonify({"submitted": request.get_json()})
    return response, 201, {"Location": "/api/data?item=7", "X-Service": request.headers.get("X-Request", "flask")}


@app.post("/api/upload")
def upload():
    digest, size = hashlib.sha256(), 0
    while chunk := request.stream.read(65536):
        digest.update(chunk)
        size += len(chunk)
    return jsonify({"bytes": size, "sha256": digest.hexdigest()})


@app.get("/api/stream")
def stream():
    """Response in two chunks; the second is sent after a request to /api/more."""

    def chunks():
        yield "first\n"
        more.wait(60)
        yield "last\n"

    return chunks(), {"Content-Type": "text/plain"}


@app.post("/api/more")
def send_more():
    more.set()
    return "", 204


@app.get("/seen")
def requests_seen():
    """Number of requests that reached this service, by method and path."""
    with lock:
        return jsonify(seen)
