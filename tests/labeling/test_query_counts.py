"""What the annotator's page, its script and REST ask the database: at most twelve queries each, session included."""

import json
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.services import create_token
from apps.labeling.models import Annotation, Assignment, QueueItem
from tests.factories import JUSTIFICATION, ComparisonFactory, answer, ratings

MOST = 12
SCRIPT = {"HTTP_HX_REQUEST": "true"}

pytestmark = pytest.mark.django_db(transaction=True)  # in a transaction of the test's, there would be savepoints more


@contextmanager
def at_most_twelve_queries():
    """Count the statements that the application sends; fail with all of them when there are too many."""
    sent = []

    def note(execute, sql, *arguments):
        sent.append(sql)
        return execute(sql, *arguments)

    with connection.execute_wrapper(note):
        yield
    listed = "\n".join(" ".join(sql.split())[:100] for sql in sent)
    assert 0 < len(sent) <= MOST, f"{len(sent)} queries:\n{listed}"


@pytest.fixture
def queue_page(project):
    ComparisonFactory.create_batch(4, project=project)
    return f"/projects/{project.slug}/queue/"


@pytest.fixture
def browser(annotator):
    client = Client()
    client.force_login(annotator)
    return client


@pytest.fixture
def held(queue_page, browser):
    """Somebody looks at the page for the second time in their life: all that is made once is there."""
    assert browser.get(queue_page).status_code == 200
    return Assignment.objects.get(ahead=False)


@pytest.fixture
def ahead(held, browser):
    assert browser.post(f"/assignments/{held.pk}/next/", **SCRIPT).status_code == 200
    return Assignment.objects.get(ahead=True)


@pytest.fixture
def program(annotator):
    return Client(headers={"Authorization": f"Token {create_token(user=annotator, name='test', scope='write')[1]}"})


def form(**more):
    fields = {f"rating-{label}-{name}": value for label in (1, 2) for name, value in ratings().items()}
    return {**fields, "preference": "-2", "justification": JUSTIFICATION, **more}


def test_the_page_with_a_new_pair(queue_page, held, browser):
    browser.post(f"/assignments/{held.pk}/submit/", form())
    with at_most_twelve_queries():
        response = browser.get(queue_page)
    assert response.status_code == 200
    assert Assignment.objects.count() == 2


def test_the_page_with_the_pair_that_one_holds(queue_page, held, browser):
    with at_most_twelve_queries():
        response = browser.get(queue_page)
    assert response.status_code == 200
    assert Assignment.objects.count() == 1


def test_the_page_with_a_draft(queue_page, held, browser):
    draft = {"justification": "typing"}
    with at_most_twelve_queries():
        saved = browser.put(f"/assignments/{held.pk}/draft/", json.dumps(draft), content_type="application/json")
    assert saved.status_code == 200
    with at_most_twelve_queries():
        response = browser.get(queue_page)
    assert "typing" in response.content.decode()


def test_the_pair_after_this_one(held, browser):
    with at_most_twelve_queries():
        response = browser.post(f"/assignments/{held.pk}/next/", **SCRIPT)
    assert response.status_code == 200
    assert Assignment.objects.filter(ahead=True).count() == 1


def test_a_submission_with_the_next_pair_at_hand(held, ahead, browser):
    with at_most_twelve_queries():
        response = browser.post(f"/assignments/{held.pk}/submit/", form(ahead=ahead.pk), **SCRIPT)
    assert response.status_code == 204
    assert json.loads(response["HX-Trigger"])["pair:done"]["next"] == str(ahead.pk)


def test_a_submission_without(held, browser):
    with at_most_twelve_queries():
        response = browser.post(f"/assignments/{held.pk}/submit/", form())
    assert response.status_code == 302
    assert Annotation.objects.count() == 1


def test_a_submission_that_settles_the_pair(project, held, browser):
    project.protocol_settings = {"annotators": 1}
    project.save()
    QueueItem.objects.update(wanted=1)
    with at_most_twelve_queries():
        response = browser.post(f"/assignments/{held.pk}/submit/", form())
    assert response.status_code == 302
    assert held.comparison.queue_item.state == "complete"


def test_a_submission_that_changes_an_answer(held, browser):
    browser.post(f"/assignments/{held.pk}/submit/", form())
    browser.post(f"/assignments/{held.pk}/reopen/")
    with at_most_twelve_queries():
        response = browser.post(f"/assignments/{held.pk}/submit/", form(preference="1"))
    assert response.status_code == 302
    assert Annotation.objects.filter(is_current=True, revision=2).count() == 1


def test_a_lease_and_a_submission_through_rest(project, queue_page, program):
    program.post(f"/api/v1/projects/{project.slug}/assignments/")
    with at_most_twelve_queries():
        leased = program.post(f"/api/v1/projects/{project.slug}/assignments/")
    assert leased.status_code == 201
    with at_most_twelve_queries():
        path = f"/api/v1/assignments/{leased.json()['id']}/submit/"
        response = program.post(path, json.dumps(answer()), content_type="application/json")
    assert response.status_code == 201
