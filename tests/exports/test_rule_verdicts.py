"""A snapshot takes along what the active rules say, frozen with the rules; without being asked it knows none of it."""

import hashlib
import json

import pyarrow.parquet as pq
import pytest

from apps.core.artifacts import artifact_storage
from apps.core.errors import InvalidInput, NotFound
from apps.exports.services import create_snapshot, export_folder, find_file, write_snapshot
from apps.prompts.models import Response
from apps.rules.services import ProposedRule, activate, create_rule_set
from apps.signals.models import Scorer, Signal
from apps.signals.services import store_signals
from tests.exports.rows import ALL, labels, rows_of, written
from tests.imports.test_imports import load, row
from worker.tasks.scoring import MEASURES

pytestmark = pytest.mark.django_db
ASKED = {**ALL, "formats": ["annotations"], "rule_verdicts": True}


def active_set(project):
    rules = [
        ProposedRule(property="parentheses", parameters={"wants": "more", "threshold": 1.0, "relative": False}),
        ProposedRule(
            property="headings", parameters={"wants": "more", "threshold": 1.0, "relative": False}, weight=3.0
        ),
    ]
    made = create_rule_set(project=project, origin="miner", rules=rules, options={}, created_by=None)
    activate(rule_set=made, actor=None)
    made.refresh_from_db()
    store_signals(scorer=made.scorer, measured=MEASURES["rule_set"](made.scorer)(list(Response.objects.all())))


@pytest.fixture
def pairs(project):
    for name, votes in (("q-1", (2, 2, 3)), ("q-2", ("neither",) * 3), ("q-3", (1,))):
        load(project, row(external_id=name, responses=[f"(high) {name}", f"low {name}"], annotations=labels(*votes)))


def test_each_response_has_its_verdicts_and_score_beside_rules_and_hash(project, pairs):
    active_set(project)
    snapshot = written(project, ASKED)
    yes, no = (
        {"score": score, "yes": a, "no": b, "not_applicable": [], "unreadable": []}
        for score, a, b in ((0.25, [1], [2]), (0.0, [], [1, 2]))
    )
    rows = rows_of(snapshot, "rule-verdicts")
    assert [row["external_id"] for row in rows] == [row["external_id"] for row in rows_of(snapshot, "annotations")]
    assert [row["preference"] for row in rows] == [2, "neither", None]
    assert all(row["responses"] == [yes, no] and row["rule_set"] == 1 for row in rows)
    frozen = snapshot.manifest["rule_set"]
    assert [(rule["number"], rule["weight"]) for rule in frozen["rules"]] == [(1, 1.0), (2, 3.0)]
    spelled = {name: frozen[name] for name in ("rules", "not_applicable_is_yes")}
    spelled = json.dumps(spelled, sort_keys=True, ensure_ascii=False)
    assert frozen["sha256"] == hashlib.sha256(spelled.encode()).hexdigest()
    stored = find_file(snapshot=snapshot, export_format="rule-verdicts", file="train.parquet")
    with artifact_storage().open(stored.name) as stream:
        assert pq.read_table(stream)["responses"].to_pylist() == [[yes, no]] * 3


def test_what_is_scored_later_changes_no_snapshot_and_the_same_selection_has_the_same_bytes(project, pairs, tmp_path):
    active_set(project)
    waiting = create_snapshot(project=project, body=ASKED, created_by=None)
    first = written(project, ASKED)
    before = rows_of(first, "rule-verdicts")
    again = written(project, ASKED)
    assert (again.content_hash, again.manifest["files"]) == (first.content_hash, first.manifest["files"])
    active_set(project)
    Signal.objects.filter(scorer__config__version=1, response__text__endswith="q-3").delete()
    assert rows_of(first, "rule-verdicts") == before
    write_snapshot(snapshot=waiting)  # asked for under the first set, as if its scores were not complete
    assert {row["rule_set"] for row in rows_of(waiting, "rule-verdicts")} == {1}
    assert waiting.manifest["left_out"]["rule-verdicts"] == {"not scored by the rules": 1}
    assert {row["rule_set"] for row in rows_of(written(project, ASKED), "rule-verdicts")} == {2}
    assert export_folder(snapshot=first, export_format="rule-verdicts", encoding="jsonl", folder=tmp_path) == {
        "train.jsonl": 3
    }


