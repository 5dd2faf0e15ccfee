"""Open a tab of the page, and let axe-core look at it."""

from contextlib import contextmanager

from page_server import listening, wait_for
from toonbox.page import FOLDER

STYLE = "comic-fast"
AXE = FOLDER / "node_modules/axe-core/axe.min.js"


@contextmanager
def opened(tabs, site, tab, script=None, permissions=()):
    """Open a tab of the page, with the fast style; no error may occur.

    The script runs once the page is there. There is no service worker, of which tabs are no
    subject: it fetches the whole site once more.
    """
    errors = []
    with (
        tabs.open(site, locale="en-GB", service_workers="block") as page,
        listening(page, "pageerror", errors.append),
    ):
        page.context.grant_permissions(permissions)
        page.goto(f"{site.url}index.html#{tab}")
        wait_for(page, "html[data-ready]")
        if script:
            page.evaluate(f"() => {{ {script} }}")
        yield page
    assert errors == []


def choose_style(page, name="Comic, fast"):
    """Choose a style in the settings, which have to be in the open tab."""
    page.locator("#styles").get_by_text(name, exact=True).click()


def set_strength(page, value):
    """Set the strength as a mouse would."""
    page.locator("#strength").fill(str(value))


def violations(page):
    """Let axe-core look for what keeps people from using the page."""
    page.emulate_media(reduced_motion="reduce")  # half faded colours are not those to be judged
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def axe_missing() -> bool:
    """Tell whether axe-core is not installed."""
    return not AXE.is_file()
