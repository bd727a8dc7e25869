"""One call by httpx, with redirects followed; prints the response as on the wire."""

import argparse
import json
import ssl

import httpx

parser = argparse.ArgumentParser()
parser.add_argument("--authority")
parser.add_argument("--http2", action="store_true")
parser.add_argument("--key")
parser.add_argument("--json", type=json.loads)
parser.add_argument("--form", type=json.loads)
parser.add_argument("--multipart", type=json.loads)
parser.add_argument("url")
asked = parser.parse_args()

trust = ssl.create_default_context(cafile=asked.authority)
with httpx.Client(verify=trust, http2=asked.http2, timeout=120, follow_redirects=True) as client:
    answer = client.request(
        "POST" if asked.json or asked.form or asked.multipart else "GET",
        asked.url,
        headers={"Authorization": f"Token {asked.key}"} if asked.key else None,
        json=asked.json,
        data=asked.form,
        files=asked.multipart and {name: (None, value.encode()) for name, value in asked.multipart.items()},
    )
first = (answer.history or [answer])[0]
print(first.http_version, first.status_code)
print(*(f"{name}: {value}" for name, value in first.headers.multi_items()), "", sep="\n")
print(first.text)
