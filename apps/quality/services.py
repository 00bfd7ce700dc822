"""How good a project's labels are: computed when somebody looks, at most once a minute, and kept until then."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from django.db import transaction
from django.db.models import Count, Q, Sum
from django.utils import timezone

from apps.accounts.models import User
from apps.labeling.models import Assignment, Consensus
from apps.projects.models import GuidelineVersion, Project
from apps.quality.columns import read_annotations, read_repeats
from apps.quality.models import ExpectedSide, QualityReport
from worker.core import label_quality
from worker.core.agreement import Agreement
from worker.core.annotator_figures import annotator_figures
from worker.core.consensus import Status
from worker.core.label_quality import Annotations, Repeats

FRESH = timedelta(minutes=1)
VERSION = 2
"""Of the shape and the meaning of a stored report: change it with either, so that older reports are not shown."""


@dataclass(frozen=True)
class ProjectQuality:
    """The figures of a project as JSON types: shares with counts and intervals, None where nothing is defined."""

    computed_at: datetime
    comparisons: dict[str, Any]
    annotations: dict[str, Any]
    agreement: dict[str, dict[str, Any]]
    rating_agreement: list[dict[str, Any]]
    bias: dict[str, Any]
    annotators: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as REST shows it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def annotator(self, annotator_id: int) -> dict[str, Any] | None:
        """Return one person's figures."""
        return next((row for row in self.annotators if row["id"] == str(annotator_id)), None)


def project_quality(*, project: Project) -> ProjectQuality:
    """Return the figures of a project, at most a minute old (one query), or computed now (ten more).

    While somebody computes them, everybody else gets the ones before; only the first ones are waited for.
    """
    report = QualityReport.objects.filter(project=project).first()
    if report is None:
        report, _created = QualityReport.objects.get_or_create(project=project)
    if _is_fresh(report):
        return _quality(report)
    return _renewed(project, has_one=report.version == VERSION)


@transaction.atomic
def _renewed(project: Project, *, has_one: bool) -> ProjectQuality:
    rows = QualityReport.objects.filter(project=project)
    locked = rows.select_for_update(skip_locked=has_one, no_key=True).first()
    if locked is None:
        return _quality(rows.get())  # somebody is at it just now
    if not _is_fresh(locked):
        started = time.monotonic()
        locked.computed_at, locked.version = timezone.now(), VERSION
        locked.body = _computed(project)
        locked.seconds = time.monotonic() - started
        locked.save()
    return _quality(locked)


def _is_fresh(report: QualityReport) -> bool:
    computed_at = report.computed_at
    return report.version == VERSION and computed_at is not None and computed_at > timezone.now() - FRESH


def _quality(report: QualityReport) -> ProjectQuality:
    if report.computed_at is None:
        raise ValueError("A report is read after it was computed.")
    return ProjectQuality(computed_at=report.computed_at, **report.body)


# --- Computing ---


def _computed(project: Project) -> dict[str, Any]:
    outcomes = _outcomes(project)
    annotations = read_annotations(project, expected=sum(each.annotations for each in outcomes))
    repeats = read_repeats(project)
    attributes = project.protocol.attribute_names
    consistency = label_quality.consistency(annotations, attributes)
    return {
        "comparisons": _comparison_counts(outcomes, annotations),
        "annotations": _annotation_counts(annotations, repeats),
        "agreement": {stage.name: _stage(stage) for stage in label_quality.agreement_stages(annotations)},
        "rating_agreement": [asdict(row) for row in label_quality.rating_agreement(annotations, attributes)],
        "bias": {
            "position": asdict(label_quality.position_bias(annotations)),
            "length": asdict(label_quality.length_bias(annotations)),
            "consistency": asdict(consistency) if consistency else None,
            "guideline_versions": _guideline_versions(project, annotations),
        },
        "annotators": _annotators(project, annotations, repeats),
    }


class _Outcome(NamedTuple):
    """How many comparisons came out alike, with how many annotations."""

    status: str
    excluded_reason: str
    comparisons: int
    annotations: int


def _outcomes(project: Project) -> list[_Outcome]:
    found = Consensus.objects.filter(project=project).order_by().values_list("status", "excluded_reason")
    return [_Outcome(*row) for row in found.annotate(comparisons=Count("pk"), annotations=Sum("annotation_count"))]


