"""Hand out work: one statement takes a slot, whatever the size of the project and whatever a person has done.

`FOR UPDATE SKIP LOCKED` lets any number of people pull at once: two of them never wait for, or get, the same slot.

The order is priority, then pairs already begun, then import. What somebody had already lies in front of what they may
get, and after a month that is a lot of pairs. So the statement does not walk over pairs but over groups: pairs that the
same people had stand together in the index (`QueueItem.had`), and one step of the recursion, an index search each, goes
past all of them at once. The number of groups depends on how many people work at a time, not on how much they did.
"""

import random
from collections.abc import Collection, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, Literal, cast

from django.db import connection
from django.utils.translation import gettext as _

from apps.core.errors import Conflict
from worker.core.sides import is_swapped

Draw = Literal["priority", "random", "control", "repeat"]

EVERYBODY = 0
"""The pool of comparisons that are assigned to no cohort; the pool of a cohort is its id."""
GROUPS_COMPARED = 50
"""Among so many groups of equal rank the first pair is looked for; a level with more is handed out group by group."""
CANDIDATES = 16
"""So many pairs of a group may be locked by others at this moment before the statement has to be run again."""
LOCKED_SECONDS = 5.0
"""So long somebody waits for pairs that are all locked, such as by a manager who assigns them to a cohort."""

_OPEN = """queue.project_id = %(project)s AND COALESCE(queue.cohort_id, 0) = %(pool)s
        AND queue.state = 'open' AND queue.taken < queue.wanted"""
_NOT_MINE = "NOT queue.had @> ARRAY[%(annotator)s]::bigint[]"
# walk: the groups in order, to the end of the first level that has one without this person.
# best: the first pairs of the groups on that level. slot: the first of them that nobody else is taking just now.
_LEASE = """
WITH RECURSIVE walk AS (
    (SELECT *, 0 AS found FROM ({group} WHERE {open} {ordered} LIMIT 1) AS earliest)
  UNION ALL
    SELECT later.*, walk.found + (NOT walk.mine)::int
    FROM walk CROSS JOIN LATERAL (
        {group} WHERE {open} AND ({expressions}queue.had) > ({walked}walk.had) {ordered} LIMIT 1
    ) AS later
    WHERE walk.found + (NOT walk.mine)::int < {groups}
      AND (walk.mine AND walk.found = 0 OR {same_level})
), best AS (
    SELECT pair.*
    FROM walk CROSS JOIN LATERAL (
        -- From the group's first pair on, in the index's own order. Asked for by equality, the planner may choose an
        -- index without that order, and read and sort the whole group.
        SELECT {columns}queue.had, queue.comparison_id, queue.{order} AS place FROM labeling_queueitem AS queue
        WHERE {open} AND ({expressions}queue.had) >= ({walked}walk.had) {ordered} LIMIT {candidates}
    ) AS pair
    WHERE NOT walk.mine AND ({paired}pair.had) = ({walked}walk.had)
    ORDER BY {names}place LIMIT {candidates}
), slot AS (
    SELECT queue.comparison_id
    FROM best JOIN labeling_queueitem AS queue USING (comparison_id)
    -- Once more, for what has changed meanwhile; only by its key, whatever the planner thinks of the rest.
    WHERE queue.state = 'open' AND queue.taken < queue.wanted
      AND queue.cohort_id IS NOT DISTINCT FROM NULLIF(%(pool)s, 0) AND {not_mine}
    ORDER BY {names}place LIMIT 1
    FOR UPDATE OF queue SKIP LOCKED
)
UPDATE labeling_queueitem AS queue
SET taken = queue.taken + 1,
    had = (SELECT array_agg(person ORDER BY person) FROM unnest(queue.had || %(annotator)s::bigint) AS person)
FROM slot WHERE queue.comparison_id = slot.comparison_id
RETURNING queue.comparison_id
"""
_GROUP = "SELECT {columns}queue.had, NOT {not_mine} AS mine FROM labeling_queueitem AS queue"


