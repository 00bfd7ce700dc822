"""Hand out work: one statement takes a slot and writes the lease.

`FOR UPDATE SKIP LOCKED` lets any number of people pull at once: two of them never wait for, or get, the same slot.
"""

import random
from typing import Literal

from django.db import connection

from worker.core.sides import is_swapped

Draw = Literal["priority", "random"]

_ORDER = {
    "priority": "queue.priority DESC, queue.comparison_id",
    # Everybody walks the same shuffled list, so randomly drawn pairs reach their full number of annotators too.
    "random": "queue.shuffle_key",
}
_OPEN_TO = """
    SELECT queue.comparison_id
    FROM labeling_queueitem AS queue
    WHERE queue.project_id = %(project)s AND queue.state = 'open' AND queue.taken < queue.wanted
      AND NOT EXISTS (
          SELECT 1 FROM labeling_assignment AS had
          WHERE had.comparison_id = queue.comparison_id AND had.annotator_id = %(annotator)s
      )
"""
_LEASE = """
WITH slot AS (
    {open_to}
    ORDER BY {order}
    LIMIT 1
    FOR UPDATE OF queue {locked}
)
UPDATE labeling_queueitem AS queue SET taken = taken + 1
FROM slot WHERE queue.comparison_id = slot.comparison_id
RETURNING queue.comparison_id
"""
_TAKE_BACK = """
UPDATE labeling_queueitem SET taken = taken + 1
WHERE comparison_id = %s AND state = 'open' AND taken < wanted
RETURNING comparison_id
"""


def draw(random_share: float) -> Draw:
    """Choose how the next pair is picked: with probability `random_share` from the shuffled order."""
    return "random" if random.random() < random_share else "priority"  # noqa: S311  (a draw, not a secret)


def take_slot(*, project_id: int, annotator_id: int, how: Draw) -> int | None:
    """Take a slot of a comparison that this person never had; return its id, or None when nothing is left.

    A slot that is merely locked at this moment is not "nothing left": then the statement runs again and waits.
    """
    taken = _take(project_id, annotator_id, how, "SKIP LOCKED")
    while taken is None and _anything_open(project_id, annotator_id):
        taken = _take(project_id, annotator_id, how, "")
    return taken


def take_slot_again(comparison_id: int) -> bool:
    """Take a slot of this comparison for somebody whose lease ran out; False when others have filled it."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_BACK, [comparison_id])
        return cursor.fetchone() is not None


def _take(project_id: int, annotator_id: int, how: Draw, locked: str) -> int | None:
    statement = _LEASE.format(order=_ORDER[how], locked=locked, open_to=_OPEN_TO)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"project": project_id, "annotator": annotator_id})
        row = cursor.fetchone()
    return row[0] if row else None


def _anything_open(project_id: int, annotator_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS ({_OPEN_TO})", {"project": project_id, "annotator": annotator_id})
        return bool(cursor.fetchone()[0])


def sides_for(*, project_id: int, comparison_id: int, annotator_id: int) -> bool:
    """Say whether this annotator sees the two responses swapped."""
    return is_swapped(f"project-{project_id}", comparison_id, annotator_id)
