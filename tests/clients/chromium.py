"""Headless Chromium on the pages of a gateway: `chromium.py SCENARIO GATEWAY AUTHORITY USER PASSWORD`.

With SCREENSHOTS=FOLDER in the environment, screenshots are saved there.
"""

import re
import sys
import time

import requests
from playwright.sync_api import expect

from browsing import LOOKS, PATIENCE, chromium, follow, looked_at, visit

_, scenario, gateway, authority, user, password = sys.argv
WRONG = "Please enter a correct username and password."
SESSION = "__Host-tokengate-sessionid"


def status(key=None, cookie=None):
    """The status of the API."""
    headers = {"Authorization": f"Token {key}"} if key else {"Cookie": f"{SESSION}={cookie}"}
    return requests.get(f"{gateway}/product_api/", headers=headers, verify=authority, timeout=PATIENCE).status_code


def becomes(wanted, **credentials):
    """Waits for this status: a change applies as soon as the gateway has read the change log."""
    end = time.monotonic() + PATIENCE
    while (found := status(**credentials)) != wanted:
        assert time.monotonic() < end, f"{found}, not {wanted}"
        time.sleep(0.01)


def log_in(page, typed=password):
    page.goto(f"{gateway}/auth/account/")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(typed)
    follow(page, page.get_by_role("button", name="Sign in"))


def revoke(row):
    """The first click opens a question, the second one answers it."""
    row.locator("summary", has_text="Revoke").click()
    follow(row.page, row.get_by_role("button", name="Revoke"))


def section(page, name):
    return page.locator("section", has=page.get_by_role("heading", name=name, exact=True))


def key_for_password(page, name, button, typed=password):
    form = section(page, name)
    form.get_by_label("Password").fill(typed)
    follow(page, form.get_by_role("button", name=button))
    return page.get_by_role("status").locator("code").inner_text()


def a_user_manages_tokens(page):
    log_in(page)
    expect(page).to_have_url(f"{gateway}/auth/account/")
    expect(page.get_by_role("heading", level=1)).to_have_text(user)
    old = key_for_password(page, "Login token", "Show the key")
    assert status(key=old) == 200
    assert old not in page.goto(f"{gateway}/auth/account/").text()
    assert key_for_password(page, "Login token", "Show the key") == old

    new = key_for_password(page, "Login token", "Reset the token")
    becomes(200, key=new)
    becomes(401, key=old)

    section(page, "New token").get_by_label("Name").fill("laptop")
    named = key_for_password(page, "New token", "Create the token")
    becomes(200, key=named)
    revoke(page.get_by_role("row", name="laptop"))
    expect(page.get_by_role("status")).to_have_text("The token was revoked and no longer works.")
    expect(page.get_by_role("row", name="laptop")).to_have_count(0)
    becomes(401, key=named)

    cookies = {cookie["name"]: cookie for cookie in page.context.cookies()}
    session = cookies[SESSION]
    assert session["httpOnly"] and session["secure"] and session["sameSite"] == "Lax", session
    assert status(cookie=session["value"]) == 200
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    assert SESSION not in [cookie["name"] for cookie in page.context.cookies()]
    becomes(401, cookie=session["value"])
    page.context.add_cookies([session])
    page.goto(f"{gateway}/auth/account/")
    expect(page).to_have_url(f"{gateway}/auth/login/?next=/auth/account/")
    assert status(key=new) == 200, "a session ends, its user's tokens do not"


def a_user_renames_tokens_and_changes_the_password(page):
    """Each act is followed by a reload, which repeats nothing."""
    new_password = "another & horse=9 é"
    log_in(page)

    def reloaded(text):
        expect(page.get_by_role("status")).to_contain_text(text)
        page.reload()
        expect(page.get_by_role("status")).to_have_count(0)

    section(page, "New token").get_by_label("Name").fill("laptop")
    named = key_for_password(page, "New token", "Create the token")
    reloaded("Copy your new token")
    expect(page.get_by_role("row", name="laptop")).to_have_count(1)
    assert named not in page.content()

    row = page.get_by_role("row", name="laptop")
    row.locator("summary", has_text="Change").click()
    row.get_by_label("Name").fill("desk")
    row.get_by_label("Expires", exact=True).select_option("30")
    row.get_by_label("Password").fill(password)
    follow(page, row.get_by_role("button", name="Change the token"))
    reloaded("changed")
    expect(page.get_by_role("row", name="laptop")).to_have_count(0)
    expect(page.get_by_role("row", name="desk")).not_to_contain_text(re.compile("never.*never"))
    becomes(200, key=named)

    form = section(page, "Password")
    for typed, error in [("20406080", "only of digits"), (new_password, None)]:
        form.get_by_label("Current password").fill(password)
        form.get_by_label("New password", exact=True).fill(typed)
        form.get_by_label("Repeat new password").fill(typed)
        follow(page, form.get_by_role("button", name="Change the password"))
        if error:
            expect(page.get_by_role("alert")).to_contain_text(error)
    reloaded("password was changed")
    revoke(page.get_by_role("row", name="desk"))
    reloaded("The token was revoked")
    becomes(401, key=named)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    page.goto(f"{gateway}/auth/account/")
    expect(page).to_have_url(f"{gateway}/auth/login/?next=/auth/account/")
    log_in(page, new_password)
    expect(page.get_by_role("heading", level=1)).to_have_text(user)


