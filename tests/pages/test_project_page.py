"""The project page: progress, model, jobs and a button for each action; only one's own part for annotators."""

import io
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.jobs.models import Job
from apps.jobs.services import enqueue, note_worker
from apps.labeling.consensus import settle
from apps.labeling.leasing import lease_next
from apps.labeling.models import QueueItem
from apps.labeling.services import submit_annotation
from apps.projects.models import AuditEvent
from tests.factories import ComparisonFactory, MembershipFactory, answer

PATH = "/projects/tides/"
HTMX = {"HX-Request": "true"}


def label(project, *preferences):
    """Let as many people label the next comparison as there are preferences."""
    comparison = ComparisonFactory(project=project, queue__priority=1.0)
    QueueItem.objects.filter(pk=comparison.pk).update(wanted=max(3, len(preferences)))
    for preference in preferences:
        person = MembershipFactory(project=project).user
        assignment = lease_next(project=project, annotator=person, resume=True)
        assert assignment.comparison_id == comparison.pk
        shown = preference if preference == "neither" or not assignment.swapped else -preference
        submit_annotation(assignment=assignment, body=answer(preference=shown))
    settle(comparison_ids=[comparison.pk], protocol=project.protocol)
    QueueItem.objects.filter(pk=comparison.pk).update(priority=0.0)
    return comparison


@pytest.fixture
def labeled(project):
    """Return a project with one comparison of each outcome, and one untouched."""
    label(project, -2, -2, -1)
    label(project, "neither", "neither", "neither")
    label(project, -3, 3, 1)
    label(project, -3, -3, 3, 3, "neither")
    label(project, 1)
    ComparisonFactory(project=project)
    return project


def test_it_counts_comparisons_by_state_and_consensus(as_user, manager, labeled):
    html = as_user(manager).get(PATH).content.decode()
    for name, count in (("Comparisons", 6), ("Complete", 3), ("Begun", 2), ("Waiting", 1), ("Annotations", 15)):
        assert f"<dt>{name}</dt><dd>{count}</dd>" in html
    for status in ("agreed", "neither", "escalated", "excluded", "pending"):
        assert f'?consensus={status}">1</a>' in html
    assert "1 × Even the 3 most similar preferences spread by 6, more than 2." in html
    assert "1 of them with a preferred response" in html
    assert "Training starts at 8 consensus labels; there are 1." in html


def test_it_names_every_annotator_with_their_count(as_user, manager, labeled, annotator):
    submit_annotation(assignment=lease_next(project=labeled, annotator=annotator, resume=True), body=answer())
    html = as_user(manager).get(PATH).content.decode()
    assert re.search(r'<th scope="row">anna</th>\s*<td class="number">1</td>', html)


def test_an_annotator_sees_only_their_own_part(as_user, annotator, labeled):
    html = as_user(annotator).get(PATH).content.decode()
    assert "<dt>Submitted by you</dt><dd>0</dd>" in html
    assert "<dt>Waits for you</dt><dd>3</dd>" in html
    for word in ("Consensus", "Retrain", "Annotations per annotator", "Reward model", "Snapshots", "person"):
        assert word not in html


def test_queries_do_not_grow_with_the_number_of_comparisons(as_user, manager, labeled, django_assert_max_num_queries):
    client = as_user(manager)
    with django_assert_max_num_queries(18):
        client.get(PATH)


# --- Jobs ---


def test_an_unfinished_job_shows_its_progress_and_is_polled(as_user, manager, project):
    note_worker(name="gpu@here", queues=["gpu"])
    job = enqueue(kind="scoring", project=project, inputs={})
    Job.objects.filter(pk=job.pk).update(state="running", done=30, total=120, message="30 responses scored")
    client = as_user(manager)
    page = client.get(PATH).content.decode()
    assert 'hx-trigger="every 2s"' in page
    assert '<progress max="100" value="25"' in page
    assert "30 responses scored · 25 %" in page
    assert "worker is running" not in page
    fragment = client.get(PATH, headers=HTMX)
    assert fragment.status_code == 200
    assert "<html" not in fragment.content.decode()
    assert 'id="live"' in fragment.content.decode()


def test_polling_ends_with_286_when_all_jobs_have_ended(as_user, manager, project):
    job = enqueue(kind="scoring", project=project, inputs={})
    Job.objects.filter(pk=job.pk).update(state="failed", error="The disk is full.")
    client = as_user(manager)
    fragment = client.get(PATH, headers=HTMX)
    assert fragment.status_code == 286
    assert "hx-trigger" not in fragment.content.decode()
    assert "All jobs have ended." in fragment.content.decode()
    page = client.get(PATH)
    assert page.status_code == 200
    assert "The disk is full." in page.content.decode()


@pytest.mark.parametrize(("queues", "missing"), [([], True), (["cpu"], True), (["cpu", "gpu"], False)])
def test_a_job_without_a_worker_says_which_one_to_start(as_user, manager, project, queues, missing):
    note_worker(name="worker@here", queues=queues)
    enqueue(kind="training", project=project, inputs={})
    html = as_user(manager).get(PATH).content.decode()
    assert ("No gpu worker is running: start one with" in html) is missing


