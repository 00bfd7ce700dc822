"""Extraction with a language model: which comparisons, what is asked about them, and what is stored of each step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import CharField, F, FloatField, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.functions import MD5, Abs, Cast, Concat
from django.db.models.lookups import GreaterThan, LessThan
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import get_endpoint
from apps.labeling.models import Annotation, Consensus
from apps.projects.models import Project
from apps.rules import services
from apps.rules.models import ExtractionItem, ExtractionMerge, RuleExtraction, RuleSet
from apps.rules.services import MAX_RULES, ProposedRule, create_rule_set, start_extraction
from apps.signals.models import Scorer, Signal
from worker.core.consensus import Status
from worker.core.conversation import prompt_text
from worker.core.rule_prompts import (
    MERGE_GROUP,
    REASONING,
    SOURCES,
    VERSION,
    Choice,
    Merged,
    interpret,
)
from worker.core.rules.rewards import OFFSET, WEIGHT
from worker.core.sides import is_swapped

DEFAULT_COMPARISONS = 256
MAX_COMPARISONS = 5_000
MAX_LEVELS = 8
KEPT_CANDIDATES = 50
"""Candidates that a rule names as its sources; its comparisons are all kept."""


@dataclass(frozen=True)
class Selection:
    """Which comparisons an extraction reads, and what it reads of the model's answers."""

    comparisons: int = DEFAULT_COMPARISONS
    strength: int = 1
    max_spread: int | None = None
    domain: str = ""
    disagreements: bool = False
    source: str = REASONING
    not_applicable_is_yes: bool = True
    """Whether a rule that does not apply to a response counts as satisfied, as in the paper."""
    reward_weight: float = WEIGHT
    reward_offset: float = OFFSET
    """Of the rule reward: weight · (fraction − offset)."""

    def __post_init__(self) -> None:
        errors = []
        if not 1 <= self.comparisons <= MAX_COMPARISONS:
            errors.append(_out_of_range("/comparisons", 1, MAX_COMPARISONS))
        if not 1 <= self.strength <= 3:
            errors.append(_out_of_range("/strength", 1, 3))
        if self.max_spread is not None and not 0 <= self.max_spread <= 6:
            errors.append(_out_of_range("/max_spread", 0, 6))
        errors += services.wrong_reward({"reward_weight": self.reward_weight, "reward_offset": self.reward_offset})
        if self.source not in SOURCES:
            errors.append(FieldError("/source", _("Use one of %(known)s.") % {"known": ", ".join(SOURCES)}))
        if errors:
            raise InvalidInput(_("The selection is not valid."), errors)


def _out_of_range(pointer: str, least: int, most: int) -> FieldError:
    return FieldError(pointer, _("Expected a number from %(least)s to %(most)s.") % {"least": least, "most": most})


def start_reading(
    *, project: Project, endpoint: str, selection: Selection, seed: int, created_by: User
) -> RuleExtraction:
    """Start an extraction with a language model of the person who starts it; an unfinished one is returned instead."""
    try:
        model = get_endpoint(created_by, endpoint)
    except NotFound as error:
        raise InvalidInput(error.detail, [FieldError("/endpoint", error.detail)]) from error
    if selection.disagreements and not Scorer.objects.filter(project=project, orders_queue=True).exists():
        raise Conflict(_("No reward model orders the queue of this project, so none can disagree with people."))
    if not chosen(project, selection, seed).exists():
        raise Conflict(_("No comparison with an agreed preference fits the selection."))
    options = {"endpoint": model.pk, "model": model.model, "prompts": VERSION, **vars(selection)}
    local = model.kind == ModelEndpoint.Kind.LOCAL
    return start_extraction(
        project=project,
        origin=RuleSet.Origin.LANGUAGE_MODEL,
        options=options,
        seed=seed,
        created_by=created_by,
        kind="local_rule_reading" if local else "rule_reading",
    )


def selection_of(extraction: RuleExtraction) -> Selection:
    """Return the selection that an extraction was started with."""
    known = Selection.__dataclass_fields__.keys() & extraction.options.keys()
    return Selection(**{name: extraction.options[name] for name in known})


