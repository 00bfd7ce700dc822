"""The dialog in which somebody whose session ended signs in again, without leaving the page."""

import json

import pytest
from django.test import Client

from tests.factories import PASSWORD

PATH = "/login/again/"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def body(annotator):
    return {"username": annotator.username, "password": PASSWORD, "person": annotator.pk}


def test_the_right_password_starts_a_session_and_tells_the_page(annotator, body):
    client = Client()
    response = client.post(PATH, body, headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")
    assert "signed-in" in json.loads(response["HX-Trigger"])
    assert client.session["_auth_user_id"] == str(annotator.pk)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"password": "wrong"}, "Please enter a correct username and password."),
        ({"password": ""}, "This field is required."),
        ({"person": "0"}, "This page belongs to somebody else."),
        ({"person": ""}, "This page belongs to somebody else."),
    ],
)
def test_anything_else_is_refused_with_a_sentence_and_starts_no_session(body, changes, detail):
    client = Client()
    response = client.post(PATH, body | changes, headers=HTMX)
    assert response.status_code == 422
    assert detail in response.content.decode()
    assert "sessionid" not in client.cookies


def test_it_needs_the_token_of_the_page(body):
    assert Client(enforce_csrf_checks=True).post(PATH, body).status_code == 403


def test_there_is_nothing_to_get():
    assert Client().get(PATH).status_code == 405
