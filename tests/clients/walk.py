"""Walks through all pages in headless Chromium: `walk.py SCENARIO GATEWAY AUTHORITY ADMIN USER PASSWORD [KEY]`.

The user is a superuser; `helper` is staff and `alice` an ordinary user, with the same password.
"""

import re
import sys

import requests
from playwright.sync_api import expect

from browsing import PATIENCE, chromium, follow, is_cut, looked_at, visit
from visited import admin, authority, becomes, gateway, key, password, scenario, sign_in, status, user

# 200 % zoom of a screen with 1280 points.
ZOOMED = {"viewport": {"width": 640, "height": 512}, "device_scale_factor": 2}


def sign_in_publicly(page, name="alice", typed=password):
    page.goto(f"{gateway}/auth/account/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(typed)
    follow(page, page.get_by_role("button", name="Sign in"))


def section(page, name):
    return page.locator("section", has=page.get_by_role("heading", name=name, exact=True))


def told(page, text):
    expect(page.get_by_role("status").first).to_contain_text(text)


def looker(page):
    """A function that looks at the page: nothing is wider than the screen, and no text is cut, also if twice as large."""

    def look(name):
        looked_at(page, name)
        assert is_cut(page) == [], (name, page.url, is_cut(page))
        # Readers who enlarge only the text.
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        assert is_cut(page) == [], (name, "larger text", page.url, is_cut(page))
        page.evaluate("document.documentElement.style.fontSize = ''")

    return look


def nothing_is_cut(page):
    """All pages at 200 % zoom."""
    look = looker(page)
    page.goto(f"{admin}/sign-in?next=/users")
    look("sign-in")
    sign_in(page, typed="wrong")
    look("sign-in-refused")
    sign_in(page)
    for path in [
        "users", "users?q=nobody", "users?active=perhaps", "users/add", "groups", "tokens", "tokens?view=unused",
        "tokens?user=seven", "look-up", "traffic?minutes=5", "traffic?route=api", "traffic/errors", "status", "audit",
        "audit?since=yesterday", "audit?act=sing", "password", "missing",
    ]:
        page.goto(f"{admin}/{path}")
        look(path)
    page.goto(f"{admin}/users?q=someone")
    follow(page, page.get_by_role("link", name="someone.with"))
    at = page.url
    look("user")
    for name in ["edit", "groups", "password", "rights", "delete", "tokens/add"]:
        page.goto(f"{at}/{name}")
        look(f"user-{name}")
    # Errors at their fields.
    page.locator("#name").fill("laptop")
    page.locator("#scopes").fill('a "b"')
    follow(page, page.get_by_role("button", name="Issue the token"))
    expect(page.locator("#scopes")).to_be_focused()
    look("token-add-refused")
    page.goto(at)
    page.locator("summary", has_text="Revoke all").click()
    look("user-revoking")
    page.goto(at)
    page.locator("table").first.get_by_role("link").first.click()
    page.locator("summary", has_text="Revoke").click()
    look("token-revoking")
    for name in ["terms", "rotate"]:
        page.goto(f"{admin}/tokens")
        page.locator("tbody th a").first.click()
        page.goto(f"{page.url}/{name}")
        look(f"token-{name}")
    page.goto(f"{admin}/tokens")
    page.locator("summary", has_text="Revoke the selected tokens").click()
    look("tokens-revoking")
    page.goto(f"{admin}/look-up")
    page.get_by_label("Text from the leak report").fill(key[0])
    follow(page, page.get_by_role("button", name="Look up"))
    look("look-up-found")


def nothing_is_cut_publicly(page):
    look = looker(page)
    page.goto(f"{gateway}/auth/account/")
    look("login")
    sign_in_publicly(page, typed="wrong")
    look("login-refused")
    sign_in_publicly(page)
    look("account")
    for name, filled, button, focused in [
        ("Login token", {"Password": "wrong"}, "Show the key", "#login-password"),
        ("New token", {"Name": "a name that somebody chose", "Password": "wrong"}, "Create the token", "#token-password"),
        ("Password", {"Current password": password, "New password": "password1", "Repeat new password": "password1"},
         "Change the password", "#new-password"),
    ]:
        form = section(page, name)
        for label, typed in filled.items():
            form.get_by_label(label, exact=True).fill(typed)
        follow(page, form.get_by_role("button", name=button))
        expect(page.locator(focused)).to_be_focused()
        look(f"account-refused-{name}")
    form = section(page, "New token")
    form.get_by_label("Name").fill("a-name-that-somebody-has-chosen-without-any-blank-in-it")
    form.get_by_label("Password").fill(password)
    follow(page, form.get_by_role("button", name="Create the token"))
    look("account-issued")
    row = page.get_by_role("row", name="a-name-that")
    row.locator("summary", has_text="Change").click()
    row.get_by_label("Name").fill("another")
    row.get_by_label("Password").fill("wrong")
    follow(page, row.get_by_role("button", name="Change the token"))
    expect(page.locator("[aria-invalid]")).to_be_focused()
    look("account-change-refused")
    row.locator("summary", has_text="Revoke").click()
    look("account-revoking")
    follow(page, page.get_by_role("button", name="Sign out"))
    look("signed-out")


class Keys:
    """The keyboard: Tab until something has the focus, which must be visible on the way."""

    def __init__(self, page):
        self.page = page

    def to(self, target):
        self.page.wait_for_load_state()
        for _ in range(120):
            if target.evaluate("it => it === document.activeElement"):
                return self
            self.page.keyboard.press("Tab")
            ring = self.page.evaluate("""() => {
                const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
                return [it === document.body, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
                    box.bottom > 0 && box.top < innerHeight && box.width > 0, it.outerHTML.slice(0, 200)];
            }""")
            assert ring[0] or ring[1] and ring[2], f"the focus is visible: {ring[3]}"
        raise AssertionError(f"Tab does not reach {target}")

    def type(self, target, text):
        self.to(target)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)
        return self

    def press(self, name="Enter"):
        self.page.keyboard.press(name)
        return self

    def go(self, target, name="Enter"):
        """Presses a link or a button, and waits for the page that it leads to."""
        self.to(target)
        with self.page.expect_navigation():
            self.page.keyboard.press(name)
        return self


