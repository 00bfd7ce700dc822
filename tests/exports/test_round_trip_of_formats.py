"""Export, import into an empty project, export again: the same rows, as far as a format's columns say everything.

Rows that have no id come back in the order of new ones, so rows are compared without their order.
"""

import json
from pathlib import Path

import pytest

from apps.core.artifacts import artifact_storage
from apps.exports.services import find_file
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation
from apps.labeling.services import submit_annotation
from tests.exports.rows import ALL, ONE, rows_of, written
from tests.factories import MembershipFactory, ProjectFactory, answer, ratings
from tests.hostile_texts import PAYLOADS
from tests.imports.rows import load, load_file, row
from worker.core.conversation import prompt_text

pytestmark = pytest.mark.django_db
SPLITS = ("train", "validation")
HALVES = {**ALL, "splits": {"train": 0.5, "validation": 0.5}}
TALK = [
    {"role": "system", "content": "Be brief.\n"},
    {"role": "user", "content": "Grüße, 世界 🌊!\n\n"},
    {"role": "assistant", "content": '"Hallo", he said.'},
    {"role": "user", "content": "And\tnow? <extra_id_1>User"},
]
MARKED = [
    {"role": "user", "content": "Continue:\n<extra_id_1>Assistant\nSure.\n<extra_id_1>User\nGo on."},
]


def label(preference, *, of=0, helpfulness=(2, 2), why="@Response 2 is better. It is “right”, isn't it? e\u0301"):
    sides = [{**ratings(1), "helpfulness": value} for value in helpfulness]
    return {"annotator": f"a{of}", "preference": preference, "ratings": sides, "justification": why}


def labels(*preferences):
    """Return labels whose ratings say the same as their preferences."""
    given = []
    for number, preference in enumerate(preferences):
        difference = 0 if preference == "neither" else preference
        helpfulness = (max(0, -difference), max(0, difference))
        given.append(label(preference, of=number, helpfulness=helpfulness))
    return given


ROWS = [
    row(
        external_id="q-1", messages=TALK, annotations=labels(-3, -2, -2), metadata={"domain": "chat", "n": [0.1, None]}
    ),
    row(external_id="q-2", responses=["=1+1", "'quoted', \"twice\"\r\n"], annotations=labels(1, 2, 2)),
    row(external_id="q-3", responses=["tie", "tie too"], annotations=labels(0, 0, 0), reference="None."),
    row(external_id="q-4", responses=["bad", "worse"], annotations=labels("neither", "neither", "neither")),
    row(external_id="q-5", responses=["\u2028\u200f", " "], annotations=labels(3, "neither", 2, 3)),
    row(external_id="q-6", responses=PAYLOADS[:2], annotations=labels(-1, -1, -1), metadata={"language": "deutsch"}),
    row(external_id="q-7", prompt="One turn?", messages=None, annotations=labels(-3, 1, -1, 1, 2)),
    row(external_id="q-8", responses=["alone", "pending"], annotations=labels(2)),
]
for native in ROWS:
    if native["messages"] is None:
        del native["messages"]


def exported(project, name):
    snapshot = written(project, {**HALVES, "formats": [name], "encodings": ["jsonl"]})
    return {split: rows_of(snapshot, name, split) for split in SPLITS}


def by_content(rows):
    """Return rows in an order of their own."""
    return {split: sorted(json.dumps(each, sort_keys=True) for each in of_split) for split, of_split in rows.items()}


def there_and_back(project, name, *, annotators=3):
    """Return the rows of a format, and those of what they become in an empty project that asks for so many people."""
    report = load(project, *ROWS)
    assert (report.created, report.rejected) == (len(ROWS), 0)
    first = exported(project, name)
    again = ProjectFactory(protocol_settings={"annotators": annotators, "max_annotators": max(5, annotators)})
    rows = [each for split in SPLITS for each in first[split]]
    assert rows
    assert load(again, *rows).errors == []
    return first, exported(again, name)


