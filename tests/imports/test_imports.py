"""Rows come in once, whole, and with a message each when they are bad."""

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from apps.imports.models import Import
from apps.imports.previews import preview_of
from apps.imports.services import BATCH, import_stream, run_import, start_import_of_items
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.prompts.models import Comparison, Prompt, Response
from tests.factories import UserFactory, ratings

pytestmark = pytest.mark.django_db


def row(**changes):
    body = {
        "external_id": "q-1",
        "messages": [{"role": "user", "content": "Name two primes."}],
        "responses": [{"text": "2 and 4", "model": "a"}, {"text": "2 and 3", "model": "b"}],
    }
    return {**body, **changes}


def load(project, *rows, **options):
    content = b"\n".join(r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows)
    return import_stream(project=project, stream=io.BytesIO(content), **options)


def test_the_same_file_twice_changes_nothing(project):
    assert load(project, row()).created == 1
    report = load(project, row())
    assert (report.created, report.unchanged) == (0, 1)
    assert (Comparison.objects.count(), Prompt.objects.count(), Response.objects.count()) == (1, 1, 2)


NUMBERS = [1e23, 1.5e300, 5e-324, -1e22, 0.1, -0.0, 123456789012345678901234567890, -(2**63) - 1, 2**64, 10**300]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_labeled_row_with_any_number_is_stored_as_it_came_and_is_the_same_again(project, number):
    labeled = row(metadata={"n": number, "deep": [{"n": number}]}, annotations=[{"annotator": "a", "preference": 1}])
    assert load(project, labeled).created == 1
    stored = Comparison.objects.get().metadata
    assert stored == {"n": stored["n"], "deep": [{"n": stored["n"]}]}
    assert Decimal(repr(stored["n"])) == Decimal(repr(number))
    report = load(project, labeled)
    assert (report.unchanged, report.errors) == (1, [])
    array = io.BytesIO(json.dumps([labeled]).encode())
    assert import_stream(project=project, stream=array).unchanged == 1


@pytest.mark.parametrize(("number", "other"), [(10**23, 10**23 + 1), (1e23, 1.0000000000000001e23), (2**64, 2**64 + 1)])
def test_another_large_number_is_another_row(project, number, other):
    load(project, row(metadata={"n": number}))
    assert load(project, row(metadata={"n": other})).updated == 1
    assert load(project, row(metadata={"n": other})).unchanged == 1


def test_a_preview_shows_long_numbers_whole(project):
    made = Import(project=project, file_name="a.jsonl")
    shown = preview_of([(1, row(metadata={"n": 10**30}))], made)
    assert shown["rows"][0]["metadata"] == '{"n":1000000000000000000000000000000}'


def test_a_row_without_an_id_goes_by_its_content(project):
    anonymous = row()
    del anonymous["external_id"]
    load(project, anonymous)
    assert load(project, anonymous).unchanged == 1


def test_a_changed_row_updates_what_has_no_annotations_and_is_refused_where_it_has(project):
    load(project, row())
    changed = row(metadata={"domain": "math"})
    assert load(project, changed).updated == 1
    assert Comparison.objects.get().metadata == {"domain": "math"}
    labeled = row(external_id="q-2", annotations=[{"annotator": "a1", "preference": 1}])
    load(project, labeled)
    report = load(project, {**labeled, "metadata": {"domain": "chat"}})
    assert (report.updated, report.rejected) == (0, 1)
    assert report.errors[0]["field"] == "/external_id"
    assert "Somebody has seen" in report.errors[0]["reason"]


def test_more_than_two_responses_give_every_pair_or_the_named_ones(project):
    three = [{"text": text} for text in ("one", "two", "three")]
    assert load(project, row(responses=three)).created == 3
    assert load(project, row(external_id="q-2", responses=three, pairs=[[2, 0]])).created == 1
    named = Comparison.objects.get(external_id="q-2")
    assert (named.response_1.text, named.response_2.text) == ("three", "one")


def test_labels_come_along_with_inactive_accounts_and_consensus(project):
    labels = [
        {
            "annotator": f"a{n}",
            "preference": p,
            "justification": "@Response 2 is right.",
            "ratings": [ratings(1), ratings(4)],
        }
        for n, p in enumerate([3, 2, 3])
    ]
    load(project, row(annotations=labels))
    assert Consensus.objects.get().preference == 3
    assert QueueItem.objects.get().state == "complete"
    assert Assignment.objects.filter(state="submitted").count() == 3
    annotation = Annotation.objects.order_by("id").first()
    assert (annotation.annotator.annotator_name, annotation.annotator.is_active) == ("a0", False)
    assert not annotation.annotator.has_usable_password()
    assert annotation.ratings_2 == ratings(4)


