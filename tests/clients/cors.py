"""A program in Chromium that uses the gateway from another origin: `cors.py SCENARIO GATEWAY AUTHORITY PORT KEY`.

The page comes from http://localhost:PORT.
"""

import http.server
import sys
import threading

from browsing import chromium

_, scenario, gateway, authority, port, key = sys.argv


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>app</title>")

    def log_message(self, *args):
        pass


ASK = """async ([url, key]) => {
    try {
        const headers = key ? {Authorization: `Token ${key}`} : {};
        const answer = await fetch(url, {headers});
        return [answer.status, await answer.text(), answer.headers.get("ratelimit")];
    } catch (error) {
        return [0, String(error), null];
    }
}"""


def reads(page):
    page.goto(f"http://localhost:{port}/")
    ask = lambda path, key=None: page.evaluate(ASK, [gateway + path, key])
    status, text, left = ask("/api/x", key)
    assert (status, text, left) == (200, "ok", '"r";r=0;t=86400'), (status, text, left)
    status, text, _ = ask("/api/x", key)
    assert status == 429 and "throttled" in text, (status, text)
    status, text, _ = ask("/api/x", "0123456789")
    assert status == 401 and "Invalid token." in text, (status, text)
    status, text, _ = ask("/scoped/x", key)
    assert status == 403 and "scope" in text, (status, text)
    status, text, _ = ask("/down/x")
    assert status == 502 and "upstream" in text, (status, text)
    status, text, _ = ask("/away/x")
    assert status == 503 and "upstream" in text, (status, text)
    # This route admits no other origin.
    assert ask("/optional/x", key)[0] == 0


def refused(page):
    page.goto(f"http://127.0.0.1:{port}/")
    assert page.evaluate(ASK, [gateway + "/api/x", key])[0] == 0


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
with chromium(authority) as browser:
    for play in {"reads": (reads, refused)}[scenario]:
        page = browser.new_page()
        play(page)
        page.close()
print("done")
