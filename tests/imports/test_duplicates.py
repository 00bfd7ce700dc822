"""The same pair under another id, nearly the same one, and one that a benchmark has too are told; left out if asked."""

import io
import json

import pytest

from apps.core.errors import InvalidInput
from apps.imports.models import Finding, Import
from apps.imports.options import Options
from apps.imports.services import run_import, start_import_of_items
from apps.prompts.models import Comparison
from tests.imports.rows import load, row

pytestmark = pytest.mark.django_db
TURNED = [{"text": "2 and 3"}, {"text": "2 and 4"}]
LONG = (
    "The tide follows the moon because its pull is stronger on the side of the earth that faces it than on the other, "
    "and the water moves more easily than the rock below it, so that it rises twice a day along most coasts, higher "
    "when the sun stands in line with both and lower when it stands across from them in the sky above the harbour."
)
QUESTION = "Which of these statements about the tides of the north sea in winter is true and why"


def run(project, *rows, benchmarks=None, **options):
    made = start_import_of_items(
        project=project, items=list(rows), created_by=None, options=Options(**options), benchmarks=benchmarks
    )
    return run_import(made=made, on_batch=lambda rows: None), made


def findings(made):
    return list(made.findings.order_by("line", "id").values_list("line", "kind"))


def test_a_pair_under_another_id_is_told_and_stays(project):
    report, made = run(project, row(), row(external_id="q-2"), row(external_id="q-3", responses=TURNED))
    assert (report.created, report.duplicates, report.reversed, report.contradictions) == (3, 1, 1, 0)
    assert findings(made) == [(2, "duplicate"), (3, "reversed")]
    assert "line 1, in the other order" in made.findings.get(kind="reversed").reason


def test_a_pair_that_the_project_has_is_told_by_its_id(project):
    load(project, row())
    report, made = run(project, row(external_id="q-2", responses=TURNED))
    assert (report.created, report.reversed) == (1, 1)
    assert "'q-1', in the other order" in made.findings.get().reason
    assert run(project, row(), row(external_id="q-2", responses=TURNED))[0].duplicates == 0  # they are themselves


@pytest.mark.parametrize("in_one_file", [True, False])
@pytest.mark.parametrize(
    ("first", "second", "responses", "contradict"),
    [
        ({"gold": -2}, {"gold": 1}, None, True),
        ({"gold": -2}, {"gold": -1}, None, False),
        ({"gold": -2}, {"gold": -2}, TURNED, True),
        ({"gold": -2}, {"gold": 3}, TURNED, False),
        ({"annotations": [{"annotator": "a", "preference": 2}]}, {"gold": -1}, None, True),
        ({"annotations": [{"annotator": "a", "preference": 2}]}, {}, None, False),
    ],
)
def test_labels_that_contradict_each_other_are_listed(project, in_one_file, first, second, responses, contradict):
    other = row(external_id="q-2", **second) | ({"responses": responses} if responses else {})
    if in_one_file:
        report, made = run(project, row(**first), other)
    else:
        load(project, row(**first))
        report, made = run(project, other)
    assert report.contradictions == contradict
    assert made.findings.filter(kind=Finding.Kind.CONTRADICTION).exists() == contradict


def test_duplicates_stay_out_if_asked(project):
    report, _ = run(project, row(), row(external_id="q-2", responses=TURNED), exclude_duplicates=True)
    assert (report.created, report.excluded) == (1, 1)
    assert Comparison.objects.count() == 1


def texts(second):
    return [{"text": LONG}, {"text": second}]


def test_nearly_the_same_pairs_are_told_only_when_asked(project):
    near = LONG.replace("twice a day", "two times a day")
    rows = [
        row(responses=texts("It is the wind that does it, as every sailor knows.")),
        row(
            external_id="q-2",
            responses=[{"text": near}, {"text": "It is the wind that does it, as every sailor knows."}],
        ),
        row(external_id="q-3", responses=texts("Something else entirely, about mountains " * 20)),
    ]
    assert run(project, *rows)[0].near_duplicates == 0
    Comparison.objects.all().delete()
    report, made = run(project, *rows, near_duplicates=True)
    assert (report.created, report.near_duplicates) == (3, 1)
    assert made.findings.get().line == 2
    Comparison.objects.all().delete()
    load(project, rows[0])
    report, made = run(project, *rows[1:], exclude_near_duplicates=True)
    assert (report.created, report.near_duplicates, report.excluded) == (1, 1, 1)
    assert "'q-1'" in made.findings.get().reason


def test_shared_text_with_a_benchmark_is_told_and_left_out_if_asked(project):
    benchmark = (
        json.dumps({"prompt": f"{QUESTION}?"}).encode() + b"\n" + json.dumps({"prompt": "Name two primes"}).encode()
    )
    dirty = row(messages=[{"role": "user", "content": f"Tell me: {QUESTION.upper()}, please!"}])
    short = row(external_id="q-2")
    clean = row(external_id="q-3", messages=[{"role": "user", "content": "Name two primes, and a third one."}])
    report, made = run(project, dirty, short, clean, benchmarks=io.BytesIO(benchmark))
    assert (report.created, report.contaminated) == (3, 2)
    assert findings(made) == [(1, "contaminated"), (2, "contaminated")]
    assert "benchmark prompt 1." in made.findings.first().reason
    Comparison.objects.all().delete()
    report, _ = run(project, dirty, short, clean, benchmarks=io.BytesIO(benchmark), exclude_contaminated=True)
    assert (report.created, report.excluded) == (1, 2)


def test_a_row_whose_text_changes_is_looked_at_like_a_new_one(project):
    other = row(external_id="q-2", responses=texts("It is the wind that does it, as every sailor knows."))
    load(project, row(), other)
    before = list(Comparison.objects.order_by("id").values_list("prompt_id", "response_1_id", "response_2_id"))
    dirty = row(messages=[{"role": "user", "content": QUESTION}])
    asked = {"benchmarks": io.BytesIO(QUESTION.encode()), "exclude_contaminated": True}
    report, made = run(project, dirty, **asked)
    assert (report.updated, report.excluded, report.contaminated) == (0, 1, 1)
    assert findings(made) == [(1, "contaminated")]
    copied = row(responses=other["responses"][::-1])
    report, made = run(project, copied, exclude_duplicates=True)
    assert (report.updated, report.excluded, findings(made)) == (0, 1, [(1, "reversed")])
    close = row(responses=texts("It is the wind that does it, as every good sailor knows."))
    report, made = run(project, close, exclude_near_duplicates=True)
    assert (report.updated, report.excluded, findings(made)) == (0, 1, [(1, "near_duplicate")])
    assert list(Comparison.objects.order_by("id").values_list("prompt_id", "response_1_id", "response_2_id")) == before
    edited = {**other, "responses": texts("It is the wind that does it, as every old sailor knows.")}
    report, made = run(project, edited, exclude_near_duplicates=True)  # like itself only
    assert (report.updated, report.excluded, findings(made)) == (1, 0, [])


@pytest.mark.parametrize("content", [f"{QUESTION}\nanother line\n".encode(), f'["{QUESTION}"]'.encode()])
def test_a_benchmark_may_be_plain_text_or_a_list(project, content):
    dirty = row(messages=[{"role": "user", "content": QUESTION}])
    assert run(project, dirty, benchmarks=io.BytesIO(content))[0].contaminated == 1


def test_leaving_out_what_a_benchmark_has_needs_a_benchmark(project):
    with pytest.raises(InvalidInput, match="Name the benchmark prompts"):
        run(project, row(), exclude_contaminated=True)
    assert not Import.objects.exists()