def test_labels_can_belong_to_real_accounts_of_the_caller_only(project):
    ada = UserFactory(username="ada")
    labeled = row(annotations=[{"annotator": "ada", "preference": 1}])
    load(project, labeled, accounts={"ada": ada})
    assert lease_next(project=project, annotator=ada, resume=True) is None  # she has labeled it already
    assert Annotation.objects.get().annotator == ada
    UserFactory(username=f"eve@{project.slug}")
    good = row(external_id="q-8", responses=["x", "y"])
    report = load(project, row(external_id="q-9", annotations=[{"annotator": "eve", "preference": 1}]), good)
    assert (report.created, report.rejected) == (1, 1)
    assert "belongs to an account" in report.errors[0]["reason"]
    assert not Comparison.objects.filter(external_id="q-9").exists()


def test_labels_that_come_later_are_added_and_a_different_one_is_refused(project):
    load(project, row())
    first = [{"annotator": "a1", "preference": 1}]
    report = load(project, row(annotations=first))
    assert (report.updated, Annotation.objects.count()) == (1, 1)
    report = load(project, row(annotations=[*first, {"annotator": "a2", "preference": 2}]))
    assert (report.updated, Annotation.objects.count()) == (1, 2)
    assert QueueItem.objects.get().taken == 2
    report = load(project, row(annotations=[{"annotator": "a1", "preference": -3}]))
    assert (report.rejected, Annotation.objects.count()) == (1, 2)
    assert "another label" in report.errors[0]["reason"]
    assert load(project, row(annotations=first)).unchanged == 1


def test_a_pair_that_somebody_is_looking_at_does_not_change_under_their_eyes(project):
    load(project, row())
    lease_next(project=project, annotator=UserFactory(), resume=True)
    turned = row(responses=list(reversed(row()["responses"])))
    report = load(project, turned)
    assert (report.updated, report.rejected) == (0, 1)
    assert "Somebody has seen" in report.errors[0]["reason"]


def test_the_first_of_two_rows_with_one_id_wins_wherever_batches_end(project):
    between = [row(external_id=f"between-{number}") for number in range(BATCH)]
    rows = [row(), *between, row(metadata={"late": True}), row()]
    report = load(project, *rows)
    assert (report.created, report.unchanged, report.rejected) == (BATCH + 1, 1, 1)
    again = load(project, *rows)
    assert (again.created, again.updated, again.unchanged, again.rejected) == (0, 0, BATCH + 2, 1)
    assert Comparison.objects.get(external_id="q-1").metadata == {}


def test_a_replaced_text_is_not_left_behind_to_be_scored(project):
    load(project, row())
    assert load(project, row(responses=["two", "three"])).updated == 1
    assert sorted(Response.objects.values_list("text", flat=True)) == ["three", "two"]


def test_three_that_disagree_wait_for_two_more(project):
    load(project, row(annotations=[{"annotator": f"a{n}", "preference": p} for n, p in enumerate([-3, 1, 3])]))
    item = QueueItem.objects.get()
    assert (item.taken, item.wanted, item.state) == (3, 5, "open")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (b"{not json", ""),
        (b"[1, 2]", ""),
        (b"\xff\xfe\x00", ""),
        (b'{"a": NaN}', ""),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, ""),
        (row(responses=[{"text": "alone"}]), "/responses"),
        (row(responses=[{"text": "same"}, {"text": "same"}]), "/responses/1"),
        (row(responses=[{"text": 3}, {"text": "x"}]), "/responses/0/text"),
        (row(messages=[]), "/messages"),
        (row(messages=[{"role": "assistant", "content": "hi"}]), "/messages/0/role"),
        (row(messages=[{"role": "user", "content": None}]), "/messages/0/content"),
        (row(external_id=""), "/external_id"),
        (row(external_id="x" * 200), "/external_id"),
        (row(metadata=["no"]), "/metadata"),
        (row(gold=7), "/gold"),
        (row(gold=True), "/gold"),
        (b'{"metadata": {"n": 1e999}}', ""),
        (row(annotations=[{"annotator": f"a{n}", "preference": 1} for n in range(51)]), "/annotations"),
        (row(messages=[{"role": "user", "content": "nul \x00"}]), ""),
        (row(annotations=[{"annotator": "a", "preference": 9}]), "/annotations/0/preference"),
        (row(annotations=[{"annotator": "a", "preference": 1}] * 2), "/annotations"),
        (
            row(annotations=[{"annotator": "a", "preference": 1, "ratings": [{"x": 9}, {}]}]),
            "/annotations/0/ratings/0/x",
        ),
        (row(pairs=[[0, 0]]), "/pairs/0"),
    ],
)
def test_a_bad_row_is_named_by_line_and_field_and_good_rows_still_go_in(project, bad, field):
    good = [row(external_id=f"good-{n}") for n in range(2)]
    report = load(project, good[0], bad, good[1])
    assert (report.created, report.rejected) == (2, 1)
    assert report.errors[0]["line"] == 2
    assert report.errors[0]["field"] == field
    assert report.errors[0]["reason"]


def test_a_line_that_is_too_long_is_refused_and_the_next_one_read(project):
    report = load(project, b'{"prompt": "' + b"x" * (17 << 20) + b'"}', row())
    assert (report.created, report.rejected) == (1, 1)
    assert "longer than 16 MiB" in report.errors[0]["reason"]


