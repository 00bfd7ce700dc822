"""Score what has not been scored, store raw signals once, and order the queue by them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from apps.accounts.models import User
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.projects.models import Project
from apps.projects.services import invalid, record
from apps.prompts.models import Response
from apps.signals.models import Scorer, Signal
from worker.core.conversation import content_hash, prompt_text
from worker.core.shaping import preference_as_reward


@dataclass(frozen=True)
class Measured:
    """One raw value for one response."""

    response_id: int
    value: float
    input_hash: str
    parts: dict[str, Any] = field(default_factory=dict)


def shaped_values(signals: Sequence[Signal]) -> dict[int, float]:
    """Return preference as reward by signal, against the other responses to its prompt that its scorer has scored.

    A response that is alone has no such value. The signals come with their responses; one query.
    """
    prompts = {signal.response.prompt_id for signal in signals}
    scorers = {signal.scorer_id for signal in signals}
    scored = (
        Signal.objects.filter(scorer__in=scorers, response__prompt__in=prompts) if signals else Signal.objects.none()
    )
    beside: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for scorer, prompt, response, value in scored.values_list(
        "scorer_id", "response__prompt_id", "response_id", "value"
    ):
        beside[scorer, prompt][response] = value
    shaped = {}
    for signal in signals:
        values = beside[signal.scorer_id, signal.response.prompt_id]
        others = [value for response, value in values.items() if response != signal.response_id]
        if others:
            shaped[signal.pk] = preference_as_reward(signal.value, others)
    return shaped


def run_scorer(*, scorer: Scorer, created_by: User | None = None) -> Job:
    """Start a job that scores every response the scorer has not scored yet."""
    return enqueue(
        kind="scoring",
        project=scorer.project,
        inputs={"scorer": scorer.pk},
        created_by=created_by,
        key=f"scoring-{scorer.pk}",
    )


def score_new_responses(*, project: Project) -> list[Job]:
    """Start scoring with what orders the queue and what keeps up, where something is left to score."""
    scorers = Scorer.objects.filter(Q(orders_queue=True) | Q(keeps_up=True), project=project).order_by("id")
    return [run_scorer(scorer=scorer) for scorer in scorers if unscored(scorer).exists()]


def unscored(scorer: Scorer) -> QuerySet[Response]:
    """Return the responses of the project without a signal of this scorer."""
    scored = Signal.objects.filter(scorer=scorer, response=OuterRef("pk"))
    return Response.objects.filter(~Exists(scored), prompt__project=scorer.project_id)


def input_hash(response: Response) -> str:
    """Return the hash of what a scorer reads: the prompt's messages and the response's text."""
    return content_hash(prompt_text(response.prompt.messages), response.text)


def store_signals(*, scorer: Scorer, measured: Sequence[Measured]) -> None:
    """Store raw values; a response that has one from this scorer keeps it, so a repeated batch changes nothing."""
    Signal.objects.bulk_create(
        [
            Signal(scorer=scorer, response_id=m.response_id, value=m.value, parts=m.parts, input_hash=m.input_hash)
            for m in measured
        ],
        ignore_conflicts=True,
        batch_size=1000,
    )


@transaction.atomic
def use_for_queue(*, scorer: Scorer) -> None:
    """Make this the scorer whose margins order its project's queue, from the next `order_queue` on."""
    Project.objects.select_for_update(no_key=True).get(pk=scorer.project_id)
    Scorer.objects.filter(project=scorer.project_id, orders_queue=True).exclude(pk=scorer.pk).update(orders_queue=False)
    Scorer.objects.filter(pk=scorer.pk).update(orders_queue=True)


def set_queue(*, project: Project, actor: User, queue_order: str, random_share: float) -> None:
    """Change in which order pairs are handed out, and put the waiting ones into it."""
    with transaction.atomic():
        changed = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        changed.queue_order, changed.random_share = queue_order, random_share
        try:
            changed.full_clean()
        except ValidationError as error:
            raise invalid(error) from error
        changed.save(update_fields=["queue_order", "random_share"])
        order = {"queue_order": queue_order, "random_share": random_share}
        record(project=project, actor=actor, verb="changed the queue", **order)
    order_queue(project=changed)


