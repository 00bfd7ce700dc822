"""The whole loop in the worker's own functions: labels → snapshot → training → version → scores → queue.

Celery is left out here (tests/e2e runs it); PostgreSQL, the training subprocess and MiniLM are real.
"""

import hashlib
import io
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from transformers import AutoConfig

from apps.core.artifacts import local_folder
from apps.imports.services import import_stream
from apps.jobs.models import Job
from apps.labeling.models import QueueItem
from apps.prompts.models import Response
from apps.reward_models.cards import card_of
from apps.reward_models.code_version import code_version
from apps.reward_models.evaluations import start_evaluation
from apps.reward_models.models import RetrainPolicy, RewardModel, TrainingRun
from apps.reward_models.promotion import promote
from apps.reward_models.services import start_training
from apps.signals.models import MarginSpread, Signal
from apps.signals.services import set_queue
from tests.factories import ProjectFactory, UserFactory
from worker.tasks.evaluating import evaluate_reward_model
from worker.tasks.scoring import score_responses
from worker.tasks.training import train_reward_model

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def demo():
    project = ProjectFactory(slug="demo")
    for path in sorted(Path("demo").glob("*.jsonl")):
        with path.open("rb") as stream:
            import_stream(project=project, stream=stream)
    return project


def run_next(kind, task):
    job = Job.objects.get(kind=kind, state="queued")
    task(job.pk)
    job.refresh_from_db()
    assert job.error == ""
    assert job.state == "succeeded"
    return job


def test_labels_become_a_version_that_scores_everything_and_orders_the_queue(demo):
    start_training(project=demo)
    trained = run_next("training", train_reward_model)
    run, model = TrainingRun.objects.get(), RewardModel.objects.get()
    assert trained.result == {"reward_model": str(model.pk), "version": 1, "promoted": True}
    assert run.snapshot.content_hash
    kinds = {event["event"] for event in run.history}
    assert {"pairs", "features", "step", "evaluation"} <= kinds
    assert model.metrics["left_out"] == run.history[0]["left_out"]
    assert 0 <= model.metrics["validation"]["accuracy"] <= 1
    assert (model.state, model.decision) == ("current", "It is the first version.")
    assert model.code_version == code_version()
    assert AutoConfig.from_pretrained(local_folder(model.folder, model.files)).model_type == "bert"

    scored = run_next("scoring", score_responses)
    assert Signal.objects.count() == Response.objects.count() == scored.result["signals"]
    assert scored.percent == 100
    waiting = QueueItem.objects.filter(state="open").latest("pk")
    pair = (waiting.comparison.response_1, waiting.comparison.response_2)
    first, second = (Signal.objects.get(response=response).value for response in pair)
    assert waiting.priority == -float(f"{abs(first - second):.0e}")  # to one significant digit

    set_queue(project=demo, actor=UserFactory(), queue_order="fisher", random_share=0.2)
    run_next("scoring", score_responses)  # says how sure the model is of each waiting pair, and orders them
    gap, std = first - second, MarginSpread.objects.get(comparison=waiting.comparison_id).std
    assert MarginSpread.objects.count() == QueueItem.objects.filter(state="open").count()
    cost = (math.exp(gap) + 2 + math.exp(-gap)) / std**2
    waiting.refresh_from_db()
    assert waiting.priority == pytest.approx(-float(f"{cost:.0e}"))

    RetrainPolicy.objects.create(project=demo, promotion="better")
    start_training(project=demo, recipe={"seed": 1})
    run_next("training", train_reward_model)
    second_run = TrainingRun.objects.latest("id")
    features = [event for event in second_run.history if event["event"] == "features"]
    assert all(event["computed"] == 0 for event in features)
    newer = RewardModel.objects.get(version=2)
    assert (newer.parent, newer.current_when_made) == (None, model)
    assert newer.comparison["n"] == model.metrics["validation"]["n"]
    decision = newer.decisions.get()
    assert (decision.kind, decision.against, decision.evidence.against) == ("rule", model, model)
    assert newer.state == ("current" if decision.promoted else "candidate")
    assert decision.promoted is all(check["passed"] for check in decision.checks)
    held_out = decision.evidence.result
    assert held_out["card"]["accuracy"] == newer.metrics["validation"]["accuracy"]
    assert held_out["comparison"]["n"] == newer.comparison["n"]
    assert held_out["prompts"]["content_hash"] == second_run.snapshot.content_hash
    assert 0 < held_out["prompts"]["count"] <= held_out["card"]["prompts"] + held_out["card"]["annotators"]["all"]["n"]
    card = (local_folder(newer.folder, newer.files) / "README.md").read_text()
    assert f"value: {round(newer.metrics['validation']['accuracy'], 6)}" in card
    assert "noise ceiling" in card
    plots = [name for name in newer.files if name.startswith("plots/")]
    assert "plots/margins.svg" in plots
    assert all(f"]({name})" in card for name in plots)
    for name in plots:
        root = ElementTree.fromstring((local_folder(newer.folder, newer.files) / name).read_bytes())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findall("{*}text")

    measure(newer, demo)
    start_from(model, newer, demo)


