"""Scoring: many responses per message, each stored once, the model kept in the worker's process."""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from celery import shared_task
from django.conf import settings

from apps.core.artifacts import local_folder
from apps.jobs.services import storing, succeed
from apps.prompts.models import Response
from apps.rules.labeled import Judge
from apps.rules.models import Rule, RuleSet
from apps.rules.verification import check_what_waits
from apps.signals.models import Scorer
from apps.signals.services import (
    Measured,
    freeze_statistics,
    input_hash,
    order_queue,
    score_new_responses,
    store_signals,
    store_spreads,
    unscored,
    without_spread,
)
from worker.core.conversation import prompt_of, prompt_text
from worker.core.lengths import length_of
from worker.core.rules.figures import score_of
from worker.core.rules.measuring import measure
from worker.tasks.running import Held, JobFailed, run_job

if TYPE_CHECKING:
    from worker.core.features import FeatureCache
    from worker.core.scoring import Scorer as RewardScorer

RESIDENT_MODELS = 2
Measure = Callable[[list[Response]], list[Measured]]


@shared_task(name="tiebreak.score_responses")
def score_responses(job_id: int) -> None:
    """Score every response that the scorer has not scored yet."""
    run_job(job_id, _score)


def _score(held: Held) -> None:
    scorer = Scorer.objects.select_related("project").get(pk=held.job.inputs["scorer"])
    left = unscored(scorer).select_related("prompt").order_by("id")
    before = scorer.signals.count()
    total, done = before + left.count(), before
    held.progress(done, total, "Loading the model")
    measure_batch = MEASURES[Scorer.Kind(scorer.kind)](scorer)
    last, waiting, newest = 0, 0, 0
    while batch := list(left.filter(pk__gt=last)[: settings.SCORING_BATCH]):
        measured = measure_batch(batch)
        if len(measured) < len(batch):
            waiting += len(batch) - len(measured)
            newest = max({each.pk for each in batch} - {each.response_id for each in measured})
        with storing(held.claim):
            store_signals(scorer=scorer, measured=measured)
        done, last = done + len(measured), batch[-1].pk
        held.progress(done, max(total, done), f"{done} responses scored")
    if scorer.kind == Scorer.Kind.REWARD_MODEL:
        _measure_spreads(held, scorer)
    order_queue(project=scorer.project)
    with storing(held.claim):
        result = {"scored": done - before, "signals": done}
        if not waiting:
            freeze_statistics(scorer=scorer)
        succeed(held.claim, result={**result, "waiting": waiting} if waiting else result)
        if waiting and scorer.kind == Scorer.Kind.RULE_SET:
            check_what_waits(rule_set=scorer.rule_set, newest=newest)
    if done > before:  # else what is left waits for something other than this worker
        score_new_responses(project=scorer.project)  # what an import brought since this job looked last


def _by_model(scorer: Scorer) -> Measure:
    """Return what scores responses by a reward model."""
    model = _resident(scorer.config["folder"], tuple(scorer.config["files"]))

    def measured(responses: list[Response]) -> list[Measured]:
        rewards = model.score([(prompt_of(each.prompt.messages), each.text) for each in responses], feature_cache())
        return [
            Measured(response.pk, float(reward), input_hash(response))
            for response, reward in zip(responses, rewards, strict=True)
        ]

    return measured


def _by_length(scorer: Scorer) -> Measure:
    """Return what scores responses by how long they are."""
    unit = scorer.config["unit"]
    return lambda responses: [
        Measured(each.pk, float(length_of(each.text, unit)), input_hash(each)) for each in responses
    ]


def _by_rules(scorer: Scorer) -> Measure:
    """Return what scores responses by the share of a set's rules that they satisfy; the verdicts are the raw parts.

    A response about which a language model's rule has no verdict yet is left for a later run.
    """
    rule_set = RuleSet.objects.get(pk=scorer.config["rule_set"])
    judge = Judge(list(rule_set.rules.filter(state=Rule.State.KEPT).order_by("number")), rule_set.verifier)
    if not judge.rules:
        raise JobFailed("The rule set of this scorer has no rule that is kept.")
    weights = np.array([rule.weight for rule in judge.rules])
    numbers = np.array([rule.number for rule in judge.rules])
    counts_as_yes = bool(rule_set.options.get("not_applicable_is_yes", False))

    def measured(responses: list[Response]) -> list[Measured]:
        values = measure([(prompt_text(each.prompt.messages), each.text) for each in responses], judge.names)
        said = judge.verdicts([each.pk for each in responses], values)
        scores = score_of(said.yes, said.applies, weights, not_applicable_is_yes=counts_as_yes)
        return [
            Measured(
                response.pk,
                float(scores[row]),
                input_hash(response),
                {
                    "yes": numbers[said.yes[row]].tolist(),
                    "no": numbers[said.applies[row] & ~said.yes[row] & ~said.unreadable[row]].tolist(),
                    "unreadable": numbers[said.unreadable[row]].tolist(),
                    "not_applicable": numbers[~said.applies[row]].tolist(),
                },
            )
            for row, response in enumerate(responses)
            if said.known[row].all()
        ]

    return measured


MEASURES: dict[Scorer.Kind, Callable[[Scorer], Measure]] = {
    Scorer.Kind.REWARD_MODEL: _by_model,
    Scorer.Kind.LENGTH: _by_length,
    Scorer.Kind.RULE_SET: _by_rules,
}
"""What scores responses, by kind of scorer."""


def _measure_spreads(held: Held, scorer: Scorer) -> None:
    """Say how sure the model is of each waiting pair, where the project's order needs that and the model knows it."""
    left = without_spread(scorer).select_related("prompt", "response_1", "response_2").order_by("id")
    if not left.exists():
        return
    model = _resident(scorer.config["folder"], tuple(scorer.config["files"]))
    if model.laplace is None:
        return
    last = 0
    while batch := list(left.filter(pk__gt=last)[: settings.SCORING_BATCH]):
        texts = [
            (prompt_of(pair.prompt.messages), response.text)
            for pair in batch
            for response in (pair.response_1, pair.response_2)
        ]
        features = model.features(texts, feature_cache())
        spreads = model.laplace.margin_std(features[0::2] - features[1::2])
        with storing(held.claim):
            store_spreads(scorer=scorer, spreads=dict(zip([pair.pk for pair in batch], spreads.tolist(), strict=True)))
        last = batch[-1].pk


def feature_cache() -> "FeatureCache":
    """Return this machine's cache of backbone features."""
    from worker.core.features import FeatureCache  # torch-free, but kept beside its user

    return FeatureCache(settings.CACHE_DIR / "features.sqlite3")


@lru_cache(maxsize=RESIDENT_MODELS)
def _resident(folder: str, files: tuple[str, ...]) -> "RewardScorer":
    # Imported here because the worker's parent process and the cpu worker register this task and must not load torch.
    from worker.core.scoring import Scorer as RewardScorer

    return RewardScorer.load(local_folder(folder, list(files)))