def _lease_statement(levels: Mapping[str, str], order: str) -> str:
    """Return the statement for an order: by the expressions of `levels`, ascending, then by the column `order`."""
    expressions = "".join(f"{expression}, " for expression in levels.values())
    columns = "".join(f"{expression} AS {name}, " for name, expression in levels.items())
    return _LEASE.format(
        group=_GROUP.format(columns=columns, not_mine=_NOT_MINE),
        ordered=f"ORDER BY queue.project_id, COALESCE(queue.cohort_id, 0), {expressions}queue.had, queue.{order}",
        columns=columns,
        expressions=expressions,
        walked="".join(f"walk.{name}, " for name in levels),
        paired="".join(f"pair.{name}, " for name in levels),
        names="".join(f"{name}, " for name in levels),
        same_level=" AND ".join(f"later.{name} = walk.{name}" for name in levels) or "true",
        order=order,
        open=_OPEN,
        not_mine=_NOT_MINE,
        groups=GROUPS_COMPARED,
        candidates=CANDIDATES,
    )


_ORDERS: dict[str, tuple[dict[str, str], str]] = {
    "priority": ({"rank": "queue.priority * -1", "fresh": "queue.taken = 0"}, "comparison_id"),
    # Everybody walks the same shuffled list, so that randomly drawn pairs reach their full number of annotators too.
    "random": ({}, "shuffle_key"),
}
_STATEMENTS = {how: _lease_statement(*order) for how, order in _ORDERS.items()}
_ANY = "SELECT EXISTS (SELECT 1 FROM labeling_queueitem AS queue WHERE {open} AND {not_mine})"
_ANYTHING_OPEN = _ANY.format(open=_OPEN, not_mine=_NOT_MINE)
_LEASE_CONTROL = """
WITH slot AS (
    SELECT queue.comparison_id FROM labeling_queueitem AS queue
    WHERE queue.project_id = %(project)s AND queue.state = 'control' AND queue.taken < queue.wanted
      AND NOT EXISTS (
          SELECT 1 FROM labeling_assignment AS earlier
          WHERE earlier.comparison_id = queue.comparison_id AND earlier.annotator_id = %(annotator)s
      )
    ORDER BY queue.shuffle_key LIMIT 1
    FOR UPDATE OF queue SKIP LOCKED
)
UPDATE labeling_queueitem AS queue SET taken = queue.taken + 1
FROM slot WHERE queue.comparison_id = slot.comparison_id
RETURNING queue.comparison_id
"""
_TAKE_BACK = """
UPDATE labeling_queueitem SET taken = taken + 1
WHERE comparison_id = %(comparison)s AND state IN ('open', 'control') AND taken < wanted
  AND COALESCE(cohort_id, 0) = ANY(%(pools)s)
RETURNING comparison_id
"""
_TAKE_OVER = """
WITH unseen AS (
    SELECT unseen.id, unseen.annotator_id, unseen.comparison_id
    FROM labeling_assignment AS unseen JOIN labeling_queueitem AS queue USING (comparison_id)
    WHERE unseen.project_id = %(project)s AND unseen.state = 'leased' AND unseen.ahead AND unseen.repeat_of_id IS NULL
      AND queue.state = 'open' AND COALESCE(queue.cohort_id, 0) = ANY(%(pools)s)
      AND NOT queue.had @> ARRAY[%(annotator)s]::bigint[]
    ORDER BY queue.priority DESC, queue.comparison_id LIMIT 1
    FOR UPDATE SKIP LOCKED
), given AS (
    DELETE FROM labeling_assignment USING unseen WHERE labeling_assignment.id = unseen.id
)
UPDATE labeling_queueitem AS queue SET had = (
    SELECT array_agg(person ORDER BY person)
    FROM unnest(array_remove(queue.had, unseen.annotator_id) || %(annotator)s::bigint) AS person
)
FROM unseen WHERE queue.comparison_id = unseen.comparison_id
RETURNING queue.comparison_id
"""
_COUNT_OPEN = """
SELECT project.id, waiting.count
FROM unnest(%(projects)s::bigint[]) AS project(id) CROSS JOIN LATERAL (
    SELECT count(*) FROM (
        SELECT 1 FROM labeling_queueitem AS queue
        WHERE queue.project_id = project.id AND queue.state = 'open' AND queue.taken < queue.wanted
          AND NOT queue.had @> ARRAY[%(annotator)s]::bigint[]
          AND (queue.cohort_id IS NULL OR queue.cohort_id IN (
              SELECT member.cohort_id FROM labeling_cohort_members AS member WHERE member.user_id = %(annotator)s
          ))
        LIMIT %(most)s
    ) AS found
) AS waiting
"""


