"""What managers and reviewers do about single comparisons: leave one out, put it back, see what was said of it.

Lock order as everywhere: assignments, then their queue item.
"""

from collections.abc import Collection
from functools import reduce
from operator import or_
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.core.counts import MAX_LISTED
from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import why_unstorable
from apps.labeling.consensus import note_who_had, place_in_queue, settle_locked
from apps.labeling.models import Annotation, Assignment, Cohort, QueueItem
from apps.projects.access import LABELS, SEES_RESULTS
from apps.projects.models import Membership, Project
from apps.projects.protocol import Protocol
from apps.projects.services import record
from apps.prompts.models import Comparison
from worker.core.consensus import Status

CLOSED_BY_HAND = "Closed by hand."
MAX_REASON = 200
KINDS = {
    "flagged": gettext_lazy("Flagged"),
    "closed": gettext_lazy("Closed"),
    "unsafe": gettext_lazy("Marked as unsafe"),
    "notes": gettext_lazy("Skipped with a note"),
}
"""The lists that a project's flags are sorted into."""
_HANDED_OUT = (QueueItem.State.OPEN, QueueItem.State.CONTROL)
_SPOKEN = (Assignment.State.SUBMITTED, Assignment.State.SKIPPED)


# --- Leaving out and putting back ---


@transaction.atomic
def close_comparison(*, comparison: Comparison, actor: User, reason: str = "") -> bool:
    """Leave a comparison out: nobody gets it any more, and it is no label. Say whether this changed anything.

    Whoever holds it may still submit; the answer is kept, and counts if the comparison is put back.
    """
    reason = reason.strip()
    if len(reason) > MAX_REASON or why_unstorable(reason):
        most = _("At most %(most)s characters of text.") % {"most": MAX_REASON}
        raise InvalidInput(_("The reason is not valid."), [FieldError("/reason", most)])
    item = QueueItem.objects.select_for_update().get(pk=comparison.pk)
    if item.state == QueueItem.State.CLOSED:
        return False
    project = comparison.project
    close_locked(item, reason=reason or CLOSED_BY_HAND, protocol=project.protocol)
    record(project=project, actor=actor, verb="closed a comparison", comparison=comparison.external_id, reason=reason)
    return True


@transaction.atomic
def put_back(*, comparison: Comparison, actor: User) -> bool:
    """Hand a comparison out again, and forget the flags raised so far. Say whether this changed anything.

    The reasons and notes of those who flagged it stay; only new flags can close it again.
    """
    project = comparison.project
    flags = Assignment.objects.filter(comparison=comparison, flagged_at__isnull=False).update(flagged_at=None)
    item = QueueItem.objects.select_for_update().get(pk=comparison.pk)
    closed = item.state == QueueItem.State.CLOSED
    if closed:
        place = place_in_queue(gold=comparison.gold, protocol=project.protocol)
        item.state, item.wanted = place["state"], max(item.taken, place["wanted"])
        item.closed_reason, item.closed_at = "", None
        item.save(update_fields=["state", "wanted", "closed_reason", "closed_at"])
        note_who_had(comparison_ids=[item.pk])
        _settle(item, project.protocol)
    if closed or flags:
        detail = {"comparison": comparison.external_id, "was_closed": closed, "flags": flags}
        record(project=project, actor=actor, verb="put a comparison back", **detail)
    return closed or bool(flags)


def close_locked(item: QueueItem, *, reason: str, protocol: Protocol) -> None:
    """Close a locked queue item and exclude what its annotations add up to."""
    item.state, item.closed_reason, item.closed_at = QueueItem.State.CLOSED, reason, timezone.now()
    item.save(update_fields=["state", "closed_reason", "closed_at"])
    _settle(item, protocol)


def _settle(item: QueueItem, protocol: Protocol) -> None:
    # A comparison that nobody has annotated has no consensus, before and after.
    if Annotation.objects.current().filter(comparison=item.pk).exists():
        settle_locked(items=[item], protocol=protocol)


