"""The verdicts of a rule set as a file: one JSON line for each comparison, beside what a snapshot has of it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from django.db.models import Q

from apps.prompts.models import Comparison
from apps.rules.models import RuleSet
from apps.signals.models import Scorer, Signal
from worker.core.rules.rewards import OFFSET, WEIGHT, RuleReward, fraction_of, rule_reward

CHUNK = 1000


@dataclass(frozen=True)
class Standard:
    """What makes rule rewards of a model's rewards: its frozen statistics, and the weight and offset of the set."""

    named: dict[str, Any]
    mean: float
    std: float
    weight: float
    offset: float

    @classmethod
    def of(cls, model: Scorer | None, options: dict[str, Any]) -> "Standard | None":
        """Return the standard of a model; None while it has no statistics, or where its rewards are all the same."""
        if model is None or not model.statistics or not model.statistics["std"] > 0:
            return None
        weight, offset = options.get("reward_weight", WEIGHT), options.get("reward_offset", OFFSET)
        named = {
            "scorer": str(model.pk),
            "name": model.name,
            "statistics": model.statistics,
            "reward_weight": weight,
            "reward_offset": offset,
        }
        return cls(named, model.statistics["mean"], model.statistics["std"], weight, offset)

    def reward(self, reward: float, fraction: float) -> RuleReward:
        """Return the rule reward of a response."""
        return rule_reward(reward, fraction, mean=self.mean, std=self.std, weight=self.weight, offset=self.offset)


def verdict_lines(rule_set: RuleSet) -> Iterator[bytes]:
    """Yield the comparisons in the order of their ids (three queries for a thousand); what is not scored is null.

    Where a reward model orders the queue, the scores come with AutoRule's reward. Its rewards are standardised by its
    frozen statistics, which the line names with it: what is exported today is not other numbers tomorrow.
    """
    model = Scorer.objects.filter(project=rule_set.project_id, kind=Scorer.Kind.REWARD_MODEL, orders_queue=True).first()
    standard = Standard.of(model, rule_set.options)
    comparisons = Comparison.objects.filter(project=rule_set.project_id).order_by("id")
    counts_as_yes = bool(rule_set.options.get("not_applicable_is_yes", False))
    columns = ("id", "external_id", "prompt__content_hash", "response_1_id", "response_2_id")
    last = 0
    while rows := list(comparisons.filter(pk__gt=last).values_list(*columns)[:CHUNK]):
        last = rows[-1][0]
        responses = {pk for row in rows for pk in row[3:]}
        signals = Signal.objects.filter(Q(scorer=rule_set.scorer_id) & Q(response__in=responses))
        scored = {pk: (value, parts) for pk, value, parts in signals.values_list("response_id", "value", "parts")}
        rewards = dict(
            Signal.objects.filter(scorer=model, response__in=responses).values_list("response_id", "value")
            if standard
            else ()
        )

        def of(response: int, scored: Any = scored, rewards: Any = rewards) -> dict[str, Any] | None:
            return _scored(scored.get(response), rewards.get(response), standard, counts_as_yes)

        yield b"".join(
            orjson.dumps(
                {
                    "external_id": external_id,
                    "prompt_hash": prompt_hash,
                    "rule_set": rule_set.version,
                    "verifier": rule_set.verifier or None,
                    "reward_model": standard and standard.named,
                    "responses": [of(first), of(second)],
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for _pk, external_id, prompt_hash, first, second in rows
        )


def _scored(
    found: tuple[float, dict[str, Any]] | None, reward: float | None, standard: Standard | None, counts_as_yes: bool
) -> dict[str, Any] | None:
    if found is None:
        return None
    score, parts = found
    yes, no, unreadable, not_applicable = (
        len(parts.get(name, [])) for name in ("yes", "no", "unreadable", "not_applicable")
    )
    fraction = fraction_of(yes, no + unreadable, not_applicable, not_applicable_is_yes=counts_as_yes)
    said = {"score": score, "fraction": fraction, "verdicts": parts}
    if reward is None or standard is None:
        return said
    return {**said, "rule_reward": {"reward": reward, **asdict(standard.reward(reward, fraction))}}
