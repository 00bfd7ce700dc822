"""What only a browser can tell: keys, focus, drafts that survive trouble, and what axe says of each page."""

import os

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from playwright.sync_api import expect

from apps.labeling.models import Annotation, Assignment, Draft
from apps.labeling.services import submit_annotation
from tests.e2e.browser import ATTRIBUTES, chromium
from tests.e2e.running import wait_until
from tests.factories import PASSWORD, ComparisonFactory, MembershipFactory, ProjectFactory, answer

WORDS = "is right about everything that matters here, and the other one is not."
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def browser():
    # Playwright keeps an event loop in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with chromium() as started:
        yield started
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_page(browser, live_server):
    """Return a function that signs somebody in and opens an address."""
    contexts = []

    def open_it(user, path, **window):
        context = browser.new_context(base_url=live_server.url, **window)
        contexts.append(context)
        page = context.new_page()
        page.console = []
        page.on("console", lambda message: page.console.append(message.text))
        page.on("pageerror", lambda error: page.console.append(str(error)))
        page.under_way = set()
        page.on("request", lambda request: page.under_way.add(request))
        page.on("requestfinished", lambda request: page.under_way.discard(request))
        page.on("requestfailed", lambda request: page.under_way.discard(request))
        sign_in(page, user.username, path)
        return page

    yield open_it
    for context in contexts:
        leave_quietly(context)
    wait_until(lambda: not busy_sessions(), 10, "no session of the database is busy")


def leave_quietly(context) -> None:
    """Close the window without the last draft that a closing page sends: the tables are emptied right afterwards."""
    for page in context.pages:
        page.evaluate("document.querySelector('[data-answer]')?.remove()")
        wait_until(lambda page=page: is_quiet(page), 10, "no request is under way")
    context.close()


def is_quiet(page) -> bool:
    return page.evaluate("true") and not getattr(page, "under_way", ())


def busy_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND state <> 'idle'"
        )
        return cursor.fetchone()[0]


@pytest.fixture
def annotator(db):
    """Return an annotator of a project with two waiting pairs."""
    project = ProjectFactory(slug="tides", name="Tides")
    for number in (1, 2):
        ComparisonFactory(project=project, prompt__messages=[{"role": "user", "content": f"Question number {number}"}])
    return MembershipFactory(project=project, user__username="anna").user


def sign_in(page, username, path="/"):
    page.goto(f"/login/?next={path}")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login/" not in url)  # and its scripts: keys pressed earlier are lost


def test_a_pair_is_answered_by_keyboard_and_the_next_is_there(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    expect(page.get_by_text("Question number 1").first).to_be_visible()
    expect(page.locator("#prompt-heading")).to_be_focused()
    page.keyboard.press("a")
    expect(page.locator("#rating-1-helpfulness-0")).to_be_focused()
    for digit in "4321043210":
        page.keyboard.press(digit)
    expect(page.locator("#preference-1")).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("#rating-2-verbosity-0")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("n")
    expect(page.locator("#justification")).to_be_focused()
    page.keyboard.type(f"s r g ? 1 {WORDS}")  # keys must do nothing here
    assert page.locator("dialog[open]").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.locator(".pane .text-raw").first).to_be_visible()
    expect(page.locator(".pane .text-rendered").first).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#announcer")).to_have_text("Saved. Next comparison.")
    expect(page.get_by_text("Question number 2").first).to_be_attached()
    expect(page.locator("#prompt-heading")).to_be_focused()
    expect(page.locator(".pane .text-raw").first).to_be_visible()  # whoever reads raw text goes on reading it
    assert page.locator("input:checked").count() == 0
    stored = Annotation.objects.get()
    assert stored.neither is True
    assert stored.ratings_1 == stored.ratings_2 == dict(zip(ATTRIBUTES, (4, 3, 2, 1, 0), strict=True))
    assert stored.justification == f"s r g ? 1 {WORDS}"
    assert page.console == []


def test_what_is_missing_is_named_and_leaves_the_list_when_answered(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems a")).to_have_count(12)
    expect(page.locator("#rating-1-helpfulness-0")).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator(".problems a")).to_have_count(11)
    page.get_by_role("link", name="Which one is better?").click()
    expect(page.locator("#preference-1")).to_be_focused()
    assert [line for line in page.console if "422" not in line] == []  # Chromium itself reports the refusal


