"""Headless Chromium that trusts a CA, and checks of pages."""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

import axe_playwright_python
from playwright.sync_api import expect, sync_playwright

AXE = (pathlib.Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
# Long enough for a busy machine.
PATIENCE = 120
expect.set_options(timeout=PATIENCE * 1000)

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1000, "height": 760}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1000, "height": 760}},
    "phone": {"color_scheme": "light", "viewport": {"width": 375, "height": 720}, "is_mobile": True, "has_touch": True},
}


def looked_at(page, name):
    """The page is accessible, and not wider than its screen."""
    page.wait_for_load_state()
    page.evaluate(AXE)
    found = page.evaluate("axe.run().then(it => [it.violations, it.passes.length])")
    violations = [(it["id"], it["help"], [node["html"] for node in it["nodes"]]) for it in found[0]]
    assert not violations, f"{name}: {violations}"
    assert found[1] > 10, "axe has looked"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name}: wider than the screen"
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def is_cut(page):
    """What is cut off or wider than the screen: the texts of the elements."""
    return page.evaluate("""() => {
        const width = document.documentElement.clientWidth;
        const found = document.documentElement.scrollWidth > width ? [`page: ${document.documentElement.scrollWidth}`] : [];
        for (const it of document.querySelectorAll("body *")) {
            const box = it.getBoundingClientRect(), style = getComputedStyle(it);
            // For screen readers only, or behind a closed question.
            const unseen = it.closest(".hidden, .skip") || !it.checkVisibility() || box.width < 2;
            if (unseen || it.closest("svg")) continue;
            // A field scrolls with its cursor.
            const hides = ["hidden", "clip"].includes(style.overflowX) && !it.matches("input, select") && it.scrollWidth > it.clientWidth + 1;
            const own = [...it.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
            const beyond = (own || it.matches("input, button, select")) && (box.right > width + 1 || box.left < -1);
            if (hides || beyond && !it.closest(".scroll")) found.push(`${it.tagName} ${it.id} ${it.className}: ${it.textContent.trim().slice(0, 60)}`);
        }
        return found;
    }""")


def follow(page, way):
    """Clicks on a link, or on a button that sends a form, and waits for the next page, which may look like this one."""
    with page.expect_navigation():
        way.click()


def visit(browser, act, *more, refusals=0, **settings):
    """Acts on a page in a new browser context; the only errors allowed are `refusals` responses with a status of an error; `None` is any number."""
    # Without transitions: axe would measure the contrast of a colour that is still changing.
    context = browser.new_context(reduced_motion="reduce", **settings)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    complaints = []

    def failed(request):
        # Leaving a page aborts its pending requests: on a busy machine also that of the icon.
        if request.failure != "net::ERR_ABORTED":
            complaints.append(f"{request.url}: {request.failure}")

    def said(message):
        # Typing before the page has set the focus to its first field keeps the focus; that is no error.
        if message.type in ("error", "warning") and not message.text.startswith("Autofocus processing was blocked"):
            complaints.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda fault: complaints.append(str(fault)))
    page.on("requestfailed", failed)
    act(page, *more)
    refused = [text for text in complaints if re.search("status of (400|403|404|503)", text)]
    assert len(refused) == len(complaints) and refusals in (None, len(refused)), complaints
    context.close()


@contextlib.contextmanager
def chromium(authority):
    program = shutil.which("chromium") or sys.exit("Chromium is missing; ./scripts/test installs it, or: apt-get install chromium")
    certutil = shutil.which("certutil") or sys.exit("certutil is missing; ./scripts/test installs it, or: apt-get install libnss3-tools")
    # Chromium trusts the CAs in its user's database.
    database = pathlib.Path.home() / ".pki/nssdb"
    database.mkdir(parents=True)
    subprocess.run([certutil, "-d", f"sql:{database}", "-N", "--empty-password"], check=True)
    subprocess.run([certutil, "-d", f"sql:{database}", "-A", "-t", "C,,", "-n", "gateway", "-i", authority], check=True)
    with sync_playwright() as playwright:
        # Its sandbox does not work as root.
        browser = playwright.chromium.launch(executable_path=program, chromium_sandbox=os.geteuid() != 0, timeout=PATIENCE * 1000)
        yield browser
        browser.close()
