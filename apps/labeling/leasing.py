"""Who holds which comparison: lease, lease ahead, take up again, give back, expire.

Lock order everywhere: the person (their workload), then the assignment, then its queue item.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, OuterRef, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.core.errors import Conflict, NotFound
from apps.labeling import queue
from apps.labeling.models import Assignment, QueueItem, Workload
from apps.labeling.workloads import lock_workload
from apps.projects.models import GuidelineVersion, Project

ENDED = {
    Assignment.State.SUBMITTED: gettext_lazy("This comparison was submitted already."),
    Assignment.State.SKIPPED: gettext_lazy("This comparison was skipped already."),
}
REPEAT_AFTER = 10
"""So many submissions lie between a pair and its repeat, so that nobody repeats from memory."""


class GuidelineChanged(Conflict):
    """A new version of the guideline is out, and this person has not accepted it."""


@transaction.atomic
def lease_next(*, project: Project, annotator: User, resume: bool) -> Assignment | None:
    """Lease the next comparison, or return None when nothing is left for this person, or their limit is reached.

    With `resume` (the page), a lease that the person still holds comes first, so a reload shows the same pair; then the
    one leased ahead. Without (REST), each call is a new lease, up to a limit of open ones. A comparison whose lease ran
    out on this person comes back to them last, as the same assignment with the same sides. On the page, a new version
    of the guideline is read before a new pair: until then GuidelineChanged is raised.
    """
    if annotator.imported_name:
        raise Conflict(_("This account stands for imported labels; sign in with one of your own to label."))
    workload = lock_workload(project=project, annotator=annotator)
    open_leases = Assignment.objects.live().filter(project=project, annotator=annotator)
    # Locked, because a submission or the expiry of this lease may be under way: what it has become counts.
    held = open_leases.select_for_update(of=("self",)).order_by("ahead", "id").first() if resume else None
    if held is not None:
        held.project = project
        if not held.ahead:
            return prolong(held)
    if resume and _reads_first(workload):
        raise GuidelineChanged(_("The guideline has changed since you last worked with it; read what is new first."))
    if held is not None:
        return _show(held, workload)
    if not resume and open_leases.count() >= settings.API_MAX_OPEN_ASSIGNMENTS:
        raise Conflict(
            _("You hold %(count)s open assignments; submit or skip one first.")
            % {"count": settings.API_MAX_OPEN_ASSIGNMENTS}
        )
    return _lease(project, workload)


@transaction.atomic
def lease_ahead(*, assignment: Assignment) -> Assignment | None:
    """Lease the pair that comes after the one this person holds, unseen; once, however often it is asked for.

    It counts as a lease, so that it is theirs when they get there; somebody who would otherwise find nothing takes it.
    None when nothing is left, or when a changed guideline comes first.
    """
    project = assignment.project
    workload = lock_workload(project=project, annotator=assignment.annotator)
    if _reads_first(workload):
        return None
    live = Assignment.objects.live().filter(project=project, annotator=assignment.annotator)
    held = list(live.select_for_update(of=("self",)).order_by("-ahead", "id"))
    if held and held[0].ahead:
        return held[0]
    if len(held) >= settings.API_MAX_OPEN_ASSIGNMENTS:
        return None
    return _lease(project, workload, ahead=True) if any(lease.pk == assignment.pk for lease in held) else None


def bring_forward(*, annotator: User, assignment_id: int) -> Assignment | None:
    """Turn the pair leased ahead into the one that is seen now; None when it is gone or the guideline has changed."""
    newest = GuidelineVersion.objects.filter(project=OuterRef("project")).order_by("-number")
    shown = Assignment.objects.live().filter(
        pk=assignment_id, annotator=annotator, ahead=True, guideline_version=Subquery(newest.values("pk")[:1])
    )
    assignment = shown.select_related("project").first()
    if assignment is None or not shown.update(ahead=False, lease_expires_at=_lease_end(assignment.project)):
        return None
    assignment.ahead = False
    return assignment


@transaction.atomic
def release_ahead(*, project: Project, annotator: User) -> int:
    """Give back what this person has been leased and never saw, as if it had never happened; return how many."""
    lock_workload(project=project, annotator=annotator)
    unseen = Assignment.objects.live().filter(project=project, annotator=annotator, ahead=True)
    return _give_up(list(unseen.select_for_update(of=("self",)).order_by("pk")))


@transaction.atomic
def take_up_again(*, assignment: Assignment) -> Assignment:
    """Lease a pair again whose time ran out, as the same assignment with its sides and draft, while there is room."""
    workload = lock_workload(project=assignment.project, annotator=assignment.annotator)
    locked = lock_assignment(assignment)
    if locked.state == Assignment.State.LEASED:
        return prolong(locked)
    if locked.state != Assignment.State.EXPIRED:
        raise Conflict(str(ENDED[Assignment.State(locked.state)]))
    take_slot_back(assignment=locked, workload=workload)
    return prolong(locked)


def expire_leases(*, limit: int = 5000) -> int:
    """Give back the slots of leases whose time is over; drafts stay. Return how many."""
    expired = 0
    while True:
        with transaction.atomic():
            overdue = list(Assignment.objects.overdue().select_for_update(skip_locked=True)[:limit])
            seen = [assignment for assignment in overdue if not assignment.ahead]
            Assignment.objects.filter(pk__in=[lease.pk for lease in seen]).update(state=Assignment.State.EXPIRED)
            give_back(Returned.of(lease) for lease in seen)
            _give_up([lease for lease in overdue if lease.ahead])
        expired += len(overdue)
        if len(overdue) < limit:
            return expired


def limit_reached(*, project: Project, annotator: User) -> str | None:
    """Return a sentence about the limit that keeps this person from getting more, or None (one query)."""
    workload = Workload.objects.filter(project=project, annotator=annotator).first()
    return _limit(project, workload, open_leases=0) if workload else None


# --- What other services of this app use ---


@dataclass(frozen=True)
class Returned:
    """A slot that comes back: of which comparison, and whose trace is to be forgotten, if anybody's."""

    comparison_id: int
    takes_slot: bool
    forgotten: int | None = field(default=None)

    @classmethod
    def of(cls, assignment: Assignment, *, forget: bool = False) -> "Returned":
        """Return the slot of an assignment."""
        forgotten = assignment.annotator_id if forget else None
        return cls(assignment.comparison_id, assignment.repeat_of_id is None, forgotten)


