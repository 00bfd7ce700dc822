"""Data from before the queue knew who had what is filled in by its migration."""

import importlib

import pytest
from django.db import connection

from apps.labeling.leasing import lease_next
from apps.labeling.models import Assignment, QueueItem, Workload
from apps.labeling.services import skip_assignment, submit_annotation
from tests.factories import ComparisonFactory, UserFactory, answer

migration = importlib.import_module("apps.labeling.migrations.0003_who_had_what")


@pytest.mark.django_db
def test_groups_workloads_and_flags_come_out_as_the_queue_would_have_written_them(project):
    ComparisonFactory.create_batch(3, project=project)
    first, second = UserFactory.create_batch(2)
    submit_annotation(assignment=lease_next(project=project, annotator=second, resume=False), body=answer())
    submit_annotation(assignment=lease_next(project=project, annotator=first, resume=False), body=answer())
    skip_assignment(assignment=lease_next(project=project, annotator=first, resume=False), reason="pii")
    lease_next(project=project, annotator=first, resume=False)
    columns = ("annotator", "submitted", "skipped", "guideline_seen")
    had = list(QueueItem.objects.order_by("pk").values_list("pk", "had"))
    work = list(Workload.objects.order_by("annotator").values_list(*columns))

    QueueItem.objects.update(had=[])
    Workload.objects.all().delete()
    Assignment.objects.update(flagged_at=None)
    with connection.cursor() as cursor:
        for statement in (migration.WHO_HAD, migration.WORKLOADS, migration.FLAGS):
            cursor.execute(statement)
    assert list(QueueItem.objects.order_by("pk").values_list("pk", "had")) == had
    assert list(Workload.objects.order_by("annotator").values_list(*columns)) == work
    assert Assignment.objects.filter(flagged_at__isnull=False).count() == 1
