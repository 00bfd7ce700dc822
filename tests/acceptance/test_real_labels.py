"""Real people's labels go in, and a model that beats a coin on unseen topics comes out."""

from pathlib import Path

import pytest

from apps.labeling.models import Annotation, Consensus
from benchmarks.real_labels import TRAIN_FILE, measure

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not (DATA / TRAIN_FILE).exists(), reason="the UKP ConvArg data is not there")
def test_250_real_pairs_train_a_model_that_scores_pairs_of_unseen_topics():
    figures = measure(DATA, train_pairs=250, test_pairs=250)
    assert figures.imported == 250
    assert Annotation.objects.count() > 250 * 4
    assert Consensus.objects.exclude(status="pending").count() == 250
    assert figures.retrain_computed == 0
    assert figures.test["n"] == 250
    assert figures.test["accuracy_interval"][0] > 0.5
    assert figures.test["length_baseline"] > 0.7
