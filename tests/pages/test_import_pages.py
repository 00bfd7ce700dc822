"""The import pages: hand in, look at the first rows, map, try, run, read the report, undo."""

import io
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.imports.models import Import, Upload
from apps.imports.services import run_import, start_import_of_items
from apps.jobs.models import Job
from tests.e2e.browser import axe_violations
from tests.imports.rows import lines, row
from worker.tasks.datasets import import_pairs

HTMX = {"HX-Request": "true"}
PATH = "/projects/tides/imports/"
CSV = b"id,question,left,right,winner,<b>topic</b>\n"
CSV += b"1,Why?,Because.,<script>alert(1)</script>,B,=1+1\n2,How?,Thus.,So.,A,sea\n"
MAPPING = {
    "map_prompt": "question",
    "map_response_1": "left",
    "map_response_2": "right",
    "map_preference": "winner",
    "map_external_id": "id",
    "map_metadata": "<b>topic</b>",
}


def work(made):
    """Do what waits, as a worker does."""
    for job in Job.objects.filter(state="queued").order_by("id"):
        import_pairs(job.pk)
    return Import.objects.get(pk=made.pk)


@pytest.mark.django_db
def test_a_cancelled_import_says_so(as_user, manager, project):
    made = start_import_of_items(project=project, items=[row()], created_by=manager)
    Job.objects.update(state="cancelled")
    Import.objects.update(position=1, counts={"created": 1}, first_made=1, last_made=1)
    html = as_user(manager).get(f"{PATH}{made.pk}/").content.decode()
    assert "This import was cancelled: what came in before that stays until it is undone." in html


@pytest.mark.django_db(transaction=True)
def test_a_file_is_looked_at_mapped_tried_imported_and_undone(as_user, manager, project):
    client = as_user(manager)
    response = client.post(PATH, {"file": SimpleUploadedFile("pairs.csv", CSV)})
    made = Import.objects.get()
    page = f"{PATH}{made.pk}/"
    assert (response.status_code, response.headers["Location"]) == (302, page)
    assert 'hx-trigger="every 1s"' in client.get(page).content.decode()
    made = work(made)
    assert client.get(page, headers=HTMX).status_code == 286
    html = client.get(page).content.decode()
    assert "The columns fit no shape that is known" in html
    assert "&lt;b&gt;topic&lt;/b&gt;" in html
    assert "<script>alert" not in html
    assert not project.comparisons.exists()

    assert client.post(page, {"do": "look", **MAPPING}).status_code == 302
    html = (work(made), client.get(page).content.decode())[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "Read as: mapped." in html
    assert 'value="question"' in html
    assert not project.comparisons.exists()

    assert client.post(page, {"do": "dry", **MAPPING}).status_code == 302
    made = work(made)
    html = client.get(page).content.decode()
    assert "What an import would do" in html
    assert not project.comparisons.exists()

    response = client.post(page, {"do": "go", **MAPPING})
    final = work(Import.objects.latest("id"))
    assert response.headers["Location"] == f"{PATH}{final.pk}/"
    assert project.comparisons.count() == 2
    html = client.get(f"{PATH}{final.pk}/").content.decode()
    assert "<dt>created</dt><dd>2</dd>" in html

    assert "being undone" in client.post(f"{PATH}{final.pk}/undo/", follow=True).content.decode()
    work(final)
    assert not project.comparisons.exists()  # its labels came with it


@pytest.mark.django_db(transaction=True)
def test_an_import_without_labels_is_undone_on_its_page(as_user, manager, researcher, project):
    items = [{**row(), "<colour>": "red"}, {**row(), "external_id": "e", "responses": ["", "b"]}, {"prompt": "x"}]
    made = work(start_import_of_items(project=project, items=items, created_by=manager))
    html = as_user(manager).get(f"{PATH}{made.pk}/").content.decode()
    assert "Nothing is made of these fields: <code>&lt;colour&gt;</code> (1)" in html
    assert "One row has an empty response." in html
    assert "Expected a list of 2 to 8 responses." in html
    assert "Undo" not in as_user(researcher).get(f"{PATH}{made.pk}/").content.decode()
    report = as_user(researcher).get(f"{PATH}{made.pk}/report.csv")
    assert b"".join(report.streaming_content).count(b"\n") == 2
    assert "being undone" in as_user(manager).post(f"{PATH}{made.pk}/undo/", follow=True).content.decode()
    work(made)
    assert "Undone on" in as_user(manager).get(f"{PATH}{made.pk}/").content.decode()
    assert not project.comparisons.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose a file that is not empty"),
        ({"file": io.BytesIO()}, "empty"),
        ({"file": SimpleUploadedFile("a.jsonl", b"PK\x03\x04")}, "ZIP archive"),
        ({"dataset": "json"}, "valid value"),
        ({"upload": "77"}, "no such upload"),
    ],
)
def test_a_source_that_is_none_is_422_and_says_why(as_user, manager, project, fields, words):
    response = as_user(manager).post(PATH, fields)
    assert (response.status_code, words in response.content.decode()) == (422, True)
    assert not Import.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"map_prompt": "q"}, "Map a column to this field."),
        ({"format": "native", "map_prompt": "q", "map_response_1": "a", "map_response_2": "b"}, "not both"),
        ({"exclude_contaminated": "on"}, "Name the benchmark prompts"),
        ({"format": "yaml"}, "valid choice"),
    ],
)
def test_a_plan_that_cannot_be_is_422_and_says_why(as_user, manager, project, fields, words):
    made = Import.objects.create(project=project, file_name="a", preview={"columns": [], "rows": [], "problems": []})
    response = as_user(manager).post(f"{PATH}{made.pk}/", {"do": "go", **fields})
    assert (response.status_code, words in response.content.decode()) == (422, True)
    assert not Job.objects.exists()


