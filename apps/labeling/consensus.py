"""Settle comparisons: store what their annotations add up to, and ask for more people where they disagree."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection, transaction
from django.db.models import Case, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from apps.labeling.models import Assignment, Consensus, QueueItem
from apps.projects.models import Project
from apps.projects.protocol import Protocol
from apps.webhooks.events import CONSENSUS_REACHED
from apps.webhooks.services import emit_each
from worker.core.consensus import RULE_VERSION, Status, consensus
from worker.core.consensus import Consensus as Outcome

FINAL = (Status.AGREED, Status.NEITHER, Status.EXCLUDED)
MORE_ANNOTATORS = 2
CLOSED_UNDECIDED = "Closed before annotators agreed."
CLOSED_DECIDED = "Closed after annotators agreed."
CHUNK = 2000
EVERYBODY_WANTED = 32_767
"""How many annotators a control item asks for: as many as the column can count."""


def refresh_consensus(*, limit: int = 1000) -> int:
    """Settle again what a changed protocol has left without an end; return how many. Beat asks for it.

    A pending comparison that asks nobody any more wants as many annotators as the protocol says now; an escalated one
    that has reached the protocol's limit is decided by what it has.
    """
    refreshed = 0
    for project in Project.objects.all():
        protocol = project.protocol
        stuck = Consensus.objects.filter(project=project).filter(
            Q(status=Status.PENDING, comparison__queue_item__state=QueueItem.State.COMPLETE)
            | Q(status=Status.ESCALATED, annotation_count__gte=protocol.max_annotators)
        )
        ids = list(stuck.order_by("pk").values_list("pk", flat=True)[:limit])
        settle(comparison_ids=ids, protocol=protocol, told=project)
        refreshed += len(ids)
        _follow_annotators(project, protocol.annotators)
        _follow_control_rate(project, protocol)
    return refreshed


def place_in_queue(*, gold: int | None, protocol: Protocol) -> dict[str, Any]:
    """Return state and number of annotators of a new pair: one with a known answer is a control item.

    Where the protocol's control rate is 0, no control items are handed out, and it is a pair like any other.
    """
    if gold is not None and protocol.control_rate:
        return {"state": QueueItem.State.CONTROL, "wanted": EVERYBODY_WANTED}
    return {"state": QueueItem.State.OPEN, "wanted": protocol.annotators}


def note_who_had(*, comparison_ids: Collection[int]) -> None:
    """Write down again who had these pairs; for control items, which everybody may have, nobody's name is kept."""
    leased = Assignment.objects.filter(comparison=OuterRef("comparison"), repeat_of=None, annotator__imported_name="")
    people = ArraySubquery(leased.order_by("annotator").values("annotator"))
    QueueItem.objects.filter(pk__in=comparison_ids).update(
        had=Case(When(state=QueueItem.State.CONTROL, then=Value([], QueueItem._meta.get_field("had"))), default=people)
    )


def _follow_annotators(project: Project, annotators: int) -> None:
    """Let what nobody has labeled yet ask for as many people as the protocol says now.

    What is under way keeps its number until it is settled. In chunks, so that nobody who labels waits for long; what is
    being leased just now is left for the next time.
    """
    untouched = QueueItem.objects.filter(project=project, state=QueueItem.State.OPEN, taken=0)
    right = [annotators]
    while (wrong := untouched.exclude(wanted__in=right).values_list("wanted", flat=True).first()) is not None:
        right.append(wrong)
        after = 0
        while ids := _ask_for(untouched.filter(wanted=wrong, pk__gt=after, comparison__consensus=None), annotators):
            after = ids[-1]


@transaction.atomic
def _ask_for(items: QuerySet[QueueItem], annotators: int) -> list[int]:
    """Change the first items of these, unless somebody has taken one meanwhile; return the ids."""
    free = items.select_for_update(of=("self",), skip_locked=True, no_key=True).order_by("pk")
    ids = list(free.values_list("pk", flat=True)[:CHUNK])
    QueueItem.objects.filter(pk__in=ids).update(wanted=annotators)
    return ids


