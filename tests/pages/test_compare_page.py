"""The page an annotator lives in: lease, compare, submit, the next pair at once."""

import json
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.exports.services import create_snapshot
from apps.labeling.leasing import expire_leases
from apps.labeling.models import Annotation, Assignment, Draft
from apps.labeling.services import save_draft, submit_annotation
from apps.projects.models import Membership, Project
from apps.reward_models.models import RewardModel
from apps.signals.models import Scorer, Signal
from tests.factories import JUSTIFICATION, ComparisonFactory, MembershipFactory, answer
from tests.pages.conftest import posted

QUEUE = "/projects/tides/queue/"
HTMX = {"HX-Request": "true"}


def texts(html: str) -> list[str]:
    """Return the two response texts in the order of the page."""
    return re.findall(r'<pre class="text-raw"[^>]*>\n(Canonical \w+ text)</pre>', html)


def done(response) -> dict[str, object]:
    """Return what the page's script is told after a pair."""
    assert (response.status_code, response.content) == (204, b"")
    return json.loads(response["HX-Trigger"])["pair:done"]


def test_it_shows_prompt_responses_and_controls(as_user, annotator, pair, lease):
    lease()
    html = as_user(annotator).get(QUEUE).content.decode()
    assert "Why <strong>two</strong> tides a day?" in html
    assert "2 earlier turns" in html
    assert texts(html) == ["Canonical first text", "Canonical second text"]
    assert html.count('type="radio"') == 2 * 5 * 5 + 7 + 3 + 7  # ratings, preferences, confidence, reasons to skip
    assert html.count('type="checkbox"') == 2 * (4 + 3 + 1)  # problems of correctness and coherence, unsafe
    assert "Does what was asked, fully" in html
    assert "Response 2 is slightly better than Response 1" in html
    assert "10 to 300 words" in html
    assert "Read both responses." in html
    assert "Guideline v1" in html


def test_nothing_is_preselected(as_user, annotator, pair):
    assert "checked" not in as_user(annotator).get(QUEUE).content.decode()


def test_the_lease_is_the_same_after_a_reload_and_is_never_cached(as_user, annotator, pair):
    client = as_user(annotator)
    first, second = client.get(QUEUE), client.get(QUEUE)
    assert Assignment.objects.get().annotator == annotator
    assert texts(first.content.decode()) == texts(second.content.decode())
    assert "no-store" in first["Cache-Control"]


@pytest.mark.parametrize(
    ("swapped", "shown"),
    [
        (False, ["Canonical first text", "Canonical second text"]),
        (True, ["Canonical second text", "Canonical first text"]),
    ],
)
def test_sides_stand_as_the_lease_says(as_user, annotator, pair, lease, swapped, shown):
    lease(swapped=swapped)
    assert texts(as_user(annotator).get(QUEUE).content.decode()) == shown


def test_swapped_sides_are_unswapped_when_stored(as_user, annotator, pair, lease):
    assignment = lease(swapped=True)
    as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", posted(preference=-2))
    stored = Annotation.objects.get()
    assert stored.preference == 2
    assert set(stored.ratings_1.values()) == {2}
    assert set(stored.ratings_2.values()) == {3}
    assert stored.justification == JUSTIFICATION.replace("1", "x").replace("2", "1").replace("x", "2")
    assert stored.active_seconds == 61


def test_a_plain_form_is_answered_with_a_redirect_to_the_next_pair(as_user, annotator, pair, lease):
    assignment = lease()
    response = as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", posted(), follow=True)
    assert response.redirect_chain == [(QUEUE, 302)]
    assert "Saved. Next comparison." in response.content.decode()


