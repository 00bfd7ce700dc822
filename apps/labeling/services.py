"""Draft, submit, change, skip. Lock order everywhere: the person, then the assignment, then its queue item."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.core.json_values import why_unstorable
from apps.labeling.answers import FIELDS, Answer, parse_answer
from apps.labeling.consensus import enough_flags, settle_locked
from apps.labeling.leasing import ENDED, Returned, give_back, gone, lock_assignment, prolong, take_slot_back
from apps.labeling.models import Annotation, Assignment, Draft, QueueItem, Workload
from apps.labeling.oversight import close_locked
from apps.labeling.queue import count_open
from apps.labeling.workloads import count_submission, lock_workload
from apps.projects.access import LABELS, is_id, is_open_to
from apps.projects.models import GuidelineVersion, Project
from apps.projects.protocol import UNSAFE, Protocol
from apps.prompts.models import Comparison

MAX_DRAFT_CHARS = 200_000
MAX_COUNTED = 10_000
"""What remains for a person is counted up to here: "10,000 or more" is all that anybody wants to know."""
MAX_HANDED_OUT = 100
"""A pair that so many people had without completing it leaves the queue: nobody wants it."""


# --- Drafts ---


def save_draft(*, assignment: Assignment, body: object) -> Draft:
    """Store what was typed so far and prolong the lease; a lost lease keeps the draft all the same."""
    if not isinstance(body, dict):
        raise InvalidInput(_("A draft must be a JSON object."), [FieldError("", _("Expected an object."))])
    unknown = sorted(map(str, set(body) - FIELDS))
    if unknown:
        raise InvalidInput(
            _("A draft has the fields of an answer."), [FieldError(f"/{unknown[0]}", _("There is no such field."))]
        )
    if len(str(body)) > MAX_DRAFT_CHARS:
        most = _("At most %(most)s characters.") % {"most": MAX_DRAFT_CHARS}
        raise InvalidInput(_("The draft is too long to keep."), [FieldError("", most)])
    if problem := why_unstorable(body):
        raise InvalidInput(
            _("The draft %(problem)s.") % {"problem": problem},
            [FieldError("", _("The text %(problem)s.") % {"problem": problem})],
        )
    with transaction.atomic():
        locked = lock_assignment(assignment)
        if locked.state == Assignment.State.SKIPPED or (
            locked.state == Assignment.State.SUBMITTED and not locked.is_reopened
        ):
            raise Conflict(str(ENDED[Assignment.State(locked.state)]))
        draft = Draft(assignment=locked, body=body)
        Draft.objects.bulk_create(
            [draft], update_conflicts=True, unique_fields=["assignment"], update_fields=["body", "updated_at"]
        )
        if locked.state == Assignment.State.LEASED:
            prolong(locked)
        elif locked.is_reopened:
            _keep_open(locked)
    return draft


# --- Submitting and changing ---


def submit_annotation(*, assignment: Assignment, body: object) -> Annotation:
    """Store the answer, complete or not at all, and settle the comparison's consensus.

    The same answer again returns what is stored; another one raises Conflict, unless the answer was re-opened: then it
    becomes a new revision. A lease that ran out is taken back when there is room; when there is none, the text is kept
    as a draft and Conflict is raised.
    """
    try:
        answer = parse_answer(body, assignment.project.protocol)
    except InvalidInput:
        if assignment.state == Assignment.State.SUBMITTED and not assignment.is_reopened:
            # Sent again after the protocol has changed: what was stored was right when it came.
            raise Conflict(str(ENDED[Assignment.State.SUBMITTED])) from None
        raise
    try:
        with transaction.atomic():
            return _submit(assignment, answer)
    except _AlreadySubmitted:
        stored = Annotation.objects.select_related("guideline_version").get(assignment=assignment, is_current=True)
        if stored.answer_hash == answer.hash:
            return stored
        raise Conflict(_("You have submitted another answer for this comparison already.")) from None
    except _NoRoom as refused:
        save_draft(assignment=assignment, body=body)
        raise Conflict(str(refused)) from None


@transaction.atomic
def reopen_annotation(*, assignment: Assignment) -> Assignment:
    """Let the person change what they submitted, within the time that the protocol gives; raise Conflict after it."""
    locked = lock_assignment(assignment)
    protocol = locked.project.protocol
    changeable = _changeable(locked.project, locked.annotator).filter(assignment=locked)
    if locked.state != Assignment.State.SUBMITTED or not changeable.exists():
        minutes = {"minutes": protocol.undo_minutes}
        raise Conflict(_("An answer can be changed for %(minutes)s minutes after it was submitted.") % minutes)
    return _keep_open(locked)


def _keep_open(locked: Assignment) -> Assignment:
    """Let a locked assignment's answer be changed for as long as a lease runs, from now on."""
    locked.reopened_until = timezone.now() + timedelta(minutes=locked.project.protocol.lease_minutes)
    locked.save(update_fields=["reopened_until"])
    return locked


