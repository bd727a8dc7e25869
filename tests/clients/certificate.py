"""Headless Chromium with and without a client certificate: `certificate.py GATEWAY AUTHORITY CERT KEY`."""

import sys

from browsing import PATIENCE, chromium

_, gateway, authority, cert, key = sys.argv

with chromium(authority) as browser:
    statuses = []
    for shown in ([], [{"origin": gateway, "certPath": cert, "keyPath": key}]):
        context = browser.new_context(client_certificates=shown)
        page = context.new_page()
        answer = page.goto(f"{gateway}/cert/x", timeout=PATIENCE * 1000)
        statuses.append(answer.status)
        text = page.locator("body").inner_text()
        context.close()
    print(*statuses, text)
