"""What the worker reads: labeled pairs as columns, measured responses, and the verdicts of rules on them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Count, QuerySet
from numpy.typing import NDArray

from apps.projects.models import Project
from apps.prompts.models import Response
from apps.rules.models import Kind, Rule, Verdict
from worker.core.conversation import prompt_text
from worker.core.rules.measuring import measure
from worker.core.rules.statements import MeasuredRule
from worker.core.rules.units import Labels, labels_of

MOST_PAIRS = 50_000
"""So many labeled pairs are looked at, drawn by the hash of their ids: more only makes intervals narrower."""
CHUNK = 500
_PAIRS = """
SELECT comparison.id, consensus.preference, prompt.content_hash, first.id, first.content_hash, second.id,
       second.content_hash, coalesce(comparison.metadata ->> 'domain', ''),
       coalesce(consensus.settled_at, comparison.created_at)
FROM labeling_consensus AS consensus
JOIN prompts_comparison AS comparison ON comparison.id = consensus.comparison_id
JOIN prompts_prompt AS prompt ON prompt.id = comparison.prompt_id
JOIN prompts_response AS first ON first.id = comparison.response_1_id
JOIN prompts_response AS second ON second.id = comparison.response_2_id
WHERE consensus.project_id = %(project)s AND {chosen}
ORDER BY md5(comparison.external_id || %(seed)s), comparison.id LIMIT %(most)s
"""
_LABELED = "consensus.status = 'agreed' AND consensus.preference <> 0"
_FROZEN = "comparison.id = ANY(%(ids)s)"


@dataclass(frozen=True)
class LabeledPair:
    """A comparison with what people prefer; hashes are those of the texts."""

    comparison: int
    preference: int
    prompt_hash: str
    first: int
    first_hash: str
    second: int
    second_hash: str
    domain: str
    when: datetime


def labeled_pairs(project: Project, *, seed: int = 0) -> list[LabeledPair]:
    """Return the pairs on which people agree, by id; of very many a part that the seed decides (one query)."""
    return _pairs(_PAIRS.format(chosen=_LABELED), {"project": project.pk, "seed": str(seed), "most": MOST_PAIRS})


def frozen_pairs(project: Project, labels: Sequence[Sequence[int]]) -> list[LabeledPair]:
    """Return the pairs of frozen labels, with those labels, by id (one query)."""
    preferences = {int(pk): int(preference) for pk, preference in labels}
    values = {"project": project.pk, "ids": list(preferences), "seed": "", "most": MOST_PAIRS}
    return _pairs(_PAIRS.format(chosen=_FROZEN), values, preferences)


def labels_from(pairs: Sequence[LabeledPair], *, seed: int, by_prompt: bool | None) -> Labels:
    """Return the labels of pairs for the core."""
    return labels_of(
        [1 if pair.preference > 0 else -1 for pair in pairs],
        [pair.prompt_hash for pair in pairs],
        [pair.first_hash for pair in pairs],
        [pair.second_hash for pair in pairs],
        seed=seed,
        by_prompt=by_prompt,
    )


def measured(
    responses: Iterable[int], names: Sequence[str], on_progress: Callable[[int], object] = lambda done: None
) -> dict[int, NDArray[np.float64]]:
    """Return the values of these properties by response (p,), read and measured a chunk at a time."""
    found: dict[int, NDArray[np.float64]] = {}
    for ids, texts in _texts(sorted(set(responses))):
        found.update(zip(ids, measure(texts, names), strict=True))
        on_progress(len(found))
    return found


@dataclass(frozen=True)
class Verdicts:
    """What rules say about responses (n, k): whether each is satisfied, applies, was asked at all, and was readable.

    A rule that was not asked neither applies nor is satisfied. What was said and cannot be read applies and is not
    satisfied: a response that confuses its judge must not gain by it.
    """

    yes: NDArray[np.bool_]
    applies: NDArray[np.bool_]
    known: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]


class Judge:
    """The verdicts of a set's rules on responses: measured here, or those of its verifier and of no other model."""

    def __init__(self, rules: Sequence[Rule], verifier: str) -> None:
        self.rules, self.verifier = rules, verifier
        self._measured = {
            at: MeasuredRule.from_parameters(rule.property, rule.parameters)
            for at, rule in enumerate(rules)
            if rule.kind == Kind.PROGRAMMATIC
        }
        self.names = sorted({rule.name for rule in self._measured.values()})
        self._column = {name: at for at, name in enumerate(self.names)}
        self.statements: dict[str, list[int]] = defaultdict(list)
        """Hash of a sentence → places of the rules that say it."""
        for at, rule in enumerate(rules):
            if at not in self._measured:
                self.statements[rule.statement_hash].append(at)

    def verdicts(self, responses: Sequence[int], values: NDArray[np.float64]) -> Verdicts:
        """Return the verdicts on responses whose properties are `values` (n, p)."""
        shape = (len(responses), len(self.rules))
        yes, applies, known, unreadable = (np.zeros(shape, dtype=np.bool_) for _ in range(4))
        for at, rule in self._measured.items():
            yes[:, at], applies[:, at] = rule.verdicts(values[:, self._column[rule.name]])
            known[:, at] = True
        if self.statements:
            asked = self._asked(responses)
            yes |= asked == Verdict.Value.YES
            applies |= (asked != "") & (asked != Verdict.Value.NOT_APPLICABLE)
            known |= asked != ""
            unreadable |= asked == Verdict.Value.UNREADABLE
        return Verdicts(yes, applies, known, unreadable)

    def votes(
        self, first: NDArray[np.float64], second: NDArray[np.float64], verdicts: Sequence[Verdicts]
    ) -> NDArray[np.int8]:
        """Return what each rule prefers in pairs (m, k), from the values (m, p) and verdicts of both responses."""
        one, other = verdicts
        more = other.yes.astype(np.int8) - one.yes.astype(np.int8)
        votes = np.where(one.applies & other.applies, more, 0).astype(np.int8)
        for at, rule in self._measured.items():
            column = self._column[rule.name]
            votes[:, at] = rule.votes(first[:, column], second[:, column])
        return votes

    def asked_again(self, at: int, project: Project) -> list[list[str]]:
        """Return the verdicts of every question in a project about a rule that was asked repeatedly (one query)."""
        if at in self._measured:
            return []
        rows = self._said().filter(statement_hash=self.rules[at].statement_hash, response__prompt__project=project)
        by_question: dict[int, list[str]] = defaultdict(list)
        for response, value in rows.values_list("response_id", "value").iterator():
            by_question[response].append(value)
        return [verdicts for verdicts in by_question.values() if len(verdicts) > 1]

    def said_of(self, project: Project) -> dict[int, dict[str, int]]:
        """Return how many verdicts of each kind there are in a project, by place of the read rules (one query)."""
        rows = self._said().filter(
            statement_hash__in=list(self.statements), response__prompt__project=project, repetition=0
        )
        counts = {statement: dict.fromkeys(Verdict.Value.values, 0) for statement in self.statements}
        for statement, value, count in rows.values_list("statement_hash", "value").annotate(Count("id")):
            counts[statement][value] = count
        return {at: counts[statement] for statement, places in self.statements.items() for at in places}

    def _asked(self, responses: Sequence[int]) -> NDArray[np.object_]:
        """Return what was said of responses (n, k), "" where nothing; one that stands in many pairs is there often."""
        ids, places = np.unique(np.asarray(responses, dtype=np.int64), return_inverse=True)
        row_of = {pk: row for row, pk in enumerate(ids.tolist())}
        said = np.full((len(ids), len(self.rules)), "", dtype=np.object_)
        rows = self._said().filter(response__in=list(row_of), statement_hash__in=list(self.statements), repetition=0)
        for response, statement, value in rows.values_list("response_id", "statement_hash", "value").iterator():
            said[row_of[response], self.statements[statement]] = value
        return said[places]

    def _said(self) -> QuerySet[Verdict]:
        return Verdict.objects.filter(verifier=self.verifier)


def _texts(ids: list[int]) -> Iterator[tuple[list[int], list[tuple[str, str]]]]:
    """Yield ids of responses with the texts of prompt and response, those of one prompt together."""
    for start in range(0, len(ids), CHUNK):
        rows = Response.objects.filter(pk__in=ids[start : start + CHUNK]).order_by("prompt_id", "id")
        found = list(rows.values_list("id", "prompt__messages", "text"))
        yield [pk for pk, _messages, _text in found], [(prompt_text(messages), text) for _, messages, text in found]


def _pairs(statement: str, values: dict[str, Any], preferences: dict[int, int] | None = None) -> list[LabeledPair]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        pairs = [LabeledPair(*row) for row in cursor.fetchall()]
    if preferences is not None:
        pairs = [LabeledPair(**{**vars(pair), "preference": preferences[pair.comparison]}) for pair in pairs]
    return sorted(pairs, key=lambda pair: pair.comparison)
