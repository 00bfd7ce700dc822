"""Lease, draft, submit, skip, expire. Lock order everywhere: the person, then the assignment, then its queue item."""

from collections import Counter
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, F, Q
from django.utils import timezone

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.core.json_values import why_unstorable
from apps.labeling import queue
from apps.labeling.answers import Answer, parse_answer
from apps.labeling.consensus import settle
from apps.labeling.models import Annotation, Assignment, Draft, QueueItem
from apps.projects.access import LABELS
from apps.projects.models import Project

MAX_DRAFT_FIELDS = {"preference", "ratings", "justification", "active_seconds"}
MAX_DRAFT_CHARS = 200_000


@transaction.atomic
def lease_next(*, project: Project, annotator: User, resume: bool) -> Assignment | None:
    """Lease the next comparison, or return None when nothing is left for this person.

    With `resume` (the page), a lease that the person still holds comes first, so a reload shows the same pair.
    Without (REST), each call is a new lease, up to a limit of open ones. A comparison whose lease ran out on this
    person comes back to them last, as the same assignment with the same sides.
    """
    _lock_person(project, annotator)
    open_leases = Assignment.objects.live().filter(project=project, annotator=annotator).order_by("id")
    # Locked, because a submission or the expiry of this lease may be under way: what it has become counts.
    if resume and (held := open_leases.select_for_update(of=("self",)).select_related("project").first()):
        return _prolong(held)
    if not resume and open_leases.count() >= settings.API_MAX_OPEN_ASSIGNMENTS:
        raise Conflict(f"You hold {settings.API_MAX_OPEN_ASSIGNMENTS} open assignments; submit or skip one first.")
    how = queue.draw(project.random_share)
    comparison_id = queue.take_slot(project_id=project.pk, annotator_id=annotator.pk, how=how)
    if comparison_id is None:
        return _take_back_expired(project, annotator)
    return Assignment.objects.create(
        project=project,
        comparison_id=comparison_id,
        annotator=annotator,
        swapped=queue.sides_for(project_id=project.pk, comparison_id=comparison_id, annotator_id=annotator.pk),
        drawn=how,
        guideline_version=project.current_guideline(),
        lease_expires_at=_lease_end(project),
    )


@transaction.atomic
def take_up_again(*, assignment: Assignment) -> Assignment:
    """Lease a pair again whose time ran out, as the same assignment with its sides and draft, while there is room."""
    _lock_person(assignment.project, assignment.annotator)
    locked = Assignment.objects.select_for_update(of=("self",)).select_related("project").get(pk=assignment.pk)
    if locked.state == Assignment.State.LEASED:
        return _prolong(locked)
    if locked.state != Assignment.State.EXPIRED:
        raise Conflict(f"This comparison was {locked.get_state_display().lower()} already.")
    if not queue.take_slot_again(locked.comparison_id):
        raise Conflict("Other annotators have completed this comparison meanwhile. Your text is kept as a draft.")
    return _prolong(locked)


def save_draft(*, assignment: Assignment, body: object) -> Draft:
    """Store what was typed so far and prolong the lease; a lost lease keeps the draft all the same."""
    if not isinstance(body, dict):
        raise InvalidInput("A draft must be a JSON object.", [FieldError("", "Expected an object.")])
    unknown = sorted(map(str, set(body) - MAX_DRAFT_FIELDS))
    if unknown:
        raise InvalidInput(
            "A draft has the fields of an answer.", [FieldError(f"/{unknown[0]}", "There is no such field.")]
        )
    if len(str(body)) > MAX_DRAFT_CHARS:
        raise InvalidInput("The draft is too long to keep.", [FieldError("", f"At most {MAX_DRAFT_CHARS} characters.")])
    if problem := why_unstorable(body):
        raise InvalidInput(f"The draft {problem}.", [FieldError("", f"The text {problem}.")])
    with transaction.atomic():
        locked = Assignment.objects.select_for_update(of=("self",)).select_related("project").get(pk=assignment.pk)
        if locked.state in {Assignment.State.SUBMITTED, Assignment.State.SKIPPED}:
            done = locked.get_state_display().lower()
            raise Conflict(f"This comparison was {done} already; the draft is not needed any more.")
        draft, _ = Draft.objects.update_or_create(assignment=locked, defaults={"body": body})
        if locked.state == Assignment.State.LEASED:
            _prolong(locked)
    return draft


def submit_annotation(*, assignment: Assignment, body: object) -> Annotation:
    """Store the answer, complete or not at all, and settle the comparison's consensus.

    The same answer again returns what is stored; another one raises Conflict. A lease that ran out is taken back when
    there is room; when there is none, the text is kept as a draft and Conflict is raised.
    """
    answer = parse_answer(body, assignment.project.protocol)
    try:
        with transaction.atomic():
            return _submit(assignment.pk, answer)
    except _NoRoom:
        save_draft(assignment=assignment, body=body)
        raise Conflict(
            "Your time for this comparison ran out and others have completed it. Your text is kept as a draft."
        ) from None


