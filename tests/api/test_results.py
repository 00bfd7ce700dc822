"""What people and machines said: comparisons, annotations, scorers and signals."""

import pytest

from apps.jobs.models import Job
from apps.labeling.leasing import lease_next
from apps.labeling.services import submit_annotation
from apps.prompts.models import Comparison
from apps.signals.models import Scorer, Signal
from tests.api.conftest import OTHER_PERSONS_WORDS, SIGNAL_VALUE, Api, pointers, problem
from tests.factories import ComparisonFactory, ProjectFactory, answer, ratings

pytestmark = pytest.mark.django_db
COMPARISONS = "projects/tides/comparisons/"


def row_of(api, external_id="tide-1"):
    (row,) = api.get(COMPARISONS, query_params={"external_id": external_id}).json()["results"]
    return row


def test_a_comparison_has_its_state_and_consensus(world, manager):
    first, second = world.comparison.response_1_id, world.comparison.response_2_id
    assert row_of(Api(manager)) == {
        "id": str(world.comparison.pk),
        "external_id": "tide-1",
        "state": "open",
        "annotation_count": 1,
        "consensus": {"preference": None, "status": "pending", "excluded_reason": None},
        "responses": [str(first), str(second)],
        "signals": {"scorer": str(world.scorer.pk), "response_1": SIGNAL_VALUE, "response_2": None},
    }
    assert row_of(Api(manager), "settled-0")["consensus"]["preference"] == 2


def test_what_nobody_has_labeled_is_pending_with_no_annotations(manager, project):
    ComparisonFactory(project=project, external_id="new")
    row = row_of(Api(manager), "new")
    assert (row["annotation_count"], row["consensus"]["status"], row["signals"]) == (0, "pending", None)


def test_neither_valid_is_a_word_not_a_number(manager, project, django_user_model):
    ComparisonFactory(project=project, external_id="bad")
    for number in range(3):
        person = django_user_model.objects.create(username=f"p{number}")
        assignment = lease_next(project=project, annotator=person, resume=False)
        submit_annotation(assignment=assignment, body=answer(preference="neither"))
    row = row_of(Api(manager), "bad")
    assert (row["consensus"]["preference"], row["consensus"]["status"]) == ("neither", "neither")
    assert (row["state"], row["annotation_count"]) == ("complete", 3)


def test_reviewers_see_comparisons_without_signals(world, reviewer):
    assert "signals" not in row_of(Api(reviewer))
    assert "signals" not in Api(reviewer).get(f"{COMPARISONS}{world.comparison.pk}/").json()


def test_comparisons_are_filtered_by_known_fields_only(world, manager):
    api = Api(manager)
    states = {state: len(api.get(f"{COMPARISONS}?state={state}").json()["results"]) for state in ("open", "complete")}
    assert states == {"open": 1, "complete": 8}
    assert pointers(api.get(f"{COMPARISONS}?gold=1&pages=x")) == ["/gold", "/pages"]
    assert pointers(api.get(f"{COMPARISONS}?state=x")) == ["/state"]
    assert pointers(api.get(f"{COMPARISONS}?external_id=%00")) == ["/external_id"]
    assert pointers(api.get(f"{COMPARISONS}?format=xml")) == ["/format"]
    assert api.get(f"{COMPARISONS}?external_id=%FF").json()["results"] == []


def test_one_comparison_has_its_texts(world, researcher):
    body = Api(researcher).get(f"{COMPARISONS}{world.comparison.pk}/").json()
    assert body["messages"] == world.comparison.prompt.messages
    first = world.comparison.response_1
    assert body["responses"][0] == {"id": str(first.pk), "text": first.text, "model": "secret-model"}
    assert (body["gold"], body["metadata"], body["reference"]) == (-3, {"domain": "secret-domain"}, "secret-reference")
    assert body["signals"]["response_1"] == SIGNAL_VALUE


def test_a_comparison_of_another_project_is_404(world, manager):
    other = ComparisonFactory(project=ProjectFactory())
    problem(Api(manager).get(f"{COMPARISONS}{other.pk}/"), 404)


def test_annotations_are_canonical(world, researcher):
    annotation = world.annotation
    (body,) = Api(researcher).get("projects/tides/annotations/").json()["results"]
    canonical = 2 if annotation.swapped else -2
    sides = [ratings(2), ratings(3)] if annotation.swapped else [ratings(3), ratings(2)]
    assert body == {
        "id": str(annotation.pk),
        "comparison": str(world.comparison.pk),
        "external_id": "tide-1",
        "annotator": "otto",
        "preference": canonical,
        "ratings": sides,
        "justification": annotation.justification,
        "shown_order": [2, 1] if annotation.swapped else [1, 2],
        "guideline_version": 1,
        "problems": [[], []],
        "confidence": None,
        "active_seconds": 61,
        "paste_share": None,
        "propensity": None,
        "revision": 1,
        "is_current": True,
        "is_repeat": False,
        "imported": False,
        "submitted_at": body["submitted_at"],
    }
    assert OTHER_PERSONS_WORDS.split("Response 1")[1] in body["justification"]


