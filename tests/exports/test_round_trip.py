"""What is exported can be imported again, and exporting that gives the same rows."""

import json
from pathlib import Path

import pytest

from apps.exports.helpsteer import helpsteer2_prompt
from apps.prompts.models import Comparison, Response
from tests.exports.rows import ALL, ONE, labels, rows_of, written
from tests.factories import ProjectFactory
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db
RAW = Path("../shared/data/helpsteer2_raw_sample.jsonl")


def test_annotations_come_back_as_they_were(project):
    load(
        project,
        row(annotations=labels(2, 3, 3), metadata={"domain": "math", "n": 0.1}, reference="2 and 3"),
        row(external_id="q-2", responses=["x", "y"], annotations=labels("neither", 1)),
        row(external_id="q-3", responses=["=x", "y\n"], annotations=labels(-1, -1, 1, -3, 3)),
        row(external_id="q-4", responses=["u", "v"], annotations=[{"annotator": "a9", "preference": 0}]),
    )
    first = rows_of(written(project, ONE), "annotations")
    again = ProjectFactory()
    report = load(again, *first)
    assert (report.created, report.rejected) == (4, 0)
    second = rows_of(written(again, ONE), "annotations")
    assert second == first
    for name in ("helpsteer2-preference", "helpsteer2-ratings", "helpsteer3-preference", "trl-preference", "nemo-rl"):
        body = {**ALL, "formats": [name]}
        assert written(again, body).manifest["files"] == written(project, body).manifest["files"]


def test_the_same_text_may_be_another_models_in_another_pair(project):
    def by(*models):
        return [{"text": text, "model": model} for text, model in zip(("2 and 4", "2 and 3"), models, strict=True)]

    rows = [row(external_id=f"q-{n}", responses=by(*models), annotations=labels(1))
            for n, models in enumerate([("a", "b"), ("b", "c"), (None, "a")])]  # fmt: skip
    load(project, *rows)
    assert Response.objects.count() == 2
    found = rows_of(written(project, ONE), "annotations")
    assert [[side["model"] for side in each["responses"]] for each in found] == [["a", "b"], ["b", "c"], [None, "a"]]
    assert load(project, *rows).unchanged == 3
    load(project, row(external_id="new"))
    assert load(project, row(external_id="new", responses=by("x", "y"))).updated == 1
    assert Comparison.objects.values_list("model_1", "model_2").get(external_id="new") == ("x", "y")


@pytest.mark.skipif(not RAW.exists(), reason="needs ../shared/data/helpsteer2_raw_sample.jsonl")
def test_the_authors_own_rows_have_the_authors_fields(project):
    raw = {each["external_id"]: each for each in map(json.loads, RAW.read_text().splitlines())}
    load(project, *raw.values())
    snapshot = written(project, {**ALL, "splits": {"validation": 1.0}})
    exported = rows_of(snapshot, "helpsteer2-preference", "validation")
    frozen = rows_of(snapshot, "annotations", "validation")
    assert len(exported) == len(raw) == 7
    # All seven are of the authors' second split, which their file calls "val". Means of three, by hand.
    strengths = {8679: -3, 8683: -1, 8699: 1, 8713: 0, 8727: 0, 8744: 2, 8745: -1}
    for each, source in zip(exported, frozen, strict=True):
        given = raw[source["external_id"]]
        assert f"({each['split']})" in given["source"]
        assert each["prompt"] == helpsteer2_prompt(given["messages"])
        assert [each["response_1"], each["response_2"]] == [response["text"] for response in given["responses"]]
        assert each["preference_strength"] == strengths[int(source["external_id"].rsplit("-", 1)[1])]
        assert each["all_preferences_unprocessed"] == [
            {"strength": label["preference"], "justification": label["justification"]} for label in given["annotations"]
        ]
        assert len(each["three_most_similar_preferences"]) == 3
        for similar, label in zip(each["three_most_similar_preferences"], given["annotations"], strict=True):
            assert similar["statement"] in label["justification"]
            assert "@Response" in similar["statement"]
            assert ("better" in similar["statement"]) == ("better" in label["justification"])
        assert each["preference_statement"] == each["three_most_similar_preferences"][0]["statement"]
