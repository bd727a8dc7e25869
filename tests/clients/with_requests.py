"""One call by requests, with its defaults; prints the response as on the wire."""

import argparse
import json

import requests

parser = argparse.ArgumentParser()
parser.add_argument("--authority", default=True)
parser.add_argument("--key")
parser.add_argument("--json", type=json.loads)
parser.add_argument("--form", type=json.loads)
parser.add_argument("--multipart", type=json.loads)
parser.add_argument("url")
asked = parser.parse_args()

answer = requests.request(
    "POST" if asked.json or asked.form or asked.multipart else "GET",
    asked.url,
    headers={"Authorization": f"Token {asked.key}"} if asked.key else None,
    json=asked.json,
    data=asked.form,
    files=asked.multipart and {name: (None, value) for name, value in asked.multipart.items()},
    verify=asked.authority,
    timeout=120,
)
first = (answer.history or [answer])[0]
print(f"HTTP/{first.raw.version / 10} {first.status_code}")
print(*(f"{name}: {value}" for name, value in first.headers.items()), "", sep="\n")
print(first.text)