def last_submitted(*, project: Project, annotator: User) -> Assignment | None:
    """Return the newest of this person's submissions that can still be changed (one query)."""
    newest = _changeable(project, annotator).order_by("-submitted_at").select_related("assignment").first()
    return newest.assignment if newest else None


def changeable_ids(*, project: Project, annotator: User) -> set[int]:
    """Return the ids of the assignments whose answers this person can still change (one query)."""
    return set(_changeable(project, annotator).values_list("assignment_id", flat=True))


def stored_body(annotation: Annotation) -> dict[str, Any]:
    """Return a stored answer as its author gave it: a body in the order shown."""
    return shown_answer(annotation).body()


def shown_answer(annotation: Annotation) -> Answer:
    """Return a stored answer in the order in which its author saw the pair."""
    return Answer(
        preference=annotation.vote,
        ratings=(annotation.ratings_1, annotation.ratings_2),
        justification=annotation.justification,
        active_seconds=annotation.active_seconds,
        problems=(tuple(annotation.problems_1), tuple(annotation.problems_2)),
        confidence=annotation.confidence,
        pasted_characters=annotation.pasted_characters,
    ).canonical(swapped=annotation.swapped)  # its own inverse


# --- Skipping ---


@transaction.atomic
def skip_assignment(*, assignment: Assignment, reason: str, note: str = "") -> Assignment:
    """Give the pair back for others; this person does not see it again. Skipping twice changes nothing.

    A reason that calls the pair invalid is a flag: it reaches the managers, and enough of them close the pair.
    """
    protocol = assignment.project.protocol
    reasons = [each.name for each in protocol.skip_reasons]
    if reason not in reasons:
        known = _("Use one of %(names)s.") % {"names": ", ".join(reasons)}
        raise InvalidInput(_("Choose a reason for skipping."), [FieldError("/reason", known)])
    if not isinstance(note, str) or len(note) > 1000 or why_unstorable(note):
        raise InvalidInput(_("The note is not valid."), [FieldError("/note", _("At most 1,000 characters of text."))])
    lock_workload(project=assignment.project, annotator=assignment.annotator)
    locked = lock_assignment(assignment)
    if locked.state == Assignment.State.SUBMITTED:
        raise Conflict(str(ENDED[Assignment.State.SUBMITTED]))
    if locked.state == Assignment.State.SKIPPED:
        return locked
    items = give_back([Returned.of(locked)]) if locked.state == Assignment.State.LEASED else {}
    locked.state, locked.ahead = Assignment.State.SKIPPED, False
    locked.skip_reason, locked.skip_note = reason, note
    locked.flagged_at = timezone.now() if reason in protocol.invalid_reasons else None
    locked.save(update_fields=["state", "ahead", "skip_reason", "skip_note", "flagged_at"])
    Workload.objects.filter(project=locked.project_id, annotator=locked.annotator_id).update(skipped=F("skipped") + 1)
    item = items.get(locked.comparison_id) or QueueItem.objects.select_for_update().get(pk=locked.comparison_id)
    _close_if_unwanted(item, flagged=locked.flagged_at is not None, protocol=protocol)
    return locked


def _close_if_unwanted(item: QueueItem, *, flagged: bool, protocol: Protocol) -> None:
    """Take a locked item out of the queue when enough people call it invalid, or everybody passes it on."""
    if item.state not in {QueueItem.State.OPEN, QueueItem.State.CONTROL}:
        return  # a complete pair keeps its labels: its flags count should it be opened again
    if flagged and (said := enough_flags(item, protocol)):
        reason = said
    elif len(item.had) >= MAX_HANDED_OUT:
        reason = f"Handed out to {len(item.had)} people without being completed."
    else:
        return
    close_locked(item, reason=reason, protocol=protocol)


