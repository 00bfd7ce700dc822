"""What happens in a project is told in the transaction in which it happens, and nothing private with it."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.services import create_token
from apps.exports.services import create_snapshot
from apps.imports.models import Import
from apps.imports.options import Options
from apps.imports.services import go_ahead, run_import, start_import, start_import_of_items
from apps.imports.undoing import start_undo
from apps.jobs import services as jobs
from apps.jobs.models import Job
from apps.labeling.consensus import refresh_consensus
from apps.labeling.leasing import lease_next
from apps.labeling.models import QueueItem
from apps.labeling.oversight import close_comparison
from apps.labeling.services import reopen_annotation, stored_body, submit_annotation
from apps.reward_models.models import RewardModel
from apps.reward_models.promotion import promote
from apps.signals.models import Scorer
from apps.webhooks.models import WebhookDelivery
from tests.factories import JUSTIFICATION, ComparisonFactory, MembershipFactory, answer
from worker.tasks.datasets import import_pairs

pytestmark = pytest.mark.django_db


@pytest.fixture
def all_events(subscribe, local):
    """Subscribe to everything."""
    names = ("annotation.submitted", "consensus.reached", "import.finished", "snapshot.ready")
    return subscribe("http://127.0.0.1:9/", *names, "model.registered", "model.promoted", "job.failed")[0]


def told(event: str) -> list[dict]:
    rows = WebhookDelivery.objects.filter(event=event).order_by("pk")
    return [json.loads(row.payload)["data"] for row in rows]


def label(project, name, *, preference=-2):
    """Submit an answer; the preference is canonical, whichever way round the person sees the pair."""
    person = MembershipFactory(project=project, user__username=name).user
    held = lease_next(project=project, annotator=person, resume=False)
    shown = -preference if held.swapped and preference != "neither" else preference
    return submit_annotation(assignment=held, body=answer(preference=shown))


def test_an_answer_tells_who_said_what_and_nothing_of_anybody_else(project, all_events):
    pair = ComparisonFactory(project=project)
    label(project, "otto", preference=3)
    first = label(project, "olga", preference=1)
    said = told("annotation.submitted")[1]
    assert said == {
        "project": "tides",
        "annotation": str(first.pk),
        "comparison": str(pair.pk),
        "annotator": "olga",
        "preference": 1,
        "revision": 1,
        "is_repeat": False,
        "submitted_at": first.submitted_at.isoformat(),
    }
    everything = " ".join(WebhookDelivery.objects.values_list("payload", flat=True))
    assert JUSTIFICATION[:30] not in everything
    assert pair.response_1.text not in everything
    assert everything.count("otto") == 1


def test_the_same_answer_again_is_no_event_and_a_change_is_one(project, all_events):
    ComparisonFactory(project=project)
    stored = label(project, "otto")
    same = stored_body(stored)
    submit_annotation(assignment=stored.assignment, body=same)
    assert len(told("annotation.submitted")) == 1
    submit_annotation(assignment=reopen_annotation(assignment=stored.assignment), body=answer(preference="neither"))
    assert [(each["revision"], each["preference"]) for each in told("annotation.submitted")][1:] == [(2, "neither")]


def test_a_comparison_is_settled_once(project, all_events):
    pair = ComparisonFactory(project=project)
    for name in ("ada", "ben"):
        label(project, name, preference="neither")
    assert told("consensus.reached") == []
    label(project, "cleo", preference="neither")
    (said,) = told("consensus.reached")
    assert said == {
        "project": "tides",
        "comparison": str(pair.pk),
        "status": "neither",
        "preference": "neither",
        "annotation_count": 3,
    }
    refresh_consensus()
    assert len(told("consensus.reached")) == 1


def test_a_changed_protocol_that_settles_a_comparison_is_told(project, all_events):
    ComparisonFactory(project=project)
    for name, preference in (("ada", 3), ("ben", -3), ("cleo", -3)):
        label(project, name, preference=preference)
    QueueItem.objects.update(state="complete")
    assert told("consensus.reached") == []
    project.protocol_settings = {"max_annotators": 3}
    project.save(update_fields=["protocol_settings"])
    refresh_consensus()
    assert [said["status"] for said in told("consensus.reached")] == ["excluded"]


def test_a_comparison_that_was_left_out_is_not_settled(project, manager, all_events):
    pair = ComparisonFactory(project=project)
    label(project, "otto")
    close_comparison(comparison=pair, actor=manager)
    assert told("consensus.reached") == []


def run(project, kind, inputs):
    job = Job.objects.create(project=project, kind=kind, inputs=inputs)
    return job, jobs.claim(job_id=job.pk, owner="cpu@one")[1]


def test_jobs_tell_how_they_ended_with_counts_and_without_texts(project, all_events):
    job, claim = run(project, "import", {"import": 7})
    errors = [{"line": 1, "field": "/prompt", "reason": "The text 'secret' is too long."}]
    jobs.succeed(claim, result={"created": 2, "updated": 0, "unchanged": 0, "rejected": 1, "errors": errors})
    assert told("import.finished") == [
        {
            "project": "tides",
            "job": str(job.pk),
            "kind": "import",
            "import": "7",
            "created": 2,
            "updated": 0,
            "unchanged": 0,
            "rejected": 1,
        }
    ]
    job, claim = run(project, "snapshot", {"snapshot": 9})
    jobs.succeed(claim, result={"snapshot": "9"})
    assert told("snapshot.ready") == [{"project": "tides", "job": str(job.pk), "kind": "snapshot", "snapshot": "9"}]
    job, claim = run(project, "training", {})
    jobs.fail(claim, error="The prompt 'secret' made it fail.")
    assert told("job.failed") == [{"project": "tides", "job": str(job.pk), "kind": "training"}]
    jobs.fail(claim, error="again")
    assert len(told("job.failed")) == 1
    _job, claim = run(project, "scoring", {})
    jobs.succeed(claim, result={"scored": 3})
    assert WebhookDelivery.objects.count() == 3


def test_a_job_that_killed_every_worker_is_told(project, all_events, settings):
    ago = timezone.now() - timedelta(hours=1)
    fields = {"state": "running", "attempt": settings.JOB_MAX_ATTEMPTS, "sent_at": ago, "lease_until": ago}
    job = Job.objects.create(project=project, kind="scoring", **fields)
    jobs.resend_unheld()
    assert [said["job"] for said in told("job.failed")] == [str(job.pk)]


def test_a_promotion_is_told_without_figures(project, manager, all_events):
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    model = RewardModel.objects.create(
        project=project,
        version=1,
        recipe={},
        recipe_hash="x",
        snapshot=create_snapshot(project=project, body={"name": "First"}, created_by=None),
        scorer=scorer,
        folder="x",
        metrics={"accuracy": 0.75},
    )
    promote(model=model, actor=manager)
    said = {"project": "tides", "reward_model": str(model.pk), "version": 1, "by": "mara"}
    assert told("model.promoted") == [said]


def test_what_is_undone_is_not_told(project, all_events):
    _job, claim = run(project, "training", {})
    with transaction.atomic():
        jobs.fail(claim, error="x")
        transaction.set_rollback(True)
    assert told("job.failed") == []


def test_other_projects_do_not_hear_of_it(project, all_events):
    elsewhere = ComparisonFactory().project
    assert elsewhere.webhook_events == []
    label(elsewhere, "otto")
    assert not WebhookDelivery.objects.exists()


def test_an_answer_by_rest_is_told_with_one_statement_more(project, annotator, all_events):
    ComparisonFactory(project=project)
    held = lease_next(project=project, annotator=annotator, resume=False)
    token = create_token(user=annotator, name="test", scope="write")[1]
    client = Client(headers={"Authorization": f"Token {token}"})
    with CaptureQueriesContext(connection) as sent:
        body = json.dumps(answer())
        reply = client.post(f"/api/v1/assignments/{held.pk}/submit/", body, content_type="application/json")
    assert reply.status_code == 201
    assert [each["annotation"] for each in told("annotation.submitted")] == [reply.json()["id"]]
    assert sum("webhooks_" in query["sql"] for query in sent.captured_queries) == 1


def test_an_import_by_command_tells_what_its_job_would_have_told(project, all_events, tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {"external_id": "q-1", "prompt": "Why?", "responses": ["Because.", "Why not?"]}
    path.write_text(json.dumps(good) + "\n" + json.dumps({"prompt": "no responses"}))
    call_command("import_pairs", str(path), "--project", "tides", stdout=io.StringIO(), stderr=io.StringIO())
    by_command = told("import.finished")
    assert len(by_command) == 1
    made = start_import_of_items(
        project=project, items=[{**good, "external_id": "q-2", "prompt": "And?"}], created_by=None
    )
    job, claim = jobs.claim(job_id=made.job_id, owner="a worker")
    run_import(made=made, on_batch=lambda rows: None, claim=claim)
    by_job = told("import.finished")[1]
    assert by_command[0].keys() == by_job.keys()
    assert (by_job["job"], by_command[0]["job"]) == (str(job.pk), None)
    assert [by_command[0][name] for name in ("kind", "created", "rejected")] == ["import", 1, 1]
    assert by_command[0]["import"] == str(Import.objects.exclude(pk=made.pk).get().pk)


@pytest.mark.django_db(transaction=True)
def test_looking_at_a_file_or_taking_an_import_back_is_no_import_that_finished(project, all_events, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"external_id": "q-1", "prompt": "Why?", "responses": ["Because.", "Why not?"]}))
    with path.open("rb") as stream:
        made = start_import(project=project, file_name=path.name, stream=stream, created_by=None, wait=True)
    import_pairs(made.preview_job_id)
    made = go_ahead(made=Import.objects.get(pk=made.pk), options=Options())
    import_pairs(made.job_id)
    made = start_undo(made=Import.objects.get(pk=made.pk))
    import_pairs(made.undo_job_id)
    assert set(Job.objects.values_list("state", flat=True)) == {"succeeded"}
    assert Job.objects.count() == 3
    assert [said["job"] for said in told("import.finished")] == [str(made.job_id)]