def test_a_script_without_the_next_pair_at_hand_is_sent_to_the_queue(as_user, annotator, project, pair, lease):
    assignment = lease()
    ComparisonFactory(project=project, prompt__messages=[{"role": "user", "content": "The following question"}])
    client = as_user(annotator)
    response = client.post(f"/assignments/{assignment.pk}/submit/", posted(), headers=HTMX)
    assert done(response) == {"next": "", "says": "Saved. Next comparison.", "counts": True, "queue": QUEUE}
    response = client.get(QUEUE, headers=HTMX)
    html = response.content.decode()
    assert "<html" not in html
    assert 'id="task"' in html
    assert "The following question" in html
    assert re.search(r'<h1 id="prompt-heading"\s+tabindex="-1"\s+autofocus>', html)
    assert "HX-Request" in response["Vary"]


def test_when_nothing_is_left_it_says_so_with_my_counts(as_user, annotator, pair, lease):
    client = as_user(annotator)
    client.post(f"/assignments/{lease().pk}/submit/", posted(), headers=HTMX)
    html = client.get(QUEUE, headers=HTMX).content.decode()
    assert "Nothing waits for you" in html
    assert "<dt>Submitted</dt><dd>1</dd>" in html
    assert "<html" not in html
    assert "<html" in client.get(QUEUE).content.decode()


def test_a_limit_per_person_is_named_when_it_is_reached(as_user, annotator, project, pair, lease):
    Project.objects.update(protocol_settings={"annotations_per_person": 1})
    ComparisonFactory(project=project)
    client = as_user(annotator)
    client.post(f"/assignments/{lease().pk}/submit/", posted())
    assert "You have done all 1 comparisons" in client.get(QUEUE).content.decode()


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_an_incomplete_answer_comes_back_with_everything_kept(as_user, annotator, pair, lease, headers):
    assignment = lease()
    body = posted(justification="Too short.") | {
        "problem-1-repetition": "on",
        "problem-2-unsafe": "on",
        "confidence": 2,
    }
    del body["rating-2-coherence"]
    del body["preference"]
    response = as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", body, headers=headers)
    html = response.content.decode()
    assert response.status_code == 422
    assert ("<html" in html) is (not headers)
    assert html.count(" checked") == 9 + 2 + 1
    assert "Too short.</textarea>" in html
    lines = re.findall(r'data-focuses="([^"]+)">([^<]+)', html)
    assert lines == [
        ("rating-2-coherence-0", "Coherence"),
        ("preference-1", "Which one is better?"),
        ("justification", "Why?"),
    ]
    for detail in (
        "Rate the coherence of response 2.",
        "Choose one of the six preferences, or neither valid.",
        "Write 10 to 300 words; this has 2.",
    ):
        assert f">{detail}</p>" in html
    assert re.search(r'id="rating-2-coherence-0"[^>]* autofocus', html)
    assert html.count("autofocus") == 1
    assert response["HX-Reswap"] == "outerHTML"
    assert not Annotation.objects.exists()


def test_values_outside_the_scale_are_refused_by_name(as_user, annotator, pair, lease):
    assignment = lease()
    body = posted() | {"preference": "0", "rating-1-helpfulness": "five"}
    response = as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", body)
    assert response.status_code == 422
    assert "Expected a whole number from 0 to 4." in response.content.decode()


def test_neither_valid_is_an_answer(as_user, annotator, pair, lease):
    assignment = lease()
    as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", posted(preference="neither"))
    assert Annotation.objects.get().neither is True


def test_sending_twice_stores_one_annotation(as_user, annotator, pair, lease):
    assignment = lease()
    client = as_user(annotator)
    for _ in range(2):
        assert client.post(f"/assignments/{assignment.pk}/submit/", posted()).status_code == 302
    assert Annotation.objects.count() == 1


def test_another_answer_afterwards_is_a_conflict_that_keeps_the_text(as_user, annotator, pair, lease):
    assignment = lease()
    client = as_user(annotator)
    client.post(f"/assignments/{assignment.pk}/submit/", posted())
    changed = posted(justification="I have changed my mind about this pair and want to say so at length.")
    response = client.post(f"/assignments/{assignment.pk}/submit/", changed, headers=HTMX)
    assert response.status_code == 409
    assert "You have submitted another answer" in response.content.decode()
    assert "I have changed my mind" in response.content.decode()


