"""What only a browser can tell of the page an annotator lives in: keys, focus, drafts that survive trouble."""

import pytest
from playwright.sync_api import expect

from apps.labeling.models import Annotation, Assignment, Draft
from apps.labeling.services import submit_annotation
from apps.projects.models import GuidelineVersion
from apps.prompts.models import Response
from tests.e2e.browser import ATTRIBUTES
from tests.e2e.running import wait_until
from tests.factories import PASSWORD, MembershipFactory, answer
from tests.pages.answering import WORDS, fill_in
from tests.pages.conftest import sign_in

WATCH_THE_SWAP = """
() => {
  const old = document.querySelector("#task");
  window.shifted = 0;
  const shift = (list) => list.getEntries().forEach((entry) => (shifted += entry.value));
  new PerformanceObserver(shift).observe({ type: "layout-shift" });
  addEventListener("keydown", () => (window.pressed ??= performance.now()), true);
  new MutationObserver(() => {
    if (!old.isConnected) requestAnimationFrame(() => setTimeout(() => (window.painted ??= performance.now())));
  }).observe(document.querySelector("main"), { childList: true });
}
"""
pytestmark = pytest.mark.django_db(transaction=True)


def wait_for_the_next_pair(page):
    """Wait until the page has the next pair at hand: its reply has arrived as a whole, and the script has read it."""
    arrived = "performance.getEntriesByType('resource').some((entry) => entry.name.endsWith('/next/'))"
    wait_until(lambda: page.evaluate(arrived), 10, "the next pair has arrived")
    page.evaluate("() => new Promise(requestIdleCallback)")


