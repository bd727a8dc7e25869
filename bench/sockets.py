"""The two ends of WebSockets through a proxy: `sockets.py echo PORT`, and `sockets.py load -t1 -cCONNECTIONS -dSECONDSs -H HEADER URL`.

Proxies pass the bytes of a WebSocket unread. So the echo returns them as they are, and one message is one write of 64 bytes.
"""

import asyncio
import base64
import hashlib
import ssl
import sys
import time
import urllib.parse

MESSAGE = b"\x82\x3e" + b"m" * 62
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def answer(reader, writer):
    """One WebSocket of the echo."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        # A key is lower-cased here; the load generator sends the only one.
        assert any(line.startswith("sec-websocket-key:") for line in head)
        accept = base64.b64encode(hashlib.sha1((KEY + GUID).encode()).digest()).decode()
        fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode())
        while piece := await reader.read(1 << 16):
            writer.write(piece)
    except (OSError, asyncio.IncompleteReadError, AssertionError):
        pass
    writer.close()


async def echo(port):
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


async def talk(url, fields, end, times):
    """One WebSocket of the load. Returns how many messages failed."""
    context = ssl._create_unverified_context()  # the certificate is not what is measured
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=context)
    head = [f"GET {url.path} HTTP/1.1", f"Host: {url.netloc}", "Connection: Upgrade", "Upgrade: websocket"]
    head += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}", *fields]
    writer.write("\r\n".join([*head, "", ""]).encode())
    status = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
    if status != b"101":
        return 1
    while (begun := time.monotonic()) < end:
        writer.write(MESSAGE)
        if await reader.readexactly(len(MESSAGE)) != MESSAGE:
            return 1
        times.append(time.monotonic() - begun)
    writer.transport.abort()
    return 0


async def load(arguments):
    *options, url = arguments
    fields = [options[place + 1] for place, option in enumerate(options) if option == "-H"]
    value = lambda option: next(one[2:].rstrip("s") for one in options if one.startswith(option) and one != "-H")
    end, times = time.monotonic() + int(value("-d")), []
    sockets = [talk(urllib.parse.urlsplit(url), fields, end, times) for _ in range(int(value("-c")))]
    told = await asyncio.gather(*sockets, return_exceptions=True)
    errors = sum(1 if isinstance(one, BaseException) else one for one in told)
    times.sort()
    p50, p99 = (times[int(len(times) * share)] * 1e3 if times else 0.0 for share in (0.5, 0.99))
    print(f"{len(times)} messages, {errors} errors, p50 {p50:.3f} ms, p99 {p99:.3f} ms")
    print(*{repr(one) for one in told if isinstance(one, BaseException)}, sep="\n")


asyncio.run(echo(int(sys.argv[2])) if sys.argv[1] == "echo" else load(sys.argv[2:]))
