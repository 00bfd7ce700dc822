"""Pages speak the chosen language or the browser's; what programs read is the same in every language."""

import io
import re

import pytest
from django.conf import settings
from django.test import Client
from django.utils import translation
from playwright.sync_api import expect

from apps.accounts.services import create_token
from apps.exports.services import create_snapshot, write_snapshot
from apps.imports.services import start_import, start_import_of_items
from apps.jobs.services import enqueue
from apps.labeling.services import submit_annotation
from apps.projects.models import GuidelineVersion
from apps.reward_models.models import TrainingRun
from apps.webhooks.events import JOB_FAILED
from apps.webhooks.services import create_endpoint, send_test
from tests.e2e.browser import axe_violations
from tests.factories import ComparisonFactory, answer
from tests.imports.rows import lines, row
from tests.pages.test_import_pages import work
from tests.quality.conftest import store
from tests.quality.simulation import simulate

GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-AT,de;q=0.9,en;q=0.5"}
NUMBERS = re.compile(r'\b(?:points|x|y|x1|x2|y1|y2|cx|cy|r|width|height|viewBox|value|max|min|step)="([^"]*)"')


@pytest.fixture(autouse=True)
def english_again():
    """The test client leaves the language of its last request switched on."""
    yield
    translation.activate(settings.LANGUAGE_CODE)


def language_of(response) -> str:
    return re.search(r'<html lang="([\w-]+)"', response.content.decode())[1]


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("de", "de"), ("de-CH,de;q=0.8", "de"), ("fr,de;q=0.5", "de"), ("fr", "en"), ("x" * 600, "en")],
)
def test_a_page_comes_in_the_browsers_language_if_we_have_it(db, accepted, language):
    response = Client(HTTP_ACCEPT_LANGUAGE=accepted).get("/login/")
    assert language_of(response) == response["Content-Language"] == language
    assert ("Passwort" in response.content.decode()) == (language == "de")
    assert "Accept-Language" in response["Vary"]


def test_a_choice_goes_before_the_browsers_language_and_is_kept(as_user, annotator):
    client = as_user(annotator, **GERMAN)
    assert language_of(client.get("/")) == "de"
    reply = client.post("/language/", {"language": "en"}, HTTP_REFERER="http://testserver/projects/tides/?page=1")
    assert (reply.status_code, reply["Location"]) == (302, "http://testserver/projects/tides/?page=1")
    cookie = client.cookies[settings.LANGUAGE_COOKIE_NAME]
    assert (cookie["samesite"], cookie["httponly"], int(cookie["max-age"]) > 30 * 24 * 3600) == ("Lax", True, True)
    assert language_of(client.get("/")) == "en"


def test_each_page_offers_the_other_language_by_its_own_name(as_user, annotator):
    for client, address in ((Client(), "/login/"), (as_user(annotator), "/"), (as_user(annotator), "/nowhere/")):
        page = client.get(address).content.decode()
        assert '<button type="submit" name="language" value="de" lang="de">Deutsch</button>' in page
        client.post("/language/", {"language": "de"})
        page = client.get(address).content.decode()
        assert '<button type="submit" name="language" value="en" lang="en">English</button>' in page
        assert "Deutsch" not in page


def test_a_choice_needs_our_form_and_leads_nowhere_else(db):
    assert Client(enforce_csrf_checks=True).post("/language/", {"language": "de"}).status_code == 403
    client = Client()
    elsewhere = {"language": "de", "next": "https://evil.example/"}
    assert client.post("/language/", elsewhere, HTTP_REFERER="https://evil.example/")["Location"] == "/"
    assert client.post("/language/", {"language": "../../etc"}).status_code == 302
    assert language_of(client.get("/login/")) == "de"
    client.get("/language/?language=en")
    assert language_of(client.get("/login/")) == "de"


