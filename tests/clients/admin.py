"""Headless Chromium on the admin application: `admin.py SCENARIO GATEWAY AUTHORITY ADMIN USER PASSWORD [KEY]`.

The user is a superuser. With SCREENSHOTS=FOLDER in the environment, screenshots are saved there.
"""

import re
import sys
import threading
import time

import requests
from playwright.sync_api import expect

from browsing import LOOKS, PATIENCE, chromium, follow, looked_at, visit
from visited import admin, authority, becomes, gateway, key, password, scenario, sign_in, user

COOKIE = "__Host-tokengate-admin"


def sign_in_by_keys(page):
    page.goto(admin)
    expect(page.get_by_label("Username")).to_be_focused()
    page.keyboard.type(user)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def form(page, name):
    return page.locator("form", has=page.get_by_role("heading", name=name, exact=True))


def issued(page, form, button):
    """The key on the page after a form. The password was entered less than five minutes ago, so it is not asked for."""
    expect(form.get_by_label("Your own password")).to_have_count(0)
    follow(page, form.get_by_role("button", name=button))
    return page.locator("#key").inner_text()


def revoke(page):
    """The first click opens a confirmation, the second one confirms."""
    page.locator("summary", has_text="Revoke").click()
    follow(page, page.get_by_role("button", name="Revoke permanently"))


def told(page, text):
    expect(page.get_by_role("status")).to_have_text(text)


def a_user_is_made_and_gets_tokens(page, scripts):
    if scripts:
        page.clock.install()
    sign_in_by_keys(page)
    expect(page).to_have_url(f"{admin}/users")
    page.get_by_role("link", name="Add a user").click()
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Groups").fill("editors\nauthors")
    page.get_by_label("Your own password").fill(password)
    page.get_by_role("button", name="Add the user").click()
    told(page, "User bob was created.")
    expect(page.get_by_role("heading", level=1)).to_contain_text("bob")

    page.get_by_role("link", name="New token").click()
    named = form(page, "Named token")
    named.get_by_label("Name").fill("laptop")
    named.get_by_label("Expires", exact=True).select_option("30")
    key = issued(page, named, "Issue the token")
    becomes(200, key)
    if scripts:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        # The clock of the page is set by hand: "Copied" disappears after some time.
        page.clock.pause_at(time.time() + 3600)
        page.get_by_role("button", name="Copy").first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == key
        page.clock.run_for(2000)
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)
        page.clock.resume()
    else:
        expect(page.locator("button[data-copy]").first).to_be_hidden()
    page.reload()
    expect(page.locator("#key")).to_have_count(0)
    assert key not in page.content(), "a key is shown once"
    revoke(page)
    told(page, "The token was revoked and no longer works.")
    becomes(401, key)

    page.get_by_role("link", name="bob").first.click()
    page.get_by_role("link", name="New token").click()
    old = issued(page, form(page, "Login token"), "Show")
    becomes(200, old)
    page.get_by_role("link", name="bob").first.click()
    page.get_by_role("link", name="New token").click()
    new = issued(page, form(page, "Login token"), "Reset")
    becomes(401, old)
    becomes(200, new)

    follow(page, page.get_by_role("link", name="Tokens", exact=True).first)
    page.get_by_label("Owner", exact=True).fill("bob")
    follow(page, page.get_by_role("button", name="Search"))
    page.get_by_label(f"Select token {new[:8]} of bob").check()
    page.locator("summary", has_text="Revoke the selected tokens").click()
    if scripts:
        expect(page.locator("summary", has_text="Revoke the selected tokens")).to_contain_text("(1)")
        page.get_by_role("button", name="Select none").click()
        expect(page.get_by_label(f"Select token {new[:8]} of bob")).not_to_be_checked()
        page.get_by_role("button", name="Select all on this page").click()
    page.get_by_label("Your own password").fill(password)
    page.get_by_role("button", name="Revoke the selected tokens").click()
    told(page, "1 token was revoked.")
    becomes(401, new)
    signed_out(page)


def signed_out(page):
    """Signs out; afterwards a copy of the cookie is invalid."""
    [cookie] = [cookie for cookie in page.context.cookies() if cookie["name"] == COOKIE]
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "Strict", cookie
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{admin}/sign-in")
    assert COOKIE not in [cookie["name"] for cookie in page.context.cookies()]
    page.context.add_cookies([cookie])
    page.goto(f"{admin}/users")
    expect(page).to_have_url(f"{admin}/sign-in?next=%2Fusers")


