"""Files in pieces (tus 1.0.0), and what becomes of them: an import, a preview of its options, a report, an undo."""

import base64
import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.core.artifacts import artifact_storage
from apps.imports.models import Import, Upload
from apps.imports.services import run_import
from apps.imports.uploads import append
from apps.jobs.models import Job
from tests.api.conftest import Api, pointers, problem

pytestmark = pytest.mark.django_db
PATH = "projects/tides/uploads/"
IMPORTS = "projects/tides/imports/"
ROW = {"external_id": "q-1", "prompt": "Why?", "responses": ["Because.", "Why not?"]}
CONTENT = json.dumps(ROW).encode() + b"\n"
LENGTH = len(CONTENT)
TUS = {"Tus-Resumable": "1.0.0"}
PIECE = "application/offset+octet-stream"


def announce(api, length=LENGTH, name="pairs.jsonl"):
    metadata = f"filename {base64.b64encode(name.encode()).decode()},filetype"
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata}
    return api.call("POST", PATH, headers=headers)


def send(api, upload, offset, content, **headers):
    headers = {**TUS, "Upload-Offset": str(offset), **headers}
    return api.call("PATCH", f"{PATH}{upload}/", content, content_type=PIECE, headers=headers)


def offset_of(api, upload):
    return api.call("HEAD", f"{PATH}{upload}/", headers=TUS).headers["Upload-Offset"]


def done(made):
    """Run an import as its worker does."""
    run_import(made=made, on_batch=lambda rows: None)
    Job.objects.filter(pk=made.job_id).update(state="succeeded")
    return Import.objects.get(pk=made.pk)


def test_a_file_in_pieces_becomes_an_import(manager, project):
    api = Api(manager)
    reply = announce(api, name="größe.jsonl")
    upload = reply.json()["id"]
    assert (reply.status_code, reply.headers["Tus-Resumable"]) == (201, "1.0.0")
    assert reply.headers["Location"].endswith(f"/api/v1/{PATH}{upload}/")
    assert send(api, upload, 0, CONTENT[:20]).headers["Upload-Offset"] == "20"
    assert offset_of(api, upload) == "20"
    assert pointers(api.post(IMPORTS, {"upload": upload})) == ["/upload"]  # it has not arrived
    reply = send(api, upload, 20, CONTENT[20:])
    assert (reply.status_code, reply.headers["Upload-Offset"]) == (204, str(len(CONTENT)))
    reply = api.post(IMPORTS, {"upload": upload, "dry_run": True})
    assert reply.status_code == 202
    dry = done(Import.objects.get(pk=reply.json()["id"]))
    assert (dry.file_name, dry.counts["created"]) == ("größe.jsonl", 1)
    again = done(Import.objects.get(pk=api.post(IMPORTS, {"upload": upload}).json()["id"]))
    assert (again.counts["created"], project.comparisons.count()) == (1, 1)