def chosen(project: Project, selection: Selection, seed: int) -> QuerySet[Consensus]:
    """Return the consensuses that a selection takes, in a seeded order that new comparisons do not shuffle."""
    rows = Consensus.objects.filter(project=project, status=Status.AGREED).exclude(preference=0)
    rows = rows.annotate(strength=Abs("preference")).filter(strength__gte=selection.strength)
    if selection.max_spread is not None:
        rows = rows.filter(spread__lte=selection.max_spread)
    if selection.domain:
        rows = rows.filter(comparison__metadata__domain=selection.domain)
    if selection.disagreements:
        rows = _against_the_model(project, rows)
    draw = MD5(Concat(Value(f"{seed}:"), Cast("comparison_id", CharField())))
    return rows.order_by(draw, "comparison_id")[: selection.comparisons]


@transaction.atomic
def choose(*, extraction: RuleExtraction) -> None:
    """Store which comparisons are read, in their order and with their sides; once."""
    seed, project = extraction.seed, extraction.project
    rows = chosen(project, selection_of(extraction), seed).values_list("comparison_id", flat=True)
    items = [
        ExtractionItem(extraction=extraction, comparison_id=comparison, number=number, swapped=False)
        for number, comparison in enumerate(rows, start=1)
    ]
    for item in items:
        item.swapped = is_swapped(f"rules:{seed}", item.comparison_id, 0)
    ExtractionItem.objects.bulk_create(items, ignore_conflicts=True)
    extraction.stage = RuleExtraction.Stage.INTERPRET
    extraction.counts = {"comparisons": len(items)}
    extraction.save(update_fields=["stage", "counts"])


def choices(items: QuerySet[ExtractionItem], *, size: int = 100) -> Iterator[tuple[ExtractionItem, Choice]]:
    """Yield items with their pair as the model sees it, in their order, a few at a time (three queries each).

    Justifications are those of the annotations that the consensus kept. A pair whose justifications number the
    responses in words of their own stays in canonical order. `asked` of the item is what it takes to see the pair so
    again, for whoever stores it.
    """
    last = 0
    rows = items.select_related("comparison__prompt", "comparison__response_1", "comparison__response_2")
    while page := list(rows.filter(number__gt=last).order_by("number")[:size]):
        last = page[-1].number
        agreed = Consensus.objects.in_bulk([item.comparison_id for item in page])
        kept = [pk for consensus in agreed.values() for pk in consensus.kept]
        said = dict(Annotation.objects.filter(pk__in=kept).values_list("pk", "justification"))
        for item in page:
            consensus = agreed.get(item.comparison_id)
            if consensus is None or not consensus.preference:
                continue  # people changed their minds since it was chosen
            pair = item.comparison
            choice = Choice(
                prompt_text(pair.prompt.messages),
                pair.response_1.text,
                pair.response_2.text,
                consensus.preference,
                tuple(said[pk] for pk in consensus.kept if said.get(pk)),
            )
            swapped = item.swapped and choice.may_be_swapped
            shown = choice.shown(swapped=swapped)
            item.asked = {
                "swapped": swapped, "preference": shown.preference, "reasons": list(shown.justifications)
            }  # fmt: skip
            yield item, shown


def asked_of(item: ExtractionItem) -> str:
    """Return what the model was asked about a comparison, word for word; empty before it was."""
    if item.asked is None:
        return ""
    pair = item.comparison
    texts = [pair.response_1.text, pair.response_2.text]
    first, second = reversed(texts) if item.asked["swapped"] else texts
    reasons = tuple(item.asked["reasons"])
    choice = Choice(prompt_text(pair.prompt.messages), first, second, item.asked["preference"], reasons)
    return "\n\n".join(text for _role, text in interpret(choice, max_tokens=1).messages)


def explanation(item: ExtractionItem, source: str) -> tuple[str, str]:
    """Return (what candidates are read from, its name): the other one where the model gave none of the wanted kind."""
    texts = {"reasoning": item.reasoning, "answer": item.answer}
    if texts[source]:
        return texts[source], source
    other = next(name for name in SOURCES if name != source)
    return texts[other], other


# --- Merging ---


