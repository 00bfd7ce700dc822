"""Reward models: versions with their evidence, runs with their chart, the policy and the queue."""

import pytest

from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.labeling.models import QueueItem
from apps.projects.models import AuditEvent, Project
from apps.reward_models.chart import chart_of
from apps.reward_models.models import RetrainPolicy, RewardModel, TrainingRun
from apps.signals.models import Scorer, Signal
from tests.factories import ComparisonFactory

PATH = "/projects/tides/reward-models/"
MEASURED = {
    "n": 40,
    "accuracy": 0.775,
    "accuracy_interval": [0.64, 0.9],
    "length_baseline": 0.6,
    "accuracy_shorter_won": 0.5625,
    "n_shorter_won": 16,
}
HISTORY = [
    {"event": "features", "done": 80, "total": 80, "computed": 80, "hits": 0},
    {"event": "step", "step": 1, "total": 10, "loss": 2.0},
    {"event": "evaluation", "step": 1, "accuracy": 0.5},
    {"event": "step", "step": 10, "total": 10, "loss": 1.0},
    {"event": "evaluation", "step": 10, "accuracy": 0.75},
]


@pytest.fixture
def make_model(project):
    """Return a function that makes a version."""

    def make(version: int, **fields):
        return RewardModel.objects.create(
            project=project,
            version=version,
            recipe={},
            recipe_hash="x",
            snapshot=create_snapshot(project=project, body={"name": f"Snapshot {version}"}, created_by=None),
            scorer=Scorer.objects.create(project=project, name=f"Reward model {version}", kind="reward_model"),
            folder="x",
            **fields,
        )

    return make


@pytest.fixture
def run(project):
    """Return a training run in its middle."""
    snapshot = create_snapshot(project=project, body={"name": "First"}, created_by=None)
    job = enqueue(kind="training", project=project, inputs={})
    recipe = {"pooling": "mean"}
    return TrainingRun.objects.create(project=project, recipe=recipe, snapshot=snapshot, job=job, history=HISTORY)


@pytest.mark.parametrize(("rule", "words"), [("drop", "7 left out of training"), ("truncate", "7 cut in training")])
def test_a_run_says_how_many_pairs_were_too_long(as_user, researcher, run, rule, words):
    path = f"/projects/tides/training-runs/{run.pk}/"
    assert "too many tokens" not in as_user(researcher).get(path).content.decode()
    run.history = [
        {"event": "pairs", "train": 90, "validation": 20, "left_out": {"train": {}, "validation": {}}},
        {"event": "overlong", "max_tokens": 512, "rule": rule, "train": 7, "validation": 2},
    ]
    run.save()
    assert words in as_user(researcher).get(path).content.decode()


def test_a_version_stands_with_its_evidence(as_user, researcher, make_model):
    first = make_model(1, state="retired", decision="It is the first version.")
    make_model(2, state="current", metrics={"validation": MEASURED}, decision="Better than before.", parent=first)
    html = as_user(researcher).get(PATH).content.decode()
    for figure in (
        "77.5 %",
        "64 % – 90 %",
        "60.0 %",
        "56.2 %",
        "n 16",
        "40",
        "Better than before.",
        "starts from version 1",
    ):
        assert figure in html
    overview = as_user(researcher).get("/projects/tides/").content.decode()
    assert "77.5 %" in overview
    assert "On 40 held-out pairs." in overview


def test_a_version_made_from_scratch_starts_from_no_other(as_user, researcher, make_model):
    make_model(2, current_when_made=make_model(1, state="current"))
    assert "starts from version" not in as_user(researcher).get(PATH).content.decode()


def test_a_version_that_was_not_measured_has_dashes(as_user, manager, make_model):
    make_model(1, state="current", metrics={"train": MEASURED, "validation": None})
    client = as_user(manager)
    assert "77.5" not in client.get(PATH).content.decode()
    assert "Not measured: no held-out pairs." in client.get("/projects/tides/").content.decode()


def test_a_manager_promotes_a_version_and_a_researcher_has_no_button(as_user, manager, researcher, make_model):
    make_model(1, state="current")
    second = make_model(2)
    assert "Promote<" not in as_user(researcher).get(PATH).content.decode()
    client = as_user(manager)
    assert "Promote<" in client.get(PATH).content.decode()
    html = client.post(f"{PATH}{second.pk}/promote/", follow=True).content.decode()
    assert "Version 2 is the current one now." in html
    second.refresh_from_db()
    assert second.state == RewardModel.State.CURRENT
    assert Job.objects.get().kind == "scoring"
    again = client.post(f"{PATH}{second.pk}/promote/", follow=True).content.decode()
    assert "This is the current version already." in again


def test_scoring_again_starts_one_job_however_often_the_button_is_pressed(as_user, manager, make_model):
    make_model(1, state="current")
    client = as_user(manager)
    for _ in range(2):
        client.post("/projects/tides/scoring/start/")
    assert Job.objects.get().kind == "scoring"