# --- Looking up ---


def get_assignment(*, user: User, assignment_id: Any) -> Assignment:
    """Return the person's own assignment in a project in which they still label; anything else is not found.

    One query; the texts, which can be long, come with `load_texts`.
    """
    assignment = None
    if is_id(str(assignment_id)):
        rows = Assignment.objects.select_related("project", "guideline_version").defer("guideline_version__text")
        if not user.is_superuser:
            rows = rows.filter(project__memberships__user=user, project__memberships__role__in=LABELS)
        assignment = rows.filter(pk=assignment_id, annotator=user).first()
    if assignment is None or not is_open_to(user, assignment.project_id):
        raise gone()
    assignment.annotator = user
    return assignment


def load_texts(assignment: Assignment) -> Assignment:
    """Bring the prompt and the two responses along, which can be long (one query); return the same assignment."""
    texts = Comparison.objects.select_related("prompt", "response_1", "response_2")
    shown = ("project_id", "prompt__messages", "response_1__text", "response_2__text")
    assignment.comparison = texts.only(*shown).get(pk=assignment.comparison_id)
    return assignment


def my_counts(*, project: Project, annotator: User) -> dict[str, int]:
    """Return how much this person submitted and skipped, drafts whose time ran out, and what remains (three queries).

    What remains is counted up to `MAX_COUNTED`.
    """
    workload = Workload.objects.filter(project=project, annotator=annotator).first() or Workload()
    drafts = Assignment.objects.filter(
        project=project, annotator=annotator, state=Assignment.State.EXPIRED, draft__isnull=False
    )
    remaining = remaining_for(projects=[project], annotator=annotator)
    return {
        "submitted": workload.submitted,
        "submitted_today": workload.submitted_on(timezone.now().date()),
        "skipped": workload.skipped,
        "drafts": drafts.count(),
        "remaining": remaining[project.pk],
    }


def remaining_for(*, projects: Collection[Project], annotator: User) -> dict[int, int]:
    """Return per project how many comparisons this person may get, counted up to `MAX_COUNTED` (one query).

    Rounded up to tens where there are control items or repeats: an exact number would stay as it is after each of
    those, and tell them apart.
    """
    found = count_open(project_ids=[project.pk for project in projects], annotator_id=annotator.pk, most=MAX_COUNTED)
    hidden = {project.pk for project in projects if project.protocol.control_rate or project.protocol.repeat_rate}
    return {pk: -(-count // 10) * 10 if pk in hidden else count for pk, count in found.items()}


# --- The guideline ---


@dataclass(frozen=True)
class GuidelineChange:
    """What a person has to read before going on."""

    before: GuidelineVersion
    after: GuidelineVersion


def guideline_change(*, project: Project, annotator: User) -> GuidelineChange | None:
    """Return how the guideline changed since this person last worked with it, or None (one query; two on a change)."""
    newest = project.guideline_versions.order_by("-number")[:1]
    versions = Workload.objects.filter(project=project, annotator=annotator).exclude(guideline_seen=None)
    workload = versions.exclude(guideline_seen__in=newest).select_related("guideline_seen").first()
    if workload is None or workload.guideline_seen is None:
        return None
    return GuidelineChange(workload.guideline_seen, newest[0])


@transaction.atomic
def accept_guideline(*, project: Project, annotator: User, number: int) -> None:
    """Note that this person has read a version; raise NotFound for one that does not exist."""
    version = project.guideline_versions.filter(number=number).first()
    if version is None:
        raise NotFound(_("There is no such version of the guideline."))
    workload = lock_workload(project=project, annotator=annotator)
    workload.guideline_seen = version
    workload.save(update_fields=["guideline_seen"])


# --- Submitting, inside ---


class _NoRoom(Exception):
    """The lease ran out and cannot be taken back; the message says why."""


class _AlreadySubmitted(Exception):
    """There is an answer, and it is not being changed."""


def _submit(given: Assignment, answer: Answer) -> Annotation:
    """Store an answer in eight queries or fewer; an exception undoes all of it."""
    now = timezone.now()
    # First, because it locks the person; undone with the transaction when it is no submission.
    count_submission(project_id=given.project_id, annotator_id=given.annotator_id, today=now.date())
    state, reopened_until, item = _lock(given)
    revision = 1
    if state == Assignment.State.SUBMITTED:
        if reopened_until is None or reopened_until <= now:
            raise _AlreadySubmitted
        count_submission(project_id=given.project_id, annotator_id=given.annotator_id, today=now.date(), by=-1)
        revision = _supersede(given)
    elif state == Assignment.State.SKIPPED:
        raise Conflict(_("You have skipped this comparison."))
    elif state == Assignment.State.EXPIRED:
        _take_back(given)
    annotation = _store(given, answer, revision, now)
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"assignment": given.pk})
    if given.repeat_of_id is None:
        settle_locked(items=[item], protocol=given.project.protocol)
    return annotation