@transaction.atomic
def _follow_control_rate(project: Project, protocol: Protocol) -> None:
    """Turn pairs with a known answer into control items, or back, after the control rate was changed to or from 0."""
    gold = QueueItem.objects.select_for_update(of=("self",)).filter(project=project, comparison__gold__isnull=False)
    if protocol.control_rate:
        wrong = gold.filter(state__in=[QueueItem.State.OPEN, QueueItem.State.COMPLETE])
        change: dict[str, Any] = {"state": QueueItem.State.CONTROL, "wanted": EVERYBODY_WANTED}
    else:
        wrong = gold.filter(state=QueueItem.State.CONTROL)
        change = {"state": QueueItem.State.OPEN, "wanted": Greatest(F("taken"), Value(protocol.annotators))}
    ids = list(wrong.order_by("pk").values_list("pk", flat=True))
    if ids:
        QueueItem.objects.filter(pk__in=ids).update(**change)
        note_who_had(comparison_ids=ids)
        settle(comparison_ids=ids, protocol=protocol)


@transaction.atomic
def settle(*, comparison_ids: Collection[int], protocol: Protocol, told: Project | None = None) -> None:
    """Recompute consensus from all current annotations (locks the queue items; four queries, however many)."""
    items = QueueItem.objects.select_for_update().filter(pk__in=comparison_ids).order_by("pk")
    settle_locked(items=list(items), protocol=protocol, told=told)


def settle_new(*, item: QueueItem, votes: Sequence[tuple[int, int | None]], protocol: Protocol) -> Consensus:
    """Return the consensus of a comparison that is stored together with its labels, and let its item follow; no query.

    `votes` are the ids of its annotations and their preferences, in order of submission.
    """
    cast = [_Vote(annotation, preference, None) for annotation, preference in votes]
    outcome = _outcome(item, [vote.preference for vote in cast], protocol)
    _follow(item, outcome, len(cast), protocol)
    return _row(item, outcome, cast)


# Each submission asks it, so it stands as text (`apps.core.rows`).
_VOTES = """
SELECT annotation.comparison_id, annotation.id, annotation.preference, consensus.settled_at
FROM labeling_annotation AS annotation LEFT JOIN labeling_consensus AS consensus USING (comparison_id)
WHERE annotation.comparison_id = ANY(%(comparisons)s) AND annotation.is_current AND NOT annotation.is_repeat
ORDER BY annotation.submitted_at, annotation.id
"""


def settle_locked(*, items: Sequence[QueueItem], protocol: Protocol, told: Project | None = None) -> None:
    """Recompute consensus of items that the caller has locked (three queries; two when the queue stays as it is).

    The webhooks of the project in `told` hear of what is settled for the first time; imports leave it out, because a
    million labels that come along are one event.
    """
    votes: dict[int, list[_Vote]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_VOTES, {"comparisons": [item.pk for item in items]})
        for comparison_id, *vote in cursor.fetchall():
            votes[comparison_id].append(_Vote(*vote))
    changed, settled = [], []
    for item in items:
        cast = votes[item.pk]
        outcome = _outcome(item, [vote.preference for vote in cast], protocol)
        before = item.state, item.wanted
        _follow(item, outcome, len(cast), protocol)
        if before[0] == QueueItem.State.COMPLETE and item.state == QueueItem.State.OPEN:
            outcome = _stay_closed(item, outcome, protocol)
        settled.append(_row(item, outcome, cast))
        if (item.state, item.wanted) != before:
            changed.append(item)
    if changed:
        QueueItem.objects.bulk_update(changed, ["wanted", "state"], batch_size=1000)
    if closed := [item for item in changed if item.state == QueueItem.State.CLOSED]:
        QueueItem.objects.bulk_update(closed, ["closed_reason", "closed_at"], batch_size=1000)
    fields = [field.name for field in Consensus._meta.fields if not field.primary_key]
    Consensus.objects.bulk_create(
        settled, update_conflicts=True, unique_fields=["comparison"], update_fields=fields, batch_size=1000
    )
    if told is not None:
        _tell(told, [row for row, item in zip(settled, items, strict=True) if _is_news(row, item, votes[item.pk])])


