"""Columns that no shape knows come in by a mapping: what is said in many ways means one thing."""

import pytest

from apps.core.errors import InvalidInput
from apps.imports.options import Options
from apps.prompts.models import Comparison
from tests.imports.rows import labels, load, sides

pytestmark = pytest.mark.django_db


def test_a_mapping_names_columns_and_pointers(project):
    source = {"id": 5, "q": "Sky?", "answers": [{"t": "Blue."}, {"t": "Green."}], "winner": "B", "topic": "sea"}
    mapping = {
        "external_id": "id",
        "prompt": "q",
        "response_1": "/answers/0/t",
        "response_2": "/answers/1/t",
        "preference": "winner",
        "metadata": ["topic"],
    }
    report = load(project, source, {**source, "id": 6, "answers": []}, options=Options(mapping=mapping))
    assert (report.created, report.rejected) == (1, 1)
    assert report.errors[0]["field"] == "/answers/0/t"
    made = Comparison.objects.get()
    assert (made.external_id, made.metadata, sides(), labels()) == (
        "5",
        {"topic": "sea"},
        ("Blue.", "Green."),
        [("dataset", 1)],
    )


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("tie (bothbad)", "neither"),
        ("Tie (both bad)", "neither"),
        ("both_bad", "neither"),
        ("tie", 0),
        ("model_a", -1),
        ("+2.0", 2),
        (2.0, 2),
    ],
)
def test_a_mapped_preference_may_be_said_in_many_ways(project, word, meant):
    source = {"p": "Sky?", "a": "Blue.", "b": "Green.", "winner": word, "judge": 0}
    mapping = {"prompt": "p", "response_1": "a", "response_2": "b", "preference": "winner", "annotator": "judge"}
    assert load(project, source, options=Options(mapping=mapping)).errors == []
    assert labels() == [("0", meant)]


def test_numbers_of_people_and_rows_are_the_same_name_with_and_without_a_point(project):
    source = {"id": 7.0, "p": "Sky?", "a": "Blue.", "b": "Green.", "winner": "A", "judge": 3.0}
    mapping = {"prompt": "p", "response_1": "a", "response_2": "b", "preference": "winner", "annotator": "judge"}
    options = Options(mapping={**mapping, "external_id": "id"})
    assert load(project, source, {**source, "id": 7, "judge": 3}, options=options).unchanged == 1
    assert (Comparison.objects.get().external_id, labels()) == ("7", [("3", -1)])


@pytest.mark.parametrize(
    ("mapping", "pointer"),
    [
        ({"prompt": "q", "response_1": "a"}, "/mapping/response_2"),
        ({"response_1": "a", "response_2": "b"}, "/mapping/prompt"),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "colour": "c"}, "/mapping/colour"),
        ({"prompt": 3, "response_1": "a", "response_2": "b"}, "/mapping/prompt"),
    ],
)
def test_a_mapping_that_says_too_little_is_refused(mapping, pointer):
    with pytest.raises(InvalidInput) as refused:
        Options(mapping=mapping)
    assert pointer in [error.pointer for error in refused.value.errors]