def candidates_of(extraction: RuleExtraction) -> list[dict[str, Any]]:
    """Return every candidate once, in the order of the comparisons, with the comparisons it comes from.

    Spaces and the case of letters do not tell two apart.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in (
        extraction.items.exclude(candidates__isnull=True).order_by("number").only("candidates", "comparison_id")
    ):
        for text in item.candidates or []:
            entry = found.setdefault(text.casefold(), {"text": text, "comparisons": [], "candidates": [text]})
            if item.comparison_id not in entry["comparisons"]:
                entry["comparisons"].append(item.comparison_id)
    return list(found.values())


def groups_of(entries: Sequence[dict[str, Any]], level: int) -> list[list[dict[str, Any]]]:
    """Return the groups of one level of merging, of at most MERGE_GROUP; every other level deals like cards.

    Neighbours are merged first; dealt, those that were apart meet.
    """
    count = -(-len(entries) // MERGE_GROUP)
    if level % 2:
        return [list(entries[start::count]) for start in range(count)]
    return [list(entries[start : start + MERGE_GROUP]) for start in range(0, len(entries), MERGE_GROUP)]


def merged_entries(inputs: Sequence[dict[str, Any]], merged: Sequence[Merged]) -> list[dict[str, Any]]:
    """Return merged rules with the sources of all that they stand for."""
    return [
        {
            "text": rule.text,
            "comparisons": list(dict.fromkeys(pk for place in rule.sources for pk in inputs[place]["comparisons"])),
            "candidates": list(dict.fromkeys(text for place in rule.sources for text in inputs[place]["candidates"])),
        }
        for rule in merged
    ]


def store_merge(*, merge: ExtractionMerge, merged: Sequence[Merged] | None, error: str) -> None:
    """Store what became of a group, and how many of it no rule of the merge stands for."""
    merge.rules = None if merged is None else merged_entries(merge.inputs, merged)
    covered = {place for rule in merged or () for place in rule.sources}
    merge.left_out = 0 if merged is None else len(merge.inputs) - len(covered)
    merge.error = error
    merge.save(update_fields=["rules", "error", "left_out"])


@transaction.atomic
def store_rules(*, extraction: RuleExtraction, entries: Sequence[dict[str, Any]]) -> RuleSet:
    """Make a draft of the merged rules, those with the most sources first; what is more than a set holds is counted."""
    ordered = sorted(entries, key=lambda entry: -len(entry["comparisons"]))
    rules = [
        ProposedRule(
            text=entry["text"],
            sources={"comparisons": entry["comparisons"], "candidates": entry["candidates"][:KEPT_CANDIDATES]},
        )
        for entry in _once(ordered)[:MAX_RULES]
    ]
    extraction.rule_set = create_rule_set(
        project=extraction.project,
        origin=RuleSet.Origin.LANGUAGE_MODEL,
        rules=rules,
        options={**extraction.options, "seed": extraction.seed},
        created_by=extraction.created_by,
    )
    extraction.stage = RuleExtraction.Stage.DONE
    extraction.counts = {**counts_of(extraction), "rules": len(rules), "left_out": len(entries) - len(rules)}
    extraction.save(update_fields=["rule_set", "stage", "counts"])
    return extraction.rule_set


def counts_of(extraction: RuleExtraction) -> dict[str, int]:
    """Return how many of what there are by now (two queries)."""
    rows = extraction.items.values_list("candidates", "error", "read_from", "reasoning", "answer")
    counts = dict.fromkeys(("comparisons", "interpreted", "candidates", "failed", "read_from_the_other"), 0)
    wanted = extraction.options["source"]
    for candidates, error, read_from, reasoning, answer in rows:
        counts["comparisons"] += 1
        counts["interpreted"] += bool(reasoning or answer)
        counts["candidates"] += len(candidates or [])
        counts["failed"] += bool(error)
        counts["read_from_the_other"] += bool(read_from and read_from != wanted)
    counts["merges"] = extraction.merges.exclude(rules__isnull=True).count()
    counts["left_out_of_merges"] = extraction.merges.aggregate(total=Sum("left_out"))["total"] or 0
    counts["failed_merges"] = extraction.merges.exclude(error="").count()
    return counts


def _once(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return entries whose sentences differ, the first of each."""
    return list({entry["text"].casefold(): entry for entry in reversed(entries)}.values())[::-1]


def _against_the_model(project: Project, rows: QuerySet[Consensus]) -> QuerySet[Consensus]:
    """Return those where the model that orders the queue prefers the other response."""
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()

    def value(side: str) -> Subquery:
        signals = Signal.objects.filter(scorer=scorer, response=OuterRef(f"comparison__{side}_id"))
        return Subquery(signals.values("value")[:1], output_field=FloatField())

    rows = rows.annotate(value_1=value("response_1"), value_2=value("response_2"))
    return rows.filter(
        Q(LessThan(F("value_2"), F("value_1")), preference__gt=0)
        | Q(GreaterThan(F("value_2"), F("value_1")), preference__lt=0)
    )