def a_crowd_is_searched(page):
    sign_in(page)
    names = page.locator("tbody th")
    page.get_by_label("Name or e-mail").fill("user04217")
    page.keyboard.press("Enter")
    expect(names).to_have_text([f"user04217{n}" for n in range(10)])
    page.get_by_label("Name or e-mail").fill("U77777@")
    page.keyboard.press("Enter")
    expect(names).to_have_text(["user077777"])
    page.get_by_label("Name or e-mail").fill("user0421")
    page.get_by_label("Active").select_option("Inactive")
    page.get_by_role("button", name="Search").click()
    expect(names).to_have_text([f"user{n:06}" for n in range(42100, 42200) if n % 4 == 0])

    page.goto(f"{admin}/users?q=user")
    for part in range(4):
        expect(names).to_have_text([f"user{n:06}" for n in range(50 * part + 1, 50 * part + 51)])
        follow(page, page.get_by_role("link", name="Next page").first)
    for part in [3, 2]:
        follow(page, page.get_by_role("link", name="Previous page").first)
        expect(names).to_have_text([f"user{n:06}" for n in range(50 * part + 1, 50 * part + 51)])
    follow(page, page.get_by_role("link", name="First page").first)
    expect(page.get_by_role("link", name="Previous page")).to_have_count(0)
    expect(names.first).to_have_text("user000001")
    follow(page, page.get_by_role("link", name="Created"))
    page.get_by_label("Group").select_option("editors")
    page.get_by_role("button", name="Search").click()
    editors = [f"user{n:06}" for n in range(1, 100_000, 1_000)][::-1]
    expect(names).to_have_text(editors[:50])
    page.get_by_role("link", name="Next page").first.click()
    expect(names).to_have_text(editors[50:])
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="Previous page").first.click()
    expect(names).to_have_text(editors[:50])
    page.get_by_label("Name or e-mail").fill("nobody")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="No matches")).to_be_visible()


def load_is_shown(page):
    sign_in(page)
    page.get_by_role("link", name="Traffic").click()
    expect(page.get_by_role("heading", name="No requests")).to_be_visible()
    url, wanted, sent = f"{gateway}/api/", threading.Event(), []
    wanted.set()

    def load():
        with requests.Session() as session:
            # Enough for an error rate.
            while wanted.is_set() or len(sent) < 40:
                # Every fourth is refused.
                shown = "unknown" if len(sent) % 4 == 3 else key[0]
                answer = session.get(url, headers={"Authorization": f"Token {shown}"}, verify=authority, timeout=PATIENCE)
                sent.append(answer.status_code)
                time.sleep(0.01)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        rates = page.locator("figure", has=page.get_by_role("heading", name="Requests per second"))
        expect(rates.get_by_role("listitem").first).to_have_text(re.compile(r"All [0-9.]*[1-9]"))
        cells = page.get_by_role("region", name="Routes").get_by_role("row", name="api").get_by_role("cell")
        expect(cells.first).to_have_text(re.compile("^[1-9]"))
    finally:
        wanted.clear()
        thread.join()
    expect(cells.first).to_have_text(str(len(sent)))
    expect(cells.nth(3)).to_have_text(re.compile("^2[0-9](\\.[0-9])?%$"))
    assert set(sent) == {200, 401}, set(sent)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    values_are_readable(page)
    page.get_by_role("link", name="api").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Route api")


def values_are_readable(page):
    """The values of a point are shown where the pointer is, and at the slider that the arrow keys move."""
    rates = page.locator("figure", has=page.get_by_role("heading", name="Requests per second"))
    slider, at = rates.get_by_role("slider"), rates.locator(".at")
    expect(at).to_have_text(re.compile("^now: All .*, 4xx .*, 5xx "))
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(at).to_have_text(re.compile("^6 s ago: All "))
    expect(slider).to_have_attribute("aria-valuetext", re.compile("^6 s ago: All "))
    rates.locator("svg").hover(position={"x": 1, "y": 50})
    expect(at).to_have_text(re.compile("^1[45] min.* ago: All "))