def test_the_api_speaks_english_to_everybody(project, manager, annotator):
    def told(key: str, **headers: str) -> list[object]:
        client = Client(headers={"Authorization": f"Token {key}"}, **headers)
        client.cookies[settings.LANGUAGE_COOKIE_NAME] = "de" if headers else "en"
        members = "/api/v1/projects/tides/members/"
        replies = [
            client.post("/api/v1/projects/", {"name": ""}, content_type="application/json"),
            client.post(members, {"username": "nobody", "role": "annotator"}, content_type="application/json"),
            client.post(members, {"username": "anna", "role": "boss"}, content_type="application/json"),
            client.post(members, "{", content_type="application/json"),
            client.post("/api/v1/projects/tides/training-runs/", {}, content_type="application/json"),
            client.get("/api/v1/projects/elsewhere/"),
            client.get(f"{members}?colour=red"),
            client.get("/api/v1/schema/", headers={"Accept": "application/json"}),
        ]
        assert {reply["Content-Language"] for reply in replies} == {"en"}
        return [reply.json() for reply in replies]

    _, key = create_token(user=manager, name="test", scope="write")
    _, low = create_token(user=annotator, name="test", scope="write")
    assert told(key, **GERMAN) == told(key)
    assert told(low, **GERMAN) == told(low)
    refused = Client(headers={"Authorization": f"Token {low}"}, **GERMAN).get("/api/v1/projects/tides/members/").json()
    assert (refused["title"], refused["detail"]) == (
        "Not allowed",
        "This needs the role manager or reviewer or researcher; you are annotator of Tides.",
    )


@pytest.fixture
def run(project, manager):
    ComparisonFactory(project=project)
    history = [
        *({"event": "step", "step": step, "loss": 0.7123 / step} for step in range(1, 1201)),
        *({"event": "evaluation", "step": step, "accuracy": 0.5 + step / 2600} for step in range(1, 1201, 333)),
    ]
    return TrainingRun.objects.create(
        project=project,
        recipe={"learning_rate": 0.001},
        snapshot=create_snapshot(project=project, body={"name": "First"}, created_by=manager),
        job=enqueue(kind="training", project=project, inputs={}),
        history=history,
    )


@pytest.mark.parametrize("address", ["training-runs/{run}/", "", "reward-models/", "snapshots/", "comparisons/"])
def test_numbers_for_browsers_have_a_point_in_every_language(as_user, manager, run, address):
    address = "/projects/tides/" + address.format(run=run.pk)
    english, german = (
        as_user(manager, HTTP_ACCEPT_LANGUAGE=language).get(address).content.decode() for language in ("en", "de")
    )
    assert (re.search('lang="(..)"', english)[1], re.search('lang="(..)"', german)[1]) == ("en", "de")
    numbers = [NUMBERS.findall(re.sub(r'<(input type="hidden"|button)[^>]*>', "", page)) for page in (english, german)]
    assert numbers[0] == numbers[1]


def test_numbers_for_people_are_written_as_their_language_does(as_user, manager, run):
    address = f"/projects/tides/training-runs/{run.pk}/"
    english, german = (
        as_user(manager, HTTP_ACCEPT_LANGUAGE=language).get(address).content.decode() for language in ("en", "de")
    )
    assert "0.0006, 88.5 %" in english
    assert "0,0006, 88,5 %" in german
    assert (">0.75</text>" in english, ">0,75</text>" in german) == (True, True)


# --- In a browser ---

WORDS_OF_A_PAGE = """
() => {
  const kept = [document.title];
  const collect = (root) => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      if (!walker.currentNode.parentElement?.closest(".prose, pre, .clip, time, script, form[action='/language/']")) {
        kept.push(walker.currentNode.data);
      }
    }
    for (const element of root.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        if (/^(aria-label|title|placeholder|data-(only|text|cannot|saved|restored))$/.test(name)) kept.push(value);
        if (name === "data-says" && !element.content) kept.push(value);
      }
      if (element.content instanceof DocumentFragment) collect(element.content);
    }
  };
  collect(document.body);
  return kept.map((text) => text.trim().replace(/\\s+/g, " ")).filter((text) => /[a-z]{2}/i.test(text));
}
"""
# What a page says in both languages is a name, or a text that nobody marked for translation.
SAME_IN_BOTH = {"Tiebreak", "Tides", "anna", "Prompt", "@Response 1", "@Response 2", "Esc", "Enter"}

SAME_ABOUT_DATA = {
    *("mara", "items", "user", "Name two primes.", "Expected a list of messages, or a `prompt`."),  # as it was stored
    *("annotations", "annotations:", "csv", "json", "jsonl", "messages", "mpo", "native", "openrlhf", "parquet"),
    *("responses", "rewardbench", "train", "validation", "CSV", "CSV, gzip", "Parquet", "Fleiss’ κ"),
    *("Bytes", "Format", "Labels", "Name", "Seed", "Snapshots", "Status", "Webhook", "Webhooks", "https://…"),
}
NAME = re.compile(r"\d|^\[|\w[._/-]\w|^[./]\w")


