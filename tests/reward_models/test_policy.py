"""Retraining starts when the policy says so, and a version is promoted only by the rule."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.core.errors import Conflict, InvalidInput
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.labeling.models import Consensus
from apps.projects.models import AuditEvent
from apps.reward_models.models import RetrainPolicy, RewardModel, TrainingRun
from apps.reward_models.services import check_retrain_policies, decide, never_trained_on, promote, start_training
from apps.signals.models import Scorer, Signal
from tests.factories import ComparisonFactory, ProjectFactory

pytestmark = pytest.mark.django_db


def settle_labels(project, count, preference=2):
    for comparison in ComparisonFactory.create_batch(count, project=project):
        Consensus.objects.create(
            comparison=comparison,
            project=project,
            status="agreed",
            preference=preference,
            rule="test",
            annotation_count=3,
        )


def make_model(project, version, state="candidate"):
    scorer = Scorer.objects.create(project=project, name=f"Reward model {version}", kind="reward_model", config={})
    run = start_training(project=project)
    return RewardModel.objects.create(
        project=project, version=version, state=state, recipe={}, recipe_hash="x", snapshot=run.snapshot, scorer=scorer
    )


def test_training_needs_a_few_labels_and_says_how_many(project):
    settle_labels(project, 7)
    settle_labels(project, 5, preference=0)
    with pytest.raises(Conflict, match="7 consensus labels"):
        start_training(project=project)
    assert not Job.objects.exists()


def test_a_second_start_returns_the_unfinished_run(project):
    settle_labels(project, 8)
    first = start_training(project=project)
    assert start_training(project=project).pk == first.pk
    assert (TrainingRun.objects.count(), Job.objects.count()) == (1, 1)
    assert first.snapshot.selection["splits"] == {"train": 0.8, "validation": 0.2}


@pytest.mark.parametrize(
    ("recipe", "word"),
    [
        ({"objective": "dpo"}, "objective"),
        ({"colour": "red"}, "colour"),
        ({"epochs": "many"}, "epochs"),
        ({"initialisation": "99"}, "version"),
        ({"tuning": "some"}, "tuning"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_field(project, recipe, word):
    settle_labels(project, 8)
    with pytest.raises(InvalidInput) as refused:
        start_training(project=project, recipe=recipe)
    assert word in refused.value.detail + refused.value.errors[0].detail
    assert not Job.objects.exists()


def test_enough_new_labels_start_a_training_once(project):
    RetrainPolicy.objects.create(project=project, every_labels=10)
    settle_labels(project, 9)
    assert check_retrain_policies() == []
    settle_labels(project, 1)
    (run,) = check_retrain_policies()
    assert (run.trigger, run.labels) == ("labels", 10)
    assert check_retrain_policies() == []
    Job.objects.update(state="succeeded")
    assert check_retrain_policies() == []
    settle_labels(project, 10)
    assert len(check_retrain_policies()) == 1


def test_enough_hours_start_a_training_if_there_is_something_new(project):
    RetrainPolicy.objects.create(project=project, every_hours=6)
    settle_labels(project, 8)
    assert check_retrain_policies() == []
    type(project).objects.update(created_at=timezone.now() - timedelta(hours=7))
    (run,) = check_retrain_policies()
    assert run.trigger == "time"
    Job.objects.update(state="failed")
    TrainingRun.objects.update(created_at=timezone.now() - timedelta(hours=7))
    assert check_retrain_policies() == []
    settle_labels(project, 1)
    assert len(check_retrain_policies()) == 1


def test_one_project_that_cannot_train_does_not_stop_the_others(project):
    RetrainPolicy.objects.create(project=ProjectFactory(), every_labels=1)
    RetrainPolicy.objects.create(project=project, every_labels=1)
    settle_labels(project, 8)
    assert [run.project for run in check_retrain_policies()] == [project]


def test_a_policy_whose_recipe_is_refused_does_not_stop_the_others(project):
    other = ProjectFactory()
    for each in (other, project):
        settle_labels(each, 8)
        recipe = {"objective": "dpo"} if each is other else {}
        RetrainPolicy.objects.create(project=each, every_labels=1, recipe=recipe)
    with pytest.raises(ExceptionGroup):
        check_retrain_policies()
    assert TrainingRun.objects.get().project == project


def compared(difference):
    return {"difference": difference, "candidate_accuracy": 0.7 + difference, "current_accuracy": 0.7, "n": 40}


@pytest.mark.parametrize(
    ("policy", "comparison", "has_current", "promoted", "words"),
    [
        ({}, None, False, True, "first version"),
        ({}, compared(0.1), True, True, "0.800 against 0.700 on 40 pairs"),
        ({}, compared(0.0), True, False, "Not better"),
        ({}, compared(-0.1), True, False, "Not better"),
        ({"min_gain": 0.2}, compared(0.1), True, False, "by at least 0.2"),
        ({}, None, True, False, "no held-out pairs"),
        ({"promotion": "always"}, compared(-0.1), True, True, "every new version"),
        ({"promotion": "by_hand"}, compared(0.1), True, False, "by hand"),
    ],
)
def test_the_promotion_rule_decides_with_a_sentence(policy, comparison, has_current, promoted, words):
    current = RewardModel(pk=1) if has_current else None
    decision, reason = decide(RetrainPolicy(**policy), comparison=comparison, judged_against=current, current=current)
    assert decision is promoted
    assert words in reason


def test_a_version_judged_against_another_than_the_current_one_is_not_promoted():
    decision, reason = decide(
        RetrainPolicy(), comparison=compared(0.3), judged_against=RewardModel(pk=1), current=RewardModel(pk=2)
    )
    assert decision is False
    assert "while this one was judged" in reason


def test_a_prompt_that_any_ancestor_has_trained_on_judges_nobody(project):
    settle_labels(project, 8)
    first, second = make_model(project, 1), make_model(project, 2)
    Snapshot.objects.filter(pk=first.snapshot.pk).update(selection={"splits": {"train": 1.0}, "seed": 0})
    held_out = Snapshot.objects.create(project=project, name="x", selection={"splits": {"validation": 1.0}, "seed": 0})
    second.snapshot, second.recipe = held_out, {"initialisation": "scratch"}
    first.recipe = {"initialisation": "scratch"}
    first.refresh_from_db(fields=["snapshot"])
    first.save()
    assert never_trained_on(prompt_hash="h", model=second, initialisation="scratch")
    assert not never_trained_on(prompt_hash="h", model=second, initialisation=str(first.pk))
    second.recipe = {"initialisation": str(first.pk)}
    assert not never_trained_on(prompt_hash="h", model=second, initialisation="scratch")


def test_promoting_retires_the_current_version_and_scores_with_the_new_one(project, manager):
    settle_labels(project, 8)
    old, new = make_model(project, 1, state="current"), make_model(project, 2)
    Scorer.objects.filter(pk=old.scorer.pk).update(orders_queue=True)
    job = promote(model=new, actor=manager)
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.state, new.state) == ("retired", "current")
    assert (job.kind, job.inputs) == ("scoring", {"scorer": new.scorer.pk})
    assert Scorer.objects.get(orders_queue=True) == new.scorer
    assert new.decision.startswith("Promoted by mara.")
    assert AuditEvent.objects.filter(verb="promoted a reward model", actor=manager).exists()
    with pytest.raises(Conflict, match="current version already"):
        promote(model=new, actor=manager)


def test_the_old_versions_signals_stay(project):
    settle_labels(project, 8)
    old, new = make_model(project, 1), make_model(project, 2)
    response = ComparisonFactory(project=project).response_1
    for model, value in ((old, 0.5), (new, 0.9)):
        Signal.objects.create(scorer=model.scorer, response=response, value=value, input_hash="h")
    promote(model=old, actor=None)
    promote(model=new, actor=None)
    assert sorted(response.signals.values_list("value", flat=True)) == [0.5, 0.9]