def a_wrong_password_is_reported(page, look):
    sign_in(page, typed="wrong")
    looked_at(page, f"admin-sign-in-refused-{look}")


def a_refused_user_is_told(page, look):
    sign_in(page, name="helper", to="/status")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not allowed")
    looked_at(page, f"admin-not-allowed-{look}")


def fits_every_screen(page):
    """Neither the page nor a table in its card is too wide."""
    usual = page.viewport_size
    for width in [320, 700, 900, 930, 1000, 1100, 1250, 1300, 1440]:
        page.set_viewport_size({"width": width, "height": usual["height"]})
        wide = "[document.documentElement, ...document.querySelectorAll('.scroll')].filter(it => it.scrollWidth > it.clientWidth).length"
        assert page.evaluate(wide) == 0, (width, page.url)
        times_stand_apart(page)
    page.set_viewport_size(usual)


def times_stand_apart(page):
    """The times below a chart do not overlap."""
    close = """[...document.querySelectorAll('.times')].flatMap(times => {
        const ends = [...times.children].filter(it => getComputedStyle(it).visibility !== 'hidden').map(it => {
            const range = document.createRange();
            range.selectNodeContents(it);
            return range.getBoundingClientRect();
        });
        return ends.slice(1).map((it, index) => it.left - ends[index].right).filter(gap => gap < 4);
    })"""
    assert page.evaluate(close) == [], (page.viewport_size, page.url)


