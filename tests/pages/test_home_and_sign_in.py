"""Signing in, home, and the pages that say what went wrong."""

import pytest
from django.test import Client

from tests.factories import PASSWORD, ComparisonFactory, MembershipFactory, ProjectFactory


def test_signing_in_leads_to_the_page_one_wanted(annotator, project):
    client = Client()
    assert client.get("/projects/tides/").headers["Location"] == "/login/?next=/projects/tides/"
    response = client.post("/login/", {"username": "anna", "password": PASSWORD, "next": "/projects/tides/"})
    assert response.headers["Location"] == "/projects/tides/"


def test_a_wrong_password_is_said_without_naming_the_account(annotator):
    html = Client().post("/login/", {"username": "anna", "password": "wrong"}).content.decode()
    assert "Please enter a correct username and password" in html


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_away(annotator, target):
    response = Client().post("/login/", {"username": "anna", "password": PASSWORD, "next": target})
    assert response.headers["Location"] == "/"


def test_signing_out_needs_a_post(as_user, annotator):
    client = as_user(annotator)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").headers["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_home_lists_my_projects_with_what_waits(as_user, annotator, project, lease):
    ComparisonFactory.create_batch(3, project=project)
    other = MembershipFactory(user=annotator, project=ProjectFactory(name="Harbours"), role="researcher").project
    ComparisonFactory(project=other)
    ProjectFactory(name="Nobody's business")
    lease()
    html = as_user(annotator).get("/").content.decode()
    assert '<td class="number">3</td>' in html  # one that I hold and two more
    assert "Harbours" in html
    assert "Nobody&#x27;s business" not in html
    assert 'href="/projects/tides/queue/"' in html
    assert f'href="/projects/{other.slug}/queue/"' not in html


def test_home_takes_the_same_queries_however_many_projects(as_user, annotator, django_assert_max_num_queries):
    for _ in range(20):
        ComparisonFactory(project=MembershipFactory(user=annotator).project)
    client = as_user(annotator)
    with django_assert_max_num_queries(5):  # session, person, memberships, waiting, held
        client.get("/")


def test_somebody_without_a_project_learns_what_to_do(as_user, stranger):
    html = as_user(stranger).get("/").content.decode()
    assert "A manager can add you by your user name" in html
    assert "stella" in html


def test_the_notice_of_a_project_is_on_its_pages(as_user, manager, project):
    project.notice = "These pairs are <made> up."
    project.save()
    client = as_user(manager)
    for path in ("", "queue/", "my-work/", "comparisons/", "reward-models/", "snapshots/", "members/", "guideline/"):
        assert "These pairs are &lt;made&gt; up." in client.get(f"/projects/tides/{path}").content.decode(), path


def test_an_unknown_address_gets_a_page_in_the_same_look(db):
    response = Client().get("/nowhere/")
    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


def test_an_expired_form_gets_a_page_that_says_what_to_do(annotator):
    client = Client(enforce_csrf_checks=True)
    client.force_login(annotator)
    response = client.post("/account/tokens/", {"name": "x", "scope": "read"})
    assert response.status_code == 403
    assert "This page has expired" in response.content.decode()


def test_every_page_forbids_inline_code_and_foreign_files(as_user, annotator, project):
    policy = as_user(annotator).get("/projects/tides/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
