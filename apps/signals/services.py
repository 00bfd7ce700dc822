"""Score what has not been scored, store raw signals once, and order the queue by them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Avg, Count, Exists, Max, Min, OuterRef, Q, QuerySet, StdDev
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import FieldError, InvalidInput
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.projects.models import Project
from apps.projects.services import invalid, record
from apps.prompts.models import Comparison, Response
from apps.signals.acquisition import ACQUISITIONS
from apps.signals.models import MarginSpread, Scorer, Signal
from worker.core.conversation import content_hash, prompt_text
from worker.core.shaping import Needs, Shaper, Statistics, find_shaper, preference_as_reward


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


@transaction.atomic
def create_length_scorer(*, project: Project, unit: str, name: str, created_by: User) -> Scorer:
    """Configure the baseline whose value is the length of a response; raise InvalidInput for a name that is taken."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if Scorer.objects.filter(project=project, name=name).exists():
        taken = FieldError("/name", _("The project has a scorer of this name."))
        raise InvalidInput(_("A scorer like this cannot be configured."), [taken])
    scorer = Scorer.objects.create(project=project, name=name, kind=Scorer.Kind.LENGTH, config={"unit": unit})
    record(project=project, actor=created_by, verb="configured a scorer", scorer=name, unit=unit)
    return scorer


def shaper_named(name: str) -> Shaper:
    """Return a shaper by its name; raise InvalidInput that lists them."""
    try:
        return find_shaper(name)
    except ValueError as error:
        raise InvalidInput(str(error), [FieldError("/shaping", str(error))]) from error


def shaped_value(signal: Signal, shaper: Shaper) -> float | None:
    """Return a signal in a shape that needs no references; None where its scorer's statistics do not give one."""
    frozen = signal.scorer.statistics
    if shaper.needs is Needs.STATISTICS and frozen is None:
        return None
    try:
        return shaper.shape(signal.value, Statistics.from_dict(frozen) if frozen else None, ())
    except ValueError:
        return None


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