@pytest.mark.django_db(transaction=True)
def test_the_compare_page_has_no_english_left_in_german(annotator, project, open_page):
    ComparisonFactory(project=project)
    page = open_page(annotator, "/", bypass_csp=True)
    english = said_in_each_state(page)
    page.locator(".bar .menu summary").click()
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("button", name="Abgeben")).to_be_visible()
    german = said_in_each_state(page, looks_german)
    assert english.keys() == german.keys()
    for state in german:
        assert english[state] & german[state] - SAME_IN_BOTH == set(), state


@pytest.mark.django_db(transaction=True)
def test_what_stands_between_pairs_has_no_english_left_in_german(annotator, project, lease, open_page):
    ComparisonFactory(project=project)
    GuidelineVersion.objects.update(text="- - -")
    submit_annotation(assignment=lease(), body=answer(justification="1 2 3 4 5 6 7 8 9 10"))
    GuidelineVersion.objects.create(project=project, number=2, text="* * *")
    page = open_page(annotator, "/", bypass_csp=True)

    def compare_languages(path, mark):
        assert said_in_both(page, path, mark) - SAME_IN_BOTH == set(), path

    compare_languages("queue/", ".guideline-change")
    page.locator(".guideline-change button").click()
    compare_languages("queue/", ".empty")
    compare_languages("my-work/", ".work")


@pytest.mark.django_db(transaction=True)
def test_the_pages_of_data_have_no_english_left_in_german(manager, project, open_page):
    people = store(project, simulate(seed=11, habits=["honest"] * 5 + ["first"], pairs=60))
    agreed = {"filters": {"agreement": {"status": ["agreed"]}}}
    first, second = (
        create_snapshot(project=project, body={"name": name, **body}, created_by=manager)
        for name, body in (("1", {}), ("2", agreed))
    )
    write_snapshot(snapshot=first)
    write_snapshot(snapshot=second)
    by_manager = {"project": project, "created_by": manager}
    planned = start_import(file_name="1.jsonl", stream=io.BytesIO(lines([row(), {}])), wait=True, **by_manager)
    done = work(start_import_of_items(items=[row(), {}], **by_manager))
    hook, _secret = create_endpoint(project=project, actor=manager, url="https://1.1.1.1/", events=[JOB_FAILED])
    send_test(endpoint=hook)
    page = open_page(manager, "/", bypass_csp=True)
    for path in (
        "quality/",
        f"quality/annotators/{people[5].pk}/",
        "imports/",
        f"imports/{planned.pk}/",
        f"imports/{done.pk}/",
        "snapshots/",
        f"snapshots/{first.pk}/",
        f"snapshots/{first.pk}/diff/?with={second.pk}",
        "webhooks/",
        f"webhooks/{hook.pk}/",
        "../../account/tokens/",
    ):
        same = {text.removesuffix(" · Tides · Tiebreak") for text in said_in_both(page, path, "main h1")}
        assert {text for text in same if not NAME.search(text)} - SAME_IN_BOTH - SAME_ABOUT_DATA == set(), path


def said_in_both(page, path, mark):
    """Return what a page of the project says in German as in English, once the mark is there."""
    said = []
    for language in ("en", "de"):
        cookie = {"name": settings.LANGUAGE_COOKIE_NAME, "value": language, "domain": "localhost", "path": "/"}
        page.context.add_cookies([cookie])
        page.goto(f"/projects/tides/{path}")
        expect(page.locator(mark)).to_be_visible()
        said.append(set(page.evaluate(WORDS_OF_A_PAGE)))
    looks_german(page, path)
    return said[0] & said[1]


def said_in_each_state(page, look=lambda page, state: None):
    """Lead the page through its states, and return the words of each; nothing is submitted."""
    said = {}

    def keep(state):
        look(page, state)
        said[state] = set(page.evaluate(WORDS_OF_A_PAGE))

    page.goto("/projects/tides/queue/")
    keep("empty")
    for key, dialog in (("g", "guideline"), ("?", "keys"), ("f", "skip")):
        page.keyboard.press(key)
        expect(page.locator(f"#{dialog}-dialog")).to_be_visible()
        keep(dialog)
        page.keyboard.press("Escape")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".problems")).to_be_visible()
    keep("errors")
    return said


def looks_german(page, state):
    """Check the language that screen readers are told, the accessibility, and that nothing is wider than a screen."""
    assert axe_violations(page) == [], state
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state
    assert page.locator("html").get_attribute("lang") == "de", state