def an_operator_has_no_mouse(page):
    keys = Keys(page)
    link = lambda name: page.get_by_role("link", name=name, exact=True).first
    button = lambda name: page.get_by_role("button", name=name, exact=True)
    summary = lambda text: page.locator("summary", has_text=text)

    # A deep link, a wrong password, the right one.
    page.goto(f"{admin}/users/add")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type(user)
    keys.type(page.get_by_label("Password"), "wrong").go(button("Sign in"))
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page).to_have_url(f"{admin}/users/add")

    # A user with groups; a password that is too common first.
    keys.type(page.get_by_label("Username"), "bob").type(page.get_by_label("Groups"), "editors")
    for typed in ["password1", "seven walks in the park"]:
        keys.type(page.locator("#password"), typed).type(page.locator("#password_again"), typed)
        keys.type(page.get_by_label("Your own password"), password).go(button("Add the user"))
        if typed == "password1":
            expect(page.locator("#password")).to_be_focused()
            expect(page.locator("#password")).to_have_accessible_description(re.compile("too common"))
    told(page, "User bob was created.")

    # Found by a part of the name; edited; rights given and taken.
    keys.go(link("Users")).type(page.get_by_label("Name or e-mail"), "BO")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    keys.go(page.locator("tbody th a", has_text="bob")).go(link("Edit"))
    keys.type(page.get_by_label("First name"), "Robert").go(button("Save"))
    told(page, "The details were changed.")
    for _ in range(2):
        keys.go(link("Permissions")).to(page.get_by_label("Staff")).press("Space")
        keys.type(page.get_by_label("Your own password"), password).go(page.locator("form.card button").first)
        expect(page.get_by_role("status")).to_be_visible()

    # A named token: issued, used, changed, disabled, enabled, rotated, revoked.
    keys.go(link("New token")).type(page.locator("#name"), "laptop").type(page.locator("#scopes"), "read").go(button("Issue the token"))
    issued = page.locator("#key").inner_text()
    becomes(200, issued)
    assert status(issued, "/scoped/") == 403, "the token has another scope"
    keys.go(link("Change")).type(page.get_by_label("Note"), "in the office").go(page.locator("form.card button").first)
    told(page, "The token was changed.")
    keys.to(summary("Disable")).press().go(button("Disable the token"))
    becomes(401, issued)
    keys.go(button("Enable"))
    becomes(200, issued)
    keys.go(link("Rotate")).go(button("Issue a new key"))
    new = page.locator("#key").inner_text()
    becomes(200, new)
    keys.to(summary("Revoke")).press()
    expect(button("Revoke permanently")).to_be_visible()
    keys.to(button("Revoke permanently")).press("Escape")
    expect(summary("Revoke")).to_be_focused()
    keys.press().go(button("Revoke permanently"))
    becomes(401, new)

    # A leaked line is looked up.
    keys.go(link("Look up"))
    expect(page.get_by_label("Text from the leak report")).to_be_focused()
    page.keyboard.type(f"curl -H 'Authorization: Token {issued}'")
    keys.go(button("Look up"))
    expect(page.get_by_role("heading", name="Token of bob")).to_be_visible()

    # Several users at once.
    keys.go(link("Users")).to(page.get_by_label("Select bob")).press("Space")
    keys.to(summary("Change the selected users")).press()
    keys.type(page.get_by_label("Your own password"), password).go(button("Change the selected users"))
    told(page, "1 user was deactivated.")
    becomes(401, issued)

    # The list is sorted, the traffic is read point by point, the trail is filtered.
    keys.go(link("Created"))
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Created")
    keys.go(link("Traffic"))
    slider = page.get_by_role("slider").first
    keys.to(slider).press("ArrowLeft")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("ago: "))
    keys.go(link("Audit")).type(page.get_by_label("User", exact=True), "bo")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    expect(page.get_by_role("cell", name="User deactivated").first).to_be_visible()
    keys.go(button("Sign out"))
    expect(page).to_have_url(f"{admin}/sign-in")


