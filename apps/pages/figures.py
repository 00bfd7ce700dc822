"""What the pages count: one function per block, each a fixed number of queries."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, F, Max, OuterRef, Q

from apps.accounts.models import User
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.jobs.services import live_queues
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.projects.models import Project
from apps.reward_models.models import RewardModel
from apps.reward_models.services import MIN_LABELS, current_model, trainable_labels
from worker.core.consensus import Status

JOBS_SHOWN = 8


def waiting_for(user: User, project_ids: Collection[int]) -> dict[int, int]:
    """Return per project how many comparisons this person could get, leases they hold included (two queries)."""
    had = Assignment.objects.filter(comparison_id=OuterRef("comparison_id"), annotator=user)
    rows = (
        QueueItem.objects.filter(project_id__in=project_ids, state=QueueItem.State.OPEN, taken__lt=F("wanted"))
        .filter(~Exists(had))
        .values_list("project_id")
        .annotate(Count("pk"))
    )
    waiting = dict(rows)
    held = Assignment.objects.live().filter(project_id__in=project_ids, annotator=user)
    for project_id, count in held.values_list("project_id").annotate(Count("pk")):
        waiting[project_id] = waiting.get(project_id, 0) + count
    return waiting


@dataclass(frozen=True)
class Progress:
    """How far the labeling of a project is, counted in comparisons."""

    total: int
    complete: int
    begun: int
    untouched: int
    closed: int
    annotations: int
    by_status: dict[str, int]
    excluded_reasons: list[tuple[str, int]]
    trainable: int

    @property
    def begun_end(self) -> int:
        """Return where the bar of begun comparisons ends, counted from the left."""
        return self.complete + self.begun


def progress(project: Project) -> Progress:
    """Count comparisons by state and consensus (five queries)."""
    items = QueueItem.objects.filter(project=project).aggregate(
        total=Count("pk"),
        complete=Count("pk", filter=Q(state=QueueItem.State.COMPLETE)),
        closed=Count("pk", filter=Q(state=QueueItem.State.CLOSED)),
        begun=Count("pk", filter=Q(state=QueueItem.State.OPEN, taken__gt=0)),
        untouched=Count("pk", filter=Q(state=QueueItem.State.OPEN, taken=0)),
    )
    consensus = Consensus.objects.filter(project=project)
    counted = dict(consensus.values_list("status").annotate(Count("pk")))
    reasons = consensus.filter(status=Status.EXCLUDED).values_list("excluded_reason").annotate(count=Count("pk"))
    return Progress(
        **items,
        annotations=Annotation.objects.current().filter(project=project).count(),
        by_status={status.value: counted.get(status.value, 0) for status in Status},
        excluded_reasons=list(reasons.order_by("-count", "excluded_reason")),
        trainable=trainable_labels(project),
    )


@dataclass(frozen=True)
class AnnotatorRow:
    """One person's share of the work."""

    name: str
    annotations: int
    skips: int
    last_at: datetime | None


def annotator_rows(project: Project) -> list[AnnotatorRow]:
    """Return everybody who submitted or skipped something, the busiest first (one query)."""
    people = User.objects.filter(assignments__project=project).annotate(
        submitted=Count(
            "assignments", filter=Q(assignments__project=project, assignments__state=Assignment.State.SUBMITTED)
        ),
        skipped=Count(
            "assignments", filter=Q(assignments__project=project, assignments__state=Assignment.State.SKIPPED)
        ),
        last_at=Max("assignments__annotations__submitted_at", filter=Q(assignments__project=project)),
    )
    return [
        AnnotatorRow(str(person), person.submitted, person.skipped, person.last_at)
        for person in people.order_by("-submitted", "username")
        if person.submitted or person.skipped
    ]


def live_block(project: Project) -> dict[str, Any]:
    """Return what changes while jobs run: progress, the current reward model and the jobs themselves."""
    jobs = list(Job.objects.filter(project=project).select_related("created_by").order_by("-id")[:JOBS_SHOWN])
    unfinished = [job for job in jobs if not job.finished]
    asleep = {job.queue for job in unfinished} - live_queues() if unfinished else set()
    return {
        "progress": progress(project),
        "min_labels": MIN_LABELS,
        "model": current_model(project),
        "versions": RewardModel.objects.filter(project=project).count(),
        "snapshots": Snapshot.objects.filter(project=project).exclude(content_hash="").count(),
        "jobs": jobs,
        "unfinished": bool(unfinished),
        "asleep": sorted(asleep),
    }