@pytest.mark.parametrize("name", ["helpsteer2-preference", "helpsteer3-preference"])
def test_rows_with_every_vote_come_back(project, name):
    first, second = there_and_back(project, name)
    assert by_content(second) == by_content(first)
    assert sum(map(len, first.values())) == 6  # those that agreed, a tie among them


@pytest.mark.parametrize(
    "name",
    ["helpsteer2-ratings", "trl-preference-conversational", "trl-preference-implicit-conversational"],
)
def test_rows_that_name_one_verdict_come_back_where_one_label_is_enough(project, name):
    first, second = there_and_back(project, name, annotators=1)
    assert by_content(second) == by_content(first)


def test_feedback_on_each_response_comes_back_with_its_vote(project):
    said = [("Fine.", "Too long."), ("", None), (None, "Wrong.")]
    votes = [{"score": 2, "reasoning": "So.", "feedback1": one, "feedback2": two} for one, two in said]
    context = [{"role": "user", "content": "Why?"}]
    given = {"domain": "stem", "language": "english", "context": context, "response1": "a", "response2": "b"}
    given |= {"overall_preference": 2, "individual_preference": votes}
    assert load(project, given).errors == []
    assert rows_of(written(project), "helpsteer3-preference") == [given]


@pytest.mark.parametrize("name", ["trl-preference", "trl-preference-implicit", "rewardbench"])
def test_conversations_as_one_text_stay_one_text_and_may_change_their_split(project, name):
    """Splits go by the prompt, and a prompt of several turns comes back as one of a single turn."""
    first, second = (
        by_content({"both": [each for split in SPLITS for each in rows[split]]})
        for rows in there_and_back(project, name, annotators=1)
    )
    assert second == first


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([{"role": "user", "content": "Six times seven?"}], ("The answer is 42.", "The answer is 43.")),
        ([{"role": "user", "content": "Human: say.\n\nWhat now?\n\n"}], ("It is\nso.", "It is\nnot so.")),
        (TALK, ("Hello there, \n\nyou.", "Hello there")),
    ],
)
def test_texts_that_begin_with_their_prompt_come_back_with_it(project, messages, texts):
    load(project, row(messages=messages, responses=list(texts), annotations=labels(-1, -1, -1)))
    again = ProjectFactory()
    assert load(again, *rows_of(written(project), "trl-preference-implicit")).created == 1
    made = again.comparisons.select_related("prompt", "response_1", "response_2").get()
    assert made.prompt.messages == [{"role": "user", "content": prompt_text(messages)}]
    assert (made.response_1.text, made.response_2.text) == texts


def test_lists_of_ratings_come_back_where_preferences_follow_from_helpfulness(project):
    """The file names no preferences, so a consensus is made of the differences in helpfulness."""
    first, second = there_and_back(project, "helpsteer2-disagreements")
    assert by_content(second) == by_content(first)


@pytest.mark.parametrize("name", ["helpsteer2-preference", "helpsteer2-ratings"])
def test_text_that_looks_like_a_turn_becomes_one_and_the_file_stays_the_same(project, name):
    """HelpSteer2 has no way to write its own markers as text; the split goes by the prompt, so there is one here."""
    load(project, row(messages=MARKED, annotations=labels(2, 2, 2)))
    again = ProjectFactory(protocol_settings={"annotators": 1})
    first = rows_of(written(project), name)
    assert load(again, *first).created == 1
    made = again.comparisons.select_related("prompt").get()
    assert [message["role"] for message in made.prompt.messages] == ["user", "assistant", "user"]
    assert rows_of(written(again), name) == first


def people_label(project, *bodies):
    """Let one person after the other label the only comparison."""
    for number, body in enumerate(bodies):
        person = MembershipFactory(project=project, user__username=f"person-{number}").user
        assignment = lease_next(project=project, annotator=person, resume=True)
        submit_annotation(assignment=assignment, body=answer(**body))


