"""What a snapshot says about its labels, against its own rows counted again, and in words that hold for them."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from apps.core.artifacts import artifact_storage
from apps.exports.services import find_document
from apps.labeling.models import Annotation
from apps.quality.services import project_quality
from tests.exports.rows import ONE, labels, rows_of, written
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db

VOTES = [(2, 3, 3), (-2, -3, -3), (-1, -1, 1), ("neither",) * 3, (1,), (3, -3, 0, -2, 2), (1, 2, -1, 3, 2), (-1, 2, 1)]
HERE, THERE = "choose a preference and write why in 10 to 300 words", "How imported labels were made is unknown here"


def load_votes(project, count=48, *, dated=lambda number: False):
    """Import comparisons by 6 annotators; `dated` says whether the labels of one have a time of their own."""
    rows = []
    for number in range(count):
        given = labels(*VOTES[number % len(VOTES)])
        for place, label in enumerate(given):
            label["annotator"] = f"a{(number + place) % 6}"
            if dated(number):
                label["submitted_at"] = f"2026-01-{1 + number % 28:02}T00:00:00Z"
        rows.append(
            row(
                external_id=f"q-{number:02}",
                messages=[{"role": "user", "content": f"Prompt {number // 2}"}],
                responses=[{"text": f"{number} " + "a" * (number % 4)}, {"text": f"{number} bb"}],
                annotations=given,
                metadata={"domain": "math" if number % 3 else "chat"},
            )
        )
    load(project, *rows)


def as_if_given_here(project, which=lambda number: True):
    for number, label in enumerate(Annotation.objects.filter(project=project).exclude(preference=0).order_by("pk")):
        if which(number):
            Annotation.objects.filter(pk=label.pk).update(imported=False, swapped=number % 3 == 0)


def card_of(snapshot):
    with artifact_storage().open(find_document(snapshot=snapshot, name="README.md").name) as stream:
        return stream.read().decode()


def words_of(snapshot):
    return " ".join(card_of(snapshot).split())


def side(preference):
    return preference if preference == "neither" else np.sign(preference)


def test_figures_are_those_of_the_rows_counted_again(project):
    load_votes(project, dated=lambda number: number % 2)
    as_if_given_here(project, lambda number: number % 4)
    load(project, row(external_id="nobody yet"))
    snapshot = written(project, {**ONE, "filters": {"domain": ["math"], "strength": {"min": 1}}})
    rows, figures = rows_of(snapshot, "annotations"), snapshot.manifest["figures"]
    everything = rows_of(written(project, ONE), "annotations")
    assert snapshot.manifest["excluded"] == {
        "not labeled": 1,
        "other domain": sum(each["metadata"]["domain"] != "math" for each in everything),
        "strength not asked for": sum(
            each["metadata"]["domain"] == "math" and each["consensus"]["preference"] in (None, "neither", 0)
            for each in everything
        ),
    }
    given = [(each, label) for each in rows for label in each["annotations"]]
    assert (figures["comparisons"], figures["labels"]) == (len(rows), len(given))
    assert 0 < figures["imported_labels"] == sum(label["imported"] for _, label in given) < len(given)
    each_gave = np.array(list(Counter(label["annotator"] for _, label in given).values()))
    assert figures["annotators"] == len(each_gave)
    assert figures["labels_per_annotator"] == {
        "smallest": each_gave.min(),
        "median": np.median(each_gave),
        "largest": each_gave.max(),
    }
    decisive = [(each, label) for each, label in given if label["preference"] not in ("neither", 0)]
    here = [label for _, label in decisive if not label["imported"]]
    first = [label["shown_order"][0] == (1 if label["preference"] < 0 else 2) for label in here]
    assert (figures["position_bias"]["count"], figures["position_bias"]["n"]) == (sum(first), len(first))
    chosen = [
        (
            len(each["responses"][label["preference"] > 0]["text"]),
            len(each["responses"][label["preference"] < 0]["text"]),
        )
        for each, label in decisive
    ]
    unequal = [longer > shorter for longer, shorter in chosen if longer != shorter]
    assert (figures["length_bias"]["count"], figures["length_bias"]["n"]) == (sum(unequal), len(unequal))
    for which, kept in (("raw", (True, False)), ("kept", (True,))):
        pairs = [
            pair
            for each in rows
            if which == "raw" or each["consensus"]["status"] == "agreed"
            for pair in combinations([label["preference"] for label in each["annotations"] if label["kept"] in kept], 2)
        ]
        same = {"same_preference": [a == b for a, b in pairs], "same_side": [side(a) == side(b) for a, b in pairs]}
        for name, hits in same.items():
            found = figures["agreement"][which][name]
            assert (found["count"], found["n"]) == (sum(hits), len(hits)), (which, name)


def test_intervals_are_those_of_the_quality_report(project):
    load_votes(project)
    as_if_given_here(project, lambda number: number % 4)
    figures, quality = written(project, ONE).manifest["figures"], project_quality(project=project)
    for which, stage in (("raw", "raw"), ("kept", "after_consensus")):
        for name, other in (("same_preference", "exact"), ("same_side", "same_side")):
            expected = quality.agreement[stage][other]
            assert figures["agreement"][which][name]["share"] == pytest.approx(expected["value"], abs=1e-6)
            assert figures["agreement"][which][name]["interval"] == pytest.approx(expected["interval"], abs=1e-6)
    for name, expected in (
        ("position_bias", quality.bias["position"]["first_side"]),
        ("length_bias", quality.bias["length"]["longer_side"]),
    ):
        assert (figures[name]["count"], figures[name]["n"]) == (expected["count"], expected["of"])
        assert figures[name]["interval"] == pytest.approx(expected["interval"], abs=1e-6)


def test_of_imported_labels_the_card_says_only_what_is_known(project):
    load_votes(project)
    snapshot = written(project, ONE)
    card, labeled = words_of(snapshot), snapshot.manifest["figures"]["labels"]
    for part in (f"All {labeled} labels were imported; none was given here.", THERE, "labels by 6 annotators."):
        assert part in card
    for part in (HERE, "at random for each person", "Human preferences", "people.", "human-feedback", "Labels date"):
        assert part not in card
    assert f"{labeled} imported labels came without a time: when they were given is unknown." in card
    assert (snapshot.manifest["figures"]["first_label"], snapshot.manifest["figures"]["last_label"]) == (None, None)
    with artifact_storage().open(find_document(snapshot=snapshot, name="croissant.json").name) as stream:
        assert b'"Preferences of the project tides."' in stream.read()


def test_of_labels_given_here_the_card_tells_the_protocol_and_when(project):
    load_votes(project, dated=lambda number: True)
    Annotation.objects.filter(preference=0).update(preference=1)
    as_if_given_here(project)
    snapshot = written(project, ONE)
    card = words_of(snapshot)
    for part in ("Human preferences", "labels were given here.", HERE, "at random for each person", "human-feedback"):
        assert part in card
    assert THERE not in card
    assert "Labels date from 2026-01-01T00:00:00Z to 2026-01-28T00:00:00Z." in card


def test_of_both_the_card_has_the_counts_and_the_times_that_are_known(project):
    load_votes(project, dated=lambda number: number % 2)
    timed = Annotation.objects.filter(project=project, submitted_at__lt="2026-02-01T00:00:00Z").exclude(preference=0)
    timed.update(imported=False)
    snapshot = written(project, ONE)
    card, figures = words_of(snapshot), snapshot.manifest["figures"]
    imported, labeled = figures["imported_labels"], figures["labels"]
    unknown = figures["labels_without_time"]
    assert 0 < unknown < imported < labeled
    for part in (
        f"{labeled - imported} of the labels were given here, {imported} were imported.",
        HERE,
        THERE,
        f"{unknown} imported labels came without a time",
        f"The other {labeled - unknown} date from 2026-01-02T00:00:00Z to 2026-01-28T00:00:00Z.",
    ):
        assert part in card


def test_one_comparison_alone_has_no_interval_of_agreement(project):
    load(project, row(annotations=labels(1, 2)))
    snapshot = written(project, ONE)
    assert snapshot.manifest["figures"]["agreement"]["raw"]["same_side"] == {
        "count": 1,
        "n": 1,
        "share": 1.0,
        "interval": None,
    }
    assert "| same side | 100.0% of 1 |" in card_of(snapshot)
