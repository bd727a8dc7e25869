"""Refused uploads by requests, urllib and http.client with their defaults; prints the status of each."""

import http.client
import ssl
import sys
import urllib.error
import urllib.request

import requests

authority, url, port, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
path = "/" + url.split("/", 3)[3]
context = ssl.create_default_context(cafile=authority)
body = b"x" * size


def pieces():
    for begin in range(0, size, 65536):
        yield body[begin : begin + 65536]


def by_requests(data):
    return requests.post(url, data=data, verify=authority, timeout=120).status_code


def by_urllib(data):
    fields = {"Content-Type": "application/octet-stream"}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, data, fields), timeout=120, context=context).status
    except urllib.error.HTTPError as error:
        return error.code


def by_http_client(data):
    connection = http.client.HTTPSConnection("localhost", port, timeout=120, context=context)
    connection.request("POST", path, data)
    return connection.getresponse().status


for name, client in [("requests", by_requests), ("urllib", by_urllib), ("http.client", by_http_client)]:
    for form, data in [("whole", body), ("chunked", pieces())]:
        try:
            print(name, form, client(data))
        except Exception as error:
            print(name, form, repr(error)[:200])
