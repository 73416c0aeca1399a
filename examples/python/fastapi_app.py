"""FastAPI service without rate limiting; the gateway in front of it applies the limits:

uvicorn --port 5001 --forwarded-allow-ips 127.0.0.1 fastapi_app:app
tollgate --upstream http://127.0.0.1:5001
"""

import asyncio
import hashlib
from collections import Counter
from typing import Annotated

from fastapi import Body, FastAPI, Header, Request, Response
from fastapi.responses import StreamingResponse

app = FastAPI()
seen = Counter()
more = asyncio.Event()


@app.middleware("http")
async def count(request: Request, call_next):
    if request.url.path != "/seen":
        seen[f"{request.method} {request.url.path}"] += 1
    return await call_next(request)


@app.get("/")
async def index(request: Request):
    # The client's address, not the gateway's: uvicorn reads it from X-Forwarded-For, and trusts only the gateway.
    return {"from": request.client.host, "message": "Access granted"}


@app.get("/api/data")
async def data(request: Request):
    query = request.query_params
    return {"data": [1, 2, 3], "query": {name: query.getlist(name) for name in query}}


@app.post("/api/submit", status_code=201)
async def submit(body: Annotated[dict, Body()], response: Response, x_request: Annotated[str, Header()] = "fastapi"):
    response.headers.update({"Location": "/api/data?item=7", "X-Service": x_request})
    return {"submitted": body}


@app.post("/api/upload")
async def upload(request: Request):
    digest, size = hashlib.sha256(), 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


@app.get("/api/stream")
async def stream():
    """Response in two chunks; the second is sent after a request to /api/more."""

    async def chunks():
        yield "first\n"
        await asyncio.wait_for(more.wait(), 60)
        yield "last\n"

    return StreamingResponse(chunks(), media_type="text/plain")


@app.post("/api/more", status_code=204)
async def send_more():
    more.set()


@app.get("/seen")
async def requests_seen():
    """Number of requests that reached this service, by method and path."""
    return seen
