"""Fill what 0002 added: who had each comparison, and what everybody has done."""

from django.db import migrations

WHO_HAD = """
UPDATE labeling_queueitem AS queue SET had = leased.people
FROM (
    SELECT assignment.comparison_id, array_agg(assignment.annotator_id ORDER BY assignment.annotator_id) AS people
    FROM labeling_assignment AS assignment JOIN accounts_user AS person ON person.id = assignment.annotator_id
    WHERE person.imported_name = ''
    GROUP BY assignment.comparison_id
) AS leased
WHERE leased.comparison_id = queue.comparison_id
"""
WORKLOADS = """
INSERT INTO labeling_workload (project_id, annotator_id, submitted, skipped, submitted_on_last_day, guideline_seen_id)
SELECT project_id, annotator_id,
       count(*) FILTER (WHERE state = 'submitted'), count(*) FILTER (WHERE state = 'skipped'), 0,
       (array_agg(guideline_version_id ORDER BY id DESC))[1]
FROM labeling_assignment WHERE drawn <> 'imported'
GROUP BY project_id, annotator_id
ON CONFLICT DO NOTHING
"""
FLAGS = """
UPDATE labeling_assignment SET flagged_at = created_at
WHERE state = 'skipped' AND skip_reason IN ('pii', 'language', 'about_assistant', 'unsafe', 'broken')
"""


class Migration(migrations.Migration):
    dependencies = [("labeling", "0002_queue_groups_cohorts_and_workloads"), ("accounts", "0001_initial")]
    operations = [migrations.RunSQL([statement], migrations.RunSQL.noop) for statement in (WHO_HAD, WORKLOADS, FLAGS)]