@pytest.mark.parametrize("encoding", ["jsonl", "parquet"])
def test_croissant_reads_what_rules_say_and_nothing_where_they_said_nothing(project, pairs, tmp_path, encoding):
    croissant = pytest.importorskip("mlcroissant")
    active_set(project)
    Signal.objects.filter(response__text="low q-1").delete()
    snapshot = written(project, {**ASKED, "encodings": [encoding]})
    export_folder(snapshot=snapshot, export_format="rule-verdicts", encoding=encoding, folder=tmp_path)
    records = list(croissant.Dataset(tmp_path / "croissant.json").records("rule-verdicts-train"))
    ident = "rule-verdicts-train/responses"
    said = [[[each[f"{ident}/{name}"] for name in ("score", "yes")] for each in record[ident]] for record in records]
    assert said == [[[0.25, [1]], [None, None]], [[0.25, [1]], [0.0, []]], [[0.25, [1]], [0.0, []]]]


def test_nothing_of_it_is_in_a_snapshot_that_does_not_ask(project, pairs):
    plain = written(project, {**ALL, "formats": ["annotations"]})
    active_set(project)
    unasked = written(project, {**ALL, "formats": ["annotations"], "rule_verdicts": False})
    assert (unasked.content_hash, unasked.selection) == (plain.content_hash, plain.selection)
    assert "rule_set" not in unasked.manifest
    with pytest.raises(NotFound, match=r'make a snapshot with "rule_verdicts": true'):
        find_file(snapshot=unasked, export_format="rule-verdicts", file="train.jsonl")
    asked = written(project, ASKED).manifest["files"]
    assert {name: asked[name] for name in plain.manifest["files"]} == plain.manifest["files"]


@pytest.mark.parametrize(
    ("value", "rule"), [(True, "no active rule set"), ("yes", "true or false"), (1, "true or false")]
)
def test_a_wrong_wish_is_refused_at_its_field(project, value, rule):
    with pytest.raises(InvalidInput) as refused:
        create_snapshot(project=project, body={**ALL, "rule_verdicts": value}, created_by=None)
    (error,) = refused.value.errors
    assert error.pointer == "/rule_verdicts"
    assert rule in error.detail


def test_it_is_asked_for_on_the_page_and_refused_there(client, project, pairs, manager):
    client.force_login(manager)
    fields = {"name": "Rules", "train": 1, "validation": 0, "seed": 0, "formats": "annotations", "rule_verdicts": "on"}
    refused = client.post("/projects/tides/snapshots/", fields)
    assert refused.status_code == 422
    assert "The project has no active rule set." in refused.content.decode()
    active_set(project)
    assert client.post("/projects/tides/snapshots/", fields).status_code == 302
    made = project.snapshots.get()
    assert made.selection["rule_verdicts"]["version"] == 1
    write_snapshot(snapshot=made)
    page = client.get(f"/projects/tides/snapshots/{made.pk}/").content.decode()
    assert "version 1 with 2 rules" in page
    assert "rule-verdicts/train.jsonl" in page


def test_scorers_made_before_learn_their_rules(project, pairs):
    import importlib

    from django.apps import apps

    active_set(project)
    migration = importlib.import_module("apps.rules.migrations.0003_rules_in_scorers")
    now = Scorer.objects.get().config
    migration.forget(apps, None)
    assert set(Scorer.objects.get().config) == {"rule_set", "version", "verifier"}
    migration.describe(apps, None)
    assert Scorer.objects.get().config == now
