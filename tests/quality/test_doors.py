"""Who gets the report, by page, by REST and as a table; and what hostile names do to it."""

import csv
import io
import json

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.labeling.leasing import lease_next
from apps.labeling.services import submit_annotation
from tests.api.conftest import Api, problem
from tests.factories import ComparisonFactory, MembershipFactory, answer
from tests.quality.conftest import store
from tests.quality.simulation import simulate

pytestmark = pytest.mark.django_db
PAGE = "/projects/tides/quality/"
REST = "projects/tides/quality/"
HOSTILE = '=HYPERLINK("http://evil.example","<script>alert(1)</script>")'


@pytest.fixture
def as_user():
    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def labeled(project, annotator):
    """Return the project with one answer of the annotator and two of somebody with a hostile name."""
    ComparisonFactory.create_batch(2, project=project)
    hostile = MembershipFactory(project=project, user__username="h1").user
    for person in (annotator, hostile, hostile):
        submit_annotation(assignment=lease_next(project=project, annotator=person, resume=False), body=answer())
    User.objects.filter(pk=hostile.pk).update(imported_name=HOSTILE)
    return project, hostile


def pages(annotator_id):
    return [PAGE, f"{PAGE}annotators.csv", f"{PAGE}annotators/{annotator_id}/"]


def test_managers_and_researchers_get_every_page(labeled, manager, researcher, annotator, as_user):
    for who in (manager, researcher):
        for path in pages(annotator.pk):
            reply = as_user(who).get(path)
            assert reply.status_code == 200, path
            assert annotator.username in reply.content.decode()


def test_nobody_else_gets_any(labeled, annotator, reviewer, stranger, as_user):
    for path in pages(annotator.pk):
        assert as_user(annotator).get(path).status_code == 403
        assert as_user(reviewer).get(path).status_code == 403  # reviewers label, too
        assert as_user(stranger).get(path).status_code == 404
        reply = Client().get(path)
        assert (reply.status_code, reply.headers["Location"].split("?")[0]) == (302, "/login/")


def test_pages_are_read_only(labeled, manager, annotator, as_user):
    for path in pages(annotator.pk):
        for method in ("post", "put", "patch", "delete"):
            assert getattr(as_user(manager), method)(path).status_code == 405


def test_somebody_who_did_nothing_here_has_no_page(labeled, manager, as_user):
    for annotator_id in (manager.pk, 0, 10**25):
        assert as_user(manager).get(f"{PAGE}annotators/{annotator_id}/").status_code == 404


def test_rest_is_for_managers_and_researchers(labeled, manager, researcher, annotator, reviewer, stranger):
    for who in (manager, researcher):
        assert Api(who, scope="read").get(REST).status_code == 200
    problem(Api(annotator).get(REST), 403)
    problem(Api(reviewer).get(REST), 403)
    problem(Api(stranger).get(REST), 404)
    assert Api(None).get(REST).status_code == 401
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        problem(Api(manager).call(method, REST, {}), 405)


def test_rest_says_what_the_contract_says(labeled, manager, annotator):
    body = Api(manager).get(REST).json()
    assert set(body) == {
        "computed_at",
        "comparisons",
        "annotations",
        "agreement",
        "rating_agreement",
        "bias",
        "annotators",
    }
    assert body["computed_at"].endswith("Z")
    assert set(body["agreement"]) == {"raw", "most_similar", "after_consensus"}
    raw = body["agreement"]["raw"]
    assert (raw["units"], raw["votes"], raw["same_side"]["value"]) == (1, 2, 0.0 if raw["exact"]["value"] == 0 else 1.0)
    assert raw["same_side"]["interval"] is None
    assert set(body["bias"]) == {"position", "length", "consistency", "guideline_versions"}
    assert [person["annotator"] for person in body["annotators"]] == [HOSTILE, annotator.username]
    assert body["annotators"][0]["id"].isdigit()
    assert list(body["annotators"][0]["preferences"]) == ["-3", "-2", "-1", "0", "1", "2", "3", "neither"]
    assert body["comparisons"]["by_status"]["pending"] == 2


def test_rest_has_no_number_that_is_none(project, manager):
    def refuse(name):
        raise AssertionError(f"{name} in JSON")

    for made in (0, 1, 2):
        ComparisonFactory.create_batch(made, project=project)
        reply = Api(manager).get(REST)
        json.loads(reply.content, parse_constant=refuse)


def test_hostile_names_are_text_on_every_page(labeled, manager, as_user):
    _project, hostile = labeled
    for path in (PAGE, f"{PAGE}annotators/{hostile.pk}/"):
        page = as_user(manager).get(path).content.decode()
        assert "<script>alert" not in page
        assert "=HYPERLINK(&quot;" in page


def test_the_table_is_safe_in_a_spreadsheet(labeled, manager, annotator, as_user):
    reply = as_user(manager).get(f"{PAGE}annotators.csv")
    assert reply.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert reply.headers["Content-Disposition"] == 'attachment; filename="tides-annotators.csv"'
    rows = list(csv.DictReader(io.StringIO(reply.content.decode())))
    assert [row["annotator"] for row in rows] == ["'" + HOSTILE, annotator.username]
    first = rows[0]
    assert (first["annotations"], first["first_side"], first["first_side_count"], first["first_side_of"]) == (
        "2",
        "1.0",
        "2",
        "2",
    )
    assert 0 < float(first["first_side_low"]) < 1
    assert (first["agrees_with_self"], first["agrees_with_self_low"]) == ("", "")


def test_the_page_says_what_it_found(project, manager, as_user):
    people = store(project, simulate(seed=11, habits=["honest"] * 7 + ["first"], pairs=200))
    page = as_user(manager).get(PAGE).content.decode()
    assert page.count("prefers what is shown first") == 1
    detail = as_user(manager).get(f"{PAGE}annotators/{people[7].pk}/").content.decode()
    assert "prefers what is shown first" in detail
    assert "Remarks" not in as_user(manager).get(f"{PAGE}annotators/{people[0].pk}/").content.decode()


def test_many_people_come_in_pages_with_as_many_queries(project, manager, as_user, django_assert_max_num_queries):
    store(project, simulate(seed=1, habits=["honest"] * 70, pairs=150))
    client = as_user(manager)
    first = client.get(PAGE).content.decode()
    assert "Page 1 of 2" in first
    with django_assert_max_num_queries(5):  # session, person, membership, report
        second = client.get(f"{PAGE}?page=2").content.decode()
    assert first.count("/quality/annotators/") == 50
    assert second.count("/quality/annotators/") == 20


def test_an_empty_project_has_a_quiet_page(project, manager, as_user):
    page = as_user(manager).get(PAGE).content.decode()
    assert "Nobody has submitted anything yet." in page
    assert "nan" not in page.lower().replace("manage", "")
    assert "annotators.csv" not in page
