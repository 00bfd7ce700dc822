"""Snapshots: make one, see what is in it and what was left out, download the files."""

import hashlib
import json
import re

import pytest

from apps.exports.models import Snapshot
from apps.exports.services import create_snapshot, write_snapshot
from tests.pages.test_project_page import label

PATH = "/projects/tides/snapshots/"


@pytest.fixture
def snapshot(project):
    """Return a written snapshot with one agreed comparison and one that is left out."""
    label(project, -2, -2, -2)
    label(project, "neither", "neither", "neither")
    made = create_snapshot(project=project, body={"name": "Both", "splits": {"train": 1.0}}, created_by=None)
    write_snapshot(snapshot=made)
    return made


def test_a_snapshot_is_asked_for(as_user, researcher, project):
    fields = {"name": "Autumn", "train": 0.9, "validation": 0.1, "seed": 3}
    response = as_user(researcher).post(PATH, fields)
    made = Snapshot.objects.get()
    assert response.headers["Location"] == f"{PATH}{made.pk}/"
    assert made.selection == {"splits": {"train": 0.9, "validation": 0.1}, "seed": 3, "filters": {}}
    assert made.job.kind == "snapshot"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0.5}, "must add up to 1"),
        ({"name": " "}, "required"),
        ({"seed": -1}, "greater than"),
        ({"seed": 2**40}, ""),
    ],
)
def test_a_wrong_selection_is_refused(as_user, manager, project, change, message):
    fields = {"name": "Autumn", "train": 0.9, "validation": 0.1, "seed": 3} | change
    response = as_user(manager).post(PATH, fields)
    assert response.status_code == 422
    assert message in response.content.decode()
    assert not Snapshot.objects.exists()


def test_its_page_is_polled_until_the_files_are_written(as_user, manager, project):
    client = as_user(manager)
    client.post(PATH, {"name": "Autumn", "train": 1, "validation": 0, "seed": 0})
    made = Snapshot.objects.get()
    page = f"{PATH}{made.pk}/"
    assert 'hx-trigger="every 1s"' in client.get(page).content.decode()
    assert "No cpu worker is running" in client.get(page).content.decode()
    assert client.get(page, headers={"HX-Request": "true"}).status_code == 200
    write_snapshot(snapshot=made)
    done = client.get(page, headers={"HX-Request": "true"})
    assert done.status_code == 286
    assert "The snapshot is ready." in done.content.decode()
    assert "<html" not in done.content.decode()


def test_every_file_of_every_format_can_be_downloaded_and_has_its_hash(as_user, manager, snapshot):
    client = as_user(manager)
    html = client.get(f"{PATH}{snapshot.pk}/").content.decode()
    links = re.findall(rf'href="({PATH}{snapshot.pk}/[^"]+\.(?:jsonl|parquet|csv|md|json))"', html)
    assert len(links) == len(snapshot.manifest["files"]) + 2 > 40
    for link in links:
        response = client.get(link)
        body = b"".join(response.streaming_content)
        digest = hashlib.sha256(body).hexdigest()
        assert digest in html
        assert response.headers["Content-Length"] == str(len(body))
        assert response.headers["Content-Disposition"].startswith("attachment; filename=")
        assert not link.endswith(".jsonl") or all(json.loads(line) for line in body.splitlines())
    assert "1 × neither valid" in html


@pytest.mark.parametrize("file", ["trl-preference/test", "nonsense/train", "trl-preference/.."])
def test_a_file_that_does_not_exist_is_not_found(as_user, manager, snapshot, file):
    assert as_user(manager).get(f"{PATH}{snapshot.pk}/{file}.jsonl").status_code == 404


def test_the_list_takes_few_queries(as_user, manager, project, django_assert_max_num_queries):
    for number in range(12):
        create_snapshot(project=project, body={"name": f"Snapshot {number}"}, created_by=manager)
    client = as_user(manager)
    with django_assert_max_num_queries(5):
        client.get(PATH)