_NEXT_OPEN = """
SELECT comparison_id FROM labeling_queueitem
WHERE project_id = %(project)s AND state = 'open' AND comparison_id > %(after)s
ORDER BY comparison_id LIMIT %(chunk)s
"""
_LOCK_IN_ORDER = "SELECT 1 FROM labeling_queueitem WHERE comparison_id = ANY(%(ids)s) ORDER BY comparison_id FOR UPDATE"
_PRIORITY_FROM_MARGIN = """
WITH margins AS (
    SELECT comparison.id, abs(first.value - second.value)::numeric AS margin
    FROM prompts_comparison AS comparison
    JOIN signals_signal AS first ON first.response_id = comparison.response_1_id AND first.scorer_id = %(scorer)s
    JOIN signals_signal AS second ON second.response_id = comparison.response_2_id AND second.scorer_id = %(scorer)s
    WHERE comparison.id = ANY(%(ids)s)
), levels AS (
    SELECT id, CASE WHEN margin > 0 AND margin < 'Infinity'
        THEN -round(margin, -floor(log(margin))::int)::float8 ELSE 0 END AS priority
    FROM margins
)
UPDATE labeling_queueitem AS queue SET priority = levels.priority
FROM levels WHERE levels.id = queue.comparison_id AND queue.priority <> levels.priority
"""
# From -1, the active rules are wholly against the model, to 1; a pair that they have not scored lies between.
_PRIORITY_FROM_RULES = """
WITH agreement AS (
    SELECT comparison.id,
        (1.001 + sign(second.value - first.value) * coalesce(rules_2.value - rules_1.value, 0))::numeric AS cost
    FROM prompts_comparison AS comparison
    JOIN signals_signal AS first ON first.response_id = comparison.response_1_id AND first.scorer_id = %(scorer)s
    JOIN signals_signal AS second ON second.response_id = comparison.response_2_id AND second.scorer_id = %(scorer)s
    LEFT JOIN signals_signal AS rules_1
        ON rules_1.response_id = comparison.response_1_id AND rules_1.scorer_id = %(rules)s
    LEFT JOIN signals_signal AS rules_2
        ON rules_2.response_id = comparison.response_2_id AND rules_2.scorer_id = %(rules)s
    WHERE comparison.id = ANY(%(ids)s)
), levels AS (
    SELECT id, CASE WHEN cost > 0 AND cost < 'Infinity'
        THEN -round(cost, -floor(log(cost))::int)::float8 ELSE 0 END AS priority
    FROM agreement
)
UPDATE labeling_queueitem AS queue SET priority = levels.priority
FROM levels WHERE levels.id = queue.comparison_id AND queue.priority <> levels.priority
"""
_PRIORITY_BY = {
    Project.QueueOrder.UNCERTAIN: _PRIORITY_FROM_MARGIN,
    Project.QueueOrder.RULES: _PRIORITY_FROM_RULES,
}
_PRIORITY_ZERO = "UPDATE labeling_queueitem SET priority = 0 WHERE comparison_id = ANY(%(ids)s) AND priority <> 0"
ORDER_CHUNK = 2000


def order_queue(*, project: Project) -> None:
    """Write the priority of every open queue item: minus the margin (least sure first), or 0 for the order of import.

    Where a project wants it, minus how much the active rules agree with the model instead.

    The margin counts to one significant digit: pairs about which the model is about equally unsure share a level, in
    which those already begun go first.
    A pair without scores keeps priority 0, above every margin: what nobody has looked at is the most uncertain.
    Items are locked in the order of their ids and a chunk at a time, so that nobody who labels waits for long.
    """
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()
    rules = Scorer.objects.filter(project=project, kind=Scorer.Kind.RULE_SET, keeps_up=True).first()
    order = Project.QueueOrder(project.queue_order)
    statement = _PRIORITY_BY.get(order, _PRIORITY_ZERO) if scorer else _PRIORITY_ZERO
    scorers = {"scorer": scorer.pk if scorer else None, "rules": rules.pk if rules else None}
    values = {"project": project.pk, **scorers, "chunk": ORDER_CHUNK, "after": 0}
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_NEXT_OPEN, values)
            ids = [row[0] for row in cursor.fetchall()]
            if not ids:
                return
            with transaction.atomic():
                cursor.execute(_LOCK_IN_ORDER, {"ids": ids})
                cursor.execute(statement, {**values, "ids": ids})
            values["after"] = ids[-1]