def _is_news(row: Consensus, item: QueueItem, votes: list["_Vote"]) -> bool:
    """Say whether people have just come to an end with a comparison; leaving it out is no end of theirs."""
    return row.settled_at is not None and item.state != QueueItem.State.CLOSED and not (votes and votes[0].settled_at)


def _tell(project: Project, settled: Sequence[Consensus]) -> None:
    said = [
        {
            "comparison": str(row.comparison_id),
            "status": row.status,
            "preference": row.outcome,
            "annotation_count": row.annotation_count,
        }
        for row in settled
    ]
    emit_each(project=project, event=CONSENSUS_REACHED, data=said)


def enough_flags(item: QueueItem, protocol: Protocol) -> str | None:
    """Return why a pair is closed if enough people have called it invalid (one query)."""
    flags = Assignment.objects.filter(comparison=item.pk, flagged_at__isnull=False)
    count = flags.values("annotator").distinct().count()
    return f"Flagged as invalid by {count} people." if count >= protocol.flags_to_close else None


def _stay_closed(item: QueueItem, outcome: Outcome, protocol: Protocol) -> Outcome:
    """Close a complete pair instead of opening it again when enough people have flagged it meanwhile."""
    if not (reason := enough_flags(item, protocol)):
        return outcome
    item.state, item.closed_reason, item.closed_at = QueueItem.State.CLOSED, reason, timezone.now()
    return _left_out(outcome)


class _Vote(NamedTuple):
    """An annotation as consensus takes it; `settled_at` is its comparison's."""

    annotation: int
    preference: int | None
    settled_at: datetime | None


def _outcome(item: QueueItem, votes: list[int | None], protocol: Protocol) -> Outcome:
    if item.state == QueueItem.State.CONTROL:
        return Outcome(Status.PENDING)  # its answer is known; the votes say something about the people
    outcome = consensus(
        votes,
        annotators=protocol.annotators,
        max_annotators=protocol.max_annotators,
        spread_limit=protocol.spread_limit,
    )
    return _left_out(outcome) if item.state == QueueItem.State.CLOSED else outcome


def _left_out(outcome: Outcome) -> Outcome:
    """Return the outcome of a closed comparison: whatever people said of it, it is no label."""
    if outcome.status is Status.EXCLUDED:
        return outcome
    undecided = outcome.status in (Status.PENDING, Status.ESCALATED)
    reason = CLOSED_UNDECIDED if undecided else CLOSED_DECIDED
    return Outcome(Status.EXCLUDED, kept=outcome.kept, spread=outcome.spread, excluded_reason=reason)


def _row(item: QueueItem, outcome: Outcome, votes: list[_Vote]) -> Consensus:
    settled_at = (votes[0].settled_at if votes else None) or timezone.now()
    return Consensus(
        comparison_id=item.pk,
        project_id=item.project_id,
        status=outcome.status.value,
        preference=outcome.preference,
        excluded_reason=outcome.excluded_reason,
        spread=outcome.spread,
        kept=[votes[position].annotation for position in outcome.kept],
        annotation_count=len(votes),
        rule=RULE_VERSION,
        settled_at=settled_at if outcome.status in FINAL else None,
    )


def _follow(item: QueueItem, outcome: Outcome, votes: int, protocol: Protocol) -> None:
    """Let a queue item ask for as many people as its outcome needs, and say whether it has them."""
    if item.state == QueueItem.State.CONTROL:
        return
    if outcome.status is Status.PENDING:
        item.wanted = max(item.wanted, protocol.annotators)
    elif outcome.status is Status.ESCALATED and item.wanted <= votes:
        item.wanted = max(item.wanted, min(votes + MORE_ANNOTATORS, protocol.max_annotators))
    if item.state != QueueItem.State.CLOSED:
        item.state = QueueItem.State.COMPLETE if votes >= item.wanted else QueueItem.State.OPEN