def test_a_lost_lease_says_so_and_keeps_the_text(as_user, annotator, project, pair, lease):
    assignment = lease()
    Assignment.objects.update(lease_expires_at="2000-01-01T00:00Z")
    expire_leases()
    for _ in range(3):
        other = MembershipFactory(project=project).user
        taken = Assignment.objects.create(
            project=project,
            comparison=pair,
            annotator=other,
            swapped=False,
            drawn="priority",
            guideline_version=project.current_guideline(),
            lease_expires_at="2100-01-01T00:00Z",
        )
        pair.queue_item.taken += 1
        pair.queue_item.save()
        submit_annotation(assignment=taken, body=answer())
    response = as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", posted(), headers=HTMX)
    html = response.content.decode()
    assert response.status_code == 409
    assert "Your time for this comparison ran out" in html
    assert f"{JUSTIFICATION}</textarea>" in html
    assert Draft.objects.get().body["justification"] == JUSTIFICATION


# --- Skipping ---


def test_skipping_gives_the_pair_back_and_shows_the_next(as_user, annotator, pair, lease):
    assignment = lease()
    response = as_user(annotator).post(
        f"/assignments/{assignment.pk}/skip/", {"reason": "language", "note": "Frisian"}, headers=HTMX
    )
    assert done(response) == {"next": "", "says": "Skipped. Next comparison.", "counts": False, "queue": QUEUE}
    assignment.refresh_from_db()
    assert (assignment.state, assignment.skip_reason, assignment.skip_note) == ("skipped", "language", "Frisian")


def test_skipping_needs_a_reason_and_opens_its_dialog_again(as_user, annotator, pair, lease):
    response = as_user(annotator).post(f"/assignments/{lease().pk}/skip/", {})
    html = response.content.decode()
    assert response.status_code == 422
    assert "Choose a reason for skipping." in html
    assert re.search(r'<dialog id="skip-dialog"[^>]* open>', html)


# --- Without JavaScript ---


@pytest.mark.parametrize("sheet", ["skip", "guideline", "keys"])
def test_a_link_opens_each_dialog(as_user, annotator, pair, sheet):
    html = as_user(annotator).get(f"{QUEUE}?open={sheet}").content.decode()
    assert re.findall(r'<dialog id="(\w+)-dialog"[^>]* open>', html) == [sheet]


def test_a_link_shows_the_raw_text(as_user, annotator, pair):
    html = as_user(annotator).get(f"{QUEUE}?raw").content.decode()
    assert re.search(r'<div class="prose text-rendered"[^>]* hidden>', html)
    assert re.search(r'<pre class="text-raw"[^>]*(?<! hidden)>\nCanonical', html)


# --- What must not be there ---


def test_nothing_of_the_machine_or_of_others_is_in_the_page(as_user, annotator, project, manager, pair, lease):
    scorer = Scorer.objects.create(project=project, name="secret-scorer", kind="reward_model", orders_queue=True)
    RewardModel.objects.create(
        project=project,
        version=1,
        state="current",
        recipe={},
        recipe_hash="secret-hash",
        snapshot=create_snapshot(project=project, body={"name": "secret-snapshot"}, created_by=None),
        scorer=scorer,
        folder="secret-folder",
    )
    for response, value in ((pair.response_1, 0.123456), (pair.response_2, -0.654321)):
        Signal.objects.create(scorer=scorer, response=response, value=value, input_hash="secret-input")
    other = MembershipFactory(project=project, user__username="secret-colleague").user
    theirs = Assignment.objects.create(
        project=project,
        comparison=pair,
        annotator=other,
        swapped=False,
        drawn="priority",
        guideline_version=project.current_guideline(),
        lease_expires_at="2100-01-01T00:00Z",
    )
    pair.queue_item.taken += 1
    pair.queue_item.save()
    submit_annotation(assignment=theirs, body=answer(justification="secret-justification " * 12))
    assignment = lease(swapped=True)
    client = as_user(annotator)
    replies = [
        client.get(QUEUE),
        client.get(f"/assignments/{assignment.pk}/"),
        client.post(f"/assignments/{assignment.pk}/submit/", {}),
        client.post(f"/assignments/{assignment.pk}/submit/", {}, headers=HTMX),
        client.post(f"/assignments/{assignment.pk}/skip/", {}),
        client.put(f"/assignments/{assignment.pk}/draft/", "{}", content_type="application/json"),
        client.get("/projects/tides/my-work/"),
        client.get("/projects/tides/"),
        client.get("/"),
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 422, 422, 422, 200, 200, 200, 200]
    for reply in replies:
        html = reply.content.decode()
        assert "secret" not in html
        assert "0.1234" not in html
        assert "0.6543" not in html
        assert "swapped" not in html
        assert "canonical" not in html.replace("Canonical", "")