def test_a_run_shows_loss_and_accuracy_and_is_polled_while_it_trains(as_user, manager, run):
    client = as_user(manager)
    path = f"/projects/tides/training-runs/{run.pk}/"
    page = client.get(path).content.decode()
    assert 'hx-trigger="every 1s"' in page
    assert "Last loss 1.0000." in page
    assert "Last held-out accuracy 75.0 %." in page
    assert 'class="loss" points="' in page
    assert "<html" not in client.get(path, headers={"HX-Request": "true"}).content.decode()
    Job.objects.update(state="succeeded")
    assert client.get(path, headers={"HX-Request": "true"}).status_code == 286
    assert "hx-trigger" not in client.get(path).content.decode()


def test_the_chart_puts_points_where_they_belong():
    chart = chart_of(HISTORY)
    # Loss runs from 0 at the bottom (y 176) to 2.1 at the top (y 14): 2.0 is at 176 - 162 * 2 / 2.1 = 21.7.
    assert chart.loss == "95.6,21.7 596.0,98.9"
    # Accuracy runs from 50 % at the bottom to 100 % at the top, 75 % in the middle.
    assert chart.accuracy_dots == ((95.6, 176.0), (596.0, 95.0))
    assert [tick.text for tick in chart.accuracy_ticks] == ["50 %", "75 %", "100 %"]
    assert [tick.text for tick in chart.step_ticks] == ["0", "5", "10"]


def test_a_chart_of_nothing_is_none_and_a_long_one_keeps_its_ends():
    assert chart_of([]) is None
    assert chart_of(HISTORY[:1]) is None
    long = [{"event": "step", "step": step, "total": 5000, "loss": 1.0 + step / 5000} for step in range(1, 5001)]
    points = chart_of(long).loss.split()
    assert len(points) < 450
    assert points[-1].startswith("596.0,")


def test_accuracy_below_chance_stays_in_the_chart():
    chart = chart_of([{"event": "evaluation", "step": 1, "accuracy": 0.25}])
    assert all(14 <= y <= 176 for _, y in chart.accuracy_dots)


# --- Settings ---


def test_the_policy_is_stored_and_shown(as_user, manager, project):
    client = as_user(manager)
    rule = {"min_gain": 0.01, "min_probability": 0.9, "max_domain_loss": "", "keep_controls": "on"}
    fields = {"every_labels": 50, "every_hours": "", "promotion": "always", "recipe": '{"epochs": 5}'}
    client.post("/projects/tides/settings/retraining/", fields | rule)
    policy = RetrainPolicy.objects.get()
    assert (policy.every_labels, policy.every_hours, policy.promotion) == (50, None, "always")
    assert policy.recipe == {"epochs": 5}
    assert (policy.min_probability, policy.max_domain_loss, policy.keep_controls) == (0.9, None, True)
    assert "every 50 new labels" in client.get("/projects/tides/").content.decode()
    assert AuditEvent.objects.get().actor == manager


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": '{"pooling": "sum"}'}, "pooling"),
        ({"recipe": '{"nonsense": 1}'}, "nonsense: not a field of a recipe."),
        ({"recipe": "{"}, "Enter a valid JSON."),
        ({"recipe": "[1]"}, "A recipe is a JSON object."),
        ({"recipe": '{"initialisation": "77"}'}, "reward model of this project"),
        ({"every_labels": 0}, "greater than or equal to 1"),
        ({"min_gain": 2}, "less than or equal to 1"),
        ({"min_probability": 2}, "less than or equal to 1"),
        ({"max_domain_loss": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_field_named(as_user, manager, project, change, message):
    fields = {"every_labels": 50, "promotion": "better", "min_gain": 0, "min_probability": 0.5, "recipe": "{}"} | change
    response = as_user(manager).post("/projects/tides/settings/retraining/", fields)
    assert response.status_code == 422
    assert message in response.content.decode()
    assert not RetrainPolicy.objects.exists()


def test_changing_the_order_of_the_queue_puts_the_waiting_pairs_into_it(as_user, manager, project):
    pair = ComparisonFactory(project=project)
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model", orders_queue=True)
    Signal.objects.create(scorer=scorer, response=pair.response_1, value=1.0, input_hash="x")
    Signal.objects.create(scorer=scorer, response=pair.response_2, value=3.5, input_hash="x")
    client = as_user(manager)
    for order, priority in (("uncertain", -3.0), ("imported", 0.0)):
        client.post("/projects/tides/settings/queue/", {"queue_order": order, "random_share": 0.5})
        assert QueueItem.objects.get().priority == priority
    assert Project.objects.get().random_share == 0.5


@pytest.mark.parametrize(
    "fields", [{"queue_order": "best", "random_share": 0.2}, {"queue_order": "imported", "random_share": 3}]
)
def test_wrong_queue_settings_are_refused(as_user, manager, project, fields):
    assert as_user(manager).post("/projects/tides/settings/queue/", fields).status_code == 422
    assert Project.objects.get().queue_order == "uncertain"


def test_the_page_takes_few_queries_however_many_versions(
    as_user, manager, make_model, run, django_assert_max_num_queries
):
    for version in range(1, 12):
        make_model(version)
    client = as_user(manager)
    with django_assert_max_num_queries(8):
        client.get(PATH)