def lock_assignment(assignment: Assignment) -> Assignment:
    """Lock an assignment and return it as it is now, with its project.

    One that was leased ahead may be gone by now: given back, or taken over by somebody else. That is NotFound.
    """
    rows = Assignment.objects.select_for_update(of=("self",)).select_related("project")
    locked = rows.filter(pk=assignment.pk).first()
    if locked is None:
        raise gone()
    locked.annotator = assignment.annotator
    return locked


def gone() -> NotFound:
    """Return the error for an assignment that is not there, or not this person's."""
    return NotFound(_("There is no such assignment, or it is somebody else's."))


def take_slot_back(*, assignment: Assignment, workload: Workload) -> None:
    """Take the slot of a locked assignment whose time ran out; raise Conflict where there is none for this person."""
    if full := _limit_of(assignment.project, workload):
        raise Conflict(full)
    if assignment.repeat_of_id is None and not queue.take_slot_again(assignment.comparison_id, pools=workload.pools):
        raise Conflict(
            _("Your time for this comparison ran out and others have completed it. Your text is kept as a draft.")
        )


def prolong(assignment: Assignment) -> Assignment:
    """Let the lease of a locked assignment run from now on."""
    assignment.state = Assignment.State.LEASED
    assignment.ahead = False
    assignment.lease_expires_at = _lease_end(assignment.project)
    assignment.save(update_fields=["state", "ahead", "lease_expires_at"])
    return assignment


def give_back(returned: Iterable[Returned]) -> dict[int, QueueItem]:
    """Give slots of locked assignments back to the queue; return the queue items, locked and up to date."""
    slots: dict[int, list[Returned]] = defaultdict(list)
    for one in returned:
        if one.takes_slot:
            slots[one.comparison_id].append(one)
    items = QueueItem.objects.select_for_update().filter(pk__in=slots).order_by("pk")
    changed = {item.pk: item for item in items} if slots else {}
    for item in changed.values():
        # Never below nothing: one wrong counter must not keep all other leases from expiring.
        item.taken = max(0, item.taken - len(slots[item.pk]))
        forgotten = {one.forgotten for one in slots[item.pk]}
        item.had = [person for person in item.had if person not in forgotten]
    if changed:
        QueueItem.objects.bulk_update(changed.values(), ["taken", "had"], batch_size=1000)
    return changed


# --- Leasing ---


def _lease(project: Project, workload: Workload, *, ahead: bool = False) -> Assignment | None:
    """Lease something new for the person whose workload is locked."""
    protocol = project.protocol
    if _limit_of(project, workload):
        return None
    how = queue.draw(
        random_share=project.random_share, control_rate=protocol.control_rate, repeat_rate=protocol.repeat_rate
    )
    ids = {"project_id": project.pk, "annotator_id": workload.annotator_id}
    if how == "repeat" and (earlier := _to_repeat(project, workload)):
        repeat = {"drawn": "repeat", "repeat_of": earlier, "swapped": not earlier.swapped}
        return _create(project, workload, earlier.comparison_id, ahead, **repeat)
    if how == "control" and (control := queue.take_control(**ids)):
        return _create(project, workload, control, ahead, drawn="control")
    drawn: queue.Draw = "random" if how == "random" else "priority"
    if comparison_id := queue.take_slot(**ids, how=drawn, pools=workload.pools):
        known = how == drawn and workload.pools == [queue.EVERYBODY]
        return _create(
            project,
            workload,
            comparison_id,
            ahead,
            drawn=drawn,
            propensity=_propensity(project, drawn) if known else None,
        )
    if ahead:
        return None  # what is only for later takes nothing from anybody
    if comparison_id := queue.take_over_unseen(**ids, pools=workload.pools):
        return _create(project, workload, comparison_id, ahead, drawn="priority")
    return _take_back_expired(project, workload)


