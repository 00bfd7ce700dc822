"""The verdicts of a rule set as a file: one JSON line for each comparison, beside what a snapshot has of it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
from django.db.models import Avg, Q, StdDev

from apps.prompts.models import Comparison
from apps.rules.models import RuleSet
from apps.signals.models import Scorer, Signal
from worker.core.rules.rewards import rule_reward

CHUNK = 1000


def verdict_lines(rule_set: RuleSet) -> Iterator[bytes]:
    """Yield the comparisons in the order of their ids (three queries for a thousand); what is not scored is null.

    Where a reward model orders the queue, the scores come with AutoRule's reward: its rewards are standardised over all
    that it has scored in the project.
    """
    model = Scorer.objects.filter(project=rule_set.project_id, kind=Scorer.Kind.REWARD_MODEL, orders_queue=True).first()
    scale = Signal.objects.filter(scorer=model).aggregate(mean=Avg("value"), std=StdDev("value")) if model else {}
    comparisons = Comparison.objects.filter(project=rule_set.project_id).order_by("id")
    columns = ("id", "external_id", "prompt__content_hash", "response_1_id", "response_2_id")
    last = 0
    while rows := list(comparisons.filter(pk__gt=last).values_list(*columns)[:CHUNK]):
        last = rows[-1][0]
        responses = {pk for row in rows for pk in row[3:]}
        signals = Signal.objects.filter(Q(scorer=rule_set.scorer_id) & Q(response__in=responses))
        scored = {pk: (value, parts) for pk, value, parts in signals.values_list("response_id", "value", "parts")}
        rewards = dict(
            Signal.objects.filter(scorer=model, response__in=responses).values_list("response_id", "value")
            if scale.get("std")
            else ()
        )

        def of(response: int, scored: Any = scored, rewards: Any = rewards) -> dict[str, Any] | None:
            return _scored(scored.get(response), rewards.get(response), scale)

        yield b"".join(
            orjson.dumps(
                {
                    "external_id": external_id,
                    "prompt_hash": prompt_hash,
                    "rule_set": rule_set.version,
                    "verifier": rule_set.verifier or None,
                    "responses": [of(first), of(second)],
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for _pk, external_id, prompt_hash, first, second in rows
        )


def _scored(
    found: tuple[float, dict[str, Any]] | None, reward: float | None, scale: dict[str, Any]
) -> dict[str, Any] | None:
    if found is None:
        return None
    said = {"score": found[0], "verdicts": found[1]}
    return said if reward is None else {**said, "rule_reward": asdict(rule_reward(reward, found[0], **scale))}