def a_wrong_password_is_reported(page):
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text(WRONG)
    log_in(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(user)
    for name, button in [("Login token", "Show the key"), ("Login token", "Reset the token")]:
        form = section(page, name)
        form.get_by_label("Password").fill("wrong")
        follow(page, form.get_by_role("button", name=button))
        expect(page.get_by_role("alert")).to_have_text("Wrong password.")


def everything_works_by_keyboard(page):
    def steps_to(target):
        page.wait_for_load_state()
        for _ in range(30):
            page.keyboard.press("Tab")
            ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            # A page that has just loaded may not have the key yet.
            assert ring != "none" or page.evaluate("document.activeElement === document.body"), "the focus is visible"
            if target.evaluate("it => it === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {target}")

    page.goto(f"{gateway}/auth/account/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type(user)
    steps_to(page.get_by_label("Password"))
    page.keyboard.type(password)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(user)
    form = section(page, "New token")
    steps_to(form.get_by_label("Name"))
    page.keyboard.type("by keyboard")
    steps_to(form.get_by_label("Password"))
    page.keyboard.type(password)
    steps_to(form.get_by_role("button", name="Create the token"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Copy your new token")
    row = page.get_by_role("row", name="by keyboard")
    steps_to(row.locator("summary", has_text="Revoke"))
    page.keyboard.press("Space")
    steps_to(row.get_by_role("button", name="Revoke"))
    page.keyboard.press("Space")
    expect(page.get_by_role("status")).to_have_text("The token was revoked and no longer works.")
    expect(row).to_have_count(0)
    steps_to(page.get_by_role("button", name="Sign out"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")


def pages_are_accessible(page, look):
    log_in(page, "wrong")
    looked_at(page, f"login-refused-{look}")
    page.goto(f"{gateway}/auth/login/")
    looked_at(page, f"login-{look}")
    log_in(page)
    for name in ["laptop", "continuous integration"]:
        section(page, "New token").get_by_label("Name").fill(name)
        key_for_password(page, "New token", "Create the token")
    looked_at(page, f"account-{look}")
    form = section(page, "Login token")
    form.get_by_label("Password").fill("wrong")
    follow(page, form.get_by_role("button", name="Show the key"))
    looked_at(page, f"account-refused-{look}")
    revoke(page.get_by_role("row", name="laptop"))
    looked_at(page, f"account-revoked-{look}")
    revoke(page.get_by_role("row", name="continuous"))
    follow(page, page.get_by_role("button", name="Sign out"))
    looked_at(page, f"signed-out-{look}")
    page.goto(f"{gateway}/auth/login/")
    page.evaluate("document.querySelector('[name=csrfmiddlewaretoken]').value = 'forged'")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    follow(page, page.get_by_role("button", name="Sign in"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Forbidden")
    looked_at(page, f"login-forbidden-{look}")


with chromium(authority) as browser:
    match scenario:
        case "account":
            visit(browser, a_user_manages_tokens)
        case "without_scripts":
            visit(browser, a_user_manages_tokens, java_script_enabled=False)
        case "changes":
            visit(browser, a_user_renames_tokens_and_changes_the_password)
        case "wrong_password":
            visit(browser, a_wrong_password_is_reported)
        case "keyboard":
            visit(browser, everything_works_by_keyboard)
        case "looks":
            for look, settings in LOOKS.items():
                visit(browser, pages_are_accessible, look, refusals=1, **settings)
        case _:
            sys.exit(f"no such scenario: {scenario}")
print("done")
