"""My work: what I submitted, what I lost the lease of, what I skipped."""

import re

import pytest

from apps.labeling.leasing import expire_leases
from apps.labeling.models import Assignment, QueueItem
from apps.labeling.services import save_draft, skip_assignment, submit_annotation
from tests.factories import ComparisonFactory, answer

PATH = "/projects/tides/my-work/"


@pytest.fixture
def expired(pair, lease):
    """Return an assignment with a draft whose time ran out."""
    assignment = lease()
    save_draft(assignment=assignment, body={"justification": "Half a thought"})
    Assignment.objects.update(lease_expires_at="2000-01-01T00:00Z")
    expire_leases()
    assignment.refresh_from_db()
    return assignment


def test_annotations_read_as_they_were_typed_though_the_sides_were_swapped(as_user, annotator, pair, lease):
    why = "@Response 1 explains both bulges, and Response 2 names only the one below the Moon."
    submit_annotation(assignment=lease(swapped=True), body=answer(preference=-3, justification=why))
    html = as_user(annotator).get(PATH).content.decode()
    assert "1 annotation submitted" in html
    assert "Response 1 is much better than Response 2" in html
    assert why in html
    assert "Why **two** tides a day?" in html


def test_it_is_paged_by_fifty_newest_first(as_user, annotator, project, lease, django_assert_max_num_queries):
    for number in range(51):
        ComparisonFactory(project=project, prompt__messages=[{"role": "user", "content": f"Question number {number}!"}])
        submit_annotation(assignment=lease(), body=answer())
    client = as_user(annotator)
    with django_assert_max_num_queries(12):
        first = client.get(PATH).content.decode()
    assert "Question number 50!" in first
    assert "Question number 0!" not in first
    assert "Question number 0!" in client.get(f"{PATH}?page=2").content.decode()


def test_a_draft_whose_time_ran_out_can_be_taken_up_again(as_user, annotator, expired):
    client = as_user(annotator)
    assert "Half a thought" in client.get(PATH).content.decode()
    response = client.post(f"/assignments/{expired.pk}/take-up/", follow=True)
    assert response.redirect_chain == [(f"/assignments/{expired.pk}/", 302)]
    assert "Half a thought</textarea>" in response.content.decode()
    expired.refresh_from_db()
    assert expired.state == Assignment.State.LEASED
    assert QueueItem.objects.get().taken == 1


def test_when_others_have_completed_it_the_draft_stays_and_the_page_says_so(as_user, annotator, expired):
    QueueItem.objects.update(state=QueueItem.State.COMPLETE)
    response = as_user(annotator).post(f"/assignments/{expired.pk}/take-up/", follow=True)
    assert "others have completed it" in response.content.decode()
    assert "Half a thought" in response.content.decode()
    assert QueueItem.objects.get().taken == 0


def test_taking_up_a_pair_that_one_holds_changes_nothing(as_user, annotator, pair, lease):
    assignment = lease()
    assert as_user(annotator).post(f"/assignments/{assignment.pk}/take-up/").status_code == 302
    assert QueueItem.objects.get().taken == 1


def test_a_submitted_pair_is_not_opened_again(as_user, annotator, pair, lease):
    assignment = lease()
    submit_annotation(assignment=assignment, body=answer())
    client = as_user(annotator)
    assert client.get(f"/assignments/{assignment.pk}/").headers["Location"] == PATH
    response = client.post(f"/assignments/{assignment.pk}/take-up/", follow=True)
    assert "This comparison was submitted already." in response.content.decode()


def test_skips_stand_with_their_reason(as_user, annotator, pair, lease):
    skip_assignment(assignment=lease(), reason="needs_expertise", note="Oceanography")
    html = as_user(annotator).get(PATH).content.decode()
    assert "Needs expertise I do not have" in html
    assert "Oceanography" in html


def test_other_peoples_work_is_not_there(as_user, annotator, reviewer, pair, lease):
    submit_annotation(
        assignment=lease(), body=answer(justification="Only the author of this sentence may read it here.")
    )
    html = as_user(reviewer).get(PATH).content.decode()
    assert "Only the author" not in html
    assert "0 annotations submitted" in html


def test_what_is_done_and_what_remains_is_counted(as_user, annotator, project, pair, lease):
    for _ in range(3):
        ComparisonFactory(project=project)
    submit_annotation(assignment=lease(), body=answer())
    skip_assignment(assignment=lease(), reason="other")
    html = as_user(annotator).get(PATH).content.decode()
    figures = re.findall(r"<dt>([^<]+)</dt><dd>(\d+)", html)
    assert dict(figures) == {
        "Submitted today": "1",
        "Submitted in all": "1",
        "Given back": "1",
        "Waiting for you": "2",
        "Project complete": "0",
    }
    assert "of 4</small>" in html


def test_texts_of_people_take_their_own_direction_and_stay_text(as_user, annotator, pair, lease):
    why = "<b>שלום</b> " * 10
    submit_annotation(assignment=lease(), body=answer(justification=why))
    html = as_user(annotator).get(PATH).content.decode()
    assert f'<p dir="auto">{why.replace("<", "&lt;").replace(">", "&gt;")}</p>' in html
