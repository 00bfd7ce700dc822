"""A job survives dead workers, lost messages and double deliveries."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from apps.core.errors import Conflict
from apps.jobs import services as jobs
from apps.jobs.models import Job, WorkerSeen
from tests.factories import ProjectFactory

pytestmark = pytest.mark.django_db


def make_job(project, **fields):
    return Job.objects.create(project=project, kind="scoring", inputs={}, **fields)


def test_a_job_is_claimed_once_while_its_lease_lives(project):
    job = make_job(project)
    claimed, claim = jobs.claim(job_id=job.pk, owner="gpu@one")
    assert (claimed.state, claimed.attempt, claim.token) == ("running", 1, 1)
    assert jobs.claim(job_id=job.pk, owner="gpu@two") is None


def test_a_job_whose_heartbeat_stopped_is_taken_over_and_the_old_worker_stores_nothing(project):
    job = make_job(project)
    _, old = jobs.claim(job_id=job.pk, owner="gpu@one")
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    _, new = jobs.claim(job_id=job.pk, owner="gpu@two")
    assert new.token == old.token + 1
    for write in (
        lambda: jobs.heartbeat(old),
        lambda: jobs.report_progress(old, done=1, total=2),
        lambda: jobs.succeed(old, result={}),
        lambda: jobs.storing(old).__enter__(),
    ):
        with pytest.raises(jobs.LeaseLost):
            write()
    jobs.fail(old, error="late")
    jobs.succeed(new, result={"scored": 3})
    job.refresh_from_db()
    assert (job.state, job.result, job.error) == ("succeeded", {"scored": 3}, "")


def test_a_job_that_is_given_back_or_got_further_has_its_attempts_anew(project):
    job = make_job(project, attempt=3)
    _, claim = jobs.claim(job_id=job.pk, owner="gpu@one")
    jobs.release(claim)
    jobs.release(claim)  # not ours any more
    job.refresh_from_db()
    assert (job.state, job.attempt, job.lease_until) == ("queued", 3, None)
    with pytest.raises(jobs.LeaseLost):
        jobs.heartbeat(claim)
    _, again = jobs.claim(job_id=job.pk, owner="gpu@two")
    jobs.note_advance(claim)
    assert Job.objects.get().attempt == 4
    jobs.note_advance(again)
    assert Job.objects.get().attempt == 1


def test_results_and_state_commit_together(project):
    _, claim = jobs.claim(job_id=make_job(project).pk, owner="gpu@one")

    def die_before_the_commit():
        with jobs.storing(claim):
            jobs.succeed(claim, result={})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die_before_the_commit()
    assert Job.objects.get().state == "running"


def test_a_button_pressed_twice_is_one_job(project):
    first = jobs.enqueue(kind="training", project=project, inputs={}, key="training")
    second = jobs.enqueue(kind="training", project=project, inputs={}, key="training")
    other = jobs.enqueue(kind="training", project=ProjectFactory(), inputs={}, key="training")
    assert first.pk == second.pk != other.pk
    Job.objects.filter(pk=first.pk).update(state="failed")
    assert jobs.enqueue(kind="training", project=project, inputs={}, key="training").pk != first.pk


@pytest.mark.django_db(transaction=True)
def test_the_message_leaves_after_the_commit_and_only_then():
    project = ProjectFactory()
    with transaction.atomic():
        job = jobs.enqueue(kind="scoring", project=project, inputs={})
        assert Job.objects.get(pk=job.pk).sent_at is None
    assert Job.objects.get(pk=job.pk).sent_at is not None


def test_jobs_that_nobody_holds_are_sent_again(project):
    long_ago = timezone.now() - timedelta(hours=1)
    fresh = make_job(project, sent_at=timezone.now())
    lost = make_job(project, sent_at=long_ago)
    dead = make_job(project, state="running", attempt=1, sent_at=long_ago, lease_until=long_ago)
    held = make_job(
        project, state="running", attempt=1, sent_at=long_ago, lease_until=timezone.now() + timedelta(hours=1)
    )
    WorkerSeen.objects.create(name="gpu@one", queues=["gpu"], seen_at=timezone.now())
    assert set(Job.objects.unheld()) == {lost, dead}
    assert jobs.resend_unheld() == 2
    for job in (fresh, held):
        before = job.sent_at
        job.refresh_from_db()
        assert job.sent_at == before


def test_messages_do_not_pile_up_while_no_worker_runs(project):
    make_job(project, sent_at=timezone.now() - timedelta(hours=1))
    assert jobs.resend_unheld() == 0


def test_a_job_that_kills_every_worker_fails_with_a_sentence(project, settings):
    long_ago = timezone.now() - timedelta(hours=1)
    job = make_job(project, state="running", attempt=settings.JOB_MAX_ATTEMPTS, sent_at=long_ago, lease_until=long_ago)
    jobs.resend_unheld()
    job.refresh_from_db()
    assert job.state == "failed"
    assert "died 5 times" in job.error


def test_cancelling_stops_the_worker_at_its_next_word(project):
    job = make_job(project)
    _, claim = jobs.claim(job_id=job.pk, owner="gpu@one")
    jobs.cancel(job=job)
    with pytest.raises(jobs.LeaseLost):
        jobs.report_progress(claim, done=1, total=2)
    assert Job.objects.get().state == "cancelled"
    with pytest.raises(Conflict, match="cancelled already"):
        jobs.cancel(job=job)


def test_a_worker_that_starts_frees_what_its_earlier_self_held(project):
    job = make_job(project)
    jobs.claim(job_id=job.pk, owner="gpu@one")
    other = make_job(project)
    jobs.claim(job_id=other.pk, owner="gpu@two")
    assert jobs.release_owned(owner="gpu@one") == 1
    assert jobs.claim(job_id=job.pk, owner="gpu@one") is not None
    assert jobs.claim(job_id=other.pk, owner="gpu@one") is None


def test_workers_are_seen_for_a_minute():
    assert jobs.live_queues() == set()
    jobs.note_worker(name="gpu@one", queues=["gpu"])
    assert jobs.live_queues() == {"gpu"}
    WorkerSeen.objects.update(seen_at=timezone.now() - timedelta(seconds=61))
    assert jobs.live_queues() == set()
    jobs.forget_worker(name="gpu@one")
    assert not WorkerSeen.objects.exists()


def test_progress_is_a_percentage_that_never_leaves_its_range(project):
    assert [make_job(project, done=d, total=t).percent for d, t in [(0, 0), (1, 3), (3, 3), (9, 3)]] == [
        0,
        33,
        100,
        100,
    ]