def _comparison_counts(outcomes: Sequence[_Outcome], annotations: Annotations) -> dict[str, Any]:
    by_status, reasons = dict.fromkeys([status.value for status in Status], 0), []
    for each in outcomes:
        by_status[each.status] += each.comparisons
        if each.status == Status.EXCLUDED:
            reasons.append({"reason": each.excluded_reason, "count": each.comparisons})
    control = len(np.unique(annotations.comparison[annotations.control]))
    # Control items never reach a consensus, and so would wait for ever.
    by_status[Status.PENDING.value] = max(0, by_status[Status.PENDING.value] - control)
    return {
        "by_status": by_status,
        "excluded_reasons": sorted(reasons, key=lambda each: (-each["count"], each["reason"])),
        "control_items": control,
    }


def _annotation_counts(annotations: Annotations, repeats: Repeats) -> dict[str, int]:
    return {
        "total": len(annotations),
        "imported": int(annotations.imported.sum()),
        "on_control_items": int(annotations.control.sum()),
        "neither": int(np.isnan(annotations.preference).sum()),
        "ties": int((annotations.preference == 0).sum()),
        "repeats": len(repeats.annotator),
    }


def _stage(stage: label_quality.Stage) -> dict[str, Any]:
    figures: Agreement = stage.agreement
    return {"mean_preference": stage.mean_preference, "deviation": stage.deviation, **asdict(figures)}


def _guideline_versions(project: Project, annotations: Annotations) -> list[dict[str, Any]]:
    numbers = dict(GuidelineVersion.objects.filter(project=project).values_list("pk", "number"))
    rows = [asdict(row) for row in label_quality.by_guideline(annotations)]
    return sorted(({**row, "version": numbers[row["version"]]} for row in rows), key=lambda row: row["version"])


def _annotators(project: Project, annotations: Annotations, repeats: Repeats) -> list[dict[str, Any]]:
    rows = annotator_figures(annotations, repeats, _skips(project))
    people = User.objects.only("username", "imported_name").in_bulk([row.annotator for row in rows])
    preferences = [_preference_name(value) for value in label_quality.PREFERENCES]
    return [
        {
            "id": str(row.annotator),
            **asdict(row),
            "annotator": people[row.annotator].annotator_name,
            "preferences": dict(zip(preferences, row.preferences, strict=True)),
        }
        for row in rows
    ]


def _skips(project: Project) -> dict[int, tuple[int, int]]:
    """Return how many comparisons each person skipped, and how many of those as something nobody should label."""
    skipped = Assignment.objects.filter(project=project, state=Assignment.State.SKIPPED).order_by()
    invalid = Q(flagged_at__isnull=False) | Q(skip_reason__in=project.protocol.invalid_reasons)
    counts = skipped.values_list("annotator").annotate(skipped=Count("pk"), flagged=Count("pk", filter=invalid))
    return {annotator: (count, flagged) for annotator, count, flagged in counts}


def _preference_name(value: float | None) -> str:
    return "neither" if value is None else f"{value:g}"


# --- What is expected ---


@transaction.atomic
def expect_sides(*, project: Project, sides: Mapping[int, int]) -> None:
    """Replace what is expected of a project's comparisons: −1 or 1 by the comparison's id; others expect nothing."""
    ExpectedSide.objects.filter(project=project).delete()
    ExpectedSide.objects.bulk_create(
        [ExpectedSide(project=project, comparison_id=pk, side=side) for pk, side in sides.items()], batch_size=5000
    )


# --- As a table ---

_SHARES = (
    "agrees_with_others",
    "control_items",
    "agrees_with_self",
    "skipped",
    "flagged",
    "neither",
    "first_side",
    "longer_side",
    "follows_rules",
    "same_ratings",
    "pasted",
    "short_justifications",
    "repeated_justifications",
)


def annotator_table(annotators: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Return the annotators as rows under a header: each share with its count, its base and its interval."""
    header: list[Any] = ["id", "annotator", "annotations", "imported", "median_seconds", "mean_seconds"]
    for name in _SHARES:
        header += [name, f"{name}_count", f"{name}_of", f"{name}_low", f"{name}_high"]
    rows = [[*header, "remarks"]]
    for person in annotators:
        row: list[Any] = [person[name] for name in header[:6]]
        for name in _SHARES:
            share = person[name]
            row += [share["share"], share["count"], share["of"], *(share["interval"] or (None, None))]
        rows.append([*row, " ".join(person["remarks"])])
    return rows