_LOCK = """
SELECT assignment.state, assignment.reopened_until, queue.comparison_id, queue.project_id, queue.state, queue.wanted
FROM labeling_assignment AS assignment JOIN labeling_queueitem AS queue USING (comparison_id)
WHERE assignment.id = %(assignment)s
FOR UPDATE OF assignment, queue
"""
_CLOSE = """
WITH dropped AS (DELETE FROM labeling_draft WHERE assignment_id = %(assignment)s)
UPDATE labeling_assignment SET state = 'submitted', ahead = false, reopened_until = NULL WHERE id = %(assignment)s
"""


def _lock(assignment: Assignment) -> tuple[str, datetime | None, QueueItem]:
    """Lock an assignment and its queue item; return what the assignment is now, and what settling needs of the item."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, {"assignment": assignment.pk})
        row = cursor.fetchone()
    if row is None:
        raise gone()
    state, reopened_until, comparison_id, project_id, item_state, wanted = row
    item = QueueItem(comparison_id=comparison_id, project_id=project_id, state=item_state, wanted=wanted)
    return state, reopened_until, item


def _take_back(assignment: Assignment) -> None:
    """Take the slot of a lease that ran out, for a submission that is counted already."""
    workload = lock_workload(project=assignment.project, annotator=assignment.annotator)
    workload.submitted -= 1
    workload.submitted_on_last_day -= 1
    try:
        take_slot_back(assignment=assignment, workload=workload)
    except Conflict as refused:
        raise _NoRoom(refused.detail) from refused


def _supersede(assignment: Assignment) -> int:
    """Make room for a new revision; return its number."""
    current = Annotation.objects.get(assignment=assignment, is_current=True)
    Annotation.objects.filter(pk=current.pk).update(is_current=False)
    return current.revision + 1


def _store(assignment: Assignment, answer: Answer, revision: int, now: datetime) -> Annotation:
    canonical = answer.canonical(swapped=assignment.swapped)
    return Annotation.objects.create(
        assignment=assignment,
        project_id=assignment.project_id,
        comparison_id=assignment.comparison_id,
        annotator_id=assignment.annotator_id,
        guideline_version=assignment.guideline_version,
        revision=revision,
        is_repeat=assignment.repeat_of_id is not None,
        neither=canonical.preference is None,
        preference=canonical.preference,
        ratings_1=canonical.ratings[0],
        ratings_2=canonical.ratings[1],
        problems_1=canonical.problems[0],
        problems_2=canonical.problems[1],
        unsafe=any(UNSAFE in side for side in canonical.problems),
        confidence=canonical.confidence,
        justification=canonical.justification,
        swapped=assignment.swapped,
        active_seconds=canonical.active_seconds,
        pasted_characters=canonical.pasted_characters,
        answer_hash=answer.hash,
        submitted_at=now,
    )


def _changeable(project: Project, annotator: User) -> QuerySet[Annotation]:
    """Return the first revisions that are younger than the time that the protocol gives for changes."""
    since = timezone.now() - timedelta(minutes=project.protocol.undo_minutes)
    mine = Annotation.objects.filter(project=project, annotator=annotator, submitted_at__gt=since)
    return mine.filter(revision=1, imported=False)
