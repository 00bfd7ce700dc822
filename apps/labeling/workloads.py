"""One person's work in one project: the row that leasing and submitting lock first, each time; so in plain SQL."""

from datetime import date

from django.db import DEFAULT_DB_ALIAS, connection

from apps.accounts.models import User
from apps.labeling.models import Workload
from apps.labeling.queue import EVERYBODY
from apps.projects.models import GuidelineVersion, Project

_COLUMNS = [field.attname for field in Workload._meta.concrete_fields]
_LOCK = """
SELECT
    ARRAY(
        SELECT cohort.id FROM labeling_cohort AS cohort
        JOIN labeling_cohort_members AS member ON member.cohort_id = cohort.id
        WHERE cohort.project_id = workload.project_id AND member.user_id = workload.annotator_id
        ORDER BY cohort.id
    ),
    guideline.id,
    guideline.number,
    workload.*
FROM labeling_workload AS workload CROSS JOIN LATERAL (
    SELECT version.id, version.number FROM projects_guidelineversion AS version
    WHERE version.project_id = workload.project_id ORDER BY version.number DESC LIMIT 1
) AS guideline
WHERE workload.project_id = %(project)s AND workload.annotator_id = %(annotator)s
FOR UPDATE OF workload
"""
_COUNT_SUBMISSION = """
UPDATE labeling_workload SET submitted = submitted + %(by)s, last_day = %(today)s,
    submitted_on_last_day = CASE WHEN last_day = %(today)s THEN submitted_on_last_day + %(by)s ELSE %(by)s END
WHERE project_id = %(project)s AND annotator_id = %(annotator)s
"""


def lock_workload(*, project: Project, annotator: User) -> Workload:
    """Lock what counts one person's work in one project; create it where there is none yet.

    It comes with the `pools` that the person draws from, in order, and with the guideline's `newest` version.
    """
    workload = _lock(project, annotator)
    if workload is None:
        Workload.objects.bulk_create([Workload(project=project, annotator=annotator)], ignore_conflicts=True)
        workload = _lock(project, annotator)
    assert workload is not None  # noqa: S101  (for the type checker: nobody deletes workloads)
    return workload


def count_submission(*, project_id: int, annotator_id: int, today: date, by: int = 1) -> None:
    """Count a submission for this person, which locks their workload."""
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT_SUBMISSION, {"project": project_id, "annotator": annotator_id, "today": today.isoformat(), "by": by}
        )


def _lock(project: Project, annotator: User) -> Workload | None:
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, {"project": project.pk, "annotator": annotator.pk})
        row = cursor.fetchone()
        names = [column.name for column in cursor.description or ()][3:]
    if row is None:
        return None
    cohorts, version_id, number, *values = row
    stored = dict(zip(names, values, strict=True))
    workload = Workload.from_db(DEFAULT_DB_ALIAS, _COLUMNS, [stored[column] for column in _COLUMNS])
    workload.annotator = annotator
    workload.pools = [*cohorts, EVERYBODY]
    workload.newest = GuidelineVersion.from_db(DEFAULT_DB_ALIAS, ["id", "number"], [version_id, number])
    return workload