def test_a_job_has_a_page_with_the_rows_that_were_refused(as_user, manager, project):
    job = enqueue(kind="import", project=project, inputs={})
    errors = [{"line": 7, "field": "/responses", "reason": "Needs two <b>to eight</b>."}]
    Job.objects.filter(pk=job.pk).update(state="succeeded", result={"created": 4, "rejected": 1, "errors": errors})
    client = as_user(manager)
    html = client.get(f"{PATH}jobs/{job.pk}/").content.decode()
    assert "<dt>created</dt><dd>4</dd>" in html
    assert "Needs two &lt;b&gt;to eight&lt;/b&gt;." in html
    assert client.get(f"{PATH}jobs/{job.pk}/", headers=HTMX).status_code == 286


def test_a_job_is_cancelled_once(as_user, manager, project):
    job = enqueue(kind="scoring", project=project, inputs={})
    client = as_user(manager)
    assert "The job is cancelled." in client.post(f"{PATH}jobs/{job.pk}/cancel/", follow=True).content.decode()
    job.refresh_from_db()
    assert job.state == Job.State.CANCELLED
    assert "was cancelled already" in client.post(f"{PATH}jobs/{job.pk}/cancel/", follow=True).content.decode()


# --- Actions ---


def test_a_file_is_imported_by_a_job(as_user, manager, project):
    file = SimpleUploadedFile("pairs.jsonl", b'{"prompt": "a", "responses": [{"text": "b"}, {"text": "c"}]}\n')
    response = as_user(manager).post(f"{PATH}import/", {"file": file})
    made = project.imports.get()
    assert response.headers["Location"] == f"{PATH}jobs/{made.job_id}/"
    assert (made.file_name, made.created_by) == ("pairs.jsonl", manager)
    assert made.job.kind == "import"


@pytest.mark.parametrize("fields", [{}, {"file": io.BytesIO()}])
def test_an_import_without_a_file_says_so(as_user, manager, project, fields):
    response = as_user(manager).post(f"{PATH}import/", fields, follow=True)
    assert "Choose a file that is not empty." in response.content.decode()
    assert not project.imports.exists()


def test_retraining_with_too_few_labels_says_how_many_are_needed(as_user, researcher, project):
    response = as_user(researcher).post(f"{PATH}training-runs/start/", follow=True)
    assert "training starts at 8" in response.content.decode()
    assert not Job.objects.exists()


def test_scoring_without_a_model_says_so(as_user, researcher, project):
    response = as_user(researcher).post(f"{PATH}scoring/start/", follow=True)
    assert "There is no current reward model to score with" in response.content.decode()
    assert not Job.objects.exists()


def test_a_researcher_has_no_import_form(as_user, researcher, manager, project):
    assert 'id="import-file"' not in as_user(researcher).get(PATH).content.decode()
    assert 'id="import-file"' in as_user(manager).get(PATH).content.decode()


def test_the_guideline_gets_a_new_version_and_the_old_one_stays(as_user, manager, annotator, project):
    client = as_user(manager)
    client.post(f"{PATH}guideline/", {"text": "# Be **fair**\r\n\r\nRead <i>both</i>."})
    assert [version.text for version in project.guideline_versions.order_by("number")] == [
        "Read both responses.",
        "# Be **fair**\n\nRead <i>both</i>.",
    ]
    html = as_user(annotator).get(f"{PATH}guideline/").content.decode()
    assert '<h1 dir="auto">Be <strong>fair</strong></h1>' in html
    assert "Read &lt;i&gt;both&lt;/i&gt;." in html
    assert "<textarea" not in html
    again = client.post(f"{PATH}guideline/", {"text": "# Be **fair**\r\n\r\nRead <i>both</i>."}, follow=True)
    assert "Nothing has changed." in again.content.decode()
    assert project.guideline_versions.count() == 2


def test_members_are_added_changed_and_removed(as_user, manager, stranger, project):
    client = as_user(manager)
    client.post(f"{PATH}members/", {"username": "stella", "role": "annotator"})
    client.post(f"{PATH}members/stella/change/", {"role": "reviewer"})
    assert project.memberships.get(user=stranger).role == "reviewer"
    client.post(f"{PATH}members/stella/remove/")
    assert not project.memberships.filter(user=stranger).exists()
    assert AuditEvent.objects.filter(project=project, actor=manager).count() == 3


def test_members_mistakes_are_named(as_user, manager, annotator, project):
    client = as_user(manager)
    unknown = client.post(f"{PATH}members/", {"username": "nobody", "role": "annotator"})
    assert unknown.status_code == 422
    assert "No account is named &#x27;nobody&#x27;." in unknown.content.decode()
    twice = client.post(f"{PATH}members/", {"username": "anna", "role": "annotator"})
    assert (twice.status_code, "anna is a member already." in twice.content.decode()) == (422, True)
    last = client.post(f"{PATH}members/mara/remove/", follow=True)
    assert "A project needs a manager" in last.content.decode()
    assert project.memberships.filter(user=manager).exists()
    assert client.post(f"{PATH}members/anna/change/", {"role": "king"}, follow=True).status_code == 200
    assert project.memberships.get(user=annotator).role == "annotator"
