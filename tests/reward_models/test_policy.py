"""Retraining starts when the policy says so, and a version is promoted only by the rule."""

import importlib
from datetime import timedelta

import pytest
from django.apps import apps
from django.utils import timezone

from apps.core.errors import Conflict, InvalidInput
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.labeling.models import Consensus
from apps.projects.models import AuditEvent
from apps.reward_models.evaluations import unseen_by
from apps.reward_models.models import Evaluation, PromotionDecision, RetrainPolicy, RewardModel, TrainingRun
from apps.reward_models.promotion import decide, promote, roll_back
from apps.reward_models.services import check_retrain_policies, start_training
from apps.signals.models import Scorer, Signal
from tests.factories import ComparisonFactory, ProjectFactory

pytestmark = pytest.mark.django_db
migration = importlib.import_module("apps.reward_models.migrations.0006_parent_is_the_start")


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


def test_a_period_beyond_all_bounds_stops_no_project(project):
    for each in (ProjectFactory(), project):
        settle_labels(each, 8)
        RetrainPolicy.objects.create(project=each, every_hours=1e308 if each != project else None, every_labels=1)
    RetrainPolicy.objects.exclude(project=project).update(every_labels=None)
    assert [run.project for run in check_retrain_policies()] == [project]


def test_a_policy_that_fails_unexpectedly_stops_no_project(project):
    for each in (ProjectFactory(), project):
        settle_labels(each, 8)
        RetrainPolicy.objects.create(project=each, every_labels=1)
    RetrainPolicy.objects.exclude(project=project).update(recipe=[1])  # no object: not an AppError
    with pytest.raises(ExceptionGroup):
        check_retrain_policies()
    assert [run.project for run in TrainingRun.objects.all()] == [project]


def judged(difference, probability=0.9, lost=()):
    """The result of an evaluation that found this difference in every domain."""
    figures = {"candidate_accuracy": 0.7 + difference, "current_accuracy": 0.7, "n": 40, "prompts": 40}
    drawn = {"probability_better": probability, "difference_quantiles": [difference] * 201}
    domains = [{"name": "tides", "n": 40, "difference": difference}]
    comparison = {"difference": difference, "domains": domains, **figures, **drawn}
    return {"comparison": comparison, "controls": {"n": 9, "lost": list(lost)}}


SEARCHED = {"search": "7", "trials": 9, "prompts": 12, "same_recipe": False}


@pytest.mark.parametrize(
    ("policy", "result", "has_current", "promoted", "words"),
    [
        ({}, None, False, True, "first version"),
        ({}, judged(0.1), True, True, "0.800 against 0.700 on 40 pairs"),
        ({}, judged(0.1, probability=0.79), True, False, "with probability 0.790, 0.8 is asked"),
        ({"min_probability": 0.5}, judged(0.1, probability=0.79), True, True, "Better"),
        ({}, judged(0.0), True, False, "does not pass"),
        ({}, judged(-0.1), True, False, "does not pass"),
        ({"min_gain": 0.2}, judged(0.1), True, False, "by at least 0.2"),
        ({}, judged(0.1, lost=["gold-1"]), True, False, "1 of 9 control pairs are lost: gold-1."),
        ({}, {**judged(0.1), "chosen_on": SEARCHED}, True, False, "Recipe search 7 compared 9 recipes"),
        ({"keep_controls": False}, judged(0.1, lost=["gold-1"]), True, True, "Better"),
        ({"max_domain_loss": 0.05}, judged(-0.1), True, False, "Worse by more than 0.05 in tides -0.100"),
        ({}, None, True, False, "no held-out pairs"),
        ({}, {"comparison": None, "controls": None}, True, False, "no held-out pairs"),
        ({"promotion": "always"}, judged(-0.1), True, True, "every new version"),
        ({"promotion": "by_hand"}, judged(0.1), True, False, "by hand"),
    ],
)
def test_the_promotion_rule_decides_with_a_sentence(policy, result, has_current, promoted, words):
    current = RewardModel(pk=1) if has_current else None
    verdict = decide(RetrainPolicy(**policy), judged=result, judged_against=current, current=current)
    assert verdict.promoted is promoted
    assert words in verdict.reason
    applied = policy.get("promotion") is None and has_current and result is not None and result["comparison"]
    assert (verdict.rule is not None) is bool(applied)


def test_a_version_judged_against_another_than_the_current_one_is_not_promoted():
    verdict = decide(RetrainPolicy(), judged=judged(0.3), judged_against=RewardModel(pk=1), current=RewardModel(pk=2))
    assert verdict.promoted is False
    assert "while this one was judged" in verdict.reason