def test_a_pair_is_answered_by_keyboard_and_the_next_is_there(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
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


def test_what_is_missing_is_named_and_leaves_the_list_when_answered(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems a")).to_have_count(12)
    expect(page.locator("#rating-1-helpfulness-0")).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator(".problems a")).to_have_count(11)
    page.get_by_role("link", name="Which one is better?").click()
    expect(page.locator("#preference-1")).to_be_focused()
    assert [line for line in page.console if "422" not in line] == []  # Chromium itself reports the refusal


def test_a_refused_answer_is_kept_without_saying_restored(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    page.route("**/draft/", lambda route: route.abort())
    page.get_by_label("Why?").fill("Half a thought")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_be_visible()
    expect(page.get_by_label("Why?")).to_have_value("Half a thought")
    expect(page.locator("[data-draft-status]")).not_to_have_text("Draft restored")


def test_a_digit_without_a_focused_question_answers_the_first_open_one(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    expect(page.locator("#prompt-heading")).to_be_focused()
    page.keyboard.press("3")
    expect(page.locator("#rating-1-helpfulness-3")).to_be_checked()
    expect(page.locator("#rating-1-correctness-0")).to_be_focused()


def test_a_second_tab_says_that_the_pair_is_done_and_keeps_no_draft(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
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


def test_a_draft_is_saved_while_typing_and_is_back_after_a_reload(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
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


def test_what_the_server_never_got_is_back_from_the_browser(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
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
def test_a_server_that_breaks_does_not_take_the_text_away(labeler, open_page, status):
    page = open_page(labeler, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("Kept through a breakdown")
    page.route("**/submit/", lambda route: route.fulfill(status=status, body="<h1>Broken</h1>"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-trouble]")).to_contain_text(f"The server could not take this ({status})")
    expect(page.get_by_label("Why?")).to_have_value("Kept through a breakdown")


def test_a_foreign_page_in_place_of_the_answer_does_not_take_the_text_away(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("Kept through a hotel's sign-in page")
    page.route("**/submit/", lambda route: route.fulfill(status=200, body="<h1>Welcome to our network</h1>"))
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-trouble]")).to_be_visible()
    expect(page.get_by_label("Why?")).to_have_value("Kept through a hotel's sign-in page")


def test_somebody_signed_out_signs_in_without_leaving_the_page(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    page.context.clear_cookies(name="sessionid")
    fill_in(page)
    page.keyboard.press("Control+Enter")
    dialog = page.get_by_role("dialog", name="Sign in again")
    password = dialog.get_by_label("Password")
    expect(password).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("Please enter a correct username and password.")
    password.fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Submit")).to_be_focused()
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    expect(page.locator("[data-trouble]")).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#announcer")).to_have_text("Saved. Next comparison.")
    assert Annotation.objects.get().justification.endswith(WORDS)
    assert page.evaluate("localStorage.length") == 0


def test_somebody_else_signed_in_meanwhile_gets_nothing_and_the_text_is_kept(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    other = MembershipFactory(project=labeler.memberships.get().project).user
    page.context.clear_cookies(name="sessionid")
    tab = page.context.new_page()
    sign_in(tab, other.username)
    tab.close()
    page.get_by_label("Why?").fill("Written by anna")
    trouble = page.locator("[data-trouble]")
    expect(trouble).to_contain_text("you are signed in as somebody else by now")
    assert not Draft.objects.exists()
    trouble.get_by_role("button", name="Sign in").click()
    page.get_by_role("dialog").get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    assert Draft.objects.get().body["justification"] == "Written by anna"


def test_a_draft_that_is_too_long_says_so_and_stays(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    page.get_by_label("Why?").fill("long " * 50_000)
    expect(page.locator("[data-trouble]")).to_contain_text("The draft is too long to keep.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#justification-error")).to_contain_text("At most 20000 characters; this has 250000.")
    expect(page.get_by_label("Why?")).to_have_value("long " * 50_000)


def test_the_guideline_stands_beside_the_task_and_keys_go_on_working(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/", viewport={"width": 1440, "height": 900})
    page.keyboard.press("g")
    guideline = page.locator("#guideline-dialog")
    expect(guideline).to_be_visible()
    assert not page.evaluate("document.querySelector('#guideline-dialog').matches(':modal')")
    page.keyboard.press("a")
    page.keyboard.press("4")
    expect(page.locator("#rating-1-helpfulness-4")).to_be_checked()
    page.keyboard.press("Escape")
    expect(guideline).to_be_hidden()


@pytest.mark.parametrize(("key", "reason"), [("f", "pii"), ("s", "needs_expertise")], ids=["flag", "skip"])
def test_giving_back_by_keyboard(labeler, open_page, key, reason):
    page = open_page(labeler, "/projects/tides/queue/")
    page.keyboard.press(key)
    expect(page.locator(f"input[value={reason}]")).to_be_focused()
    page.keyboard.press("7")
    expect(page.get_by_label("Another reason")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.locator("#announcer")).to_have_text("Skipped. Next comparison.")
    expect(page.get_by_text("Question number 2").first).to_be_visible()
    expect(page.locator("#skip-dialog")).to_be_hidden()
    assert Assignment.objects.get(state="skipped").skip_reason == "other"
    assert page.console == []


def test_the_whole_task_by_keyboard_alone(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    press = page.keyboard.press
    for key in ("d", "r", "y"):
        press(key)
    for tool in ("Differences", "Raw text", "Scroll together"):
        expect(page.get_by_role("button", name=tool)).to_have_attribute("aria-pressed", "true")
    press("4")
    expect(page.locator("#rating-1-correctness-0")).to_be_focused()
    press("x")
    expect(page.get_by_label("Incorrect information").first).to_be_focused()
    press("4")
    press("1")
    press("x")
    expect(page.locator("#rating-1-correctness-0")).to_be_focused()
    for digit in "321043210":
        press(digit)
    expect(page.locator("#preference-1")).to_be_focused()
    press("k")  # the last attribute has no problems of its own, so the flags of its response are next
    press("x")
    expect(page.locator("#problem-2-unsafe")).to_be_focused()
    press("1")
    press("x")
    expect(page.locator("#preference-1")).to_be_focused()
    press("c")
    press("2")
    expect(page.locator("#justification")).to_be_focused()
    page.keyboard.type(f"@1 {WORDS}")
    press("Escape")
    press("a")
    press("3")
    press("Escape")
    press("g")
    expect(page.locator("#guideline-dialog")).to_be_visible()
    press("g")
    press("?")
    expect(page.locator("#keys-dialog")).to_be_visible()
    press("Escape")
    press("Control+Enter")
    expect(page.get_by_text("Question number 2").first).to_be_attached()
    stored = Annotation.objects.get()
    canonical = stored.assignment.swapped
    sides = (stored.problems_2, stored.problems_1) if canonical else (stored.problems_1, stored.problems_2)
    assert sides == (["incorrect_information", "false_premise"], ["unsafe"])
    assert (abs(stored.preference), stored.confidence, stored.pasted_characters) == (1, 2, 0)
    press("u")
    expect(page.get_by_text("You are changing an answer")).to_be_visible()
    expect(page.locator("#problem-2-unsafe")).to_be_checked()
    press("c")
    press("3")
    with page.expect_response("**/submit/"):
        press("Control+Enter")
    expect(page.get_by_text("Question number 2").first).to_be_attached()
    assert page.url.endswith("/projects/tides/queue/")
    assert list(Annotation.objects.order_by("revision").values_list("confidence", flat=True)) == [2, 3]
    assert page.console == []


# --- The next pair ---


def test_the_next_pair_is_on_screen_at_once_and_nothing_shifts(labeler, open_page):
    project = labeler.memberships.get().project
    for response in Response.objects.filter(prompt__project=project):
        response.text = "\n\n".join(f"Paragraph {n} of `code` and **bold** words. " * 12 for n in range(40))
        response.save()
    page = open_page(labeler, "/projects/tides/queue/", viewport={"width": 1440, "height": 900})
    fill_in(page)
    wait_for_the_next_pair(page)
    page.keyboard.press("End")
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    page.evaluate(WATCH_THE_SWAP)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Question number 2").first).to_be_visible()
    expect(page.locator("#prompt-heading")).to_be_focused()
    expect(page.locator("#announcer")).to_have_text("Saved. Next comparison.")
    expect(page.locator(".done")).to_have_text("1 done today, 1 in all")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    wait_until(lambda: page.evaluate("window.painted"), 5, "the next pair is painted")
    assert [url.rsplit("/", 2)[1] for url in asked[:1]] == ["submit"]
    assert not any(url.endswith("/queue/") for url in asked)
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("shifted") == 0
    # Under 100 ms when nothing else runs (docs/benchmarks.md); here the server and the other tests run as well.
    assert page.evaluate("painted - pressed") < 1500
    assert page.console == []


def test_leaving_gives_the_next_pair_back(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    wait_for_the_next_pair(page)
    assert Assignment.objects.filter(ahead=True).count() == 1
    page.goto("/projects/tides/my-work/")
    wait_until(lambda: not Assignment.objects.filter(ahead=True).exists(), 5, "the pair is given back")


def test_a_changed_guideline_comes_first_and_is_accepted(labeler, open_page):
    page = open_page(labeler, "/projects/tides/queue/")
    project = labeler.memberships.get().project
    fill_in(page)
    GuidelineVersion.objects.create(project=project, number=2, text="Read both responses twice.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="The guideline has changed")).to_be_focused()
    expect(page.locator("ins")).to_contain_text("twice")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("Question number 2").first).to_be_visible()
    assert page.console == []
