"""Flags, leaving out and putting back, cohorts: what managers do there, and what reviewers may see."""

import re

import pytest

from apps.core import counts
from apps.labeling.cohorts import create_cohort
from apps.labeling.leasing import lease_next
from apps.labeling.models import Assignment, QueueItem
from apps.labeling.oversight import close_comparison
from apps.labeling.services import skip_assignment, submit_annotation
from apps.pages import figures
from tests.factories import ComparisonFactory, MembershipFactory, answer

BASE = "/projects/tides/"
FLAGS = f"{BASE}flags/"
SECRETS = ("secret-model", "splendid marine words", "reward 1.250", "otto")


def flag(project, name="otto", note="Both are <b>cut off</b>"):
    person = MembershipFactory(project=project, user__username=name).user
    held = lease_next(project=project, annotator=person, resume=False)
    return skip_assignment(assignment=held, reason="broken", note=note)


def label(project, name="otto", **changes):
    person = MembershipFactory(project=project, user__username=name).user
    held = lease_next(project=project, annotator=person, resume=False)
    why = "@Response 1 is full of splendid marine words while @Response 2 leaves all of those out of it."
    return submit_annotation(assignment=held, body=answer(justification=why, **changes))


def states():
    return list(QueueItem.objects.order_by("pk").values_list("state", flat=True))


# --- Flags ---


def test_a_flag_names_who_why_when_and_the_comparison(as_user, manager, project):
    pair = ComparisonFactory(project=project)
    flag(project)
    html = as_user(manager).get(FLAGS).content.decode()
    assert f'href="/projects/tides/comparisons/{pair.pk}/">{pair.external_id}</a>' in html
    assert "Broken or unreadable" in html
    assert "<q>Both are &lt;b&gt;cut off&lt;/b&gt;</q>" in html
    assert "otto, <time" in html
    assert "2 people who call a comparison invalid close it." in html
    assert "Keep, it is valid" in html


def test_each_list_shows_its_own(as_user, manager, project):
    flagged, unsafe, noted, closed = ComparisonFactory.create_batch(4, project=project)
    flag(project, note="")
    QueueItem.objects.filter(pk=flagged.pk).update(priority=-9)
    label(project, "uma", problems={"1": [], "2": ["unsafe"]})
    QueueItem.objects.filter(pk=unsafe.pk).update(priority=-8)
    person = MembershipFactory(project=project).user
    skip_assignment(assignment=lease_next(project=project, annotator=person, resume=False), reason="other", note="Late")
    close_comparison(comparison=closed, actor=manager, reason="Twice in the file")
    client = as_user(manager)
    for kind, shown, words in (
        ("flagged", flagged, "Broken or unreadable"),
        ("unsafe", unsafe, "uma"),
        ("notes", noted, "<q>Late</q>"),
        ("closed", closed, "Twice in the file"),
        ("nonsense", flagged, "Broken or unreadable"),
    ):
        html = client.get(f"{FLAGS}?kind={kind}").content.decode()
        listed = re.findall(r'<th scope="row"><a href="[^"]*/(\d+)/"', html)
        assert listed == [str(shown.pk)], kind
        assert words in html, kind


def test_a_change_of_list_by_htmx_gets_the_list_alone(as_user, manager, project):
    reply = as_user(manager).get(f"{FLAGS}?kind=closed", headers={"HX-Request": "true"})
    assert reply.content.decode().strip().startswith('<div id="results">')
    assert "There is nothing here." in reply.content.decode()
    assert "HX-Request" in reply.headers["Vary"]


def test_the_flags_take_the_same_queries_however_many(as_user, manager, project, django_assert_max_num_queries):
    ComparisonFactory.create_batch(30, project=project)
    for number in range(30):
        flagged = flag(project, f"person-{number}")
        QueueItem.objects.filter(pk=flagged.comparison_id).update(priority=-1)
    client = as_user(manager)
    with django_assert_max_num_queries(7):  # session, person, membership, page, comparisons, skips, unsafe
        html = client.get(FLAGS).content.decode()
    assert html.count('<th scope="row">') == 25
    assert "30 comparisons" in html


def test_leaving_out_and_putting_back_by_the_buttons(as_user, manager, project):
    pair = ComparisonFactory(project=project)
    flag(project)
    client = as_user(manager)
    here = f"{FLAGS}?kind=flagged"
    reply = client.post(f"{BASE}comparisons/close/", {"comparison": pair.pk, "next": here}, follow=True)
    assert reply.redirect_chain == [(here, 302)]
    assert "1 comparison is closed." in reply.content.decode()
    assert states() == ["closed"]
    reply = client.post(f"{BASE}comparisons/put-back/", {"comparison": pair.pk}, follow=True)
    assert reply.redirect_chain == [(FLAGS, 302)]
    assert "1 comparison is in the queue again." in reply.content.decode()
    assert states() == ["open"]
    assert Assignment.objects.get().flagged_at is None


