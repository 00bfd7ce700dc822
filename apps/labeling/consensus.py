"""Settle comparisons: store what their annotations add up to, and ask for more people where they disagree."""

from collections import defaultdict
from collections.abc import Collection

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.labeling.models import Annotation, Consensus, QueueItem
from apps.projects.models import Project
from apps.projects.protocol import Protocol
from worker.core.consensus import RULE_VERSION, Status, consensus

FINAL = (Status.AGREED, Status.NEITHER, Status.EXCLUDED)
MORE_ANNOTATORS = 2


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
        settle(comparison_ids=ids, protocol=protocol)
        refreshed += len(ids)
        # What nobody has labeled yet follows the protocol; what is under way keeps its number until it is settled.
        QueueItem.objects.filter(project=project, taken=0, comparison__consensus=None).exclude(
            wanted=protocol.annotators
        ).update(wanted=protocol.annotators)
    return refreshed


@transaction.atomic
def settle(*, comparison_ids: Collection[int], protocol: Protocol) -> None:
    """Recompute consensus from all current annotations (locks the queue items; five queries, however many)."""
    items = list(QueueItem.objects.select_for_update().filter(pk__in=comparison_ids).order_by("pk"))
    annotations: dict[int, list[Annotation]] = defaultdict(list)
    for annotation in (
        Annotation.objects.current().filter(comparison_id__in=comparison_ids).order_by("submitted_at", "id")
    ):
        annotations[annotation.comparison_id].append(annotation)
    settled_at = dict(Consensus.objects.filter(pk__in=comparison_ids).values_list("pk", "settled_at"))
    now = timezone.now()
    rows = []
    for item in items:
        votes = annotations[item.comparison_id]
        outcome = consensus(
            [annotation.vote for annotation in votes],
            annotators=protocol.annotators,
            max_annotators=protocol.max_annotators,
            spread_limit=protocol.spread_limit,
        )
        rows.append(
            Consensus(
                comparison_id=item.comparison_id,
                project_id=item.project_id,
                status=outcome.status.value,
                preference=outcome.preference,
                excluded_reason=outcome.excluded_reason,
                spread=outcome.spread,
                kept=[votes[position].pk for position in outcome.kept],
                annotation_count=len(votes),
                rule=RULE_VERSION,
                settled_at=(settled_at.get(item.pk) or now) if outcome.status in FINAL else None,
            )
        )
        if outcome.status is Status.PENDING:
            item.wanted = max(item.wanted, protocol.annotators)
        elif outcome.status is Status.ESCALATED and item.wanted <= len(votes):
            item.wanted = max(item.wanted, min(len(votes) + MORE_ANNOTATORS, protocol.max_annotators))
        if item.state != QueueItem.State.CLOSED:
            item.state = QueueItem.State.COMPLETE if len(votes) >= item.wanted else QueueItem.State.OPEN
    QueueItem.objects.bulk_update(items, ["wanted", "state"], batch_size=1000)
    fields = [field.name for field in Consensus._meta.fields if not field.primary_key]
    Consensus.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["comparison"], update_fields=fields, batch_size=1000
    )