def test_annotations_cost_the_same_for_many(world, manager, django_user_model, django_assert_num_queries):
    for number in range(2):
        person = django_user_model.objects.create(username=f"p{number}")
        ComparisonFactory(project=world.project)
        submit_annotation(assignment=lease_next(project=world.project, annotator=person, resume=False), body=answer())
    api = Api(manager)
    api.get("projects/tides/annotations/")
    with django_assert_num_queries(3):  # token, membership, page
        assert len(api.get("projects/tides/annotations/").json()["results"]) == 3


def test_scorers_are_listed(world, researcher):
    (body,) = Api(researcher).get("projects/tides/scorers/").json()["results"]
    assert (body["id"], body["name"], body["kind"], body["orders_queue"]) == (
        str(world.scorer.pk),
        "Reward model 1",
        "reward_model",
        True,
    )
    assert "config" not in body


@pytest.mark.parametrize(
    ("body", "pointer"), [({"kind": "reward_model"}, "/kind"), ({"kind": "x"}, "/kind"), ({}, "/kind")]
)
def test_a_scorer_is_not_configured_by_hand(world, manager, body, pointer):
    reply = Api(manager).post("projects/tides/scorers/", body)
    assert pointers(reply) == [pointer]
    assert Scorer.objects.count() == 1


def test_running_a_scorer_twice_is_one_job(world, researcher):
    api = Api(researcher)
    first, second = (api.post(f"scorers/{world.scorer.pk}/run/") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] is None
    assert first.json()["job"]["kind"] == "scoring"
    assert first.json()["job"]["id"] == second.json()["job"]["id"]
    assert Job.objects.filter(kind="scoring").count() == 1


def test_signals_are_raw_values_with_their_scorer(world, researcher):
    (body,) = Api(researcher).get("projects/tides/signals/").json()["results"]
    assert body["value"] == SIGNAL_VALUE
    assert (body["scorer"], body["scorer_name"]) == (str(world.scorer.pk), "Reward model 1")
    assert (body["response"], body["input_hash"]) == (str(world.comparison.response_1_id), "a" * 64)


def test_signals_are_shaped_against_the_other_responses_to_their_prompt(world, researcher, django_assert_num_queries):
    api, path = Api(researcher), "projects/tides/signals/"
    assert api.get(path).json()["results"][0]["shaped"] == {"preference_as_reward": None}  # it is alone
    response = world.comparison.response_2
    Signal.objects.create(scorer=world.scorer, response=response, value=SIGNAL_VALUE - 1, input_hash="b" * 64)
    other = Scorer.objects.create(project=world.project, name="Another", kind="reward_model")
    Signal.objects.create(scorer=other, response=response, value=900, input_hash="c" * 64)  # another's scale
    with django_assert_num_queries(4):  # token, membership, page, the values beside it
        rows = api.get(path).json()["results"]
    shaped = [row["shaped"]["preference_as_reward"] for row in rows]
    assert shaped[:2] == pytest.approx([0.7310586, 0.2689414], abs=1e-6)  # a margin of one
    assert shaped[2] is None
    with django_assert_num_queries(3):
        assert api.get(f"{path}?fields=value").status_code == 200


def test_signals_are_filtered_by_scorer_and_response(world, manager):
    second = Scorer.objects.create(project=world.project, name="Reward model 2", kind="reward_model")
    Signal.objects.create(scorer=second, response=world.comparison.response_2, value=1.0, input_hash="c" * 64)
    api = Api(manager)
    values = [row["value"] for row in api.get(f"projects/tides/signals/?scorer={second.pk}").json()["results"]]
    assert values == [1.0]
    response = Comparison.objects.get(pk=world.comparison.pk).response_1_id
    values = [row["value"] for row in api.get(f"projects/tides/signals/?response={response}").json()["results"]]
    assert values == [SIGNAL_VALUE]
    assert pointers(api.get(f"projects/tides/signals/?scorer={'9' * 30}")) == ["/scorer"]


@pytest.mark.parametrize("path", ["annotations/", "comparisons/", "scorers/", "signals/"])
def test_annotators_see_none_of_it(world, annotator, path):
    problem(Api(annotator).get(f"projects/tides/{path}"), 403)


@pytest.mark.parametrize("path", ["scorers/", "signals/"])
def test_reviewers_see_no_machines(world, reviewer, path):
    problem(Api(reviewer).get(f"projects/tides/{path}"), 403)
