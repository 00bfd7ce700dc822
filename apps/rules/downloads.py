"""The verdicts of a rule set as a file: one JSON line for each comparison, beside what a snapshot has of it."""

from collections.abc import Iterator
from typing import Any

import orjson
from django.db.models import Q

from apps.prompts.models import Comparison
from apps.rules.models import RuleSet
from apps.signals.models import Signal

CHUNK = 1000


def verdict_lines(rule_set: RuleSet) -> Iterator[bytes]:
    """Yield the comparisons in the order of their ids (two queries for a thousand); what is not scored is null."""
    comparisons = Comparison.objects.filter(project=rule_set.project_id).order_by("id")
    columns = ("id", "external_id", "prompt__content_hash", "response_1_id", "response_2_id")
    last = 0
    while rows := list(comparisons.filter(pk__gt=last).values_list(*columns)[:CHUNK]):
        last = rows[-1][0]
        responses = {pk for row in rows for pk in row[3:]}
        signals = Signal.objects.filter(Q(scorer=rule_set.scorer_id) & Q(response__in=responses))
        scored = {pk: (value, parts) for pk, value, parts in signals.values_list("response_id", "value", "parts")}
        yield b"".join(
            orjson.dumps(
                {
                    "external_id": external_id,
                    "prompt_hash": prompt_hash,
                    "rule_set": rule_set.version,
                    "responses": [_scored(scored.get(first)), _scored(scored.get(second))],
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for _pk, external_id, prompt_hash, first, second in rows
        )


def _scored(found: tuple[float, dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if found is None else {"score": found[0], "verdicts": found[1]}
