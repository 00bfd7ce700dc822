"""How two responses are read side by side, and what happens to the text while somebody types: in a browser."""

import random
import time

import pytest
from playwright.sync_api import expect

from apps.prompts.models import Response
from tests.e2e.running import wait_until
from tests.factories import ComparisonFactory, MembershipFactory, ProjectFactory, PromptFactory, ResponseFactory

QUEUE = "/projects/tides/queue/"
DESK = {"viewport": {"width": 1440, "height": 900}}
MARKED = """
() => {
  const sides = [[], []];
  for (const range of CSS.highlights.get("only-here") ?? []) {
    const text = range.startContainer.data.slice(range.startOffset, range.endOffset);
    sides[[...document.querySelectorAll(".pane")].indexOf(range.startContainer.parentElement.closest(".pane"))].push(text);
  }
  return sides;
}
"""
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def read(open_page):
    """Return a function that opens a pair with these texts, in this order."""

    def open_it(first: str, second: str, prompt: str = "Why?", **window):
        project = ProjectFactory(slug="tides", name="Tides")
        asked = PromptFactory(project=project, messages=[{"role": "user", "content": prompt}])
        one, two = (ResponseFactory(prompt=asked, text=text) for text in ("first placeholder", "second placeholder"))
        for _ in range(2):
            ComparisonFactory(project=project, prompt=asked, response_1=one, response_2=two)
        annotator = MembershipFactory(project=project, user__username="anna").user
        page = open_page(annotator, QUEUE, **(DESK | window))
        swapped = "second" in page.locator(".pane .text-rendered").first.inner_text()
        Response.objects.filter(pk=one.pk).update(text=second if swapped else first)
        Response.objects.filter(pk=two.pk).update(text=first if swapped else second)
        page.reload()
        return page

    return open_it


def until(page, expression):
    """Wait for it; `page.wait_for_function` would need `eval`, which the Content-Security-Policy forbids."""
    wait_until(lambda: page.evaluate(expression), 5, expression)


# --- Differences ---


def test_words_that_only_one_response_has_are_marked_where_they_stand(read):
    page = read("The Moon pulls **two** tides a day.", "The Moon pulls both tides, `every` day.")
    before = page.locator(".text-rendered").evaluate_all("all => all.map(each => each.innerHTML)")
    page.keyboard.press("d")
    assert page.evaluate(MARKED) == [["two", "a"], ["both", ",", "every"]]
    expect(page.locator("[data-only]")).to_have_text(["2 words only here", "2 words only here"])
    expect(page.locator("#announcer")).to_have_text("Words only in Response 1: 2. Words only in Response 2: 2.")
    page.keyboard.press("r")
    assert page.evaluate(MARKED) == [["**two**", "a"], ["both", ", `every`"]]
    page.keyboard.press("r")
    page.keyboard.press("d")
    assert page.evaluate("CSS.highlights.size") == 0
    assert page.locator(".text-rendered").evaluate_all("all => all.map(each => each.innerHTML)") == before
    assert page.console == []


def test_the_next_pair_is_compared_as_well(read):
    page = read("one two three", "one four three")
    page.keyboard.press("d")
    page.keyboard.press("s")
    page.keyboard.press("7")
    with page.expect_response("**/skip/"):
        page.keyboard.press("Enter")
    expect(page.locator("#skip-dialog")).to_be_hidden()
    until(page, "CSS.highlights.has('only-here')")
    assert sorted(page.evaluate(MARKED)) == [["four"], ["two"]]


def test_languages_without_spaces_are_compared_by_character(read):
    page = read("月球引起潮汐", "太阳引起潮汐")
    page.keyboard.press("d")
    assert page.evaluate(MARKED) == [["月球"], ["太阳"]]


def test_a_browser_that_cannot_mark_says_so(read):
    page = read("one", "two")
    page.evaluate("delete CSS.highlights, Object.defineProperty(CSS, 'highlights', { value: undefined })")
    page.get_by_role("button", name="Differences").click()
    expect(page.locator("#announcer")).to_have_text("This browser cannot mark differences.")
    expect(page.get_by_role("button", name="Differences")).to_have_attribute("aria-pressed", "false")


