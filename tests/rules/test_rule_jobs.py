"""Mining, measuring and scoring as the worker does them."""

import orjson
import pytest

from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.jobs.services import claim
from apps.prompts.models import Comparison, Response
from apps.quality.models import ExpectedSide
from apps.reward_models.models import RewardModel
from apps.rules.downloads import verdict_lines
from apps.rules.models import Kind, Rule, RuleExtraction, RuleSet, Verdict
from apps.rules.services import ProposedRule, activate, create_rule_set, freeze_labels, start_measuring, start_mining
from apps.signals.models import Scorer, Signal
from tests.factories import ProjectFactory
from tests.rules.labeled import bound, label_pairs
from worker.tasks.rules import extract_rules, measure_rules
from worker.tasks.scoring import score_responses

pytestmark = pytest.mark.django_db(transaction=True)
MARKED = {"wants": "more", "threshold": 1.0, "relative": False}


def done(job: Job) -> Job:
    job.refresh_from_db()
    assert (job.state, job.error) == ("succeeded", "")
    return job


@pytest.fixture
def mined(project) -> RuleExtraction:
    label_pairs(project)
    made = start_mining(project=project, options={"miner": "programmatic"}, seed=3)
    extract_rules(made.job.pk)
    made.refresh_from_db()
    return made


def test_the_planted_rule_comes_out_with_its_evidence(mined):
    job = done(mined.job)
    assert job.result == {"rule_set": str(mined.rule_set.pk), "rules": 1}
    assert mined.counts["pairs"] == 240 == sum(mined.counts[part] for part in ("discovery", "selection", "test"))
    (rule,) = mined.rule_set.rules.all()
    assert (rule.text, rule.kind, rule.state) == (
        "The response has more parentheses than the other.",
        "programmatic",
        "proposed",
    )
    assert rule.support == mined.counts["test"]  # every pair of the test part has one such response
    assert 0.5 < rule.agreement_low < rule.agreement < rule.agreement_high
    assert len(rule.sources["comparisons"]) == round(rule.agreement * rule.support)
    assert mined.rule_set.figures["gain_over_length"][1] > 0


def test_the_set_is_measured_by_itself(mined):
    job = Job.objects.get(kind="rule_figures")
    measure_rules(job.pk)
    done(job)
    rule, figures = mined.rule_set.rules.get(), mined.rule_set.rules.get().figures
    mined.rule_set.refresh_from_db()
    assert figures["held_out"]["of"] == rule.support == mined.counts["test"]
    assert figures["all"]["of"] == 240
    assert {row["domain"]: row["of"] for row in figures["domains"]} == {"sea": 160, "moon": 80}
    assert sum(period["of"] for period in figures["periods"]) == 240
    assert figures["coverage"] == 1.0
    assert figures["retire"] == []
    assert len(figures["examples"]) == len(figures["counterexamples"]) == 10
    assert mined.rule_set.figures["overlap"] == [[1.0]]
    assert mined.rule_set.figures["with_model"] is None
    assert mined.rule_set.figures["length"]  # from the miner, and kept
    assert not ExpectedSide.objects.exists()  # a draft expects nothing
    activate(rule_set=mined.rule_set, actor=None)
    measure_rules(Job.objects.get(kind="rule_figures", state="queued").pk)
    marked = {each.comparison_id: each.side for each in ExpectedSide.objects.all()}
    pairs = Comparison.objects.select_related("response_2")
    assert marked == {each.pk: 1 if each.response_2.text.startswith("(") else -1 for each in pairs}


def test_a_run_that_died_finds_the_same_rules_though_labels_came_meanwhile(project):
    label_pairs(project)
    made = start_mining(project=project, options={"miner": "programmatic"}, seed=3)
    job, held = claim(job_id=made.job.pk, owner="dead")
    freeze_labels(extraction=made, claim=held)
    label_pairs(project, seed=1, follows=0.0)  # people change their minds, and nobody may notice
    Job.objects.filter(pk=job.pk).update(lease_until="2026-01-01T00:00:00Z")
    extract_rules(job.pk)
    made.refresh_from_db()
    assert made.counts["pairs"] == 240
    assert made.rule_set.rules.get().text == "The response has more parentheses than the other."
    other = ProjectFactory()
    label_pairs(other)
    again = start_mining(project=other, options={"miner": "programmatic"}, seed=3)
    extract_rules(again.job.pk)
    again.refresh_from_db()
    assert again.counts == made.counts
    assert [(rule.text, rule.agreement, rule.weight) for rule in again.rule_set.rules.all()] == [
        (rule.text, rule.agreement, rule.weight) for rule in made.rule_set.rules.all()
    ]


def test_no_rule_is_a_result(project):
    label_pairs(project, follows=0.5)
    made = start_mining(project=project, options={"miner": "programmatic"})
    extract_rules(made.job.pk)
    assert done(made.job).result["rules"] == 0
    assert RuleSet.objects.get().figures["held_out"]["share"] is None  # no rule is not right half of the time
    assert RuleSet.objects.get().figures["gain_over_length"] is None
    job = start_measuring(rule_set=RuleSet.objects.get())
    measure_rules(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error[:29]) == ("failed", "There is no rule to measure: ")


