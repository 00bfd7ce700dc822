"""Take an import back: the comparisons that it made, with the labels that came along."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.core.errors import Conflict
from apps.imports.models import Import
from apps.imports.storing import drop_unused
from apps.imports.turns import take_turn
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.labeling.models import Assignment, QueueItem
from apps.prompts.models import Comparison, Prompt, Response

UNDO_CHUNK = 1000


def start_undo(*, made: Import) -> Import:
    """Start the job that takes an import back; raise Conflict at once where that cannot be."""
    with transaction.atomic():
        locked = Import.objects.select_for_update(of=("self",)).get(pk=made.pk)
        refuse_undo(locked)
        locked.undo_job = enqueue(
            kind="import",
            project=made.project,
            inputs={"import": made.pk, "undo": True},
            created_by=made.created_by,
            key=f"undo-{made.pk}",
        )
        locked.save(update_fields=["undo_job"])
    return locked


def refuse_undo(made: Import) -> None:
    """Raise Conflict with the reason why an import cannot be taken back."""
    if made.undone_at is not None:
        raise Conflict(_("The import was undone already."))
    if made.job is not None and not made.job.finished:
        raise Conflict(_("The import is still running; cancel its job first."))
    if made.is_dry_run or made.first_made is None:
        raise Conflict(_("The import has made no comparisons, so there is nothing to undo."))
    not_its_own = ~Q(import_number=made.pk) | Q(import_number=None) | Q(annotations__imported=False)
    begun = Assignment.objects.filter(not_its_own, comparison__in=comparisons_of(made))
    if count := begun.values("comparison").distinct().count():
        raise Conflict(
            _(
                "%(count)s of its comparisons have labels that it did not bring, or somebody has seen them; "
                "they stay, and so does the rest."
            )
            % {"count": count}
        )


def undo_import(
    *, made: Import, claim: Claim | None = None, on_rows: Callable[[int, int], None] = lambda done, total: None
) -> int:
    """Delete the comparisons that an import made, with the labels it brought, and texts that nothing else uses.

    Returns how many comparisons; `on_rows` hears how many are deleted so far, and of how many. Snapshots that have them
    are copies, and stay.

    One transaction: their queue items are locked first, so that nobody is leased one meanwhile.
    """
    with transaction.atomic():
        take_turn(made.project_id)
        made = Import.objects.select_for_update(of=("self",)).get(pk=made.pk)
        ids = list(comparisons_of(made).order_by("pk").values_list("pk", flat=True))
        items = QueueItem.objects.select_for_update().order_by("pk")
        for start in range(0, len(ids), UNDO_CHUNK):
            list(items.filter(pk__in=ids[start : start + UNDO_CHUNK]).values_list("pk"))
        refuse_undo(made)
        for start in range(0, len(ids), UNDO_CHUNK):
            on_rows(start, len(ids))
            _delete(ids[start : start + UNDO_CHUNK])
        made.undone_at = timezone.now()
        made.save(update_fields=["undone_at"])
        with storing(claim) if claim is not None else nullcontext():
            if claim is not None:
                succeed(claim, result={"deleted": len(ids)}, done=len(ids))
    return len(ids)


def comparisons_of(made: Import) -> Any:
    """Return the comparisons that an import made; the ids they lie between make it quick without an index."""
    return Comparison.objects.filter(
        project=made.project_id,
        import_number=made.pk,
        pk__gte=made.first_made or 0,
        pk__lte=made.last_made or 0,
    )


def _delete(ids: list[int]) -> None:
    comparisons = Comparison.objects.filter(pk__in=ids)
    rows = list(comparisons.values_list("prompt", "response_1", "response_2"))
    comparisons.delete()
    drop_unused({pk for row in rows for pk in row[1:]})
    empty = ~Exists(Response.objects.filter(prompt=OuterRef("pk")))
    unused = ~Exists(Comparison.objects.filter(prompt=OuterRef("pk")))
    Prompt.objects.filter(empty, unused, pk__in={row[0] for row in rows}).delete()