def freeze_statistics(*, scorer: Scorer) -> None:
    """Keep what the scorer's values add up to, once: shaped rewards must not move when more responses come in.

    To be called when all responses are scored that were there. With fewer than two values there is nothing to keep yet.
    """
    measured = scorer.signals.aggregate(
        n=Count("id"), mean=Avg("value"), std=StdDev("value"), minimum=Min("value"), maximum=Max("value")
    )
    try:
        statistics = Statistics(**measured)
    except (TypeError, ValueError):
        return
    frozen = {
        **statistics.to_dict(),
        "over": "responses of the project",
        "scorer": str(scorer.pk),
        "frozen_at": timezone.now().isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    Scorer.objects.filter(pk=scorer.pk, statistics__isnull=True).update(statistics=frozen)


def without_spread(scorer: Scorer) -> QuerySet[Comparison]:
    """Return the waiting comparisons whose margin has no spread of this scorer, where its order needs one."""
    acquisition = ACQUISITIONS.get(scorer.project.queue_order)
    if acquisition is None or not acquisition.needs_spread:
        return Comparison.objects.none()
    known = MarginSpread.objects.filter(scorer=scorer, comparison=OuterRef("pk"))
    return Comparison.objects.filter(~Exists(known), project=scorer.project_id, queue_item__state="open")


def store_spreads(*, scorer: Scorer, spreads: dict[int, float]) -> None:
    """Store the standard deviation of margins by comparison; one that has one from this scorer keeps it."""
    MarginSpread.objects.bulk_create(
        [MarginSpread(scorer=scorer, comparison_id=pk, std=std) for pk, std in spreads.items()],
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
    changed = choose_queue(project=project, actor=actor, queue_order=queue_order, random_share=random_share)
    order_queue(project=changed)


@transaction.atomic
def choose_queue(*, project: Project, actor: User, queue_order: str, random_share: float) -> Project:
    """Store in which order pairs are handed out; `order_queue` follows, outside of any transaction.

    Where the order needs to know how sure the model is of each pair, a scoring finds that out and orders once more.
    """
    changed = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    changed.queue_order, changed.random_share = queue_order, random_share
    try:
        changed.full_clean()
    except ValidationError as error:
        raise invalid(error) from error
    changed.save(update_fields=["queue_order", "random_share"])
    order = {"queue_order": queue_order, "random_share": random_share}
    record(project=project, actor=actor, verb="changed the queue", **order)
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()
    if scorer is not None and without_spread(scorer).exists():
        run_scorer(scorer=scorer, created_by=actor)
    return changed


_NEXT_OPEN = """
SELECT comparison_id FROM labeling_queueitem
WHERE project_id = %(project)s AND state = 'open' AND comparison_id > %(after)s
ORDER BY comparison_id LIMIT %(chunk)s
"""
_LOCK_IN_ORDER = "SELECT 1 FROM labeling_queueitem WHERE comparison_id = ANY(%(ids)s) ORDER BY comparison_id FOR UPDATE"
_PRIORITY = """
WITH margins AS (
    SELECT comparison.id, abs(first.value - second.value) AS margin, COALESCE(spread.std, 1.0) AS std
    FROM prompts_comparison AS comparison
    JOIN signals_signal AS first ON first.response_id = comparison.response_1_id AND first.scorer_id = %(scorer)s
    JOIN signals_signal AS second ON second.response_id = comparison.response_2_id AND second.scorer_id = %(scorer)s
    LEFT JOIN signals_marginspread AS spread ON spread.comparison_id = comparison.id AND spread.scorer_id = %(scorer)s
    WHERE comparison.id = ANY(%(ids)s)
), costs AS (
    SELECT id, ({cost})::numeric AS cost FROM margins
), levels AS (
    SELECT id, CASE WHEN cost > 0 AND cost < 'Infinity'
        THEN -round(cost, -floor(log(cost))::int)::float8 ELSE 0 END AS priority
    FROM costs
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
    **{order: _PRIORITY.format(cost=acquisition.cost) for order, acquisition in ACQUISITIONS.items()},
    Project.QueueOrder.RULES: _PRIORITY_FROM_RULES,
}
_PRIORITY_ZERO = "UPDATE labeling_queueitem SET priority = 0 WHERE comparison_id = ANY(%(ids)s) AND priority <> 0"
_COUNT_OPEN = """
UPDATE projects_project AS project SET open_when_ordered = (
    SELECT count(*) FROM labeling_queueitem AS queue
    WHERE queue.project_id = project.id AND queue.state = 'open' AND queue.taken < queue.wanted
      AND queue.cohort_id IS NULL
) WHERE project.id = %(project)s
"""
ORDER_CHUNK = 2000


def rules_in_force(project: Project) -> Scorer | None:
    """Return what scores responses by the project's active rule set."""
    return Scorer.objects.filter(project=project, kind=Scorer.Kind.RULE_SET, keeps_up=True).first()


def order_queue(*, project: Project) -> None:
    """Write the priority of every open queue item by the project's acquisition function, or 0 for the order of import.

    Where a project wants it, it is minus how much the active rules agree with the model instead.
    A priority is minus the cost to one significant digit: pairs of about equal worth share a level, in which those
    already begun go first. A pair without scores keeps priority 0, above every cost: what nobody has looked at is the
    most uncertain. Items are locked in the order of their ids and a chunk at a time, so that nobody who labels waits
    for long. How many are open is noted for the propensities of random draws.
    """
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()
    rules = rules_in_force(project)
    statement = _PRIORITY_BY.get(project.queue_order, _PRIORITY_ZERO) if scorer else _PRIORITY_ZERO
    scorers = {"scorer": scorer.pk if scorer else None, "rules": rules.pk if rules else None}
    values = {"project": project.pk, **scorers, "chunk": ORDER_CHUNK, "after": 0}
    with connection.cursor() as cursor:
        while True:
            cursor.execute(_NEXT_OPEN, values)
            ids = [row[0] for row in cursor.fetchall()]
            if not ids:
                cursor.execute(_COUNT_OPEN, values)
                return
            with transaction.atomic():
                cursor.execute(_LOCK_IN_ORDER, {"ids": ids})
                cursor.execute(statement, {**values, "ids": ids})
            values["after"] = ids[-1]
