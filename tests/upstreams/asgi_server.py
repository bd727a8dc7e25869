"""Serves an application by hypercorn, over HTTP/1.1 and HTTP/2: `asgi_server.py PORT_FILE [CERTIFICATE KEY]`.

Requests get a description of themselves, WebSockets an echo. The port is written to the file.
"""

import asyncio
import json
import os
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config


def about(scope):
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    return {"http": scope["http_version"], "path": scope["path"], "user": headers.get("x-user-name", "")}


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"].endswith("/refused"):
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    await send({"type": "websocket.send", "text": json.dumps(about(scope))})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        return await websocket(scope, receive, send)
    if scope["type"] != "http":
        return None
    length, more = 0, True
    while more:
        event = await receive()
        length, more = length + len(event.get("body", b"")), event.get("more_body", False)
    is_page = scope["path"].endswith("/page")
    body = b"<!doctype html><title>page</title>" if is_page else json.dumps({**about(scope), "length": length}).encode()
    kind = b"text/html" if is_page else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


port_file, *pair = sys.argv[1:]
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
config = Config()
config.bind = [f"fd://{listener.fileno()}"]
if pair:
    config.certfile, config.keyfile = pair
with open(port_file + ".new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename(port_file + ".new", port_file)
asyncio.run(serve(application, config))
