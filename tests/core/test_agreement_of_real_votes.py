"""Agreement of real votes against what their authors published, and reference values (shared/data/README.md)."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from worker.core.agreement import (
    Votes,
    categorised,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    pair_agreement,
    tally,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVELS = ("nominal", "ordinal", "interval")
SIDES = (-1.0, 0.0, 1.0)


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"{name} is not in {DATA}")


@pytest.fixture(scope="module")
def pandalm():
    rows = [json.loads(line) for line in (DATA / "pandalm_human.jsonl").read_text().splitlines()]
    votes = [{each["annotator"]: each["preference"] for each in row["annotations"]} for row in rows]
    return {name: [row[name] for row in votes] for name in ("a1", "a2", "a3")}


@pytest.fixture(scope="module")
def ukp():
    with (DATA / "agreement_ukpconvarg1_votes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    return tally([row["pair_id"] for row in rows], categorised([int(row["preference"]) for row in rows], SIDES), SIDES)


@needs("pandalm_human.jsonl")
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("none", (0.852023, 0.878944, 0.861661)),
        ("linear", (0.858938, 0.888320, 0.868734)),
        ("quadratic", (0.863505, 0.894492, 0.873491)),
    ],
)
def test_pandalm_cohens_kappa(pandalm, weights, expected):
    pairs = [("a1", "a2"), ("a1", "a3"), ("a2", "a3")]
    found = [cohen_kappa(pandalm[one], pandalm[other], weights) for one, other in pairs]
    assert found == pytest.approx(expected, abs=5e-7)


@needs("pandalm_human.jsonl")
def test_pandalm_fleiss_and_krippendorff(pandalm):
    numbers = np.array([pandalm["a1"], pandalm["a2"], pandalm["a3"]]).T.ravel()
    votes = tally(np.repeat(np.arange(999), 3), categorised(numbers, SIDES), SIDES)
    assert fleiss_kappa(votes) == pytest.approx(0.864175, abs=5e-7)
    alphas = [krippendorff_alpha(votes, level) for level in LEVELS]
    assert alphas == pytest.approx([0.864221, 0.877464, 0.877217], abs=5e-7)


@needs("agreement_helpsteer2_votes.csv")
def test_helpsteer2_votes():
    with (DATA / "agreement_helpsteer2_votes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    scale = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
    votes = tally(
        [row["external_id"] for row in rows], categorised([int(row["strength"]) for row in rows], scale), scale
    )
    assert (votes.units, votes.votes) == (18, 58)
    alphas = [krippendorff_alpha(votes, level) for level in LEVELS]
    assert alphas == pytest.approx([0.350200, 0.722759, 0.705977], abs=5e-7)
    three = [row for row in rows if int(row["position"]) <= 3]
    strengths = categorised([int(row["strength"]) for row in three], scale)
    sides = tally([row["external_id"] for row in three], strengths, scale).by_side()
    assert (sides.rows * sides.times[:, None]).sum(axis=0).tolist() == [29, 25]
    assert pair_agreement(sides) == pytest.approx(7 / 9)
    assert fleiss_kappa(sides) == pytest.approx(0.553103448275862, abs=1e-12)


@needs("agreement_ukpconvarg1_votes.csv")
def test_ukp_votes(ukp):
    assert (ukp.units, ukp.votes) == (16_927, 84_445)
    alphas = [krippendorff_alpha(ukp, level) for level in LEVELS]
    assert alphas == pytest.approx([0.266758, 0.369615, 0.369611], abs=5e-7)
    five = ukp.rows.sum(axis=1) == 5
    of_five = Votes(ukp.rows[five], ukp.times[five], ukp.values)
    assert of_five.units == 16_737
    assert fleiss_kappa(of_five) == pytest.approx(0.266671, abs=5e-7)
