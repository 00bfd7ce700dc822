"""An import can be tried without storing anything, and taken back as long as nobody has seen what it brought."""

import io

import pytest
from django.urls import reverse

from apps.core.errors import Conflict
from apps.imports.models import Finding, Import
from apps.imports.options import Options
from apps.imports.reports import report_of
from apps.imports.services import run_import, start_import_of_items
from apps.imports.undoing import start_undo, undo_import
from apps.jobs import services as jobs
from apps.jobs.models import Job
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.prompts.models import Comparison, Prompt, Response
from tests.exports.rows import ONE, rows_of, written
from tests.factories import UserFactory
from tests.imports.rows import load, row
from worker.tasks.datasets import import_pairs

LABELED = [{"annotator": "a1", "preference": 1}]


def run(project, *rows, **options):
    made = start_import_of_items(project=project, items=list(rows), created_by=None, options=Options(**options))
    run_import(made=made, on_batch=lambda rows: None)
    Job.objects.filter(pk=made.job_id).update(state="succeeded")
    return Import.objects.get(pk=made.pk)


@pytest.mark.django_db
def test_a_dry_run_reports_everything_and_stores_nothing(project):
    load(project, row(), row(external_id="seen", responses=["a", "b"], annotations=LABELED))
    before = [model.objects.count() for model in (Comparison, Prompt, Response, QueueItem)]
    rows = [
        row(),
        row(external_id="new", responses=["c", "d"], annotations=[{"annotator": "nobody-yet", "preference": 1}]),
        row(external_id="new", responses=["e", "f"]),
        row(external_id="seen", responses=["x", "y"]),
        row(external_id="copy"),
        {"prompt": "no responses"},
    ]
    dry = run(project, *rows, dry_run=True)
    assert before == [model.objects.count() for model in (Comparison, Prompt, Response, QueueItem)]
    assert not type(project).objects.get(pk=project.pk).memberships.filter(user__imported_name="nobody-yet").exists()
    wet = run(project, *rows)
    assert dry.counts == wet.counts
    assert (wet.counts["created"], wet.counts["unchanged"], wet.counts["rejected"]) == (2, 1, 3)
    told = ("line", "kind", "reason")
    assert list(dry.findings.values_list(*told)) == list(wet.findings.values_list(*told))


@pytest.mark.django_db
def test_undo_deletes_what_the_import_made_and_nothing_else(project):
    load(project, row())
    made = run(
        project,
        row(metadata={"changed": True}),
        row(external_id="q-2", responses=["2 and 3", "5 and 7"]),
        row(external_id="q-3", messages=[{"role": "user", "content": "Another?"}], responses=["c", "d"]),
    )
    assert undo_import(made=made) == 2
    assert list(Comparison.objects.values_list("external_id", flat=True)) == ["q-1"]
    assert sorted(Response.objects.values_list("text", flat=True)) == ["2 and 3", "2 and 4"]
    assert (Prompt.objects.count(), QueueItem.objects.count()) == (1, 1)
    with pytest.raises(Conflict, match="undone already"):
        start_undo(made=Import.objects.get(pk=made.pk))


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["leased", "another import brought a label"])
def test_undo_is_refused_whole_when_one_pair_was_seen(project, how):
    rows = [row(annotations=LABELED), row(external_id="q-2", responses=["c", "d"])]
    made = run(project, *rows)
    if how == "leased":
        lease_next(project=project, annotator=UserFactory(), resume=True)
    else:
        run(project, {**rows[1], "annotations": LABELED})
    for undo in (start_undo, undo_import):
        with pytest.raises(Conflict, match="1 of its comparisons have labels that it did not bring, or somebody"):
            undo(made=made)
    assert Comparison.objects.count() == 2