def test_an_active_set_scores_every_response_with_its_raw_verdicts(project, manager):
    comparisons = label_pairs(project, 6)
    rules = [
        ProposedRule(property="parentheses", parameters=MARKED, weight=3.0),
        ProposedRule(property="words", parameters={"wants": "less", "threshold": 1000, "relative": True}),
        ProposedRule(property="same_language", parameters=MARKED),
    ]
    made = create_rule_set(project=project, origin="miner", rules=rules, options={}, created_by=None)
    job = activate(rule_set=made, actor=manager)
    score_responses(job.pk)
    assert done(job).result == {"scored": 12, "signals": 12}
    signals = {signal.response_id: signal for signal in Signal.objects.all()}
    for response in Response.objects.all():
        signal = signals[response.pk]
        marked = response.text.startswith("(")
        assert signal.parts["not_applicable"] == [3]  # "sea" is no word by which a language is told
        assert signal.parts["yes"] == ([1, 2] if marked else [2])
        assert signal.value == (1.0 if marked else 0.25)
    label_pairs(project, 1, seed=9)  # new, and not scored yet
    made.refresh_from_db()
    lines = [orjson.loads(line) for line in b"".join(verdict_lines(made)).splitlines()]
    assert [line["external_id"] for line in lines] == [*(each.external_id for each in comparisons), "tide-9-0"]
    assert lines[0]["responses"][0]["score"] == signals[comparisons[0].response_1_id].value
    assert lines[0]["responses"][1]["verdicts"] == signals[comparisons[0].response_2_id].parts
    assert lines[6]["responses"] == [None, None]
    assert Scorer.objects.get().keeps_up


def test_what_a_language_model_said_is_looked_up_and_what_it_did_not_say_waits(project, manager):
    first, second = label_pairs(project, 2)
    made = create_rule_set(
        project=project, origin="language_model", rules=[ProposedRule(text="Is kind.")], options={}, created_by=None
    )
    made = bound(made, manager)
    rule = made.rules.get()
    assert rule.kind == Kind.LANGUAGE_MODEL
    said = {first.response_1: "yes", first.response_2: "no", second.response_1: "unreadable"}
    for response, value in said.items():
        for repetition, again in enumerate([value, "yes", "no"]):
            Verdict.objects.create(
                response=response, statement_hash=rule.statement_hash, verifier=made.verifier, value=again,
                repetition=repetition,
            )  # fmt: skip
    elsewhere = label_pairs(ProjectFactory(), 1)[0].response_1
    others = [(second.response_2, "v1", 0), *((elsewhere, made.verifier, repetition) for repetition in range(2))]
    for response, verifier, repetition in others:  # another model's word, and another project's
        Verdict.objects.create(
            response=response, statement_hash=rule.statement_hash, verifier=verifier, value="yes", repetition=repetition
        )
    activate(rule_set=made, actor=manager)
    job = Job.objects.get(kind="scoring")
    score_responses(job.pk)
    assert done(job).result == {"scored": 3, "signals": 3, "waiting": 1}
    assert Scorer.objects.get().statistics is None  # not of all responses yet
    values = dict(Signal.objects.values_list("response_id", "value"))
    assert values == {first.response_1_id: 1.0, first.response_2_id: 0.0, second.response_1_id: 0.0}
    score_responses(Job.objects.get(kind="scoring", state="queued").pk)  # looks once more whether something came
    assert not Job.objects.filter(kind="scoring", state="queued").exists()  # what waits for a model starts nothing
    measure_rules(start_measuring(rule_set=made).pk)
    figures = Rule.objects.get().figures
    assert figures["determinism"] == {"questions": 3, "share": pytest.approx((2 / 3 + 2 / 3 + 1 / 3) / 3)}
    assert "determinism" in figures["retire"]
    assert figures["all"]["of"] == 1
    assert figures["verdicts"] == {"yes": 1, "no": 1, "not_applicable": 0, "unreadable": 1}
    assert RuleSet.objects.get().figures["unreadable"] == 1
    parts = Signal.objects.get(response=second.response_1).parts
    assert parts == {"yes": [], "no": [], "unreadable": [1], "not_applicable": []}


def test_rules_stand_beside_the_model_on_prompts_it_never_saw(project, mined):
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    splits = {"train": 0.5, "validation": 0.5}
    snapshot = create_snapshot(project=project, body={"name": "First", "splits": splits}, created_by=None)
    RewardModel.objects.create(
        project=project, version=1, recipe={"initialisation": "scratch"}, recipe_hash="x", snapshot=snapshot,
        scorer=scorer, folder="x", state="current",
    )  # fmt: skip
    Signal.objects.bulk_create(
        Signal(scorer=scorer, response=each, value=len(each.text), input_hash="x") for each in Response.objects.all()
    )
    job = start_measuring(rule_set=mined.rule_set)
    measure_rules(job.pk)
    mined.rule_set.refresh_from_db()
    found = mined.rule_set.figures["with_model"]
    assert 0 < found["model"]["of"] < mined.counts["test"]
    assert found["rules"]["share"] > found["model"]["share"]
    assert found["both"]["of"] == found["model"]["of"]