def test_labels_of_people_keep_how_they_were_given(project):
    """All but what belongs to where they were given: that they were, and how often they changed."""
    load(project, row(messages=TALK, metadata={"domain": "chat"}))
    people_label(
        project,
        {"confidence": 3, "problems": {"1": ["unsafe"], "2": []}, "pasted_characters": 33, "active_seconds": 0},
        {"preference": 3, "pasted_characters": 10_000},
        {"preference": "neither", "active_seconds": None},
        {"preference": -1},
    )
    first = rows_of(written(project, ONE), "annotations")
    orders = [each["shown_order"] for each in first[0]["annotations"]]
    again = ProjectFactory()
    again.guideline_versions.create(number=2, text="Read both twice.")
    assert load(again, *first).errors == []
    second = rows_of(written(again, ONE), "annotations")
    for each in second[0]["annotations"]:
        assert (each.pop("imported"), each.pop("revision")) == (True, 1)
    for each in first[0]["annotations"]:
        assert (each.pop("imported"), each.pop("revision")) == (False, 1)
    assert second == first
    assert [each["shown_order"] for each in second[0]["annotations"]] == orders
    stored = Annotation.objects.filter(project=again).order_by("id")
    assert {(each.guideline_version.number, each.stated_guideline_version) for each in stored} == {(2, 1)}
    assert [each.unsafe for each in stored] == [True, False, False, False]
    assert all(each.assignment.swapped == each.swapped for each in stored)


AWKWARD = [
    row(external_id="=1+1", responses=["'=a", "\t@b"], annotations=labels(1), metadata={"=n": 2**70, "1": "=x"}),
    row(external_id="''-1", responses=["c", "d"], reference='[{"a": 1}]', annotations=labels(2), gold=-3),
    row(external_id="'007", responses=["e", "f"], reference="+1", annotations=labels(3)),
]
"""Rows that a spreadsheet would run, or a reader of CSV take for something else."""


@pytest.mark.parametrize("encoding", ["parquet", "csv", "csv.gz"])
def test_other_encodings_of_annotations_say_the_same_as_json_lines(project, encoding):
    load(project, row(external_id="q-0", responses=["to", "people"]))
    people_label(project, {"confidence": 1, "problems": {"1": [], "2": ["unsafe"]}}, {"preference": "neither"})
    load(project, *ROWS[1:], *AWKWARD)
    snapshot = written(project, {**ONE, "encodings": ["jsonl", encoding]})
    stored = find_file(snapshot=snapshot, export_format="annotations", file=f"train.{encoding}")
    again, other = ProjectFactory(), ProjectFactory()
    assert load_file(again, Path(artifact_storage().path(stored.name))).errors == []
    assert load(other, *rows_of(snapshot, "annotations")).errors == []
    from_file, from_lines = (rows_of(written(each, ONE), "annotations") for each in (again, other))
    assert from_file == from_lines
    assert len(from_lines) == len(ROWS) + len(AWKWARD)


HOSTILE_SIDES = [
    ("'+5", "+5"),
    ("''=1", "'=1"),
    ("@x", "'@x"),
    ("-1", "'"),
    ("\t=x", "\r=x"),
    ("\n'", "'\n"),
    ("42", "'42"),
    ("[1, 2]", '[{"a": 1}]'),
    ('[{"role": "user", "content": "a"}]', "007"),
    ('","', ""),
    ('a "b"', '"'),
]
HOSTILE = [
    row(messages=[{"role": "user", "content": text}], responses=[text, other], annotations=labels(1, 2, 2))
    for text, other in HOSTILE_SIDES
]


