"""Rules: mine them from labels, and measure those of a set."""

from typing import Any

import numpy as np
from celery import shared_task
from django.utils import timezone
from numpy.typing import NDArray

from apps.projects.models import Project
from apps.reward_models.evaluations import unseen_by
from apps.reward_models.services import current_model
from apps.rules.labeled import Judge, LabeledPair, frozen_pairs, labeled_pairs, labels_from, measured
from apps.rules.models import Rule, RuleExtraction, RuleSet, Verdict
from apps.rules.services import freeze_labels, store_figures, store_mined
from apps.signals.models import Signal
from worker.core.rules.figures import Pairs, expected_sides, rule_figures, score_of, set_figures
from worker.core.rules.mining import mine
from worker.core.rules.properties import PROPERTIES
from worker.core.rules.units import TEST
from worker.tasks.running import Held, JobFailed, run_job

Floats = NDArray[np.float64]


@shared_task(name="tiebreak.extract_rules")
def extract_rules(job_id: int) -> None:
    """Find rules the way the extraction asks for."""
    run_job(job_id, _extract)


@shared_task(name="tiebreak.measure_rules")
def measure_rules(job_id: int) -> None:
    """Measure every rule of a set on the labels of now."""
    run_job(job_id, _measure)


def _extract(held: Held) -> None:
    extraction = RuleExtraction.objects.select_related("project", "created_by").get(job=held.job)
    if extraction.origin != RuleSet.Origin.MINER:
        raise JobFailed(f"This worker does not know how to find rules of the origin {extraction.origin!r}.")
    extraction = freeze_labels(extraction=extraction, claim=held.claim)
    pairs = frozen_pairs(extraction.project, extraction.labels)
    names = list(PROPERTIES)
    first, second = _values(held, pairs, names)
    labels = labels_from(pairs, seed=extraction.seed, by_prompt=None)
    held.progress(1, 1, "Testing candidates")
    mined = mine(first, second, names, labels)
    store_mined(extraction=extraction, claim=held.claim, mined=mined, pairs=pairs, labels=labels)


def _measure(held: Held) -> None:
    began = timezone.now()
    rule_set = RuleSet.objects.select_related("project").get(pk=held.job.inputs["rule_set"])
    rules = list(rule_set.rules.exclude(state=Rule.State.REJECTED).order_by("number"))
    if not rules:
        raise JobFailed("There is no rule to measure: every rule of this set is rejected, or it has none.")
    project, seed = rule_set.project, rule_set.options.get("seed", 0)
    judge, found = Judge(rules, rule_set.verifier), labeled_pairs(project, seed=seed)
    first, second = _values(held, found, judge.names)
    verdicts = (
        judge.verdicts([pair.first for pair in found], first),
        judge.verdicts([pair.second for pair in found], second),
    )
    known = verdicts[0].known & verdicts[1].known
    votes = judge.votes(first, second, verdicts)
    labels = labels_from(found, seed=seed, by_prompt=rule_set.options.get("by_prompt"))
    pairs = Pairs(
        labels=labels,
        comparison=np.array([pair.comparison for pair in found], dtype=np.int64),
        strength=np.array([abs(pair.preference) for pair in found], dtype=np.int64),
        domain=[pair.domain for pair in found],
        when=np.array([pair.when.timestamp() for pair in found], dtype=np.float64),
    )
    said = judge.said_of(project)
    of_rules = [
        {
            **rule_figures(
                votes[:, at], pairs, _held_out(rule, rule_set, pairs), known[:, at], judge.asked_again(at, project)
            ),
            "verdicts": said.get(at),
        }
        for at, rule in enumerate(rules)
    ]
    weights = np.array([rule.weight for rule in rules])
    counts_as_yes = bool(rule_set.options.get("not_applicable_is_yes", False))
    fractions = [score_of(each.yes, each.applies, weights, not_applicable_is_yes=counts_as_yes) for each in verdicts]
    margins, unseen = _margins(project, found)
    everywhere = np.all([_held_out(rule, rule_set, pairs) for rule in rules], axis=0)
    score = fractions[1] - fractions[0]
    of_set = set_figures(votes, weights, score, pairs, everywhere, np.all(known, axis=1), margins, unseen)
    of_set["unreadable"] = sum(counts[Verdict.Value.UNREADABLE] for counts in said.values())
    of_set["numbers"] = [rule.number for rule in rules]
    sides = expected_sides(votes, known, weights, of_rules)
    store_figures(
        began=began,
        rule_set=rule_set,
        claim=held.claim,
        rules=rules,
        figures=of_rules,
        of_set=of_set,
        expected={pair.comparison: side for pair, side in zip(found, sides.tolist(), strict=True) if side},
    )


def _values(held: Held, pairs: list[LabeledPair], names: list[str]) -> tuple[Floats, Floats]:
    """Return the properties of response 1 and of response 2 of each pair (m, p)."""
    responses = {pk for pair in pairs for pk in (pair.first, pair.second)}

    def on_progress(done: int) -> None:
        held.progress(done, len(responses), f"{done} responses measured")

    values = measured(responses, names, on_progress)
    shape = (len(pairs), len(names))
    return (
        np.array([values[pair.first] for pair in pairs], dtype=np.float64).reshape(shape),
        np.array([values[pair.second] for pair in pairs], dtype=np.float64).reshape(shape),
    )


def _held_out(rule: Rule, rule_set: RuleSet, pairs: Pairs) -> NDArray[np.bool_]:
    """Say on which pairs the rule was not found (m,): the test part of a miner, all but the sources of a model."""
    if "miner" in rule_set.options:
        return np.asarray(pairs.labels.part == TEST, dtype=np.bool_)
    return ~np.isin(pairs.comparison, rule.sources.get("comparisons", []))


def _margins(project: Project, pairs: list[LabeledPair]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the current reward model's margins (m,), NaN where it has none, and whether it never saw the prompt."""
    model = current_model(project)
    if model is None:
        return np.full(len(pairs), np.nan), np.zeros(len(pairs), dtype=np.bool_)
    responses = {pk for pair in pairs for pk in (pair.first, pair.second)}
    rows = Signal.objects.filter(scorer=model.scorer_id, response__in=responses).values_list("response_id", "value")
    rewards: dict[int, Any] = dict(rows.iterator())
    margins = [rewards.get(pair.second, np.nan) - rewards.get(pair.first, np.nan) for pair in pairs]
    unseen = unseen_by(model)
    return np.array(margins, dtype=np.float64), np.array([unseen(pair.prompt_hash) for pair in pairs], dtype=np.bool_)
