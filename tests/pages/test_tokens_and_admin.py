"""API tokens on one's own page, and Django's admin for the rest."""

import re
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.utils import timezone

from apps.accounts.models import ApiToken
from apps.accounts.services import create_token, note_token_use, revoke_token
from apps.labeling.models import Annotation
from apps.labeling.services import submit_annotation
from tests.factories import answer

PATH = "/account/tokens/"
OURS = [model for config in apps.get_app_configs() if config.name.startswith("apps.") for model in config.get_models()]


def test_a_key_is_shown_once_and_works(as_user, annotator):
    client = as_user(annotator)
    response = client.post(PATH, {"name": "laptop", "scope": "write"})
    key = re.search(r'value="(tb_[^"]+)"', response.content.decode()).group(1)
    token = ApiToken.objects.usable(key)
    assert (token.user, token.name, token.scope) == (annotator, "laptop", "write")
    assert "no-store" in response.headers["Cache-Control"]
    later = client.get(PATH).content.decode()
    assert "laptop" in later
    assert "tb_" not in later


def test_a_token_can_be_limited_to_projects_and_days(as_user, annotator, project):
    client = as_user(annotator)
    fields = {"name": "laptop", "scope": "write", "projects": [project.slug], "days": "7"}
    assert client.post(PATH, fields).status_code == 200
    token = ApiToken.objects.get()
    assert token.project_ids == [project.pk]
    assert token.expires_at <= timezone.now() + timedelta(days=7)
    note_token_use(token=token, address="198.51.100.7")
    page = client.get(PATH).content.decode()
    assert project.slug in page
    assert "198.51.100.7" in page


def test_whoever_is_in_no_project_is_not_asked_about_projects(as_user, stranger):
    assert 'name="projects"' not in as_user(stranger).get(PATH).content.decode()
    assert as_user(stranger).post(PATH, {"name": "laptop", "scope": "read"}).status_code == 200
    assert ApiToken.objects.get().project_ids is None


def test_tokens_that_work_come_first(as_user, annotator):
    for name in ("first", "second", "third"):
        create_token(user=annotator, name=name)
    revoke_token(token=ApiToken.objects.get(name="third"))
    page = as_user(annotator).get(PATH).content.decode()
    assert page.index("second") < page.index("first") < page.index("third")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "scope": "read"},
        {"name": "x", "scope": "everything"},
        {"name": "x", "scope": "read", "projects": ["not-mine"]},
        {"name": "x", "scope": "read", "days": "0"},
    ],
)
def test_a_wrong_token_is_refused(as_user, annotator, fields):
    assert as_user(annotator).post(PATH, fields).status_code == 422
    assert not ApiToken.objects.exists()


def test_a_token_is_revoked_for_good(as_user, annotator):
    token, key = create_token(user=annotator, name="laptop")
    client = as_user(annotator)
    assert "The token laptop is revoked." in client.post(f"{PATH}{token.pk}/revoke/", follow=True).content.decode()
    assert ApiToken.objects.usable(key) is None
    first = ApiToken.objects.get().revoked_at
    client.post(f"{PATH}{token.pk}/revoke/")
    assert ApiToken.objects.get().revoked_at == first


def test_nobody_sees_or_revokes_somebody_elses_token(as_user, annotator, stranger):
    token, key = create_token(user=annotator, name="laptop")
    client = as_user(stranger)
    assert "laptop" not in client.get(PATH).content.decode()
    assert client.post(f"{PATH}{token.pk}/revoke/").status_code == 404
    assert ApiToken.objects.usable(key) is not None


# --- Admin ---


@pytest.fixture
def administrator(manager):
    manager.is_staff = manager.is_superuser = True
    manager.save()
    return manager


def test_every_model_is_in_the_admin():
    assert OURS
    assert [model.__name__ for model in OURS if model not in admin.site._registry] == []


@pytest.mark.parametrize("model", OURS)
def test_every_list_opens_and_searches(as_user, administrator, pair, lease, model):
    submit_annotation(assignment=lease(), body=answer())
    path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
    client = as_user(administrator)
    assert client.get(path).status_code == 200
    if admin.site._registry[model].search_fields:
        assert client.get(f"{path}?q=x").status_code == 200


def test_an_annotation_can_be_read_and_not_written(as_user, administrator, pair, lease):
    stored = submit_annotation(assignment=lease(), body=answer())
    client = as_user(administrator)
    path = f"/admin/labeling/annotation/{stored.pk}/"
    assert client.get(f"{path}change/").status_code == 200
    assert client.post(f"{path}change/", {"preference": 3}).status_code == 403
    assert client.post(f"{path}delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/labeling/annotation/add/").status_code == 403
    assert Annotation.objects.get().preference == stored.preference


@pytest.mark.parametrize("name", ["annotation", "consensus", "queueitem", "assignment", "draft"])
def test_nobody_adds_labeling_rows_by_hand(as_user, administrator, name):
    assert as_user(administrator).get(f"/admin/labeling/{name}/add/").status_code == 403