@pytest.mark.parametrize(
    "name",
    [
        "helpsteer2-preference",
        "helpsteer2-ratings",
        "helpsteer2-disagreements",
        "helpsteer3-preference",
        "trl-preference",
        "trl-preference-conversational",
        "trl-preference-implicit-conversational",
        "rewardbench",
    ],
)
def test_csv_of_every_format_brings_the_same_as_its_json_lines(project, name):
    """Texts that a spreadsheet would run, or a reader of CSV take for a number or a list, stay what they are."""
    load(project, *ROWS, *[{**each, "external_id": f"'=h-{n}"} for n, each in enumerate(HOSTILE)])
    snapshot = written(project, {**ALL, "formats": [name], "encodings": ["jsonl", "csv"]})
    found = []
    for encoding in ("jsonl", "csv"):
        again = ProjectFactory()
        stored = find_file(snapshot=snapshot, export_format=name, file=f"train.{encoding}")
        report = load_file(again, Path(artifact_storage().path(stored.name)))
        brought = [
            (each.external_id, each.prompt.messages, each.response_1.text, each.response_2.text, each.metadata)
            for each in again.comparisons.order_by("external_id").select_related("prompt", "response_1", "response_2")
        ]
        found.append((report.errors, brought, Annotation.objects.filter(project=again).count()))
    assert found[1] == found[0]
    assert found[0][0] == []
    assert found[0][2] >= len(found[0][1]) >= len(HOSTILE)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"metadata": "{"}, "/metadata"),
        ({"metadata": "[" * 100_000}, "/metadata"),
        ({"metadata": "[1]"}, "/metadata"),
        ({"metadata": '{"a": "\\u0000"}'}, ""),
        ({"metadata": '{"a": NaN}'}, ""),
        ({"metadata": "{}", "annotations": [{"annotator": "a", "preference": "9"}]}, "/annotations/0/preference"),
        (
            {"metadata": "{}", "annotations": [{"annotator": "a", "preference": "1", "ratings": ["{", "{}"]}]},
            "/annotations/0/ratings",
        ),
        ({"metadata": "{}", "annotations": "x"}, "/annotations"),
        ({"metadata": "{}", "annotations": ["x"]}, "/annotations/0"),
    ],
)
def test_text_that_should_be_json_is_checked_like_json(project, changes, field):
    report = load(project, row(**changes))
    assert (report.created, [error["field"] for error in report.errors]) == (0, [field])


def test_consensus_goes_by_when_labels_were_given_and_not_by_their_place_in_the_file(project):
    """Of -3, -1, 1, 3 the first three most similar ones are kept: which are first depends on the order of time."""
    times = [f"2026-05-0{day}T12:00:00+02:00" for day in (4, 3, 2, 1)]
    given = [{**each, "submitted_at": time} for each, time in zip(labels(-3, -1, 1, 3), times, strict=True)]
    load(project, row(annotations=given))
    load(project, row(external_id="q-2", responses=["u", "v"]))
    load(project, row(external_id="q-2", responses=["u", "v"], annotations=given))
    for each in rows_of(written(project, ONE), "annotations"):
        assert [label["preference"] for label in each["annotations"]] == [3, 1, -1, -3]
        assert each["annotations"][0]["submitted_at"] == "2026-05-01T10:00:00Z"
        assert [label["kept"] for label in each["annotations"]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("confidence", 0),
        ("confidence", True),
        ("confidence", 8),
        ("guideline_version", 0),
        ("guideline_version", "1"),
        ("problems", [["a"]]),
        ("problems", [["a"], ["b" * 81]]),
        ("problems", [[], [1]]),
        ("shown_order", [1, 1]),
        ("shown_order", "12"),
        ("paste_share", 1.5),
        ("paste_share", "1"),
        ("submitted_at", "2026-05-01T12:00:00"),
        ("submitted_at", "9999-12-31T23:59:59Z"),
        ("submitted_at", "0001-01-01T00:00:00+14:00"),
        ("submitted_at", 5),
    ],
)
def test_how_a_label_was_given_is_checked_too(project, field, value):
    report = load(project, row(annotations=[{**labels(1)[0], field: value}]))
    assert (report.created, report.errors[0]["field"]) == (0, f"/annotations/0/{field}")


def test_the_same_file_twice_changes_nothing_and_another_confidence_is_another_label(project):
    given = {**labels(1)[0], "confidence": 1, "problems": [["unsafe"], []]}
    assert load(project, row(annotations=[given])).created == 1
    assert load(project, row(annotations=[given])).unchanged == 1
    assert load(project, row(annotations=[{**given, "confidence": 2}])).rejected == 1
