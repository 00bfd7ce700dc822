"""What the pages count: one function per block, each a fixed number of queries."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Max, OuterRef, Subquery, Sum
from django.utils import timezone

from apps.accounts.models import User
from apps.core.counts import LARGE, MAX_LISTED, counted
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.jobs.services import live_queues
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem, Workload
from apps.labeling.oversight import open_flags
from apps.labeling.services import remaining_for
from apps.projects.models import Project
from apps.reward_models.models import RewardModel
from apps.reward_models.services import MIN_LABELS, current_model
from worker.core.consensus import Status

JOBS_SHOWN = 8


def waiting_for(user: User, projects: Collection[Project]) -> dict[int, int]:
    """Return per project how many comparisons this person could get, leases they hold included (two queries)."""
    waiting = remaining_for(projects=projects, annotator=user)
    held = Assignment.objects.live().filter(project__in=projects, annotator=user, ahead=False)
    for project_id, count in held.values_list("project_id").annotate(Count("pk")):
        waiting[project_id] += count
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
    counted_at: datetime

    @property
    def begun_end(self) -> int:
        """Return where the bar of begun comparisons ends, counted from the left."""
        return self.complete + self.begun

    @property
    def is_kept(self) -> bool:
        """Say whether the project is so large that it is counted once in a while only."""
        return self.total > LARGE


def progress(project: Project) -> Progress:
    """Return comparisons by state and consensus; of a large project, as of the last 30 seconds (three queries)."""
    return counted(f"progress-{project.pk}", lambda: _count_progress(project), size=lambda found: found.total)


def _count_progress(project: Project) -> Progress:
    state = QueueItem.State
    items: dict[str, int] = defaultdict(int)
    rows = QueueItem.objects.filter(project=project).values_list("state", "taken").annotate(count=Count("pk"))
    for name, taken, count in rows.order_by():
        items["total"] += count
        items[name if name != state.OPEN else "begun" if taken else "untouched"] += count
    by_status = dict.fromkeys([status.value for status in Status], 0)
    annotations = trainable = 0
    outcomes = Consensus.objects.filter(project=project).order_by().values_list("status", "preference")
    for status, preference, count, votes in outcomes.annotate(count=Count("pk"), votes=Sum("annotation_count")):
        by_status[status] += count
        annotations += votes
        trainable += count if preference else 0  # only an agreement has one, and 0 is a tie
    excluded = Consensus.objects.filter(project=project, status=Status.EXCLUDED).values_list("excluded_reason")
    return Progress(
        total=items["total"],
        complete=items[state.COMPLETE],
        begun=items["begun"],
        untouched=items["untouched"],
        closed=items[state.CLOSED],
        annotations=annotations,
        by_status=by_status,
        excluded_reasons=list(excluded.annotate(count=Count("pk")).order_by("-count", "excluded_reason")),
        trainable=trainable,
        counted_at=timezone.now(),
    )


@dataclass(frozen=True)
class AnnotatorRow:
    """One person's share of the work."""

    name: str
    annotations: int
    skips: int
    last_at: datetime | None


def annotator_rows(project: Project) -> list[AnnotatorRow]:
    """Return everybody who submitted or skipped something, the busiest first; kept like `progress` (two queries)."""

    def size(rows: list[AnnotatorRow]) -> int:
        return sum(row.annotations for row in rows)

    return counted(f"annotators-{project.pk}", lambda: _count_annotators(project), size=size)


def _count_annotators(project: Project) -> list[AnnotatorRow]:
    mine = Annotation.objects.filter(annotator=OuterRef("annotator"), project=project, is_current=True)
    newest = Subquery(mine.order_by("-submitted_at").values("submitted_at")[:1])
    imported = Annotation.objects.filter(project=project, imported=True, is_current=True).order_by()
    brought = imported.values_list("annotator").annotate(count=Count("pk"), last_at=Max("submitted_at"))
    labels = {annotator: (count, last_at) for annotator, count, last_at in brought}
    rows = []
    for work in Workload.objects.filter(project=project).select_related("annotator").annotate(last_at=newest):
        count, _last_at = labels.pop(work.annotator_id, (0, None))
        rows.append(AnnotatorRow(str(work.annotator), work.submitted + count, work.skipped, work.last_at))
    others = User.objects.filter(pk__in=labels)
    rows += [AnnotatorRow(str(person), labels[person.pk][0], 0, labels[person.pk][1]) for person in others]
    busy = [row for row in rows if row.annotations or row.skips]
    return sorted(busy, key=lambda row: (-row.annotations, row.name))


def flag_count(project: Project) -> int:
    """Return how many flags ask for a decision, counted up to `MAX_LISTED` (one query)."""
    return open_flags(project)[:MAX_LISTED].count()


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