def test_a_refused_answer_is_kept_without_saying_restored(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.route("**/draft/", lambda route: route.abort())
    page.get_by_label("Why?").fill("Half a thought")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_be_visible()
    expect(page.get_by_label("Why?")).to_have_value("Half a thought")
    expect(page.locator("[data-draft-status]")).not_to_have_text("Draft restored")


def test_a_digit_without_a_focused_question_answers_the_first_open_one(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    expect(page.locator("#prompt-heading")).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator("#rating-1-helpfulness-3")).to_be_checked()
    expect(page.locator("#rating-1-correctness-0")).to_be_focused()


def test_a_second_tab_says_that_the_pair_is_done_and_keeps_no_draft(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    assignment = Assignment.objects.get()
    submit_annotation(assignment=assignment, body=answer())
    page.get_by_label("Why?").fill(f"Typed in the second tab {WORDS}")
    trouble = page.locator("[data-trouble]")
    expect(trouble).to_contain_text("This comparison was submitted or skipped already.")
    assert page.evaluate("localStorage.length") == 0
    for label in (1, 2):
        for name in ATTRIBUTES:
            page.locator(f"#rating-{label}-{name}-2").check(force=True)
    page.locator("#preference-2").check(force=True)
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_contain_text("You have submitted another answer")
    expect(page.get_by_label("Why?")).to_have_value(f"Typed in the second tab {WORDS}")
    with page.expect_response("**/draft/") as refused:
        page.get_by_label("Why?").press("End")
        page.keyboard.type(" More.")
    assert refused.value.status == 409
    expect(page.locator("[data-trouble]")).to_be_hidden()
    assert page.evaluate("localStorage.length") == 0


def test_a_draft_is_saved_while_typing_and_is_back_after_a_reload(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("Half a thought")
    page.get_by_role("button", name="@Response 2").click()
    page.locator("#rating-1-coherence-2").check(force=True)
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    expect(page.locator("#justification-hint")).to_contain_text("5 so far")
    assert page.evaluate("localStorage.length") == 0
    assert Draft.objects.get().body["justification"] == "Half a thought @Response 2 "
    page.reload()
    expect(page.get_by_label("Why?")).to_have_value("Half a thought @Response 2 ")
    expect(page.locator("#rating-1-coherence-2")).to_be_checked()


def test_what_the_server_never_got_is_back_from_the_browser(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.route("**/draft/", lambda route: route.abort())
    page.get_by_label("Why?").fill("Typed in a tunnel")
    expect(page.locator("[data-trouble]")).to_contain_text("The server cannot be reached")
    assert not Draft.objects.exists()
    page.reload()
    expect(page.get_by_label("Why?")).to_have_value("Typed in a tunnel")
    page.unroute("**/draft/")
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved", timeout=20_000)
    assert Draft.objects.get().body["justification"] == "Typed in a tunnel"


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_that_breaks_does_not_take_the_text_away(annotator, open_page, status):
    page = open_page(annotator, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("Kept through a breakdown")
    page.route("**/submit/", lambda route: route.fulfill(status=status, body="<h1>Broken</h1>"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-trouble]")).to_contain_text(f"The server could not take this ({status})")
    expect(page.get_by_label("Why?")).to_have_value("Kept through a breakdown")


def test_a_foreign_page_in_place_of_the_answer_does_not_take_the_text_away(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("Kept through a hotel's sign-in page")
    page.route("**/submit/", lambda route: route.fulfill(status=200, body="<h1>Welcome to our network</h1>"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-trouble]")).to_be_visible()
    expect(page.get_by_label("Why?")).to_have_value("Kept through a hotel's sign-in page")


def test_somebody_signed_out_signs_in_in_a_new_tab_and_sends_again(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.context.clear_cookies(name="sessionid")
    for label in (1, 2):
        for name in ATTRIBUTES:
            page.locator(f"#rating-{label}-{name}-2").check(force=True)
    page.locator("#preference-2").check(force=True)
    page.get_by_label("Why?").fill(f"@Response 1 {WORDS}")
    page.keyboard.press("Control+Enter")
    trouble = page.locator("[data-trouble]")
    expect(trouble).to_contain_text("You are signed out.")
    with page.context.expect_page() as opened:
        trouble.get_by_role("link", name="Sign in in a new tab").click()
    tab = opened.value
    sign_in(tab, annotator.username)
    expect(tab.get_by_role("heading", name="My projects")).to_be_visible()
    tab.close()
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#announcer")).to_have_text("Saved. Next comparison.")
    assert Annotation.objects.get().justification.endswith(WORDS)
    assert page.evaluate("localStorage.length") == 0


def test_the_guideline_stands_beside_the_task_and_keys_go_on_working(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/", viewport={"width": 1440, "height": 900})
    page.keyboard.press("g")
    guideline = page.locator("#guideline-dialog")
    expect(guideline).to_be_visible()
    assert not page.evaluate("document.querySelector('#guideline-dialog').matches(':modal')")
    page.keyboard.press("a")
    page.keyboard.press("4")
    expect(page.locator("#rating-1-helpfulness-4")).to_be_checked()
    page.keyboard.press("Escape")
    expect(guideline).to_be_hidden()


def test_skipping_by_keyboard(annotator, open_page):
    page = open_page(annotator, "/projects/tides/queue/")
    page.keyboard.press("s")
    page.get_by_label("Broken or unreadable").check()
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Skipped. Next comparison.")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    assert page.console == []


@pytest.mark.parametrize(
    ("width", "height", "scheme"),
    [(1440, 900, "light"), (390, 844, "dark")],
    ids=["desk in the light", "phone in the dark"],
)
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(annotator, open_page, width, height, scheme):
    project = annotator.memberships.get().project
    manager = MembershipFactory(project=project, user__username="mara", role="manager").user
    pair = project.comparisons.first()
    screen = {"width": width, "height": height}
    page = open_page(manager, "/", bypass_csp=True, color_scheme=scheme, viewport=screen)
    paths = ["", "queue/", "my-work/", "comparisons/", f"comparisons/{pair.pk}/", "reward-models/", "snapshots/"]
    paths += ["members/", "guideline/", "queue/?open=guideline", "queue/?open=skip", "queue/?open=keys"]
    for path in ["/", "/account/tokens/", *(f"/projects/tides/{path}" for path in paths)]:
        page.goto(path)
        violations = Axe().run(page).response["violations"]
        assert [(found["id"], found["nodes"][0]["html"]) for found in violations] == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    assert page.console == []