@transaction.atomic
def skip_assignment(*, assignment: Assignment, reason: str, note: str = "") -> Assignment:
    """Give the pair back for others; this person does not see it again. Skipping twice changes nothing."""
    if reason not in Assignment.SkipReason.values:
        known = ", ".join(Assignment.SkipReason.values)
        raise InvalidInput("Choose a reason for skipping.", [FieldError("/reason", f"Use one of {known}.")])
    if not isinstance(note, str) or len(note) > 1000 or why_unstorable(note):
        raise InvalidInput("The note is not valid.", [FieldError("/note", "At most 1,000 characters of text.")])
    locked = Assignment.objects.select_for_update().get(pk=assignment.pk)
    if locked.state == Assignment.State.SUBMITTED:
        raise Conflict("This comparison was submitted already.")
    if locked.state == Assignment.State.LEASED:
        _give_back(Counter([locked.comparison_id]))
    if locked.state != Assignment.State.SKIPPED:
        locked.state = Assignment.State.SKIPPED
        locked.skip_reason, locked.skip_note = reason, note
        locked.save(update_fields=["state", "skip_reason", "skip_note"])
    return locked


def expire_leases(*, limit: int = 5000) -> int:
    """Give back the slots of leases whose time is over; drafts stay. Return how many."""
    expired = 0
    while True:
        with transaction.atomic():
            overdue = list(
                Assignment.objects.overdue()
                .select_for_update(skip_locked=True)
                .values_list("id", "comparison_id")[:limit]
            )
            Assignment.objects.filter(pk__in=[pk for pk, _ in overdue]).update(state=Assignment.State.EXPIRED)
            _give_back(Counter(comparison_id for _, comparison_id in overdue))
        expired += len(overdue)
        if len(overdue) < limit:
            return expired


def get_assignment(*, user: User, assignment_id: Any) -> Assignment:
    """Return the person's own assignment in a project in which they still label; anything else is not found."""
    assignment = None
    if str(assignment_id).isdecimal() and len(str(assignment_id)) < 19:
        assignment = (
            Assignment.objects.select_related(
                "project", "guideline_version", "comparison__prompt", "comparison__response_1", "comparison__response_2"
            )
            .filter(pk=assignment_id, annotator=user)
            .first()
        )
    is_member = assignment is not None and (
        user.is_superuser or assignment.project.memberships.filter(user=user, role__in=LABELS).exists()
    )
    if assignment is None or not is_member:
        raise NotFound("There is no such assignment, or it is somebody else's.")
    return assignment


def my_counts(*, project: Project, annotator: User) -> dict[str, int]:
    """Return how many comparisons this person submitted, skipped, and began but lost the lease of (one query)."""
    return Assignment.objects.filter(project=project, annotator=annotator).aggregate(
        submitted=Count("pk", filter=Q(state=Assignment.State.SUBMITTED)),
        skipped=Count("pk", filter=Q(state=Assignment.State.SKIPPED)),
        drafts=Count("pk", filter=Q(state=Assignment.State.EXPIRED, draft__isnull=False)),
    )


class _NoRoom(Exception):
    """The lease ran out and others have filled the comparison."""


def _submit(assignment_id: int, answer: Answer) -> Annotation:
    assignment = Assignment.objects.select_for_update(of=("self",)).select_related("project").get(pk=assignment_id)
    if assignment.state == Assignment.State.SUBMITTED:
        stored = Annotation.objects.current().get(assignment=assignment)
        if stored.answer_hash == answer.hash:
            return stored
        raise Conflict("You have submitted another answer for this comparison already.")
    if assignment.state == Assignment.State.SKIPPED:
        raise Conflict("You have skipped this comparison.")
    if assignment.state == Assignment.State.EXPIRED and not queue.take_slot_again(assignment.comparison_id):
        raise _NoRoom
    canonical = answer.canonical(swapped=assignment.swapped)
    annotation = Annotation.objects.create(
        assignment=assignment,
        project=assignment.project,
        comparison_id=assignment.comparison_id,
        annotator_id=assignment.annotator_id,
        guideline_version_id=assignment.guideline_version_id,
        neither=canonical.preference is None,
        preference=canonical.preference,
        ratings_1=canonical.ratings[0],
        ratings_2=canonical.ratings[1],
        justification=canonical.justification,
        swapped=assignment.swapped,
        active_seconds=canonical.active_seconds,
        answer_hash=answer.hash,
    )
    assignment.state = Assignment.State.SUBMITTED
    assignment.save(update_fields=["state"])
    Draft.objects.filter(assignment=assignment).delete()
    settle(comparison_ids=[assignment.comparison_id], protocol=assignment.project.protocol)
    return annotation


def _take_back_expired(project: Project, annotator: User) -> Assignment | None:
    expired = (
        Assignment.objects.select_for_update(of=("self",))
        .select_related("project")
        .filter(project=project, annotator=annotator, state=Assignment.State.EXPIRED)
        .filter(comparison__queue_item__state=QueueItem.State.OPEN)
        .filter(comparison__queue_item__taken__lt=F("comparison__queue_item__wanted"))
        .order_by("id")
    )
    for assignment in expired:
        if queue.take_slot_again(assignment.comparison_id):
            return _prolong(assignment)
    return None


def _prolong(assignment: Assignment) -> Assignment:
    assignment.state = Assignment.State.LEASED
    assignment.lease_expires_at = _lease_end(assignment.project)
    assignment.save(update_fields=["state", "lease_expires_at"])
    return assignment


def _give_back(slots: Counter[int]) -> None:
    for comparison_id, count in sorted(slots.items()):
        QueueItem.objects.filter(pk=comparison_id).update(taken=F("taken") - count)


def _lock_person(project: Project, annotator: User) -> None:
    """Let one person's leases in one project happen one after another, so that limits are exact."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", [project.pk, annotator.pk])


def _lease_end(project: Project) -> Any:
    return timezone.now() + timedelta(minutes=project.protocol.lease_minutes)
