"""The gateway that a script visits: `SCRIPT SCENARIO GATEWAY AUTHORITY ADMIN USER PASSWORD [KEY]`. The user is a superuser."""

import sys
import time

import requests

from browsing import PATIENCE, follow

_, scenario, gateway, authority, admin, user, password, *key = sys.argv


def status(key, path="/api/"):
    """The status of a request with the key."""
    headers = {"Authorization": f"Token {key}"}
    return requests.get(f"{gateway}{path}", headers=headers, verify=authority, timeout=PATIENCE).status_code


def becomes(wanted, key):
    """Waits for this status: a change applies as soon as the gateway has read the change log."""
    end = time.monotonic() + PATIENCE
    while (found := status(key)) != wanted:
        assert time.monotonic() < end, f"{found}, not {wanted}"
        time.sleep(0.01)


def sign_in(page, name=user, typed=password, to="/"):
    page.goto(f"{admin}{to}")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(typed)
    follow(page, page.get_by_role("button", name="Sign in"))
