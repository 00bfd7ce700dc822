"""Answer a pair in a browser."""

from tests.e2e.browser import ATTRIBUTES

WORDS = "is right about everything that matters here, and the other one is not."


def fill_in(page, why=f"@Response 1 {WORDS}"):
    """Answer everything that has to be answered."""
    for label in (1, 2):
        for name in ATTRIBUTES:
            page.locator(f"#rating-{label}-{name}-2").check(force=True)
    page.locator("#preference-2").check(force=True)
    page.get_by_label("Why?").fill(why)