def test_an_import_of_an_upload_that_is_asked_for_twice_with_a_key_is_one(manager, project):
    api = Api(manager)
    announced = [
        api.call("POST", PATH, headers={**TUS, "Upload-Length": str(LENGTH), "Idempotency-Key": "file-1"})
        for _ in range(2)
    ]
    assert [reply.status_code for reply in announced] == [201, 201]
    (upload,) = {reply.json()["id"] for reply in announced}
    send(api, upload, 0, CONTENT)
    body, key = {"upload": upload}, {"Idempotency-Key": "import-1"}
    first, again = (api.post(IMPORTS, body, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Import.objects.count() == Job.objects.count() == 1
    assert done(Import.objects.get()).counts["created"] == 1
    problem(api.post(IMPORTS, {**body, "dry_run": True}, headers=key), 422)


def test_a_piece_at_the_wrong_place_is_409_and_what_arrived_stays(manager, project):
    api = Api(manager)
    upload = announce(api).json()["id"]
    send(api, upload, 0, CONTENT[:20])
    for offset in (0, 10, 30):
        problem(send(api, upload, offset, b"x"), 409)
    assert offset_of(api, upload) == "20"


def test_what_has_arrived_when_a_connection_breaks_is_kept(project):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            piece = super().read(7)
            if not piece:
                raise OSError("connection reset")
            return piece

    upload = Upload.objects.create(project=project, file_name="a", length=100)
    assert append(upload=upload, offset=0, stream=Broken(b"0123456789")).offset == 10
    upload.refresh_from_db()
    with artifact_storage().open(upload.pieces[0]) as piece:
        assert piece.read() == b"0123456789"


@pytest.mark.parametrize(
    ("status", "headers", "content_type"),
    [
        (412, {"Upload-Offset": "0"}, PIECE),
        (412, {"Tus-Resumable": "0.2.2", "Upload-Offset": "0"}, PIECE),
        (415, {**TUS, "Upload-Offset": "0"}, "application/json"),
        (422, TUS, PIECE),
        (422, {**TUS, "Upload-Offset": "-1"}, PIECE),
        (422, {**TUS, "Upload-Offset": "9" * 40}, PIECE),
    ],
)
def test_a_piece_that_does_not_follow_the_protocol_is_a_problem(manager, project, status, headers, content_type):
    api = Api(manager)
    upload = announce(api).json()["id"]
    problem(api.call("PATCH", f"{PATH}{upload}/", b"x", content_type=content_type, headers=headers), status)
    assert offset_of(api, upload) == "0"


def test_more_than_was_announced_is_refused(manager, project):
    api = Api(manager)
    upload = announce(api, length=3).json()["id"]
    problem(send(api, upload, 0, b"four"), 422)
    assert offset_of(api, upload) == "0"


def test_a_file_over_the_limit_is_refused_and_the_limit_is_told(manager, project, settings):
    settings.IMPORT_MAX_BYTES = 1000
    api = Api(manager)
    problem(announce(api, length=1001), 413)
    reply = api.call("OPTIONS", PATH)
    assert (reply.status_code, reply.headers["Tus-Max-Size"]) == (204, "1000")
    assert reply.headers["Tus-Extension"] == "creation,termination"


def test_unfinished_uploads_do_not_pile_up(manager, project):
    api = Api(manager)
    for _ in range(20):
        assert announce(api).status_code == 201
    problem(announce(api), 409)


def test_an_upload_is_given_up_but_not_under_an_import(manager, project):
    api = Api(manager)
    upload = announce(api).json()["id"]
    send(api, upload, 0, CONTENT)
    (name,) = Upload.objects.get().pieces
    used = api.post(IMPORTS, {"upload": upload})
    problem(api.call("DELETE", f"{PATH}{upload}/", headers=TUS), 409)
    Import.objects.filter(pk=used.json()["id"]).delete()
    assert api.call("DELETE", f"{PATH}{upload}/", headers=TUS).status_code == 204
    assert not artifact_storage().exists(name)
    problem(api.call("GET", f"{PATH}{upload}/", headers=TUS), 405)
    assert api.call("HEAD", f"{PATH}{upload}/", headers=TUS).status_code == 404


@pytest.mark.parametrize("who", ["annotator", "researcher"])
def test_only_managers_upload(request, project, manager, who):
    upload = announce(Api(manager)).json()["id"]
    api = Api(request.getfixturevalue(who))
    problem(announce(api), 403)
    problem(send(api, upload, 0, b"x"), 403)


# --- Imports: options, one, report, undo ---


def test_an_import_is_shown_with_its_options_and_counts(manager, researcher, project):
    body = {"items": [ROW], "near_duplicates": True, "benchmark_prompts": ["why"], "format": "native"}
    reply = Api(manager).post(IMPORTS, body)
    done(Import.objects.get(pk=reply.json()["id"]))
    shown = Api(researcher).get(f"imports/{reply.json()['id']}/").json()
    assert shown["options"] == {"format": "native", "near_duplicates": True, "benchmark": True}
    assert (shown["counts"]["created"], shown["counts"]["contaminated"]) == (1, 1)
    assert shown["file_name"] == "items"


def test_a_report_is_streamed_in_both_formats(manager, project):
    api = Api(manager)
    made = done(Import.objects.get(pk=api.post(IMPORTS, {"items": [ROW, {**ROW, "responses": ["x"]}]}).json()["id"]))
    report = b"".join(api.get(f"imports/{made.pk}/report/").streaming_content)
    assert json.loads(report) == {
        "line": 2,
        "kind": "rejected",
        "field": "/responses",
        "reason": "Expected a list of 2 to 8 responses.",
        "external_id": "",
    }
    csv = api.get(f"imports/{made.pk}/report/?format=csv")
    assert csv.headers["Content-Disposition"].endswith('.csv"')
    assert b"".join(csv.streaming_content).startswith(b"line,kind,field,reason,external_id\r\n2,rejected")
    assert pointers(api.get(f"imports/{made.pk}/report/?format=xlsx")) == ["/format"]


def test_undo_answers_with_a_job_or_with_the_reason(manager, researcher, project):
    api = Api(manager)
    made = done(Import.objects.get(pk=api.post(IMPORTS, {"items": [ROW]}).json()["id"]))
    problem(Api(researcher).post(f"imports/{made.pk}/undo/"), 403)
    reply = api.post(f"imports/{made.pk}/undo/")
    assert (reply.status_code, reply.json()["job"]["kind"]) == (202, "import")
    dry = done(Import.objects.get(pk=api.post(IMPORTS, {"items": [ROW], "dry_run": True}).json()["id"]))
    assert "nothing to undo" in problem(api.post(f"imports/{dry.pk}/undo/"), 409)["detail"]


def test_a_form_takes_the_same_options(manager, project):
    file = SimpleUploadedFile("pairs.csv", b"q,a,b\nWhy?,Because.,Why not?\n")
    mapping = {"prompt": "q", "response_1": "a", "response_2": "b"}
    benchmarks = SimpleUploadedFile("benchmark.txt", b"Why?\n")
    fields = {"file": file, "mapping": json.dumps(mapping), "dry_run": "true", "benchmarks": benchmarks}
    reply = Api(manager).client.post(f"/api/v1/{IMPORTS}", fields)
    assert reply.status_code == 202
    made = done(Import.objects.get(pk=reply.json()["id"]))
    assert (made.counts["created"], made.counts["contaminated"], project.comparisons.count()) == (1, 1, 0)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": [ROW], "upload": "1"}, "/upload"),
        ({"items": [ROW], "format": "yaml"}, "/format"),
        ({"items": [ROW], "mapping": {"prompt": "q"}}, "/mapping/response_1"),
        ({"items": [ROW], "mapping": [1]}, "/mapping"),
        ({"items": [ROW], "dry_run": "perhaps"}, "/dry_run"),
        ({"items": [ROW], "exclude_contaminated": True}, "/exclude_contaminated"),
        ({"upload": "999"}, "/upload"),
        ({"upload": "١"}, "/upload"),
        ({"dataset": {"name": "json"}}, "/dataset/name"),
        ({"dataset": {"name": "../etc/passwd"}}, "/dataset/name"),
        ({"dataset": {"name": "a/b", "split": "train;"}}, "/dataset/split"),
    ],
)
def test_wrong_options_are_named_and_start_nothing(manager, project, body, pointer):
    assert pointer in pointers(Api(manager).post(IMPORTS, body))
    assert not Job.objects.exists()


def test_a_dataset_of_the_hub_is_left_to_a_worker(manager, project):
    reply = Api(manager).post(IMPORTS, {"dataset": {"name": "nvidia/HelpSteer2", "config": "preference"}})
    assert reply.status_code == 202
    assert Import.objects.get().dataset == {"name": "nvidia/HelpSteer2", "config": "preference"}