def test_many_are_left_out_at_once_with_a_reason(as_user, manager, project):
    pairs = ComparisonFactory.create_batch(3, project=project)
    foreign = ComparisonFactory()
    chosen = [pairs[0].pk, pairs[1].pk, foreign.pk, "9" * 30, "x", "1\x00"]
    reply = as_user(manager).post(
        f"{BASE}comparisons/close/", {"comparison": chosen, "reason": "Old batch", "next": f"{BASE}comparisons/"}
    )
    assert reply.headers["Location"] == f"{BASE}comparisons/"
    assert states() == ["closed", "closed", "open", "open"]
    html = as_user(manager).get(f"{BASE}comparisons/").content.decode()
    assert html.count("Old batch") == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, "Choose at least one comparison."), ({"comparison": "1", "reason": "x" * 201}, "At most 200 characters")],
)
def test_mistakes_are_said_and_nothing_is_closed(as_user, manager, project, fields, said):
    pair = ComparisonFactory(project=project)
    fields = {**fields, "comparison": pair.pk} if fields else fields
    reply = as_user(manager).post(f"{BASE}comparisons/close/", fields, follow=True)
    assert said in reply.content.decode()
    assert states() == ["open"]


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
def test_no_form_leads_away_from_here(as_user, manager, project, target):
    pair = ComparisonFactory(project=project)
    reply = as_user(manager).post(f"{BASE}comparisons/close/", {"comparison": pair.pk, "next": target})
    assert reply.headers["Location"] == FLAGS


# --- What a reviewer may see: they label too ---


def test_a_reviewer_judges_a_flag_by_the_texts_alone(as_user, reviewer, project, pair):
    label(project)
    flag(project, "olga")
    client = as_user(reviewer)
    listed = client.get(FLAGS).content.decode()
    assert "olga" in listed
    assert "Broken or unreadable" in listed
    page = client.get(f"{BASE}comparisons/{pair.pk}/").content.decode()
    assert "Canonical first text" in page
    assert "what others answered is not shown yet" in page
    for secret in SECRETS:
        assert secret not in listed, secret
        assert secret not in page, secret
    client.post(f"{BASE}comparisons/close/", {"comparison": pair.pk})
    assert states() == ["closed"]


def test_a_reviewer_sees_the_answers_when_they_have_answered(as_user, reviewer, project, pair):
    label(project, problems={"1": ["unsafe"], "2": []})
    client, address = as_user(reviewer), f"{BASE}comparisons/{pair.pk}/"
    assert "unsafe" not in client.get(address).content.decode()
    held = lease_next(project=project, annotator=reviewer, resume=False)
    assert "splendid" not in client.get(address).content.decode()
    submit_annotation(assignment=held, body=answer())
    page = client.get(address).content.decode()
    assert "splendid marine words" in page
    assert "unsafe" in page
    assert "secret-model" not in page  # what machines are and say stays with those who see results


def test_a_researcher_sees_results_but_closes_nothing(as_user, researcher, project, pair):
    page = as_user(researcher).get(f"{BASE}comparisons/{pair.pk}/").content.decode()
    assert "secret-model-one" in page
    assert "comparisons/close/" not in page
    assert "comparisons/close/" not in as_user(researcher).get(f"{BASE}comparisons/").content.decode()


# --- Cohorts ---


@pytest.fixture
def crew(project):
    return [MembershipFactory(project=project, user__username=name).user.username for name in ("ada", "ben", "cleo")]


def test_a_cohort_is_made_changed_and_deleted(as_user, manager, project, crew):
    first, second = ComparisonFactory.create_batch(2, project=project)
    client = as_user(manager)
    fields = {"name": "Chemists", "members": crew, "external_ids": f" {first.external_id} \r\n\r\n"}
    page = client.post(f"{BASE}cohorts/", fields, follow=True).content.decode()
    assert "The cohort Chemists is made." in page
    assert "ada, ben, cleo" in page
    cohort = project.cohorts.get()
    assert list(cohort.queue_items.values_list("pk", flat=True)) == [first.pk]
    change = {"name": "Physicists", "members": crew, "untouched": 5, "remove_external_ids": first.external_id}
    client.post(f"{BASE}cohorts/{cohort.pk}/", {**change, "external_ids": ""})
    cohort.refresh_from_db()
    assert cohort.name == "Physicists"
    assert set(cohort.queue_items.values_list("pk", flat=True)) == {first.pk, second.pk}  # one left, and was next again
    listed = client.get(f"{BASE}comparisons/?cohort={cohort.pk}").content.decode()
    assert "2 comparisons" in listed
    client.post(f"{BASE}cohorts/{cohort.pk}/delete/")
    assert not project.cohorts.exists()


