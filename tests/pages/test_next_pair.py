"""The pair after this one: leased unseen, shown without a word of HTML, given back when the page is left."""

import json
import re

import pytest

from apps.labeling.models import Assignment, QueueItem
from apps.labeling.services import submit_annotation
from apps.projects.models import GuidelineVersion
from tests.factories import ComparisonFactory, answer
from tests.pages.conftest import posted

QUEUE = "/projects/tides/queue/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def held(project, pair, lease):
    """Return the pair that the annotator holds, with another one waiting."""
    ComparisonFactory(project=project, prompt__messages=[{"role": "user", "content": "The following question"}])
    return lease()


@pytest.fixture
def client(as_user, annotator):
    return as_user(annotator)


def fetch(client, held) -> str:
    """Return the id of the pair that the page fetches ahead."""
    html = client.post(f"/assignments/{held.pk}/next/", headers=HTMX).content.decode()
    assert "The following question" in html
    assert "<html" not in html
    return re.search(r'data-assignment="(\d+)"', html)[1]


def submit(client, held, ahead: str) -> dict[str, object]:
    response = client.post(f"/assignments/{held.pk}/submit/", posted() | {"ahead": ahead}, headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")
    return json.loads(response["HX-Trigger"])["pair:done"]


def test_it_is_the_same_however_often_it_is_asked_for_and_becomes_the_one_that_is_held(client, held):
    ahead = fetch(client, held)
    assert fetch(client, held) == ahead
    assert Assignment.objects.get(pk=ahead).ahead is True
    assert submit(client, held, ahead)["next"] == ahead
    assert Assignment.objects.get(pk=ahead).ahead is False
    assert f'data-assignment="{ahead}"' in client.get(QUEUE).content.decode()


def test_it_cannot_be_opened_by_its_address_before_its_turn(client, held):
    ahead = fetch(client, held)
    assert client.get(f"/assignments/{ahead}/").headers["Location"] == "/projects/tides/my-work/"


def test_when_nothing_follows_there_is_nothing_to_show(client, pair, lease):
    response = client.post(f"/assignments/{lease().pk}/next/", headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")


def test_leaving_gives_it_back_as_if_it_had_never_been_handed_out(client, held):
    ahead = fetch(client, held)
    assert client.post("/projects/tides/queue/release/").status_code == 204
    assert not Assignment.objects.filter(pk=ahead).exists()
    assert sorted(QueueItem.objects.values_list("taken", flat=True)) == [0, 1]
    assert submit(client, held, ahead)["next"] == ""


@pytest.mark.parametrize("ahead", ["", "x", "-1", "²", "9" * 30])
def test_nonsense_in_place_of_its_number_sends_to_the_queue(client, held, ahead):
    assert submit(client, held, ahead)["next"] == ""


def test_somebody_elses_pair_is_not_brought_forward(client, held, as_user, reviewer):
    other = as_user(reviewer)
    theirs = re.search(r'data-assignment="(\d+)"', other.get(QUEUE).content.decode())[1]
    assert submit(client, held, theirs)["next"] == ""


# --- When the guideline has changed ---


@pytest.fixture
def change(project):
    """Return a function that publishes a new version of the guideline."""
    text = "Read both responses twice.\n\n<script>alert(1)</script>"
    return lambda: GuidelineVersion.objects.create(project=project, number=2, text=text)


def test_what_changed_in_the_guideline_comes_before_the_next_pair(client, held, change):
    ahead = fetch(client, held)
    change()
    assert submit(client, held, ahead)["next"] == ""
    html = client.get(QUEUE, headers=HTMX).content.decode()
    assert "From version 1 to version 2." in html
    assert re.search(r"Read both responses<ins><span [^>]*>added: </span> twice</ins>\.", html)
    assert "&lt;script&gt;" in html
    assert "data-answer" not in html
    assert client.post("/projects/tides/queue/guideline/", {"number": 2}).headers["Location"] == QUEUE
    html = client.get(QUEUE).content.decode()
    assert "The following question" in html
    assert "Guideline v2" in html


def test_nothing_is_fetched_ahead_past_a_changed_guideline(client, held, change):
    change()
    response = client.post(f"/assignments/{held.pk}/next/", headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")
    assert not Assignment.objects.filter(ahead=True).exists()


@pytest.mark.parametrize("number", ["", "x", "7", "-1", "9" * 30])
def test_a_version_that_does_not_exist_cannot_be_accepted(client, held, change, number):
    change()
    assert client.post("/projects/tides/queue/guideline/", {"number": number}).status_code == 404
    assert "The guideline has changed" not in client.get(QUEUE).content.decode()  # what is held is finished first
    submit(client, held, "")
    assert "The guideline has changed" in client.get(QUEUE).content.decode()


# --- Changing the last answer ---


def test_undo_opens_the_last_answer_as_it_was_given_and_stores_a_revision(client, project, pair, lease):
    assignment = lease(swapped=True)
    body = answer(problems={"1": ["repetition"], "2": ["unsafe"]}, confidence=3)
    submit_annotation(assignment=assignment, body=body)
    response = client.post("/projects/tides/queue/undo/", follow=True)
    assert response.redirect_chain == [(f"/assignments/{assignment.pk}/", 302)]
    html = response.content.decode()
    assert "You are changing an answer submitted at" in html
    for chosen in ("rating-1-helpfulness-3", "rating-2-helpfulness-2", "preference-2", "confidence-3"):
        assert re.search(rf'id="{chosen}"[^>]* checked', html)
    assert re.findall(r'id="(problem[^"]+)"[^>]* checked', html) == ["problem-1-repetition", "problem-2-unsafe"]
    assert f"{body['justification']}</textarea>" in html
    assert "data-next-url" not in html
    assert 'id="skip-dialog"' not in html
    changed = client.post(f"/assignments/{assignment.pk}/submit/", posted(preference=3), headers=HTMX)
    assert json.loads(changed["HX-Trigger"])["pair:done"]["counts"] is False
    annotations = list(assignment.annotations.order_by("revision").values_list("revision", "preference", "is_current"))
    assert annotations == [(1, 2, False), (2, -3, True)]


def test_the_pair_that_is_held_comes_back_after_a_change(client, held):
    following = submit(client, held, fetch(client, held))["next"]
    client.put(f"/assignments/{following}/draft/", {"justification": "Half"}, content_type="application/json")
    client.post("/projects/tides/queue/undo/")
    client.post(f"/assignments/{held.pk}/submit/", posted(preference=3))
    html = client.get(QUEUE).content.decode()
    assert f'data-assignment="{following}"' in html
    assert "Half</textarea>" in html


def test_with_nothing_to_undo_it_says_so(client, held):
    html = client.post("/projects/tides/queue/undo/", follow=True).content.decode()
    assert "There is no answer that you could still change." in html
    assert "data-answer" in html


def test_an_answer_can_be_changed_from_my_work_until_the_time_is_over(client, project, held):
    submit(client, held, "")
    path = f"/assignments/{held.pk}/reopen/"
    assert path in client.get("/projects/tides/my-work/").content.decode()
    assert client.post(path).headers["Location"] == f"/assignments/{held.pk}/"
    held.annotations.update(submitted_at="2000-01-01T00:00Z")
    assert "Change</button>" not in client.get("/projects/tides/my-work/").content.decode()
    refused = client.post(path, follow=True)
    assert "An answer can be changed for 30 minutes" in refused.content.decode()


def test_nobody_opens_somebody_elses_answer(as_user, reviewer, client, held):
    submit(client, held, "")
    assert as_user(reviewer).post(f"/assignments/{held.pk}/reopen/").status_code == 404
