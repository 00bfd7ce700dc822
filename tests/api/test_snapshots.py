"""Snapshots over REST: asked for, listed, and their files in whole, in parts, or not again."""

import hashlib
import json

import pytest

from apps.exports.models import Snapshot
from apps.exports.services import create_snapshot, write_snapshot
from tests.api.conftest import Api, pointers, problem
from tests.factories import ProjectFactory
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db
NEW = {"name": "all", "splits": {"train": 0.5, "validation": 0.5}, "seed": 7}


@pytest.fixture
def api(researcher):
    return Api(researcher)


@pytest.fixture
def file(world):
    """The address of a file, its content, and its entry in the manifest."""
    entry = world.snapshot.manifest["files"]["annotations/train.jsonl"]
    return f"snapshots/{world.snapshot.pk}/files/annotations/train.jsonl", entry


def content(reply):
    return reply.getvalue()


def test_a_snapshot_is_frozen_and_its_manifest_comes_with_the_job(api, project):
    reply = api.post("projects/tides/snapshots/", NEW)
    assert reply.status_code == 202
    body = reply.json()
    snapshot = Snapshot.objects.get(pk=body["id"])
    assert body["job"]["id"] == str(snapshot.job_id)
    before = api.get(f"snapshots/{body['id']}/").json()
    assert (before["ready"], before["files"], before["job"]["state"]) == (False, {}, "queued")
    write_snapshot(snapshot=snapshot)
    after = api.get(f"snapshots/{body['id']}/").json()
    assert after["selection"] == {"splits": NEW["splits"], "seed": 7, "filters": {}}
    assert {name: after[name] for name in ("ready", "name", "project", "schema")} == {
        "ready": True,
        "name": "all",
        "project": "tides",
        "schema": "tiebreak-snapshot/3",
    }
    assert (after["content_hash"], after["comparisons"]) == (snapshot.content_hash, {"train": 0, "validation": 0})
    assert after["files"] == snapshot.manifest["files"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": "\x00"}, "/name"),
        ({"name": " "}, "/name"),
        ({"splits": [1]}, "/splits"),
        ({"splits": {"train": 0.5}}, "/splits"),
        ({"splits": {"train": 0.5, "Train": 0.5}}, "/splits"),
        ({"splits": {"train": "1"}}, "/splits"),
        ({"splits": {"../x": 1}}, "/splits"),
        ({"seed": "1"}, "/seed"),
        ({"seed": 10**400}, "/seed"),
        ({"filters": {"model": ["x"]}}, "/filters"),
        ({"filters": {"domain": "x"}}, "/filters/domain"),
        ({"filters": {"domain": ["\x00"]}}, "/filters"),
        ({"format": "csv"}, "/format"),
        ({"formats": ["csv"]}, "/formats"),
        ({"encodings": "csv"}, "/encodings"),
        ({"filters": {"submitted": {"from": "soon"}}}, "/filters/submitted"),
    ],
)
def test_a_wrong_selection_is_422_and_stores_nothing(api, project, change, pointer):
    assert pointers(api.post("projects/tides/snapshots/", {**NEW, **change})) == [pointer]
    assert not Snapshot.objects.exists()


def test_snapshots_are_listed(api, world, django_assert_num_queries):
    rows = api.get("projects/tides/snapshots/").json()["results"]
    assert [row["id"] for row in rows] == [
        str(pk) for pk in Snapshot.objects.order_by("pk").values_list("pk", flat=True)
    ]
    assert (rows[0]["name"], rows[0]["ready"], rows[1]["ready"]) == ("first", True, False)
    with django_assert_num_queries(3):  # token, membership, page
        api.get("projects/tides/snapshots/")


def test_a_file_is_what_the_manifest_says(api, file):
    address, entry = file
    reply = api.get(address)
    data = content(reply)
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/x-ndjson")
    assert reply.headers["Content-Length"] == str(len(data)) == str(entry["bytes"])
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert reply.headers["ETag"] == f'"{entry["sha256"]}"'
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert [json.loads(line)["external_id"] for line in data.splitlines()] == ["tide-1"]