@pytest.mark.django_db
def test_the_list_shows_what_became_of_each(as_user, researcher, project, django_assert_max_num_queries):
    for _ in range(3):
        made = start_import_of_items(project=project, items=[row()], created_by=None)
        run_import(made=made, on_batch=lambda rows: None)
    client = as_user(researcher)
    with django_assert_max_num_queries(7):
        html = client.get(PATH).content.decode()
    assert html.count("Imported") == 3
    assert "New import" not in html


@pytest.mark.django_db(transaction=True)
def test_a_large_file_goes_up_in_pieces_and_goes_on_where_it_broke_off(open_page, manager, project, tmp_path):
    path = tmp_path / "large.jsonl"
    path.write_bytes(lines(row(external_id=f"q-{n}", metadata={"pad": "x" * 9000}) for n in range(2100)))
    page = open_page(manager, PATH)
    broken = []

    def break_once(route):
        if route.request.method == "PATCH" and not broken and route.request.headers["upload-offset"] != "0":
            broken.append(True)
            return route.abort()
        return route.continue_()

    page.route("**/uploads/*/", break_once)
    page.get_by_label("File").set_input_files(path)
    page.get_by_role("button", name="Look at it").click()
    page.wait_for_url(f"**{PATH}*/")
    upload = Upload.objects.get()
    assert (upload.is_complete, upload.length, upload.file_name) == (True, path.stat().st_size, "large.jsonl")
    assert len(upload.pieces) == 3
    assert broken
    made = work(Import.objects.get())
    page.get_by_text("The first rows as they would be stored").wait_for()
    assert made.preview["shape"] == "native"
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url(f"**{PATH}{made.pk}/")
    work(made)
    page.get_by_text("What became of the rows").wait_for()
    assert project.comparisons.count() == 2100
    assert axe_violations(page) == []
    page.goto(PATH)
    assert axe_violations(page) == []
    errors = [line for line in page.console if "ERR_FAILED" not in line]
    assert errors == [], json.dumps(errors)


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_columns_fit_nothing_is_planned_again(as_user, manager, project):
    client = as_user(manager)
    client.post(PATH, {"file": SimpleUploadedFile("pairs.csv", CSV)})
    made = work(Import.objects.get())
    client.post(f"{PATH}{made.pk}/", {"do": "go"})
    html = (work(made), client.get(f"{PATH}{made.pk}/").content.decode())[1]
    assert "Seen: &lt;b&gt;topic&lt;/b&gt;, id, left, question, right, winner" in html
    client.post(f"{PATH}{made.pk}/", {"do": "go", **MAPPING})
    assert work(made).counts["created"] == 2