# --- Looking up ---


def reported(*, membership: Membership, kind: str) -> list[int]:
    """Return ids of comparisons of which something was reported in a project, each once, the newest first (one query).

    `kind` is one of KINDS; the newest 10,000 reports are looked at. That something is unsafe is part of an answer, so
    `answers_open_to` decides who sees it.
    """
    project = membership.project
    rows: QuerySet[Any]
    if kind == "closed":
        rows = QueueItem.objects.filter(project=project, state=QueueItem.State.CLOSED).order_by("-closed_at")
    elif kind == "unsafe":
        said = Annotation.objects.current().filter(project=project, unsafe=True)
        rows = said.filter(answers_open_to(membership, "comparison__")).order_by("-submitted_at")
    elif kind == "notes":
        skips = Assignment.objects.filter(project=project, state=Assignment.State.SKIPPED)
        rows = skips.exclude(skip_note="").order_by("-id")
    else:
        rows = open_flags(project).order_by("-flagged_at")
    return list(dict.fromkeys(rows.values_list("comparison_id", flat=True)[:MAX_LISTED]))


def open_flags(project: Project) -> QuerySet[Assignment]:
    """Return the flags of comparisons that are not closed."""
    flags = Assignment.objects.filter(project=project, flagged_at__isnull=False)
    return flags.exclude(comparison__queue_item__state=QueueItem.State.CLOSED)


def remarks(*, project: Project, comparison_ids: Collection[int]) -> QuerySet[Assignment]:
    """Return the skips of these comparisons that are flags, or were, or have a note (one query)."""
    skips = Assignment.objects.filter(comparison__in=comparison_ids, state=Assignment.State.SKIPPED)
    telling = Q(flagged_at__isnull=False) | Q(skip_reason__in=project.protocol.invalid_reasons) | ~Q(skip_note="")
    return skips.filter(telling).select_related("annotator").order_by("-id")


def marked_unsafe(*, membership: Membership, comparison_ids: Collection[int]) -> QuerySet[Annotation]:
    """Return the answers that call a response of these comparisons unsafe, if this member may see them (one query)."""
    said = Annotation.objects.current().filter(comparison__in=comparison_ids, unsafe=True)
    shown = said.filter(answers_open_to(membership, "comparison__"))
    return shown.select_related("annotator").order_by("-submitted_at")


def answers_open_to(membership: Membership, prefix: str = "") -> Q:
    """Return what a comparison fulfils whose answers this member may see; `prefix` leads to it from other rows.

    A reviewer labels too, so others' answers stay hidden from them until they have spoken, or cannot be asked any more.
    """
    if membership.role in SEES_RESULTS:
        return Q()
    spoken = Assignment.objects.filter(comparison=OuterRef(f"{prefix}pk"), annotator=membership.user, state__in=_SPOKEN)
    return Q(Exists(spoken)) | ~Q(**{f"{prefix}queue_item__state__in": _HANDED_OUT})


def nobody_left(project: Project) -> Q:
    """Return what escalated comparisons fulfil that everybody had who might get them (two queries)."""
    labeling = Membership.objects.filter(project=project, role__in=LABELS, user__is_active=True)
    everybody = set(labeling.values_list("user_id", flat=True))
    pools: dict[int | None, set[int]] = {None: everybody}
    for cohort_id, member in Cohort.objects.filter(project=project).values_list("pk", "members"):
        pools.setdefault(cohort_id, set()).update(everybody & {member})
    had = [
        Q(queue_item__cohort=cohort_id, queue_item__had__contains=sorted(people)) for cohort_id, people in pools.items()
    ]
    waiting = Q(consensus__status=Status.ESCALATED, queue_item__state=QueueItem.State.OPEN)
    nobody_holds_it = Q(queue_item__taken=F("consensus__annotation_count"))
    return waiting & nobody_holds_it & reduce(or_, had)