def test_what_is_wrong_with_a_cohort_stands_at_its_field(as_user, manager, project, crew):
    client = as_user(manager)
    reply = client.post(
        f"{BASE}cohorts/", {"name": "<i>Chemists</i>", "members": crew[:2], "external_ids": "no-such-id"}
    )
    html = reply.content.decode()
    assert reply.status_code == 422
    assert "Every comparison asks for 3 annotators: choose at least so many people." in html
    assert 'value="&lt;i&gt;Chemists&lt;/i&gt;"' in html
    unknown = client.post(f"{BASE}cohorts/", {"name": "A", "members": crew, "external_ids": "no-such-id"})
    assert unknown.status_code == 422
    assert "There is no comparison no-such-id in this project." in unknown.content.decode()
    for fields in ({"name": ""}, {"untouched": "-1"}, {"untouched": "many"}, {"members": ["stella"]}):
        assert client.post(f"{BASE}cohorts/", {"name": "A", "members": crew, **fields}).status_code == 422, fields
    assert not project.cohorts.exists()


def test_a_cohort_with_too_few_people_left_says_so(as_user, manager, project, crew):
    create_cohort(project=project, actor=manager, name="Chemists", usernames=crew)
    client = as_user(manager)
    assert "of them can label" not in client.get(f"{BASE}cohorts/").content.decode()
    project.memberships.filter(user__username="ada").delete()
    assert "only 2 of them can label" in client.get(f"{BASE}cohorts/").content.decode()


def test_a_cohort_of_another_project_is_not_found(as_user, manager, project):
    other = ComparisonFactory().project
    foreign = other.cohorts.create(name="Theirs")
    client = as_user(manager)
    for number in (foreign.pk, "9" * 30):
        assert client.get(f"{BASE}cohorts/{number}/").status_code == 404
        assert client.post(f"{BASE}cohorts/{number}/delete/").status_code == 404
    assert other.cohorts.exists()


# --- Large projects ---


def test_the_list_of_comparisons_is_counted_up_to_a_limit(as_user, manager, project, monkeypatch):
    monkeypatch.setattr(counts, "MAX_LISTED", 60)
    ComparisonFactory.create_batch(61, project=project)
    client = as_user(manager)
    first = " ".join(client.get(f"{BASE}comparisons/").content.decode().split())
    assert "60 comparisons and more" in first
    assert "Page 1 of 2" in first
    last = client.get(f"{BASE}comparisons/?page=99").content.decode()
    assert last.count('<th scope="row">') == 10


def test_a_large_project_is_counted_once_in_a_while(project, monkeypatch):
    for module in (counts, figures):
        monkeypatch.setattr(module, "LARGE", 2)
    ComparisonFactory.create_batch(2, project=project)
    assert figures.progress(project).total == 2
    ComparisonFactory(project=project)
    found = figures.progress(project)  # two are no large project
    assert (found.total, found.is_kept) == (3, True)
    ComparisonFactory(project=project)
    assert figures.progress(project) is not None
    assert figures.progress(project).total == 3


def test_a_page_that_shows_kept_counts_says_when_they_are_from(as_user, manager, project, monkeypatch):
    ComparisonFactory(project=project)
    assert "at most every 30 seconds" not in as_user(manager).get(BASE).content.decode()
    for module in (counts, figures):
        monkeypatch.setattr(module, "LARGE", 0)
    assert "at most every 30 seconds" in as_user(manager).get(BASE).content.decode()


def test_the_project_page_counts_imported_labels_of_each_person(as_user, manager, project):
    ComparisonFactory(project=project)
    annotation = label(project)
    person = annotation.annotator
    imported = ComparisonFactory(project=project, queue__state="complete")
    assignment = Assignment.objects.get()
    assignment.pk = None
    assignment.comparison, assignment.drawn = imported, "imported"
    assignment.save()
    annotation.pk, annotation.assignment, annotation.comparison, annotation.imported = None, assignment, imported, True
    annotation.save()
    row = figures.annotator_rows(project)[0]
    assert (row.name, row.annotations, row.skips) == (person.username, 2, 0)