# --- Doors ---


def test_an_annotator_cannot_reach_somebody_elses_assignment(as_user, manager, pair, lease):
    assignment = lease()
    client = as_user(manager)
    for path, method in (("", "get"), ("submit/", "post"), ("skip/", "post"), ("draft/", "put"), ("take-up/", "post")):
        assert getattr(client, method)(f"/assignments/{assignment.pk}/{path}").status_code == 404


def test_a_researcher_does_not_label(as_user, researcher, pair):
    assert as_user(researcher).get(QUEUE).status_code == 403
    assert not Assignment.objects.exists()


def test_somebody_who_left_the_project_cannot_submit(as_user, annotator, pair, lease):
    assignment = lease()
    Membership.objects.filter(user=annotator).delete()
    assert as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", posted()).status_code == 404


def test_a_script_of_somebody_signed_out_is_told_and_not_sent_to_the_sign_in_page(pair, lease):
    assignment = lease()
    htmx = Client().post(f"/assignments/{assignment.pk}/submit/", posted(), headers=HTMX)
    fetched = Client().put(f"/assignments/{assignment.pk}/draft/", "{}", headers={"Accept": "application/json"})
    assert (htmx.status_code, fetched.status_code) == (401, 401)
    assert Client().post(f"/assignments/{assignment.pk}/submit/", posted()).status_code == 302


def test_the_page_and_submit_take_few_queries_however_long_the_prompt(as_user, annotator, project, pair, lease):
    assignment = lease()
    ComparisonFactory(project=project)
    client = as_user(annotator)
    with CaptureQueriesContext(connection) as page:
        client.get(QUEUE)
    ahead = client.post(f"/assignments/{assignment.pk}/next/", headers=HTMX).content.decode()
    body = posted() | {"ahead": re.search(r'data-assignment="(\d+)"', ahead)[1]}
    with CaptureQueriesContext(connection) as submit:
        assert done(client.post(f"/assignments/{assignment.pk}/submit/", body, headers=HTMX))["next"]
    for queries in (page, submit):
        statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
        assert len(statements) <= 12, "\n".join(statements)


def test_a_draft_from_before_is_in_the_form(as_user, annotator, pair, lease):
    assignment = lease()
    save_draft(
        assignment=assignment,
        body={
            "preference": 3,
            "ratings": {"2": {"helpfulness": 4}},
            "problems": {"1": ["false_premise"]},
            "confidence": 1,
            "justification": "Half a thought",
            "pasted_characters": 4,
        },
    )
    html = as_user(annotator).get(QUEUE).content.decode()
    assert "Half a thought</textarea>" in html
    assert re.search(r'id="rating-2-helpfulness-4"[^>]* checked', html)
    assert re.search(r'id="preference-6"[^>]* checked', html)
    assert re.search(r'id="problem-1-false_premise"[^>]* checked', html)
    assert re.search(r'id="confidence-1"[^>]* checked', html)
    assert html.count(" checked") == 4
    assert re.search(r'name="pasted_characters"\s+value="4"', html)
    assert "data-saved-at=" in html
