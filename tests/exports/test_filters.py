"""Filters choose comparisons, and the manifest counts what they leave out, by the first reason."""

from datetime import UTC, datetime

import pytest

from apps.core.errors import InvalidInput
from apps.exports.models import Snapshot
from apps.exports.services import create_snapshot
from apps.labeling.models import Annotation, Consensus
from apps.projects.models import GuidelineVersion
from tests.exports.rows import ONE, ids_of, labels, written
from tests.factories import ComparisonFactory
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db


@pytest.fixture
def four(project):
    """Agreed and strong, agreed and weak, neither valid, and one label only; and one without any."""
    for name, preferences, domain in (
        ("strong", (3, 3, 3), "math"),
        ("weak", (-1, -1, 1), "chat"),
        ("invalid", ("neither",) * 3, "chat"),
        ("single", (2,), "math"),
    ):
        load(
            project,
            row(
                external_id=name,
                responses=[f"{name} 1", f"{name} 2"],
                annotations=labels(*preferences),
                metadata={"domain": domain},
            ),
        )
    ComparisonFactory(project=project, external_id="unlabeled")
    for day, comparison in enumerate(("strong", "weak", "invalid", "single"), start=1):
        submitted = datetime(2026, 3, day, 12, tzinfo=UTC)
        Annotation.objects.filter(comparison__external_id=comparison).update(submitted_at=submitted)
    return project


@pytest.mark.parametrize(
    ("filters", "kept", "excluded"),
    [
        ({}, ["invalid", "single", "strong", "weak"], {}),
        ({"domain": ["math"]}, ["single", "strong"], {"other domain": 2}),
        ({"strength": {"min": 2}}, ["strong"], {"strength not asked for": 3}),
        ({"strength": {"max": 2}}, ["weak"], {"strength not asked for": 3}),
        ({"agreement": {"status": ["neither", "pending"]}}, ["invalid", "single"], {"other consensus status": 2}),
        (
            {"agreement": {"status": ["agreed"], "max_spread": 1}},
            ["strong"],
            {"other consensus status": 2, "spread above the limit asked for": 1},
        ),
        ({"state": ["open"]}, ["single"], {"other state": 3}),
        ({"consensus_rule": ["none/1"]}, [], {"other consensus rule": 4}),
        ({"submitted": {"from": "2026-03-03"}}, ["invalid", "single"], {"newest label before the period": 2}),
        ({"submitted": {"to": "2026-03-01"}}, ["strong"], {"newest label after the period": 3}),
        (
            {"submitted": {"from": "2026-03-01T13:00:00+01:00", "to": "2026-03-02T12:00:00Z"}},
            ["strong"],
            {"newest label after the period": 3},
        ),
        ({"source": "imported"}, ["invalid", "single", "strong", "weak"], {}),
        ({"source": "people"}, [], {"imported labels": 4}),
        (
            {"domain": ["math"], "strength": {"min": 1}},
            ["strong"],
            {"other domain": 2, "strength not asked for": 1},
        ),
    ],
)
def test_a_filter_keeps_what_it_says_and_counts_the_rest(four, filters, kept, excluded):
    snapshot = written(four, {**ONE, "filters": filters})
    assert ids_of(snapshot) == kept
    assert snapshot.manifest["excluded"] == {"not labeled": 1, **excluded}
    assert snapshot.manifest["figures"]["comparisons"] == len(kept)


def test_guideline_versions_are_those_of_every_label(four):
    second = GuidelineVersion.objects.create(project=four, number=2, text="Read twice.")
    Annotation.objects.filter(comparison__external_id="strong").update(guideline_version=second)
    Annotation.objects.filter(pk=Annotation.objects.filter(comparison__external_id="weak").first().pk).update(
        guideline_version=second
    )
    snapshot = written(four, {**ONE, "filters": {"guideline_version": [2]}})
    assert ids_of(snapshot) == ["strong"]
    assert [(version["number"], version["text"]) for version in snapshot.manifest["guidelines"]] == [(2, "Read twice.")]
    assert ids_of(written(four, {**ONE, "filters": {"guideline_version": [1, 2]}})) == [
        "invalid",
        "single",
        "strong",
        "weak",
    ]


def test_people_and_imports_are_told_apart_and_mixtures_are_neither(four):
    Annotation.objects.filter(comparison__external_id="strong").update(imported=False)
    one = Annotation.objects.filter(comparison__external_id="weak").first()
    Annotation.objects.filter(pk=one.pk).update(imported=False)
    assert ids_of(written(four, {**ONE, "filters": {"source": "people"}})) == ["strong"]
    assert ids_of(written(four, {**ONE, "filters": {"source": "imported"}})) == ["invalid", "single"]


def test_a_consensus_rule_is_a_filter(four):
    Consensus.objects.filter(comparison__external_id="weak").update(rule="other/2")
    snapshot = written(four, {**ONE, "filters": {"consensus_rule": ["other/2"]}})
    assert ids_of(snapshot) == ["weak"]
    assert snapshot.manifest["consensus_rules"] == {"other/2": 1}


@pytest.mark.parametrize(
    ("filters", "pointer"),
    [
        ({"state": ["sleeping"]}, "/filters/state"),
        ({"state": "open"}, "/filters/state"),
        ({"strength": {"min": 3, "max": 1}}, "/filters/strength"),
        ({"strength": {"min": 9}}, "/filters/strength"),
        ({"strength": {"least": 1}}, "/filters/strength"),
        ({"strength": {"min": True}}, "/filters/strength"),
        ({"agreement": {"status": ["friendly"]}}, "/filters/agreement"),
        ({"agreement": {"max_spread": -1}}, "/filters/agreement"),
        ({"submitted": {"from": "yesterday"}}, "/filters/submitted"),
        ({"submitted": {"from": "2026-02-30"}}, "/filters/submitted"),
        ({"submitted": {"from": "2026-03-01T12:00:00"}}, "/filters/submitted"),
        ({"submitted": {"from": "2026-03-02", "to": "2026-03-01"}}, "/filters/submitted"),
        ({"submitted": {"to": "9999-12-31"}}, "/filters/submitted"),
        ({"guideline_version": [0]}, "/filters/guideline_version"),
        ({"guideline_version": []}, "/filters/guideline_version"),
        ({"consensus_rule": [1]}, "/filters/consensus_rule"),
        ({"source": "machines"}, "/filters/source"),
        ({"source": ["people"]}, "/filters/source"),
        ({"domain": ["x\x00"]}, "/filters"),
        ([], "/filters"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(project, filters, pointer):
    with pytest.raises(InvalidInput) as refused:
        create_snapshot(project=project, body={"name": "x", "filters": filters}, created_by=None)
    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert not Snapshot.objects.exists()


@pytest.mark.parametrize("field", ["formats", "encodings"])
@pytest.mark.parametrize("value", ["jsonl", ["nonsense"], {"a": 1}, 7])
def test_formats_and_encodings_are_those_that_there_are(project, field, value):
    with pytest.raises(InvalidInput) as refused:
        create_snapshot(project=project, body={"name": "x", field: value}, created_by=None)
    assert [error.pointer for error in refused.value.errors] == [f"/{field}"]