def start_from(model, newer, demo):
    """Train from the weights of the first version while the second is the current one."""
    if newer.state != "current":
        promote(model=newer, actor=None)
    start_training(project=demo, recipe={"initialisation": str(model.pk)})
    run_next("training", train_reward_model)
    third = RewardModel.objects.get(version=3)
    assert (third.parent, third.current_when_made, third.decisions.get().against) == (model, newer, newer)
    card = (local_folder(third.folder, third.files) / "README.md").read_text()
    for line in (
        f"- starts from the weights of version 1 (id {model.pk})",
        "- compared with version 2 on held-out prompts",
        f"- code `{code_version()}`",
        f"- recipe `{third.recipe_hash}`",
        f"- snapshot `{third.snapshot.content_hash}`",
    ):
        assert line in card.splitlines()
    training = card.partition("## Training")[2]
    assert card_of(third).partition("## Training")[2] == training
    before = (local_folder(newer.folder, newer.files) / "README.md").read_text()
    assert "- starts from scratch\n- compared with version 1 on held-out prompts" in before


def measure(newer, demo):
    """Measure the second version again, and on a benchmark's file whose rows come with a bad one."""
    row = {"pair_id": "1", "source": "livebench-math", "question": "?", "response_A": "a", "label": "A>B"}
    for rows, error in (([row], "Row 1: response_B must be text, not None."), ([row | {"response_B": "b"}], "")):
        file = io.BytesIO("".join(json.dumps(each) + "\n" for each in rows).encode())
        job = start_evaluation(model=newer, benchmark="judgebench", created_by=None, file=file, file_name="jb.jsonl")
        evaluate_reward_model(job.pk)
        job.refresh_from_db()
        assert job.error == error
    benchmark = newer.evaluations.get(benchmark="judgebench")
    assert (benchmark.result["n"], benchmark.source, benchmark.job) == (1, "jb.jsonl", job)
    assert job.result == {"evaluation": str(benchmark.pk), "reward_model": str(newer.pk)}
    assert benchmark.content_hash == hashlib.sha256(file.getvalue()).hexdigest()

    again = start_evaluation(model=newer, benchmark="held-out", created_by=None)
    evaluate_reward_model(again.pk)
    evaluate_reward_model(again.pk)  # a message that comes twice measures once
    first, second = newer.evaluations.filter(benchmark="held-out").order_by("id")
    assert second.result["card"] == first.result["card"]
    assert second.result["prompts"] == first.result["prompts"]
    current = RewardModel.objects.current_of(demo)
    assert second.against == (newer.current_when_made if current == newer else current)


def test_a_run_that_cannot_train_fails_with_the_trainings_own_sentence(demo, settings):
    settings.HUB_OWNERS = ["Qwen"]
    run = start_training(project=demo, recipe={"backbone": "nowhere/at/all"})
    train_reward_model(run.job.pk)
    job = Job.objects.get(pk=run.job.pk)
    assert job.state == "failed"
    assert "'nowhere/at/all' is none of them" in job.error
    assert not RewardModel.objects.exists()


def test_a_message_that_comes_twice_is_worked_on_once(demo):
    run = start_training(project=demo)
    train_reward_model(run.job.pk)
    train_reward_model(run.job.pk)
    assert RewardModel.objects.count() == 1
    assert Job.objects.get(pk=run.job.pk).attempt == 1