def test_head_has_the_headers_and_no_body(api, file):
    address, entry = file
    reply = api.call("HEAD", address)
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["Content-Length"] == str(entry["bytes"])
    assert reply.headers["ETag"] == f'"{entry["sha256"]}"'


@pytest.mark.parametrize("pattern", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_who_has_it_gets_304(api, file, pattern):
    address, entry = file
    reply = api.get(address, headers={"If-None-Match": pattern.format(entry["sha256"])})
    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["ETag"] == f'"{entry["sha256"]}"'


def test_who_has_another_one_gets_the_file(api, file):
    assert api.get(file[0], headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=10-", 10, None), ("bytes=-5", -5, None), ("bytes=3-99999999", 3, None)],
)
def test_a_part_of_a_file(api, file, wanted, first, last):
    address, entry = file
    whole = content(api.get(address))
    reply = api.get(address, headers={"Range": wanted})
    part = whole[first:] if last is None else whole[first : last + 1]
    start = first % entry["bytes"]
    assert reply.status_code == 206
    assert content(reply) == part
    assert reply.headers["Content-Length"] == str(len(part))
    assert reply.headers["Content-Range"] == f"bytes {start}-{start + len(part) - 1}/{entry['bytes']}"


def test_a_download_goes_on_where_it_broke_off(api, file):
    address, entry = file
    head = content(api.get(address, headers={"Range": "bytes=0-99"}))
    rest = content(api.get(address, headers={"Range": "bytes=100-", "If-Range": f'"{entry["sha256"]}"'}))
    assert hashlib.sha256(head + rest).hexdigest() == entry["sha256"]
    changed = api.get(address, headers={"Range": "bytes=100-", "If-Range": '"other"'})
    assert (changed.status_code, len(content(changed))) == (200, entry["bytes"])


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0", "bytes=999999999999999999-"])
def test_a_range_behind_the_end_is_416(api, file, wanted):
    address, entry = file
    reply = api.get(address, headers={"Range": wanted})
    problem(reply, 416)
    assert reply.headers["Content-Range"] == f"bytes */{entry['bytes']}"


@pytest.mark.parametrize(
    "wanted", ["bytes=5-2", "bytes=a-b", "bytes=-", "lines=0-1", "bytes=0-1,3-4", "bytes=" + "9" * 99 + "-"]
)
def test_a_range_that_is_none_is_ignored(api, file, wanted):
    assert api.get(file[0], headers={"Range": wanted}).status_code == 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("annotations/train.parquet", 'was not written: make a snapshot with "encodings": ["parquet"]'),
        ("trl-preference/train.jsonl", 'was not written: make a snapshot with "formats": ["trl-preference"]'),
        ("annotations/train.exe", "no file"),
        ("annotations/other.jsonl", "no file"),
        ("nonsense/train.jsonl", "no file"),
        ("annotations/.jsonl", "no file"),
        ("..%2fannotations/train.jsonl", "no such address"),
    ],
)
def test_a_file_that_is_not_there_is_404_and_says_why(api, world, name, words):
    reply = api.get(f"snapshots/{world.snapshot.pk}/files/{name}")
    assert words in problem(reply, 404)["detail"]


def test_a_file_that_is_not_written_yet_says_so(api, world):
    detail = problem(api.get(f"snapshots/{world.run.snapshot_id}/files/annotations/train.jsonl"), 404)["detail"]
    assert detail == "The snapshot's files are not written yet."


@pytest.mark.parametrize(("who", "status"), [("annotator", 403), ("reviewer", 403), ("stranger", 404)])
def test_others_see_neither_list_nor_manifest_nor_file(request, file, world, who, status):
    api = Api(request.getfixturevalue(who))
    for path in ("projects/tides/snapshots/", f"snapshots/{world.snapshot.pk}/", file[0]):
        problem(api.get(path), status)
    problem(api.post("projects/tides/snapshots/", NEW), status)