def draw(*, random_share: float, control_rate: float = 0.0, repeat_rate: float = 0.0) -> Draw:
    """Choose how the next pair is picked: a control item or a repeat at their rates, else at random or by priority."""
    chance = random.random()  # noqa: S311  (a draw, not a secret)
    if chance < control_rate:
        return "control"
    if chance < control_rate + repeat_rate:
        return "repeat"
    return "random" if random.random() < random_share else "priority"  # noqa: S311


def propensity(
    drawn: Draw, *, random_share: float, control_rate: float, repeat_rate: float, open_pairs: int | None
) -> float | None:
    """Return the probability with which the mix of the two orders handed out a pair that it drew; None if not known.

    A pair by priority is the first in line, and one of `open_pairs` (when the queue was last ordered) by chance; a pair
    drawn at random is taken for one that was not the first in line.
    """
    if not open_pairs:
        return None
    at_random = random_share / open_pairs
    first_in_line = 1 - random_share if drawn == "priority" else 0.0
    return (1 - control_rate - repeat_rate) * min(1.0, first_in_line + at_random)


def take_slot(*, project_id: int, annotator_id: int, how: Draw, pools: Sequence[int] = (EVERYBODY,)) -> int | None:
    """Take a slot of a comparison that this person never had, from the first pool that has one; None when none has.

    A slot that is merely locked at this moment is not "nothing left": then it is asked for again, for a while. The
    statement never waits for a lock itself: it would hold those it has won meanwhile, and two of them could block each
    other. Raises Conflict when everything open stays locked.
    """
    give_up = monotonic() + LOCKED_SECONDS
    for pool in pools:
        values = {"project": project_id, "annotator": annotator_id, "pool": pool}
        statement = _STATEMENTS["random" if how == "random" else "priority"]
        while (taken := _one(statement, values)) is None and _one(_ANYTHING_OPEN, values):
            if monotonic() > give_up:
                raise Conflict(_("All open comparisons are being changed just now. Try again in a moment."))
            sleep(random.uniform(0.002, 0.02))  # noqa: S311  (so that two who wait do not ask at once)
        if taken is not None:
            return cast(int, taken)
    return None


def take_control(*, project_id: int, annotator_id: int) -> int | None:
    """Take a control item that this person never had; everybody may have each of them."""
    return _one(_LEASE_CONTROL, {"project": project_id, "annotator": annotator_id})


def take_over_unseen(*, project_id: int, annotator_id: int, pools: Sequence[int]) -> int | None:
    """Take a pair that somebody else holds for later: nobody waits for a lease that nobody looks at."""
    return _one(_TAKE_OVER, {"project": project_id, "annotator": annotator_id, "pools": list(pools)})


def take_slot_again(comparison_id: int, *, pools: Sequence[int]) -> bool:
    """Take a slot of this comparison for somebody whose lease ran out; False if it is full or in no pool of theirs."""
    return _one(_TAKE_BACK, {"comparison": comparison_id, "pools": list(pools)}) is not None


def count_open(*, project_ids: Collection[int], annotator_id: int, most: int) -> dict[int, int]:
    """Return per project how many comparisons this person may get, counted up to `most` (one query)."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_OPEN, {"projects": list(project_ids), "annotator": annotator_id, "most": most})
        return dict(cursor.fetchall())


def sides_for(*, project_id: int, comparison_id: int, annotator_id: int) -> bool:
    """Say whether this annotator sees the two responses swapped."""
    return is_swapped(f"project-{project_id}", comparison_id, annotator_id)


def _one(statement: str, values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
    return row[0] if row else None
