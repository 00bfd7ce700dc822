"""Snapshots freeze what was typed: same selection, same bytes, every exclusion counted."""

import pytest

from apps.core.errors import InvalidInput, NotFound
from apps.exports.helpsteer import helpsteer2_prompt, split_justification
from apps.exports.models import Snapshot
from apps.exports.services import create_snapshot, find_file, write_snapshot
from tests.exports.rows import ALL, WHY, labels, rows_of, written
from tests.factories import ratings
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db


def test_a_helpsteer2_preference_row_has_the_authors_fields(project):
    load(project, row(annotations=labels(2, 3, 3)))
    (exported,) = rows_of(written(project), "helpsteer2-preference")
    statement, elaboration = WHY.split(". ", 1)
    kept = {"statement": statement + ".", "elaboration": elaboration}
    assert exported == {
        "split": "train",
        "prompt": "Name two primes.",
        "response_1": "2 and 4",
        "response_2": "2 and 3",
        "preference_strength": 3,
        "preference_statement": kept["statement"],
        "preference_elaboration": kept["elaboration"],
        "three_most_similar_preferences": [{**kept, "strength": strength} for strength in (2, 3, 3)],
        "all_preferences_unprocessed": [{"strength": s, "justification": WHY} for s in (2, 3, 3)],
    }


def test_helpsteer2_ratings_are_two_rows_with_the_kept_annotators_rounded_mean(project):
    load(project, row(annotations=labels(2, 3, 3)))
    first, second = rows_of(written(project), "helpsteer2-ratings")
    assert first == {"prompt": "Name two primes.", "response": "2 and 4", **ratings(2), "helpfulness": 1}
    assert second["helpfulness"] == 4


def test_ratings_that_spread_too_far_in_helpfulness_are_left_out_and_counted(project):
    annotations = labels(2, 3, 3)
    annotations[0]["ratings"][0]["helpfulness"] = 4  # the others say 1
    load(project, row(annotations=annotations))
    snapshot = written(project)
    assert rows_of(snapshot, "helpsteer2-ratings") == []
    assert snapshot.manifest["left_out"]["helpsteer2-ratings"] == {"helpfulness spreads by more than 2": 1}


def test_trl_rows_name_chosen_and_rejected_and_leave_ties_out(project):
    load(
        project,
        row(annotations=labels(-2, -3, -3)),
        row(external_id="tie", responses=[{"text": "x"}, {"text": "y"}], annotations=labels(-1, -1, 1)),
        row(external_id="none", responses=[{"text": "u"}, {"text": "v"}], annotations=labels(*["neither"] * 3)),
        row(external_id="open", responses=[{"text": "o"}, {"text": "p"}], annotations=labels(1)),
    )
    snapshot = written(project)
    assert rows_of(snapshot, "trl-preference") == [
        {"prompt": "Name two primes.", "chosen": "2 and 4", "rejected": "2 and 3", "margin": 3.0}
    ]
    assert snapshot.manifest["left_out"]["trl-preference"] == {
        "consensus is 0": 1,
        "neither valid": 1,
        "not settled yet": 1,
    }
    (conversation,) = rows_of(snapshot, "trl-preference-conversational")
    assert conversation["chosen"] == [{"role": "assistant", "content": "2 and 4"}]
    assert len(rows_of(snapshot, "annotations")) == 4


def test_everything_is_in_the_annotations_format(project):
    load(project, row(annotations=labels(-2, 1, 2, 2, -3)))
    (exported,) = rows_of(written(project), "annotations")
    assert exported["consensus"]["preference"] == 2
    assert [a["preference"] for a in exported["annotations"]] == [-2, 1, 2, 2, -3]
    assert [a["kept"] for a in exported["annotations"]] == [False, True, True, True, False]
    assert exported["annotations"][0]["shown_order"] == [1, 2]
    assert exported["annotations"][0]["guideline_version"] == 1


def test_the_same_selection_gives_the_same_bytes_and_a_new_label_another_hash(project):
    load(project, row(annotations=labels(2, 3, 3)))
    first, second = written(project), written(project)
    assert first.content_hash == second.content_hash
    load(project, row(external_id="q-2", responses=[{"text": "x"}, {"text": "y"}], annotations=labels(1, 1, 1)))
    assert written(project).content_hash != first.content_hash
    write_snapshot(snapshot=first)
    assert len(rows_of(first, "annotations")) == 1


def test_no_prompt_is_in_two_splits(project):
    for number in range(40):
        prompt = [{"role": "user", "content": f"Prompt {number // 2}"}]
        texts = [{"text": f"a{number}"}, {"text": f"b{number}"}]
        load(project, row(external_id=f"q-{number}", messages=prompt, responses=texts, annotations=labels(1, 1, 1)))
    snapshot = written(project, {"name": "half", "splits": {"train": 0.5, "validation": 0.5}, "seed": 3})
    prompts = [{r["prompt_hash"] for r in rows_of(snapshot, "annotations", split)} for split in ("train", "validation")]
    assert all(prompts)
    assert not prompts[0] & prompts[1]
    assert sum(snapshot.manifest["comparisons"].values()) == 40


def test_a_filter_keeps_its_domains(project):
    load(project, row(annotations=labels(1), metadata={"domain": "math"}))
    load(project, row(external_id="q-2", responses=["x", "y"], annotations=labels(1), metadata={"domain": "chat"}))
    snapshot = written(project, {**ALL, "filters": {"domain": ["chat"]}})
    assert [r["external_id"] for r in rows_of(snapshot, "annotations")] == ["q-2"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": "x", "splits": {"train": 0.5}}, "/splits"),
        ({"name": "x", "splits": {"../up": 1.0}}, "/splits"),
        ({"name": "x", "splits": [1]}, "/splits"),
        ({"name": "x", "seed": -1}, "/seed"),
        ({"name": "x", "filters": {"password": "x"}}, "/filters"),
        ({"name": "x", "colour": "red"}, "/colour"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(project, body, pointer):
    with pytest.raises(InvalidInput) as refused:
        create_snapshot(project=project, body=body, created_by=None)
    assert pointer in [error.pointer for error in refused.value.errors]
    assert not Snapshot.objects.exists()


def test_a_file_that_the_manifest_does_not_name_cannot_be_opened(project):
    snapshot = written(project)
    with pytest.raises(NotFound):
        find_file(snapshot=snapshot, export_format="../../secret_key", file="train.jsonl")


def test_several_turns_use_helpsteer2s_own_markers():
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    messages = [{"role": role, "content": content} for role, content in turns]
    assert helpsteer2_prompt(messages) == "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nBye"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", "")),
        ("No verdict here.", ("No verdict here.", "")),
        (
            "Both are fine. @Response 2 is more helpful. It is short.",
            ("@Response 2 is more helpful.", "Both are fine. It is short."),
        ),
        (
            "It is late. @Response 1 is better. It is short. So @Response 1 is slightly better.",
            ("@Response 1 is better.", "It is late. It is short."),
        ),
    ],
)
def test_a_justification_splits_into_its_verdict_and_the_rest(text, parts):
    assert split_justification(text) == parts
