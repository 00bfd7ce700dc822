"""Imports over REST: a file or items in, a job out, and its report when it ran."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.core.artifacts import artifact_storage
from apps.imports.models import Import
from apps.imports.services import run_import
from apps.jobs.models import Job
from tests.api.conftest import Api, pointers, problem

pytestmark = pytest.mark.django_db
PATH = "projects/tides/imports/"
ROW = {"external_id": "q-1", "prompt": "Why?", "responses": ["Because.", "Why not?"]}


def upload(api, file, **fields):
    return api.client.post(f"/api/v1/{PATH}", {"file": file, **fields})


def test_items_become_an_import_with_a_job(manager, project):
    reply = Api(manager).post(PATH, {"items": [ROW, {"prompt": "no responses"}, {"prompt": "\x00"}]})
    assert reply.status_code == 202
    body = reply.json()
    made = Import.objects.get()
    assert body["id"] == str(made.pk)
    assert body["job"] == {
        "id": str(made.job_id),
        "kind": "import",
        "state": "queued",
        "progress": {"done": 0, "total": 0, "message": ""},
        "result": None,
        "error": None,
        "created_at": body["job"]["created_at"],
        "started_at": None,
        "finished_at": None,
    }
    report = run_import(made=made, on_batch=lambda rows: None)
    assert (report.created, report.rejected) == (1, 2)
    assert project.comparisons.get().external_id == "q-1"


def test_a_file_is_kept_as_it_was_sent(manager):
    content = json.dumps(ROW).encode() + b"\n"
    reply = upload(Api(manager), SimpleUploadedFile("pairs.jsonl", content))
    assert reply.status_code == 202
    made = Import.objects.get(pk=reply.json()["id"])
    with artifact_storage().open(made.stored_as) as stream:
        assert stream.read() == content
    assert made.file_name == "pairs.jsonl"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/items"),
        ({"items": []}, "/items"),
        ({"items": {"a": 1}}, "/items"),
        ({"items": "x"}, "/items"),
        ({"items": [ROW], "format": "csv"}, "/format"),
        ([ROW], ""),
    ],
)
def test_a_wrong_body_is_422_and_starts_nothing(manager, body, pointer):
    assert pointers(Api(manager).post(PATH, body)) == [pointer]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("file", "pointer"),
    [
        (SimpleUploadedFile("pairs.XLSX", b"PK"), "/file"),
        (SimpleUploadedFile("pairs.zip", b"PK"), "/file"),
        (SimpleUploadedFile("pairs.csv", b"PK\x03\x04"), "/file"),
        (SimpleUploadedFile("empty.jsonl", b""), "/file"),
        ("not a file", "/file"),
    ],
)
def test_a_wrong_file_is_422_and_starts_nothing(manager, file, pointer):
    assert pointers(upload(Api(manager), file)) == [pointer]
    assert not Import.objects.exists()


def test_an_unknown_form_field_is_422(manager):
    file = SimpleUploadedFile("pairs.jsonl", b"{}")
    assert pointers(upload(Api(manager), file, colour="blue")) == ["/colour"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken"),
        ("multipart/form-data; boundary=\xff", b"--b"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nContent-Disposition: form-data; name=file; filename*=nonsense'en'a.jsonl\r\n\r\n{}\r\n--b--\r\n",
        ),
    ],
)
def test_a_broken_form_is_a_problem(manager, content_type, body):
    reply = Api(manager).post(PATH, body, content_type=content_type)
    assert problem(reply, reply.status_code)["status"] in {400, 422}


def test_a_file_name_with_odd_characters_is_accepted(manager):
    body = (
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''a%00%ed%a0%80.jsonl\r\n"
        b"Content-Type: application/json\r\n\r\n{}\r\n--b--\r\n"
    )
    assert Api(manager).post(PATH, body, content_type="multipart/form-data; boundary=b").status_code == 202


def test_imports_are_listed_with_their_jobs(manager, researcher, django_assert_num_queries):
    api = Api(manager)
    ids = [api.post(PATH, {"items": [ROW]}).json()["id"] for _ in range(3)]
    rows = Api(researcher).get(PATH).json()["results"]
    assert [row["id"] for row in rows] == ids
    assert rows[0]["job"]["state"] == "queued"
    with django_assert_num_queries(3):  # token, membership, page with jobs
        api.get(PATH)


@pytest.mark.parametrize("who", ["annotator", "reviewer", "researcher"])
def test_only_managers_import(request, project, who):
    problem(Api(request.getfixturevalue(who)).post(PATH, {"items": [ROW]}), 403)
    assert not Import.objects.exists()