@pytest.mark.django_db
def test_undo_takes_the_labels_back_that_came_along_and_leaves_snapshots(project):
    load(project, row(annotations=LABELED))
    made = run(
        project,
        row(external_id="q-2", responses=["c", "d"], annotations=[*LABELED, {"annotator": "a2", "preference": -2}]),
        row(annotations=[*LABELED, {"annotator": "a2", "preference": 3}]),
    )
    snapshot = written(project, ONE)
    before = rows_of(snapshot, "annotations")
    assert undo_import(made=made) == 1
    kept = Annotation.objects.values_list("comparison__external_id", "annotator__imported_name")
    assert sorted(kept) == [("q-1", "a1"), ("q-1", "a2")]  # a label of a comparison that it did not make stays with it
    assert (Assignment.objects.count(), Consensus.objects.count()) == (2, 1)
    assert rows_of(snapshot, "annotations") == before
    assert len(before) == 2


@pytest.mark.django_db
def test_there_is_nothing_to_undo_of_a_dry_or_a_running_import(project):
    with pytest.raises(Conflict, match="nothing to undo"):
        start_undo(made=run(project, row(), dry_run=True))
    running = start_import_of_items(project=project, items=[row()], created_by=None)
    with pytest.raises(Conflict, match="still running"):
        start_undo(made=running)


@pytest.mark.django_db(transaction=True)
def test_undo_is_a_job_that_a_worker_does_once(project):
    made = start_import_of_items(project=project, items=[row()], created_by=None)
    import_pairs(made.job_id)
    started = start_undo(made=Import.objects.get(pk=made.pk))
    assert start_undo(made=Import.objects.get(pk=made.pk)).undo_job_id == started.undo_job_id
    import_pairs(started.undo_job_id)
    assert Job.objects.get(pk=started.undo_job_id).result == {"deleted": 1}
    assert not Comparison.objects.exists()
    assert run_again(project).counts["created"] == 1


def run_again(project):
    made = start_import_of_items(project=project, items=[row()], created_by=None)
    import_pairs(made.job_id)
    return Import.objects.get(pk=made.pk)


@pytest.mark.django_db
def test_the_report_has_every_row_and_no_formula(project):
    bad = [row(external_id=f"=cmd-{n}", responses=["same", "same"]) for n in range(1200)]
    stranger = {"prompt": "x", "responses": ["a", "b"], "annotations": [{"annotator": "@x", "preference": 9}]}
    made = run(project, row(), *bad, stranger)
    Finding.objects.filter(source=made, line=2).update(reason="=1+1", external_id="@SUM(A1)")
    assert made.counts["rejected"] == 1201
    csv = b"".join(report_of(made, "csv").streaming_content).decode()
    assert len(csv.splitlines()) == 1202
    assert "2,rejected,/responses/1,'=1+1,'@SUM(A1)" in csv
    jsonl = b"".join(report_of(made, "jsonl").streaming_content)
    assert jsonl.count(b"\n") == 1201
    assert b'"line": 1202, "kind": "rejected", "field": "/annotations/0/preference"' in jsonl
    assert io.BytesIO(jsonl).readline().startswith(b'{"line": 2')


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": "x"}], "Nothing came in: every row was refused."),
        ([], "Nothing came in: there are no rows."),
        ([row(), {"prompt": "x"}], None),
    ],
)
def test_the_result_says_plainly_when_nothing_came_in(project, manager, client, rows, said):
    made = start_import_of_items(project=project, items=rows, created_by=None)
    job, claim = jobs.claim(job_id=made.job_id, owner="a worker")
    run_import(made=made, on_batch=lambda rows: None, claim=claim)
    job.refresh_from_db()
    assert (job.state, job.result.get("notice")) == ("succeeded", said)
    client.force_login(manager)
    page = client.get(reverse("import", args=[project.slug, made.pk])).content.decode()
    assert ("Nothing came in" in page) == (said is not None)
    assert ("Nothing came in" in client.get(reverse("imports", args=[project.slug])).content.decode()) == bool(said)
