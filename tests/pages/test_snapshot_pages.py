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


def test_the_list_leads_to_the_files_as_well(as_user, manager, snapshot):
    html = as_user(manager).get(PATH).content.decode()
    assert f'href="{PATH}{snapshot.pk}/trl-preference/train.jsonl"' in html
    named = re.findall(r'<div class="nowrap">([\w-]+):', html)
    assert named == ["annotations", "helpsteer2-preference", "trl-preference"]  # once each, with all its splits


@pytest.mark.parametrize("file", ["trl-preference/test", "nonsense/train", "trl-preference/.."])
def test_a_file_that_does_not_exist_is_not_found(as_user, manager, snapshot, file):
    assert as_user(manager).get(f"{PATH}{snapshot.pk}/{file}.jsonl").status_code == 404


def test_the_list_takes_few_queries(as_user, manager, project, django_assert_max_num_queries):
    for number in range(12):
        create_snapshot(project=project, body={"name": f"Snapshot {number}"}, created_by=manager)
    client = as_user(manager)
    with django_assert_max_num_queries(5):
        client.get(PATH)


def test_filters_formats_and_files_are_chosen_on_the_page(as_user, researcher, project):
    fields = {
        "name": "Strong",
        "train": 1,
        "validation": 0,
        "seed": 0,
        "state": ["complete"],
        "status": ["agreed"],
        "max_spread": 1,
        "strength_min": 2,
        "domain": "chat\n math \n",
        "submitted_from": "2026-01-01",
        "submitted_to": "2026-06-30",
        "guideline_version": "1, 2",
        "source": "people",
        "formats": ["trl-preference"],
        "encodings": ["csv", "csv.gz"],
    }
    assert as_user(researcher).post(PATH, fields).status_code == 302
    assert Snapshot.objects.get().selection == {
        "splits": {"train": 1.0, "validation": 0.0},
        "seed": 0,
        "filters": {
            "state": ["complete"],
            "domain": ["chat", "math"],
            "strength": {"min": 2},
            "agreement": {"status": ["agreed"], "max_spread": 1},
            "submitted": {"from": "2026-01-01T00:00:00Z", "to": "2026-07-01T00:00:00Z"},
            "guideline_version": [1, 2],
            "source": "people",
        },
        "formats": ["trl-preference"],
        "encodings": ["csv", "csv.gz"],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength_min": 3, "strength_max": 1}, "The smallest strength is larger than the largest."),
        ({"submitted_from": "2026-02-02", "submitted_to": "2026-01-01"}, "The period ends before it begins."),
        ({"guideline_version": "two"}, "Expected numbers with commas"),
        ({"formats": ["nonsense"]}, "Select a valid choice"),
    ],
)
def test_a_wrong_filter_is_shown_at_its_field_and_unfolded(as_user, manager, project, change, message):
    fields = {"name": "Autumn", "train": 1, "validation": 0, "seed": 3} | change
    response = as_user(manager).post(PATH, fields)
    html = response.content.decode()
    assert response.status_code == 422
    assert message in html
    assert ("formats" in change) or re.search(r"<details[^>]* open>", html)


def test_the_card_is_shown_without_its_front_matter(as_user, manager, snapshot):
    html = as_user(manager).get(f"{PATH}{snapshot.pk}/card/").content.decode()
    assert "Known limits" in html
    assert "size_categories" not in html
    assert "Read both responses." in html


def test_two_snapshots_are_compared_on_a_page(as_user, manager, project, snapshot):
    label(project, 3, 3, 3)
    later = create_snapshot(project=project, body={"name": "Later", "formats": ["annotations"]}, created_by=None)
    write_snapshot(snapshot=later)
    client = as_user(manager)
    assert f'<option value="{later.pk}">Later' in client.get(f"{PATH}{snapshot.pk}/").content.decode()
    html = client.get(f"{PATH}{snapshot.pk}/diff/?with={later.pk}").content.decode()
    assert "added" in html
    assert f"/api/v1/snapshots/{snapshot.pk}/diff/{later.pk}/" in html
    for other in ("", "0", "abc", "9" * 30):
        assert client.get(f"{PATH}{snapshot.pk}/diff/?with={other}").status_code == 404


def test_a_part_of_a_file_resumes_on_the_page_as_well(as_user, manager, snapshot):
    response = as_user(manager).get(f"{PATH}{snapshot.pk}/annotations/train.jsonl", headers={"Range": "bytes=2-9"})
    assert (response.status_code, len(b"".join(response.streaming_content))) == (206, 8)


@pytest.mark.parametrize("page", ["card/", "diff/?with=1", "document/README.md", "annotations/train.jsonl"])
def test_other_people_see_none_of_it(as_user, annotator, stranger, snapshot, page):
    assert as_user(annotator).get(f"{PATH}{snapshot.pk}/{page}").status_code == 403
    assert as_user(stranger).get(f"{PATH}{snapshot.pk}/{page}").status_code == 404