def test_two_very_long_texts_are_compared_without_freezing(read):
    draw = random.Random(7)
    words = [f"word{number}" for number in range(5000)]
    weights = [1 / (rank + 2) for rank in range(5000)]

    def text(characters=100_000):
        drawn = draw.choices(words, weights, k=characters // 8)
        return "\n\n".join(" ".join(drawn[at : at + 60]) for at in range(0, len(drawn), 60))

    page = read(text(), text())
    seconds = page.evaluate(
        "() => { const began = performance.now(); document.querySelector('[data-diff]').click();"
        " return (performance.now() - began) / 1000 }"
    )
    assert seconds < 4  # 0.15 alone; the other tests and the server run here as well
    assert sum(len(side) for side in page.evaluate(MARKED)) > 1000
    began = time.monotonic()
    for _ in range(5):
        page.mouse.wheel(0, 3000)
        page.evaluate("new Promise(requestAnimationFrame)")
    assert time.monotonic() - began < 5


# --- Scrolling, width, the prompt ---

LONG = "\n\n".join(f"Paragraph {number} with some words in it." for number in range(120))


def test_both_responses_scroll_together_in_proportion(read):
    page = read(LONG, f"{LONG}\n\n{LONG}")
    page.keyboard.press("y")
    left, right = (page.locator(".pane .text-rendered").nth(index) for index in (0, 1))
    left.hover()
    page.mouse.wheel(0, 1500)
    until(page, "document.querySelectorAll('.pane .text-rendered')[1].scrollTop > 2500")
    shares = [side.evaluate("e => e.scrollTop / (e.scrollHeight - e.clientHeight)") for side in (left, right)]
    assert shares[0] == pytest.approx(shares[1], abs=0.01)
    right.evaluate("e => (e.scrollTop = e.scrollHeight)")
    until(
        page,
        "(e => e.scrollTop + e.clientHeight >= e.scrollHeight - 2)(document.querySelector('.pane .text-rendered'))",
    )
    page.keyboard.press("y")
    assert left.evaluate("e => e.scrollHeight === e.clientHeight")  # all of it is in the page again


def test_the_line_between_them_moves_by_key_and_pointer_and_stays(read):
    page = read(LONG, LONG)
    line = page.get_by_role("separator", name="Width of the responses")
    line.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(line).to_have_attribute("aria-valuenow", "40")
    widths = page.evaluate("[...document.querySelectorAll('.pane')].map(e => e.getBoundingClientRect().width)")
    assert widths[0] / sum(widths) == pytest.approx(0.4, abs=0.01)
    box = page.locator(".panes").bounding_box()
    handle = line.bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, 400)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, 400, steps=4)
    page.mouse.up()
    expect(line).to_have_attribute("aria-valuenow", "70")
    page.reload()
    expect(line).to_have_attribute("aria-valuenow", "70")
    page.mouse.move(box["x"] + box["width"] * 0.9, 400)
    line.dblclick(position={"x": 6, "y": 300})
    expect(line).to_have_attribute("aria-valuenow", "50")
    assert page.console == []


def test_the_prompt_comes_down_into_the_bar_and_goes_back(read):
    page = read(LONG, LONG, prompt="Why does the sea rise twice a day?")
    prompt = page.locator(".prompt-body")
    page.mouse.move(300, 500)
    page.mouse.wheel(0, 2000)
    expect(prompt).not_to_be_in_viewport()
    until(page, "scrollY === 2000")
    page.keyboard.press("p")
    expect(prompt).to_be_in_viewport()
    assert page.evaluate("scrollY") == 2000
    page.keyboard.press("Escape")
    expect(prompt).not_to_be_in_viewport()
    page.keyboard.press("p")
    page.mouse.wheel(0, -2000)
    expect(page.get_by_role("button", name="Show the prompt here")).to_have_attribute("aria-expanded", "false")
    expect(prompt).to_be_in_viewport()


def test_what_was_chosen_is_chosen_after_a_reload(read):
    page = read("one two", "one three")
    for key in ("r", "d", "y"):
        page.keyboard.press(key)
    page.reload()
    for tool in ("Raw text", "Differences", "Scroll together"):
        expect(page.get_by_role("button", name=tool)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".pane .text-raw").first).to_be_visible()
    until(page, "CSS.highlights.has('only-here')")


def test_a_refused_answer_leaves_the_reader_where_they_were(read):
    page = read(LONG, LONG)
    page.mouse.move(300, 500)
    page.mouse.wheel(0, 2000)
    until(page, "scrollY === 2000")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_be_visible()
    expect(page.locator("#rating-1-helpfulness-0")).to_be_focused()
    assert page.evaluate("scrollY") == 2000


# --- Typing ---


def test_a_mention_is_typed_in_full_and_can_be_undone(read):
    page = read("one", "two")
    why = page.get_by_label("Why?")
    why.click()
    page.keyboard.type("(@1) beats @2, write to me@1.org or @3.")
    expect(why).to_have_value("(@Response 1) beats @Response 2, write to me@1.org or @3.")
    why.fill("")
    page.keyboard.type("so @1")
    expect(why).to_have_value("so @Response 1")
    page.keyboard.press("Control+z")
    expect(why).to_have_value("so @1")
    why.fill("better:")
    page.get_by_role("button", name="@Response 2").click()
    expect(why).to_have_value("better: @Response 2 ")
    page.keyboard.press("Control+z")
    expect(why).to_have_value("better:")


def test_what_is_pasted_is_counted_and_never_more_than_the_text(read):
    page = read("one", "two", permissions=["clipboard-read", "clipboard-write"])
    why = page.get_by_label("Why?")
    pasted = page.locator("[name=pasted_characters]")
    why.click()
    page.keyboard.type("Mine. ")
    page.evaluate("navigator.clipboard.writeText('twelve chars')")
    page.keyboard.press("Control+v")
    expect(why).to_have_value("Mine. twelve chars")
    expect(pasted).to_have_value("12")
    page.keyboard.press("Shift+Home")
    page.keyboard.press("Control+v")
    expect(pasted).to_have_value("12")  # all there is
    page.keyboard.press("Backspace")
    expect(pasted).to_have_value("11")
    page.keyboard.type(" and more of my own")
    expect(pasted).to_have_value("11")
    expect(page.locator("[data-draft-status]")).to_have_text("Draft saved")
    page.reload()
    expect(pasted).to_have_value("11")


def test_hebrew_runs_from_right_to_left(read):
    page = read("שלום עולם", "Hello world")
    sides = page.locator(".pane .text-rendered p")
    directions = [sides.nth(index).evaluate("e => getComputedStyle(e).direction") for index in (0, 1)]
    assert directions == ["rtl", "ltr"]
    page.get_by_label("Why?").fill("שלום")
    assert page.get_by_label("Why?").evaluate("e => getComputedStyle(e).direction") == "rtl"