def test_a_strangers_404_is_that_of_a_missing_snapshot(stranger, world):
    api = Api(stranger)
    assert problem(api.get(f"snapshots/{world.snapshot.pk}/"), 404) == problem(api.get("snapshots/99999999/"), 404)


def test_every_format_and_encoding_can_be_had_after_a_plain_post(api, project):
    label = {"annotations": [{"annotator": f"a{n}", "preference": 2} for n in range(3)]}
    load(project, row(**label))
    made = api.post(
        "projects/tides/snapshots/", {"name": "all", "splits": {"train": 1.0}, "seed": 0, "filters": {}}
    ).json()
    write_snapshot(snapshot=Snapshot.objects.get(pk=made["id"]))
    manifest = api.get(f"snapshots/{made['id']}/").json()
    kinds = {
        "jsonl": "application/x-ndjson",
        "parquet": "application/vnd.apache.parquet",
        "csv": "text/csv; charset=utf-8",
    }
    for name in manifest["formats"]:
        for ending, kind in kinds.items():
            reply = api.get(f"snapshots/{made['id']}/files/{name}/train.{ending}")
            data = content(reply)
            entry = manifest["files"][f"{name}/train.{ending}"]
            assert (reply.status_code, reply.headers["Content-Type"]) == (200, kind)
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry["sha256"], entry["bytes"])
    assert len(manifest["formats"]) >= 16
    assert manifest["figures"]["labels"] == 3
    assert manifest["guidelines"][0]["text"] == "Read both responses."


def test_card_and_croissant_are_served_with_their_hashes(api, world):
    documents = api.get(f"snapshots/{world.snapshot.pk}/").json()["documents"]
    for path, name, kind in (
        ("card", "README.md", "text/markdown"),
        ("croissant", "croissant.json", "application/ld+json"),
    ):
        reply = api.get(f"snapshots/{world.snapshot.pk}/{path}/")
        data = content(reply)
        assert reply.headers["Content-Type"].startswith(kind)
        assert hashlib.sha256(data).hexdigest() == documents[name]["sha256"]
        assert reply.headers["ETag"] == f'"{documents[name]["sha256"]}"'
    assert b"## Known limits" in content(api.get(f"snapshots/{world.snapshot.pk}/card/"))


def test_a_diff_over_rest(api, world, project):
    load(project, row(external_id="new", annotations=[{"annotator": "a1", "preference": 1}]))
    body = {"name": "later", "splits": {"train": 1.0}, "formats": ["annotations"], "encodings": ["jsonl"]}
    later = create_snapshot(project=project, body=body, created_by=None)
    problem(api.get(f"snapshots/{world.snapshot.pk}/diff/{later.pk}/"), 409)
    write_snapshot(snapshot=later)
    diff = json.loads(content(api.get(f"snapshots/{world.snapshot.pk}/diff/{later.pk}/")))
    assert [(change["change"], change["external_id"]) for change in diff["changes"]] == [("added", "new")]
    assert diff["counts"] == {"added": 1, "removed": 0, "changed": 0, "unchanged": 1}
    path = f"snapshots/{world.snapshot.pk}/diff/{later.pk}/"
    for fields in ("counts", "changes", "counts,changes"):
        cut = json.loads(content(api.get(f"{path}?fields={fields}")))
        assert cut == {name: diff[name] for name in fields.split(",")}


def test_a_diff_does_not_reach_into_a_project_of_others(api, world):
    other = create_snapshot(project=ProjectFactory(), body={"name": "theirs"}, created_by=None)
    problem(api.get(f"snapshots/{world.snapshot.pk}/diff/{other.pk}/"), 404)
    problem(api.get(f"snapshots/{other.pk}/diff/{world.snapshot.pk}/"), 404)
