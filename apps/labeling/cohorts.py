"""Cohorts: a batch of comparisons that only named people get, and that they get first.

Leases that are live stay with whoever holds them. Queue items are locked in the order of their ids, as everywhere.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.core.errors import FieldError, InvalidInput, NotFound
from apps.core.json_values import why_unstorable
from apps.labeling.models import Cohort, QueueItem
from apps.projects.access import LABELS
from apps.projects.models import Membership, Project
from apps.projects.services import record
from apps.prompts.models import Comparison

BATCH = 10_000
MAX_NAME = 80
MAX_UNTOUCHED = 50_000
NAMED = 5
"""So many unknown names or ids are listed in an error; the rest are counted."""
Thing = TypeVar("Thing")


@transaction.atomic
def create_cohort(
    *,
    project: Project,
    actor: User,
    name: str,
    usernames: Collection[str],
    external_ids: Sequence[str] = (),
    untouched: int = 0,
) -> Cohort:
    """Give comparisons to named people: those listed, and the next `untouched` ones of the queue (or what there is).

    All of it or nothing; InvalidInput names what is wrong. A few statements for every 10,000 comparisons.
    """
    name = name.strip()
    people, errors = _people(project, usernames)
    errors = _name_errors(name) + errors
    if errors:
        raise InvalidInput(_("The cohort is not valid."), errors)
    cohort = Cohort(project=project, name=name)
    _save(cohort)
    cohort.members.set(people)
    added = _add(cohort, external_ids, untouched)
    detail = {"cohort": name, "members": sorted(person.username for person in people), "comparisons": added}
    record(project=project, actor=actor, verb="made a cohort", **detail)
    return cohort


@transaction.atomic
def change_cohort(
    *,
    cohort: Cohort,
    actor: User,
    name: str | None = None,
    usernames: Collection[str] | None = None,
    external_ids: Sequence[str] = (),
    untouched: int = 0,
    remove_external_ids: Sequence[str] = (),
) -> Cohort:
    """Change what is given: another name, other members, comparisons that come or go (to everybody)."""
    locked = Cohort.objects.select_for_update(of=("self",)).select_related("project").filter(pk=cohort.pk).first()
    if locked is None:
        raise NotFound(_("There is no such cohort any more."))
    cohort = locked
    errors: list[FieldError] = []
    people: list[User] = []
    if name is not None:
        cohort.name = name.strip()
        errors += _name_errors(cohort.name)
    if usernames is not None:
        people, member_errors = _people(cohort.project, usernames)
        errors += member_errors
    if errors:
        raise InvalidInput(_("The cohort is not valid."), errors)
    _save(cohort)
    if usernames is not None:
        cohort.members.set(people)
    removed = _release(cohort, _found(cohort.project, remove_external_ids, "/remove_external_ids"))
    added = _add(cohort, external_ids, untouched)
    members = sorted(person.username for person in people) if usernames is not None else None
    detail = {"cohort": cohort.name, "members": members, "added": added, "removed": removed}
    record(project=cohort.project, actor=actor, verb="changed a cohort", **detail)
    return cohort


@transaction.atomic
def delete_cohort(*, cohort: Cohort, actor: User) -> None:
    """Delete a cohort; everybody may get its comparisons from now on."""
    released = _release(cohort, list(cohort.queue_items.values_list("pk", flat=True)))
    record(project=cohort.project, actor=actor, verb="deleted a cohort", cohort=cohort.name, comparisons=released)
    cohort.delete()


@dataclass(frozen=True)
class CohortProgress:
    """How far the comparisons of a cohort are."""

    total: int = 0
    complete: int = 0
    begun: int = 0
    closed: int = 0


def cohort_progress(cohorts: Collection[Cohort]) -> dict[int, CohortProgress]:
    """Return the progress of each of these cohorts by its id (one query)."""
    state = QueueItem.State
    items = QueueItem.objects.filter(cohort__in=cohorts).values_list("cohort_id")
    counted = items.annotate(
        total=Count("pk"),
        complete=Count("pk", filter=Q(state=state.COMPLETE)),
        begun=Count("pk", filter=Q(state=state.OPEN, taken__gt=0)),
        closed=Count("pk", filter=Q(state=state.CLOSED)),
    )
    found = {cohort_id: CohortProgress(*counts) for cohort_id, *counts in counted}
    return {cohort.pk: found.get(cohort.pk, CohortProgress()) for cohort in cohorts}


def labeling_members(project: Project) -> list[User]:
    """Return the people who can be in a cohort: members who label and can sign in (one query)."""
    labeling = Membership.objects.filter(project=project, role__in=LABELS, user__is_active=True)
    return [membership.user for membership in labeling.select_related("user").order_by("user__username")]


# --- Inside ---


def _name_errors(name: str) -> list[FieldError]:
    if not name:
        return [FieldError("/name", _("Give it a name."))]
    if len(name) > MAX_NAME or why_unstorable(name):
        return [FieldError("/name", _("At most %(most)s characters of text.") % {"most": MAX_NAME})]
    return []


def _people(project: Project, usernames: Collection[str]) -> tuple[list[User], list[FieldError]]:
    by_name = {person.username: person for person in labeling_members(project)}
    unknown = sorted(set(usernames) - set(by_name))
    if unknown:
        names = {"names": _shortened(unknown)}
        return [], [FieldError("/members", _("These are no members who label in this project: %(names)s.") % names)]
    people = [by_name[name] for name in sorted(set(usernames))]
    needed = project.protocol.annotators
    if len(people) < needed:
        text = ngettext(
            "Every comparison asks for %(needed)s annotator: choose at least so many people.",
            "Every comparison asks for %(needed)s annotators: choose at least so many people.",
            needed,
        )
        return [], [FieldError("/members", text % {"needed": needed})]
    return people, []


def _save(cohort: Cohort) -> None:
    try:
        with transaction.atomic():
            cohort.save()
    except IntegrityError as error:
        taken = _("There is a cohort named %(name)s already.") % {"name": cohort.name}
        raise InvalidInput(_("The cohort is not valid."), [FieldError("/name", taken)]) from error


def _add(cohort: Cohort, external_ids: Sequence[str], untouched: int) -> int:
    """Assign comparisons to the cohort; return how many."""
    ids = _found(cohort.project, external_ids, "/external_ids")
    elsewhere = _assign(cohort, ids)
    if elsewhere:
        names = Comparison.objects.filter(pk__in=elsewhere[:NAMED]).order_by("pk").values_list("external_id", flat=True)
        given = {"count": len(elsewhere), "names": _shortened(list(names), len(elsewhere))}
        text = _("%(count)s of them are assigned to another cohort: %(names)s.") % given
        raise InvalidInput(_("The comparisons cannot be assigned."), [FieldError("/external_ids", text)])
    fresh = QueueItem.objects.filter(
        project=cohort.project, cohort=None, state=QueueItem.State.OPEN, taken=0, had=[]
    ).order_by("-priority", "comparison_id")
    chosen = list(fresh.values_list("pk", flat=True)[:untouched]) if untouched else []
    return len(ids) + len(chosen) - len(_assign(cohort, chosen))


def _assign(cohort: Cohort, ids: Iterable[int]) -> list[int]:
    """Assign comparisons that are in no cohort; return those that are in another one."""
    elsewhere: list[int] = []
    for batch in _batches(sorted(ids)):
        locked = QueueItem.objects.select_for_update(no_key=True).filter(pk__in=batch).order_by("pk")
        cohorts = dict(locked.values_list("pk", "cohort"))
        QueueItem.objects.filter(pk__in=[pk for pk, other in cohorts.items() if other is None]).update(cohort=cohort)
        elsewhere += [pk for pk, other in cohorts.items() if other not in (None, cohort.pk)]
    return elsewhere


def _release(cohort: Cohort, ids: Iterable[int]) -> int:
    """Let everybody have these comparisons of the cohort; return how many."""
    released = 0
    for batch in _batches(sorted(ids)):
        locked = QueueItem.objects.select_for_update(no_key=True).filter(pk__in=batch, cohort=cohort).order_by("pk")
        released += QueueItem.objects.filter(pk__in=list(locked.values_list("pk", flat=True))).update(cohort=None)
    return released


def _found(project: Project, external_ids: Sequence[str], pointer: str) -> list[int]:
    """Return the ids of comparisons by their external ids; raise InvalidInput that names those that do not exist."""
    found: dict[str, int] = {}
    for batch in _batches(list(dict.fromkeys(external_ids))):
        known = Comparison.objects.filter(project=project, external_id__in=[each for each in batch if _fits(each)])
        found.update(known.values_list("external_id", "pk"))
    missing = [(place, each) for place, each in enumerate(external_ids) if each not in found]
    if missing:
        text = _("There is no comparison %(id)s in this project.")
        errors = [FieldError(f"{pointer}/{place}", text % {"id": each[:MAX_NAME]}) for place, each in missing[:NAMED]]
        if len(missing) > NAMED:
            errors.append(FieldError(pointer, _("And %(count)s more.") % {"count": len(missing) - NAMED}))
        raise InvalidInput(_("Some of these comparisons do not exist."), errors)
    return list(found.values())


def _fits(external_id: str) -> bool:
    return not why_unstorable(external_id)


def _shortened(names: Sequence[str], total: int | None = None) -> str:
    total = total or len(names)
    return ", ".join(names[:NAMED]) + (", …" if total > NAMED else "")


def _batches(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), BATCH):
        yield things[start : start + BATCH]
