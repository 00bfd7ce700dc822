"""Jobs over REST."""

import pytest

from apps.jobs.models import Job
from apps.jobs.services import note_worker
from tests.api.conftest import Api, pointers, problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(project):
    return Job.objects.create(project=project, kind="scoring", done=3, total=9, message="3 responses scored")


def test_a_job_has_state_progress_result_and_error(researcher, job):
    Job.objects.filter(pk=job.pk).update(state="running")
    body = Api(researcher).get(f"jobs/{job.pk}/").json()
    assert {name: body[name] for name in ("id", "kind", "state", "progress", "result", "error")} == {
        "id": str(job.pk),
        "kind": "scoring",
        "state": "running",
        "progress": {"done": 3, "total": 9, "message": "3 responses scored"},
        "result": None,
        "error": None,
    }


def test_a_failed_job_says_why(manager, job):
    Job.objects.filter(pk=job.pk).update(state="failed", error="The model is gone.")
    assert Api(manager).get(f"jobs/{job.pk}/").json()["error"] == "The model is gone."


def test_a_job_that_waits_for_a_missing_worker_says_so(manager, job):
    api = Api(manager)
    waiting = "Waiting: no gpu worker is running."
    assert api.get(f"jobs/{job.pk}/").json()["progress"]["message"] == waiting
    assert api.get("projects/tides/jobs/").json()["results"][0]["progress"]["message"] == waiting
    note_worker(name="gpu@here", queues=["gpu"])
    assert api.get(f"jobs/{job.pk}/").json()["progress"]["message"] == "3 responses scored"


def test_jobs_are_listed_and_filtered(researcher, job, project, django_assert_num_queries):
    Job.objects.create(project=project, kind="import", state="succeeded")
    api = Api(researcher)
    assert [row["kind"] for row in api.get("projects/tides/jobs/").json()["results"]] == ["scoring", "import"]
    (row,) = api.get("projects/tides/jobs/?kind=import&state=succeeded").json()["results"]
    assert row["state"] == "succeeded"
    assert pointers(api.get("projects/tides/jobs/?kind=x")) == ["/kind"]
    with django_assert_num_queries(4):  # token, membership, page, workers
        api.get("projects/tides/jobs/")


def test_a_job_is_cancelled_once(researcher, job):
    api = Api(researcher)
    reply = api.post(f"jobs/{job.pk}/cancel/")
    assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    assert "already" in problem(api.post(f"jobs/{job.pk}/cancel/"), 409)["detail"]


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("stranger", 404)])
def test_others_neither_see_nor_cancel(request, job, who, status):
    api = Api(request.getfixturevalue(who))
    problem(api.get(f"jobs/{job.pk}/"), status)
    problem(api.get("projects/tides/jobs/"), status)
    problem(api.post(f"jobs/{job.pk}/cancel/"), status)
    job.refresh_from_db()
    assert job.state == "queued"