def tables_are_tables(page):
    """Tables stay tables for screen readers, whatever their layout."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    for role, tag in {"table": "table", "row": "tr", "columnheader": "thead th", "rowheader": "tbody th"}.items():
        assert roles.count(role) == page.locator(f"{tag}:visible").count(), (role, page.url)


def pages_are_accessible(page, look):
    def look_at(name):
        looked_at(page, f"admin-{name}-{look}")
        tables_are_tables(page)
        times_stand_apart(page)
        if look == "light":
            fits_every_screen(page)

    page.goto(admin)
    look_at("sign-in")
    sign_in(page)
    look_at("users")
    follow(page, page.get_by_role("link", name="ada"))
    look_at("user")
    at = page.url
    for name in ["edit", "groups", "password", "rights", "delete"]:
        page.goto(f"{at}/{name}")
        look_at(f"user-{name}")
    page.goto(f"{at}/tokens/add")
    look_at("token-add")
    named = form(page, "Named token")
    named.get_by_label("Name").fill(f"seen on {look}")
    named.get_by_label("Scopes").fill("read orders:write")
    issued(page, named, "Issue the token")
    look_at("token-issued")
    page.reload()
    look_at("token")
    token = page.url
    page.goto(f"{token}/terms")
    look_at("token-terms")
    page.goto(f"{token}/rotate")
    look_at("token-rotate")
    page.goto(token)
    page.locator("summary", has_text="Revoke").click()
    look_at("token-revoking")
    follow(page, page.get_by_role("button", name="Revoke permanently"))
    look_at("token-revoked")
    for name, path in {
        "tokens": "tokens",
        "tokens-ending": "tokens?view=ending",
        "tokens-none": "tokens?owner=nobody",
        "user-add": "users/add",
        "users-none": "users?q=nobody",
        "groups": "groups",
        "own-password": "password",
        "traffic": "traffic?minutes=5",
        "traffic-route": "traffic?route=api&minutes=5",
        "traffic-errors": "traffic/errors",
        "status": "status",
        "audit": "audit",
        "audit-none": "audit?until=2001-01-01",
        "look-up": "look-up",
    }.items():
        page.goto(f"{admin}/{path}")
        look_at(name)
    page.get_by_label("Text from the leak report").fill(key[0])
    follow(page, page.get_by_role("button", name="Look up"))
    look_at("look-up-found")
    page.get_by_label("Text from the leak report").fill("something else,\nand more")
    follow(page, page.get_by_role("button", name="Look up"))
    look_at("look-up-unknown")
    page.goto(f"{admin}/tokens")
    page.locator("summary", has_text="Revoke the selected tokens").click()
    page.get_by_role("button", name="Select all on this page").click()
    look_at("tokens-revoking")
    page.goto(f"{admin}/users?q=someone")
    follow(page, page.get_by_role("link", name="someone.with"))
    page.locator("summary", has_text="Deactivate").click()
    look_at("user-deactivating")


def an_operator_walks(page):
    """What an operator does on a day, with the mistakes that people make."""
    page.goto(f"{admin}/users/add")
    expect(page).to_have_url(f"{admin}/sign-in?next=%2Fusers%2Fadd")
    expect(page.get_by_role("alert")).to_contain_text("Sign in to continue.")
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    follow(page, page.get_by_role("button", name="Sign in"))
    expect(page).to_have_url(f"{admin}/users/add")

    # Errors stand at their fields and get the focus; what was typed stays.
    page.get_by_label("Username").fill("zoë")
    page.get_by_label("First name").fill("Zoë")
    page.get_by_label("Last name").fill("Ångström")
    page.get_by_label("E-mail address").fill("zoe@example.test")
    page.get_by_label("Groups").fill("editors")
    for typed, error in [("20406080", "only of digits"), ("password", "too common"), ("zoe@example", "too similar"), ("zoë", "at least 8 characters")]:
        field = page.get_by_label("Password", exact=False).and_(page.locator("#password"))
        for one in [field, page.get_by_label("Repeat password")]:
            one.evaluate("it => it.removeAttribute('minlength')")
            one.fill(typed)
        page.get_by_label("Your own password").fill(password)
        follow(page, page.get_by_role("button", name="Add the user", exact=True))
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_accessible_description(re.compile(error))
        expect(field).to_be_focused()
        expect(field).to_have_value("")
        expect(page.get_by_label("E-mail address")).to_have_value("zoe@example.test")
    for one in [page.locator("#password"), page.get_by_label("Repeat password")]:
        one.fill("a walk in the park")
    page.get_by_label("Your own password").fill(password)
    follow(page, page.get_by_role("button", name="Add the user", exact=True))
    told(page, "User zoë was created.")
    their_page = page.url

    # Found by parts of the username, the real name, the e-mail address.
    for part in ["ZOË", "ångstr", "Example.TEST"]:
        page.goto(f"{admin}/users")
        page.get_by_label("Name or e-mail").fill(part)
        follow(page, page.get_by_role("button", name="Search"))
        expect(page.locator("tbody th", has_text="zoë")).to_have_count(1)

    # Nothing is told as changed when nothing was.
    page.goto(f"{their_page}/edit")
    follow(page, page.get_by_role("button", name="Save"))
    told(page, "Nothing was changed.")
    page.reload()
    expect(page.get_by_role("status")).to_have_count(0)

    # A token without the password: it was entered less than five minutes ago. The key works, also after a rotation.
    page.goto(f"{their_page}/tokens/add")
    named = form(page, "Named token")
    named.get_by_label("Name").fill("ci")
    old = issued(page, named, "Issue the token")
    becomes(200, old)
    follow(page, page.get_by_role("link", name="Rotate"))
    follow(page, page.get_by_role("button", name="Issue a new key"))
    new = page.locator("#key").inner_text()
    becomes(200, new)
    becomes(200, old)
    page.locator("summary", has_text="Disable").click()
    follow(page, page.get_by_role("button", name="Disable the token"))
    becomes(401, new)
    follow(page, page.get_by_role("button", name="Enable"))
    becomes(200, new)
    a_question_closes(page)

    # The login token is shown and reset on its own page.
    page.goto(f"{their_page}/tokens/add")
    login = issued(page, form(page, "Login token"), "Show")
    becomes(200, login)
    page.locator("summary", has_text="Show or reset").click()
    follow(page, page.get_by_role("button", name="Reset the token"))
    becomes(401, login)

    # Two tabs: signed out in one, saved in the other.
    other = page.context.new_page()
    other.goto(f"{their_page}/edit")
    other.get_by_label("First name").fill("Zoé")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{admin}/sign-in")
    follow(other, other.get_by_role("button", name="Save"))
    expect(other.get_by_role("heading", level=1)).to_have_text("Sign in again")
    expect(other.get_by_label("Username")).to_be_focused()
    looked_at(other, "admin-sign-in-again")
    other.get_by_label("Username").fill(user)
    other.get_by_label("Password").fill(password)
    follow(other, other.get_by_role("button", name="Sign in and send the form"))
    told(other, "The details were changed.")
    expect(other.get_by_text("Zoé Ångström")).to_be_visible()

    # Who did what.
    other.goto(f"{admin}/audit?actor={user[:-1]}&act=user_edited")
    expect(other.get_by_role("cell", name=re.compile("first name: Zoë → Zoé"))).to_be_visible()
    other.go_back()
    other.get_by_role("button", name="Sign out").click()
    expect(other).to_have_url(f"{admin}/sign-in")
    other.go_back()
    expect(other).to_have_url(re.compile("/sign-in"))


def a_question_closes(page):
    """A question closes by Escape and by Cancel, and the focus returns to what has opened it."""
    opener = page.locator("summary", has_text="Revoke")
    for close in [lambda: page.keyboard.press("Escape"), lambda: page.get_by_role("button", name="Cancel").click()]:
        opener.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Revoke permanently")).to_be_visible()
        page.keyboard.press("Tab")
        close()
        expect(page.get_by_role("button", name="Revoke permanently")).to_be_hidden()
        expect(opener).to_be_focused()


def by_keyboard(page):
    """A user is found and deactivated, and a token is issued, with the keyboard alone."""

    def steps_to(target):
        page.wait_for_load_state()
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("it => it === document.activeElement"):
                ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert ring != "none", "the focus is visible"
                return
        raise AssertionError(f"Tab does not reach {target}")

    sign_in_by_keys(page)
    expect(page).to_have_url(f"{admin}/users")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    steps_to(page.get_by_label("Name or e-mail"))
    page.keyboard.type("alice")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    steps_to(page.locator("tbody th a"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    steps_to(page.get_by_role("link", name="New token"))
    with page.expect_navigation():
        page.keyboard.press("Enter")
    named = form(page, "Named token")
    steps_to(named.get_by_label("Name"))
    page.keyboard.type("by keyboard")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    becomes(200, page.locator("#key").inner_text())
    steps_to(page.locator("summary", has_text="Revoke"))
    page.keyboard.press("Space")
    steps_to(page.get_by_role("button", name="Revoke permanently"))
    with page.expect_navigation():
        page.keyboard.press("Space")
    told(page, "The token was revoked and no longer works.")
    steps_to(page.get_by_role("button", name="Sign out"))
    with page.expect_navigation():
        page.keyboard.press("Enter")


def staff_is_offered_what_staff_may_do(page):
    sign_in(page, name="helper")
    for path in ["users", "tokens", "traffic", "look-up"]:
        page.goto(f"{admin}/{path}")
        for link in page.get_by_role("link").all():
            target = link.get_attribute("href")
            assert not re.match(r"/(status|audit|groups|users/add|traffic/errors)", target), (path, target)
    page.goto(f"{admin}/users")
    follow(page, page.get_by_role("link", name="alice"))
    for name in ["Edit", "Groups", "Password", "Permissions", "Delete"]:
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    expect(page.locator("summary", has_text="Deactivate")).to_have_count(0)
    page.get_by_role("link", name="New token").click()
    named = form(page, "Named token")
    named.get_by_label("Name").fill("from staff")
    becomes(200, issued(page, named, "Issue the token"))
    page.get_by_role("link", name="Change password").click()
    page.get_by_label("Your own password").fill(password)
    for label in ["New password", "Repeat new password"]:
        page.get_by_label(label, exact=True).fill("quite another horse")
    follow(page, page.get_by_role("button", name="Change the password"))
    expect(page).to_have_url(f"{admin}/users")


with chromium(authority) as browser:
    match scenario:
        case "operator":
            # One for each password that is refused.
            visit(browser, an_operator_walks, refusals=4)
        case "keyboard":
            visit(browser, by_keyboard)
        case "staff":
            visit(browser, staff_is_offered_what_staff_may_do)
        case "walk":
            visit(browser, a_user_is_made_and_gets_tokens, True)
        case "without_scripts":
            visit(browser, a_user_is_made_and_gets_tokens, False, java_script_enabled=False)
        case "crowd":
            visit(browser, a_crowd_is_searched)
        case "traffic":
            visit(browser, load_is_shown)
        case "looks":
            for look, settings in LOOKS.items():
                visit(browser, a_wrong_password_is_reported, look, refusals=1, **settings)
                visit(browser, a_refused_user_is_told, look, refusals=1, **settings)
                visit(browser, pages_are_accessible, look, **settings)
        case _:
            sys.exit(f"no such scenario: {scenario}")
print("done")