def _propensity(project: Project, drawn: queue.Draw) -> float | None:
    return queue.propensity(
        drawn,
        random_share=project.random_share,
        control_rate=project.protocol.control_rate,
        repeat_rate=project.protocol.repeat_rate,
        open_pairs=project.open_when_ordered,
    )


def _create(project: Project, workload: Workload, comparison_id: int, ahead: bool, **how: object) -> Assignment:
    _note_guideline(workload)
    sides = {"project_id": project.pk, "comparison_id": comparison_id, "annotator_id": workload.annotator_id}
    return Assignment.objects.create(
        project=project,
        comparison_id=comparison_id,
        annotator=workload.annotator,
        ahead=ahead,
        guideline_version=workload.newest,
        lease_expires_at=_lease_end(project),
        **{"swapped": queue.sides_for(**sides), **how},
    )


def _show(assignment: Assignment, workload: Workload) -> Assignment:
    """Show what was leased ahead, under the guideline as it is now."""
    assignment.guideline_version = workload.newest
    assignment.save(update_fields=["guideline_version"])
    _note_guideline(workload)
    return prolong(assignment)


def _reads_first(workload: Workload) -> bool:
    """Say whether a version of the guideline is out that this person has not accepted."""
    return workload.guideline_seen_id not in {None, workload.newest.pk}


def _note_guideline(workload: Workload) -> None:
    """Remember the first version that somebody works with; from then on, new ones are accepted on the page."""
    if workload.guideline_seen_id is None:
        workload.guideline_seen = workload.newest
        workload.save(update_fields=["guideline_seen"])


def _to_repeat(project: Project, workload: Workload) -> Assignment | None:
    """Choose one of the ten submissions after the last repeated one, if it lies far enough back (three queries)."""
    mine = Assignment.objects.filter(project=project, annotator=workload.annotator)
    last = mine.filter(repeat_of__isnull=False).order_by("-repeat_of").values_list("repeat_of", flat=True).first()
    labeled = mine.filter(state=Assignment.State.SUBMITTED)
    recent = labeled.order_by("-id").values_list("id", flat=True)[REPEAT_AFTER - 1 : REPEAT_AFTER].first()
    if recent is None:
        return None
    old = labeled.filter(id__gt=last or 0, id__lt=recent, repeat_of=None).exclude(drawn="control")
    old = old.exclude(comparison__queue_item__state=QueueItem.State.CLOSED)
    choices = list(old.order_by("id")[:10])
    return random.choice(choices) if choices else None  # noqa: S311  (a draw, not a secret)


def _take_back_expired(project: Project, workload: Workload) -> Assignment | None:
    expired = (
        Assignment.objects.select_for_update(of=("self",))
        .select_related("project")
        .filter(project=project, annotator=workload.annotator, state=Assignment.State.EXPIRED, repeat_of=None)
        .filter(comparison__queue_item__state=QueueItem.State.OPEN)
        .filter(comparison__queue_item__taken__lt=F("comparison__queue_item__wanted"))
        .order_by("id")
    )
    for assignment in expired:
        if queue.take_slot_again(assignment.comparison_id, pools=workload.pools):
            return prolong(assignment)
    return None


def _give_up(unseen: list[Assignment]) -> int:
    """Delete locked leases that nobody saw, with every trace of them: the pairs may come to these people again."""
    give_back(Returned.of(lease, forget=True) for lease in unseen)
    Assignment.objects.filter(pk__in=[lease.pk for lease in unseen]).delete()
    return len(unseen)


def _limit_of(project: Project, workload: Workload) -> str | None:
    """Return the limit that keeps this person from one more lease, open ones counted (a query where there is one)."""
    if not (project.protocol.annotations_per_person or project.protocol.annotations_per_day):
        return None
    mine = Assignment.objects.live().filter(project=project, annotator=workload.annotator)
    return _limit(project, workload, open_leases=mine.count())


def _limit(project: Project, workload: Workload, open_leases: int) -> str | None:
    protocol = project.protocol
    most, daily = protocol.annotations_per_person, protocol.annotations_per_day
    if most and workload.submitted + open_leases >= most:
        return _("You have done all %(count)s comparisons that this project asks of one person.") % {"count": most}
    if daily and workload.submitted_on(timezone.now().date()) + open_leases >= daily:
        return _("You have done the %(count)s comparisons that this project allows in a day. Go on tomorrow.") % {
            "count": daily
        }
    return None


def _lease_end(project: Project) -> datetime:
    return timezone.now() + timedelta(minutes=project.protocol.lease_minutes)
