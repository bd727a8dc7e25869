"""WebSockets of headless Chromium: `sockets.py SCENARIO GATEWAY AUTHORITY VERSION`, with the version of HTTP at the endpoint."""

import json
import sys

from browsing import chromium

_, scenario, gateway, authority, version = sys.argv

TALK = """([url, messages]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ["chat", "other"]);
    const heard = [];
    socket.onmessage = message => {
        heard.push(message.data);
        if (heard.length > messages.length) socket.close(1000);
        else socket.send(messages[heard.length - 1]);
    };
    socket.onclose = event => resolve([socket.protocol, event.code, event.wasClean, heard]);
})"""


def talk(page, path, messages):
    return page.evaluate(TALK, [gateway.replace("https:", "wss:") + path, messages])


def echo(page):
    page.goto(f"{gateway}/public/page")
    # The page came over HTTP/2, so the handshake uses this connection.
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    messages = ["hello", "é" * 1000, "x" * 200_000]
    protocol, code, clean, heard = talk(page, "/public/ws", messages)
    assert (protocol, code, clean) == ("chat", 1000, True), (protocol, code, clean, [len(one) for one in heard])
    about = json.loads(heard[0])
    assert about == {"http": version, "path": "/public/ws", "user": ""}, about
    assert heard[1:] == messages, [len(one) for one in heard]
    # Refused by the gateway: no token. Refused by the application.
    for path in ("/api/ws", "/public/refused"):
        _, code, clean, heard = talk(page, path, [])
        assert (code, clean, heard) == (1006, False, []), (path, code, clean, heard)


with chromium(authority) as browser:
    page = browser.new_page()
    {"echo": echo}[scenario](page)
    page.close()
print("done")