def test_a_prompt_that_any_ancestor_has_trained_on_judges_nobody(project):
    settle_labels(project, 8)
    first, second = make_model(project, 1), make_model(project, 2)
    Snapshot.objects.filter(pk=first.snapshot.pk).update(selection={"splits": {"train": 1.0}, "seed": 0})
    held_out = Snapshot.objects.create(project=project, name="x", selection={"splits": {"validation": 1.0}, "seed": 0})
    second.snapshot, second.recipe = held_out, {"initialisation": "scratch"}
    first.recipe = {"initialisation": "scratch"}
    first.refresh_from_db(fields=["snapshot"])
    first.save()
    assert unseen_by()("h")
    assert unseen_by(second)("h")
    assert not unseen_by(second, first)("h")
    second.recipe = {"initialisation": str(first.pk)}
    assert not unseen_by(second)("h")


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


# --- Back to the version before ---


def states(*models):
    for model in models:
        model.refresh_from_db()
    return [model.state for model in models]


def test_a_rollback_makes_the_version_before_current_again_with_its_order_of_the_queue(project, manager):
    settle_labels(project, 8)
    first, second = make_model(project, 1, state="current"), make_model(project, 2)
    promote(model=second, actor=manager)
    job = roll_back(model=second, actor=manager)
    assert states(first, second) == ["current", "retired"]
    assert Scorer.objects.get(orders_queue=True) == first.scorer
    assert (job.kind, job.inputs) == ("scoring", {"scorer": first.scorer.pk})
    decision = PromotionDecision.objects.latest("id")
    assert (decision.kind, decision.reward_model, decision.against) == ("rollback", first, second)
    assert (decision.decided_by, decision.promoted) == (manager, True)
    events = AuditEvent.objects.filter(verb="promoted a reward model", actor=manager)
    assert [event.detail["version"] for event in events.order_by("id")] == [2, 1]


def test_rolling_back_twice_does_not_swap_two_versions_for_ever(project, manager):
    settle_labels(project, 8)
    first, second, third = make_model(project, 1), make_model(project, 2), make_model(project, 3)
    for model in (first, second, third):
        promote(model=model, actor=manager)
    roll_back(model=third, actor=manager)
    roll_back(model=second, actor=manager)
    assert states(first, second, third) == ["current", "retired", "retired"]
    with pytest.raises(Conflict, match="No version was current before"):
        roll_back(model=first, actor=manager)
    with pytest.raises(Conflict, match="not the current version"):
        roll_back(model=second, actor=manager)


def test_a_version_from_before_decisions_were_kept_goes_back_to_the_one_that_was_current(project, manager):
    settle_labels(project, 8)
    start, first = make_model(project, 1, state="retired"), make_model(project, 2, state="retired")
    second = make_model(project, 3, state="current")
    second.parent, second.current_when_made = start, first
    second.save()
    roll_back(model=second, actor=manager)
    assert states(start, first, second) == ["retired", "current", "retired"]


def test_upgrading_tells_the_start_of_a_version_from_the_current_one_of_the_moment(project):
    settle_labels(project, 8)
    settle_labels(other := ProjectFactory(), 8)
    stranger = make_model(other, 1)
    first, second, third, fourth, fifth = (make_model(project, number) for number in range(1, 6))
    starts = {second: "scratch", third: str(first.pk), fourth: str(stranger.pk), fifth: "regression"}
    for version, start in starts.items():
        current = first if version == second else second  # as `parent` was: the current version of the moment
        RewardModel.objects.filter(pk=version.pk).update(parent=current, recipe={"initialisation": start})

    migration.separate(apps, None)
    told = RewardModel.objects.filter(project=project).order_by("version")
    assert list(told.values_list("parent", "current_when_made")) == [
        (None, None),
        (None, first.pk),
        (first.pk, second.pk),
        (None, second.pk),
        (None, second.pk),
    ]
    migration.join(apps, None)
    assert list(told.values_list("parent", flat=True)) == [None, first.pk, second.pk, second.pk, second.pk]


def test_a_promotion_by_hand_names_its_evidence(project, manager):
    settle_labels(project, 8)
    first, second = make_model(project, 1, state="current"), make_model(project, 2)
    measured = {"project": project, "reward_model": second, "benchmark": "held-out", "content_hash": "h"}
    for against in (first, None):
        Evaluation.objects.create(source="s", result={}, code_version="1", against=against, **measured)
    promote(model=second, actor=manager)
    decision = PromotionDecision.objects.get()
    assert (decision.kind, decision.evidence.against, decision.against) == ("person", first, first)
