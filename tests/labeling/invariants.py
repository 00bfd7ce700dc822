"""What must hold over the whole database at any moment when nobody is in the middle of something (DESIGN §4.1–4.2)."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from django.db import connection

from apps.labeling.models import Annotation, Consensus, Draft, QueueItem
from apps.projects.models import Project
from worker.core.consensus import RULE_VERSION, Status, consensus

# Each statement returns what breaks its rule.
_RULES = {
    "taken is the number of live leases and submitted assignments, repeats aside": """
        SELECT comparison_id, taken, held FROM labeling_queueitem JOIN LATERAL (
            SELECT count(*) AS held FROM labeling_assignment AS assignment
            WHERE assignment.comparison_id = labeling_queueitem.comparison_id AND repeat_of_id IS NULL
              AND assignment.state IN ('leased', 'submitted')
        ) AS counted ON true
        WHERE taken <> held
    """,
    "no more are taken than wanted": "SELECT comparison_id, taken, wanted FROM labeling_queueitem WHERE taken > wanted",
    "a pair is complete exactly when it has as many annotations as it wants": """
        SELECT comparison_id, state, wanted, votes FROM labeling_queueitem JOIN LATERAL (
            SELECT count(*) AS votes FROM labeling_annotation AS annotation
            WHERE annotation.comparison_id = labeling_queueitem.comparison_id AND is_current AND NOT is_repeat
        ) AS counted ON true
        WHERE state IN ('open', 'complete') AND (state = 'complete') <> (votes >= wanted)
    """,
    "nobody is assigned the same pair twice, repeats aside": """
        SELECT comparison_id, annotator_id, count(*) FROM labeling_assignment WHERE repeat_of_id IS NULL
        GROUP BY comparison_id, annotator_id HAVING count(*) > 1
    """,
    "a repeat is the only one, of a submitted assignment of the same person and pair, with the sides exchanged": """
        SELECT again.id FROM labeling_assignment AS again
        JOIN labeling_assignment AS first ON first.id = again.repeat_of_id
        WHERE (first.comparison_id, first.annotator_id, first.state, first.swapped, first.repeat_of_id IS NULL)
            <> (again.comparison_id, again.annotator_id, 'submitted', NOT again.swapped, true)
           OR (SELECT count(*) FROM labeling_assignment AS other WHERE other.repeat_of_id = first.id) > 1
    """,
    "had lists everybody whom the queue gave the pair, in order": """
        SELECT queue.comparison_id, had, people FROM labeling_queueitem AS queue
        JOIN prompts_comparison AS comparison ON comparison.id = queue.comparison_id JOIN LATERAL (
            SELECT coalesce(array_agg(DISTINCT annotator_id ORDER BY annotator_id), '{}') AS people
            FROM labeling_assignment AS assignment
            WHERE assignment.comparison_id = queue.comparison_id AND repeat_of_id IS NULL AND drawn <> 'imported'
        ) AS given ON true
        WHERE had <> people AND (state IN ('open', 'complete') OR state = 'closed' AND gold IS NULL)
    """,
    "a pair of a cohort was given to its members only": """
        SELECT assignment.id FROM labeling_assignment AS assignment
        JOIN labeling_queueitem AS queue USING (comparison_id)
        WHERE cohort_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM labeling_cohort_members AS member
            WHERE member.cohort_id = queue.cohort_id AND member.user_id = assignment.annotator_id
        )
    """,
    "submitted assignments have one current annotation, others none": """
        SELECT id, state, current FROM labeling_assignment AS assignment JOIN LATERAL (
            SELECT count(*) FILTER (WHERE is_current) AS current, count(*) AS all FROM labeling_annotation AS annotation
            WHERE annotation.assignment_id = assignment.id
        ) AS counted ON true
        WHERE (current, counted.all > 0) <> (CASE WHEN state = 'submitted' THEN 1 ELSE 0 END, state = 'submitted')
    """,
    "revisions are numbered from 1 without gaps, and the newest is the current one": """
        SELECT assignment_id FROM labeling_annotation GROUP BY assignment_id
        HAVING (count(*), 1, max(revision)) <> (max(revision), min(revision), max(revision) FILTER (WHERE is_current))
    """,
    "an annotation repeats what its assignment says": """
        SELECT annotation.id FROM labeling_annotation AS annotation
        JOIN labeling_assignment AS assignment ON assignment.id = assignment_id
        WHERE (annotation.project_id, annotation.comparison_id, annotation.annotator_id, annotation.swapped, is_repeat)
            <> (assignment.project_id, assignment.comparison_id, assignment.annotator_id, assignment.swapped,
                repeat_of_id IS NOT NULL)
    """,
    "drafts are kept only for what can still be submitted, or was given back": """
        SELECT assignment_id FROM labeling_draft JOIN labeling_assignment AS assignment ON assignment.id = assignment_id
        WHERE state = 'submitted' AND reopened_until IS NULL
    """,
    "only submitted answers are re-opened": """
        SELECT id, state FROM labeling_assignment WHERE reopened_until IS NOT NULL AND state <> 'submitted'
    """,
    "nobody has seen or typed anything for what is leased ahead": """
        SELECT id, state FROM labeling_assignment AS assignment WHERE ahead AND (
            state <> 'leased'
            OR EXISTS (SELECT 1 FROM labeling_draft WHERE assignment_id = assignment.id)
            OR EXISTS (SELECT 1 FROM labeling_annotation WHERE assignment_id = assignment.id)
        )
    """,
    "one pair is leased ahead at most": """
        SELECT project_id, annotator_id, count(*) FROM labeling_assignment WHERE ahead
        GROUP BY project_id, annotator_id HAVING count(*) > 1
    """,
    "a workload counts what was submitted and skipped": """
        SELECT annotator_id, workload.project_id, workload.submitted, counted.submitted, workload.skipped,
            counted.skipped
        FROM labeling_workload AS workload JOIN LATERAL (
            SELECT count(*) FILTER (WHERE state = 'submitted') AS submitted,
                count(*) FILTER (WHERE state = 'skipped') AS skipped
            FROM labeling_assignment AS assignment
            WHERE assignment.project_id = workload.project_id AND assignment.annotator_id = workload.annotator_id
              AND drawn <> 'imported'
        ) AS counted ON true
        WHERE (workload.submitted, workload.skipped) <> (counted.submitted, counted.skipped)
    """,
    "a workload counts what was submitted on its last day": """
        SELECT annotator_id, workload.project_id, submitted_on_last_day, count
        FROM labeling_workload AS workload JOIN LATERAL (
            SELECT count(*) FROM labeling_annotation AS annotation
            WHERE annotation.project_id = workload.project_id AND annotation.annotator_id = workload.annotator_id
              AND revision = 1 AND NOT imported AND (submitted_at AT TIME ZONE 'UTC')::date = last_day
        ) AS counted ON true
        WHERE submitted_on_last_day <> count
    """,
    "everybody who was given something has a workload": """
        SELECT DISTINCT annotator_id, project_id FROM labeling_assignment AS assignment
        WHERE drawn <> 'imported' AND NOT EXISTS (
            SELECT 1 FROM labeling_workload AS workload
            WHERE workload.project_id = assignment.project_id AND workload.annotator_id = assignment.annotator_id
        )
    """,
}
_FLAGGED = """
SELECT comparison_id FROM labeling_queueitem AS queue
WHERE project_id = %s AND state IN ('open', 'control') AND (
    SELECT count(DISTINCT annotator_id) FROM labeling_assignment AS assignment
    WHERE assignment.comparison_id = queue.comparison_id AND flagged_at IS NOT NULL
) >= %s
"""


def violations(*, typed: Mapping[int, Collection[Any]] | None = None) -> list[str]:
    """Return what breaks a rule, one line each.

    `typed` holds, by assignment, the bodies of which one must be kept as a draft unless an answer was submitted.
    """
    found = []
    with connection.cursor() as cursor:
        for rule, statement in _RULES.items():
            cursor.execute(statement)
            found += [f"{rule}: {row}" for row in cursor.fetchall()]
        for project in Project.objects.all():
            cursor.execute(_FLAGGED, [project.pk, project.protocol.flags_to_close])
            found += [f"a pair that enough people flagged leaves the queue: {row}" for row in cursor.fetchall()]
    found += [line for project in Project.objects.all() for line in _consensus_violations(project)]
    return found + _lost_drafts(typed or {})


def _consensus_violations(project: Project) -> list[str]:
    """Return every pair whose stored consensus is not what its annotations add up to."""
    protocol = project.protocol
    votes: dict[int, list[Annotation]] = defaultdict(list)
    current = Annotation.objects.filter(project=project, is_current=True, is_repeat=False)
    for annotation in current.order_by("submitted_at", "id"):
        votes[annotation.comparison_id].append(annotation)
    found = []
    for item in QueueItem.objects.filter(project=project).select_related("comparison__consensus"):
        annotations = votes[item.pk]
        stored: Consensus | None = getattr(item.comparison, "consensus", None)
        if stored is None:
            if annotations:
                found.append(f"annotated pairs have a consensus: {item.pk}")
            continue
        outcome = consensus(
            [] if item.state == QueueItem.State.CONTROL else [annotation.vote for annotation in annotations],
            annotators=protocol.annotators,
            max_annotators=protocol.max_annotators,
            spread_limit=protocol.spread_limit,
        )
        closed = item.state == QueueItem.State.CLOSED  # whatever people said of it, it is no label
        status = Status.EXCLUDED if closed else outcome.status
        kept = [annotations[position].pk for position in outcome.kept]
        final = status not in (Status.PENDING, Status.ESCALATED)
        expected = (status, None if closed else outcome.preference, outcome.spread, kept, len(annotations), final)
        actual = (stored.status, stored.preference, stored.spread, stored.kept, stored.annotation_count)
        if (*actual, stored.settled_at is not None) != expected or stored.rule != RULE_VERSION:
            found.append(f"consensus is what the annotations add up to: {item.pk}: {actual}, not {expected}")
        if not closed and stored.excluded_reason != outcome.excluded_reason:
            found.append(f"the reason for leaving a pair out is true: {item.pk}: {stored.excluded_reason}")
    return found


def _lost_drafts(typed: Mapping[int, Collection[Any]]) -> list[str]:
    drafts = dict(Draft.objects.filter(pk__in=typed).values_list("pk", "body"))
    submitted = set(Annotation.objects.filter(assignment__in=typed).values_list("assignment", flat=True))
    lost = [pk for pk, bodies in typed.items() if pk not in submitted and drafts.get(pk) not in bodies]
    return [f"what was typed is kept until it is submitted: {pk}: {drafts.get(pk)}, not {typed[pk]}" for pk in lost]