def a_user_has_no_mouse(page):
    keys = Keys(page)
    new_password = "another walk of miles"
    page.goto(f"{gateway}/auth/account/")
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type("alice")
    keys.type(page.get_by_label("Password"), "wrong").press()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    form = section(page, "New token")
    keys.type(form.get_by_label("Name"), "laptop").type(form.get_by_label("Password"), "wrong").go(form.get_by_role("button"))
    # The error has the focus: the next try begins there.
    expect(form.get_by_label("Password")).to_be_focused()
    expect(form.get_by_label("Password")).to_have_accessible_description("Wrong password.")
    expect(form.get_by_label("Name")).to_have_value("laptop")
    page.keyboard.type(password)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    issued = page.get_by_role("status").locator("code").inner_text()
    becomes(200, issued)
    page.reload()
    row = page.get_by_role("row", name="laptop")
    keys.to(row.locator("summary", has_text="Change")).press()
    keys.type(row.get_by_label("Name"), "desk").type(row.get_by_label("Password"), password)
    keys.go(row.get_by_role("button", name="Change the token"))
    told(page, "The token was changed.")
    form = section(page, "Password")
    keys.type(form.get_by_label("Current password"), password)
    for label in ["New password", "Repeat new password"]:
        keys.type(form.get_by_label(label, exact=True), new_password)
    keys.go(form.get_by_role("button"))
    told(page, "Your password was changed.")
    row = page.get_by_role("row", name="desk")
    keys.to(row.locator("summary", has_text="Revoke")).press().go(row.get_by_role("button", name="Revoke"))
    told(page, "The token was revoked")
    becomes(401, issued)
    keys.go(page.get_by_role("button", name="Sign out"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")


def an_operator_has_no_scripts(page):
    sign_in(page, to="/tokens?view=live")
    expect(page).to_have_url(f"{admin}/tokens?view=live")
    page.goto(f"{admin}/users?q=alice")
    follow(page, page.locator("tbody th a"))
    follow(page, page.get_by_role("link", name="New token"))
    page.locator("#name").fill("laptop")
    follow(page, page.get_by_role("button", name="Issue the token"))
    issued = page.locator("#key").inner_text()
    becomes(200, issued)
    # No button is shown that needs a script.
    for useless in ["[data-close]", "[data-copy]", "[data-pause]", "[data-all] button"]:
        expect(page.locator(f"{useless}:visible")).to_have_count(0)
    # A question opens and closes without scripts, too.
    opener = page.locator("summary", has_text="Disable")
    opener.click()
    expect(page.get_by_role("button", name="Disable the token")).to_be_visible()
    opener.click()
    expect(page.get_by_role("button", name="Disable the token")).to_be_hidden()
    opener.click()
    follow(page, page.get_by_role("button", name="Disable the token"))
    becomes(401, issued)
    follow(page, page.get_by_role("button", name="Enable"))
    follow(page, page.get_by_role("link", name="Rotate"))
    follow(page, page.get_by_role("button", name="Issue a new key"))
    becomes(200, page.locator("#key").inner_text())
    page.goto(f"{admin}/look-up")
    page.get_by_label("Text from the leak report").fill(f"key={issued}")
    follow(page, page.get_by_role("button", name="Look up"))
    page.locator("summary", has_text="Revoke").click()
    follow(page, page.get_by_role("button", name="Revoke permanently"))
    becomes(401, issued)
    page.goto(f"{admin}/users")
    page.get_by_label("Select alice").check()
    page.locator("summary", has_text="Change the selected users").click()
    page.get_by_label("Action").select_option("deactivate")
    page.get_by_label("Your own password").fill("wrong")
    follow(page, page.get_by_role("button", name="Change the selected users"))
    expect(page.get_by_label("Your own password")).to_be_focused()
    expect(page.get_by_label("Select alice")).to_be_checked()
    page.get_by_label("Your own password").fill(password)
    follow(page, page.get_by_role("button", name="Change the selected users"))
    told(page, "1 user was deactivated.")
    page.goto(f"{admin}/traffic")
    follow(page, page.get_by_role("link", name="Refresh"))
    expect(page.locator("figure").first).to_be_visible()
    # A filter that is not valid, corrected.
    page.goto(f"{admin}/audit?since=yesterday&act=user_deactivated")
    expect(page.get_by_label("From")).to_have_value("yesterday")
    page.get_by_label("From").fill("2020-01-01")
    follow(page, page.get_by_role("button", name="Search"))
    expect(page.get_by_role("cell", name="alice").first).to_be_visible()
    follow(page, page.get_by_role("button", name="Sign out"))
    expect(page).to_have_url(f"{admin}/sign-in")


def the_store_is_away(page, look):
    """Status and traffic stay, say so, and are accessible; the others and the sign-in say what is wrong."""
    sign_in(page)
    page.goto(f"{admin}/traffic")
    requests.get(f"{gateway}/public/store-away", verify=authority, timeout=PATIENCE)
    for path in ["status", "traffic", "traffic/errors"]:
        page.goto(f"{admin}/{path}")
        expect(page.get_by_role("alert")).to_contain_text("The store does not answer. This page works without it")
        looked_at(page, f"admin-outage-{path.replace('/', '-')}-{look}")
    page.goto(f"{admin}/users")
    expect(page.get_by_role("heading", level=1)).to_have_text("Unavailable")
    looked_at(page, f"admin-outage-users-{look}")
    page.context.clear_cookies()
    sign_in(page)
    expect(page.get_by_role("alert")).to_contain_text("The store does not answer")
    looked_at(page, f"admin-outage-sign-in-{look}")
    requests.get(f"{gateway}/public/store-back", verify=authority, timeout=PATIENCE)
    sign_in(page)
    expect(page).to_have_url(f"{admin}/users")


with chromium(authority) as browser:
    match scenario:
        case "zoom":
            visit(browser, nothing_is_cut, refusals=None, **ZOOMED)
            visit(browser, nothing_is_cut_publicly, **ZOOMED)
        case "keyboard":
            visit(browser, an_operator_has_no_mouse, refusals=2)
            visit(browser, a_user_has_no_mouse)
        case "without_scripts":
            visit(browser, an_operator_has_no_scripts, refusals=2, java_script_enabled=False)
        case "outage":
            visit(browser, the_store_is_away, "light", refusals=None)
        case _:
            sys.exit(f"no such scenario: {scenario}")
print("done")