def test_a_json_array_is_read_like_lines(project):
    report = load(project, json.dumps([row(), row(external_id="q-2")]).encode())
    assert report.created == 2


def test_an_import_that_is_run_again_after_a_crash_finds_its_rows(project):
    made = start_import_of_items(project=project, items=[row(), row(external_id="q-2")], created_by=None)
    assert run_import(made=made, on_batch=lambda rows: None).created == 2
    assert run_import(made=made, on_batch=lambda rows: None).unchanged == 2


def test_the_demo_rows_all_go_in_with_the_cases_they_promise(project):
    for path in sorted(Path("demo").glob("*.jsonl")):
        with path.open("rb") as stream:
            assert import_stream(project=project, stream=stream).errors == []
    assert Comparison.objects.count() >= 60
    assert len({metadata["domain"] for metadata in Comparison.objects.values_list("metadata", flat=True)}) >= 6
    labeled = Consensus.objects.filter(annotation_count__range=(3, 5)).count()
    assert labeled >= 30
    assert QueueItem.objects.filter(state="open", taken=0).count() == Comparison.objects.count() - labeled
    statuses = set(Consensus.objects.values_list("status", flat=True))
    assert statuses == {"agreed", "neither", "excluded", "escalated"}
    assert any(len(messages) > 1 for messages in Prompt.objects.values_list("messages", flat=True))


def test_unknown_fields_are_ignored_and_counted(project):
    report = load(project, row(metdata={}), row(external_id="q-2", metdata=1, Split=2))
    assert (report.created, report.to_dict()["ignored_fields"]) == (2, {"Split": 1, "metdata": 2})
    assert "ignored_fields" not in load(project, row(split="train", prompt_hash="x", consensus={})).to_dict()


def test_unknown_keys_inside_a_row_are_counted_too(project):
    talk = [
        {"role": "user", "content": "Hm?", "name": "ada"},
        {"role": "assistant", "content": "Hm.", "name": "bot", "weight": None},
        {"role": "user", "content": "So?"},
    ]
    label = {"annotator": "a1", "preference": 1, "comment": "So.", "kept": True, "revision": 1, "propensity": 0.5}
    sides = [{"text": "a", "score": 0.5}, "b"]
    report = load(project, row(messages=talk, responses=sides, annotations=[label]), row(external_id="q-2", seed=None))
    assert report.created == 2
    assert report.to_dict()["ignored_fields"] == {
        "annotations[].comment": 1,
        "messages[].name": 1,
        "responses[].score": 1,
    }


def test_a_response_that_says_nothing_is_kept_and_counted(project):
    report = load(project, row(responses=["", "So."]), row(external_id="q-2"))
    assert (report.created, report.to_dict()["empty_responses"]) == (2, 1)
    assert "empty_responses" not in load(project, row(external_id="q-3")).to_dict()


def test_a_row_with_a_prompt_may_have_no_messages_and_the_other_way_round(project):
    both = {"external_id": "q-1", "prompt": "Why?", "messages": None, "responses": ["a", "b"]}
    other = {"external_id": "q-2", "prompt": None, "messages": row()["messages"], "responses": ["a", "b"]}
    neither = {"external_id": "q-3", "prompt": None, "messages": None, "responses": ["a", "b"]}
    report = load(project, both, other, neither)
    assert (report.created, [error["field"] for error in report.errors]) == (2, ["/prompt"])
    asked = Comparison.objects.order_by("external_id").values_list("prompt__messages", flat=True)
    assert [messages[-1]["content"] for messages in asked] == ["Why?", "Name two primes."]


def test_whole_numbers_may_be_written_with_a_point(project):
    sides = [{"helpfulness": 4.0}, {"helpfulness": 2.0}]
    label = {"annotator": "a1", "preference": -1.0, "ratings": sides, "active_seconds": 12.0, "confidence": 2.0}
    written = row(pairs=[[1.0, 0]], annotations=[label], gold=-2.0)
    assert load(project, written).errors == []
    made, stored = Comparison.objects.get(), Annotation.objects.get()
    assert (made.gold, stored.preference, stored.active_seconds, stored.confidence) == (-2, -1, 12, 2)
    assert json.dumps(stored.ratings_1) == '{"helpfulness": 4}'
    label = {"annotator": "a1", "preference": -1, "ratings": [{"helpfulness": 4}, {"helpfulness": 2}], "confidence": 2}
    assert load(project, row(pairs=[[1, 0]], annotations=[label], gold=-2)).unchanged == 1
    halves = [row(external_id="q-2", gold=0.5), row(external_id="q-3", annotations=[{**label, "preference": 1.5}])]
    assert [error["field"] for error in load(project, *halves).errors] == ["/gold", "/annotations/0/preference"]


def test_a_known_answer_may_be_a_tie_as_in_published_data(project):
    assert load(project, row(gold=0)).created == 1
    report = load(project, row(gold=4, external_id="q-2"))
    assert (report.created, report.errors[0]["field"]) == (0, "/gold")
