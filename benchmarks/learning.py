"""What heads on the embedded encoder learn from real people's labels, beside length and a TF-IDF linear model.

Run with `make bench`, or `python -m benchmarks.learning --data DIR`. UKP ConvArg: trained on both training files,
tested on topics that are in neither. Humour: items fall into five parts; trained on pairs within three, tested on pairs
within the other two. The test pairs chose nothing: layer and decay were chosen on training topics, and on items of the
first three parts, left out in turn (docs/decisions/0016). Intervals are drawn over prompts, or over first items where
there is only one.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.backbone import open_backbone
from worker.core.conversation import content_hash, prompt_text
from worker.core.features import FeatureCache, cached_features
from worker.core.metrics import compare_models, evaluate_pairs, pair_hits
from worker.core.pairs import Pair
from worker.core.training.certainty import laplace_of
from worker.core.training.head import Head, LabeledFeatures, train_head
from worker.core.training.objective import labels_of
from worker.core.training.recipe import Recipe
from worker.core.uncertainty import Laplace, probability

UKP = (("ukpconvarg1_train_1.jsonl", "ukpconvarg1_train_2.jsonl"), ("ukpconvarg1_test.jsonl",))
HUMOUR = "humour_train.jsonl"
FEW = 12
"""So many prompts can be told one by one."""
FIRST_DEFAULT: dict[str, Any] = {"layers": 6, "weight_decay": 0.01}
RECIPES: dict[str, dict[str, Any]] = {
    "first default: layer 6, decay 0.01": FIRST_DEFAULT,
    "**default: layer 3, decay 0.003**": {},
    "default, soft labels from votes": {"objective": "soft_bradley_terry"},
    "default, 10 % of labels taken for flips": {"objective": "noisy_bradley_terry", "flip_rate": 0.1},
}


@dataclass(frozen=True)
class Data:
    """Pairs to learn from and to be tested on; `clusters` say what the interval is drawn over."""

    name: str
    train: list[Pair]
    test: list[Pair]
    clusters: list[str]


def ukp(folder: Path) -> Data:
    """Return the two training files and the test file."""
    train, test = ([pair for name in names for pair in _pairs(folder / name)] for names in UKP)
    return Data("UKP arguments, unseen topics", train, test, [pair.prompt_key for pair in test])


def humour(folder: Path) -> Data:
    """Return pairs within items of parts 0 to 2, and within parts 3 and 4; pairs across are left out."""
    pairs = _pairs(folder / HUMOUR)
    rng = np.random.default_rng(0)
    part = {text: int(rng.integers(5)) for text in dict.fromkeys(text for pair in pairs for _, text in pair.texts)}

    def within(parts: set[int]) -> list[Pair]:
        return [pair for pair in pairs if {part[pair.response_1], part[pair.response_2]} <= parts]

    test = within({3, 4})
    return Data("Jokes, unseen items", within({0, 1, 2}), test, [pair.response_1 for pair in test])


def _pairs(path: Path) -> list[Pair]:
    """Return the rows whose released label has a better side, with every vote."""
    pairs = []
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["gold"]:
                prompt = prompt_text(row["messages"])
                votes = tuple(one["preference"] for one in row["annotations"])
                texts = [response["text"] for response in row["responses"]]
                pairs.append(Pair(row["external_id"], content_hash(prompt), prompt, *texts, row["gold"], None, votes))
    return pairs


def fit(recipe: Recipe, pairs: list[Pair], cache: FeatureCache) -> tuple[Head, Laplace | None]:
    """Train a head in this process and say how sure it is."""
    train = _arrays(recipe, pairs, cache)
    with tempfile.TemporaryDirectory() as folder:
        head = train_head(
            recipe,
            train,
            validation=None,
            initial=None,
            checkpoint=Path(folder) / "checkpoint",
            data_hash="",
            resume=False,
            report=lambda event: None,
            should_stop=lambda: False,
        )
    return head, laplace_of(recipe, head, train, None)


def _arrays(recipe: Recipe, pairs: list[Pair], cache: FeatureCache) -> LabeledFeatures:
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts))
    rows = {text: row for row, text in enumerate(texts)}
    return LabeledFeatures(
        **vars(labels_of(pairs)),
        features=cached_features(open_backbone(recipe), cache, texts, recipe.batch_tokens)[0],
        first=np.array([rows[pair.texts[0]] for pair in pairs]),
        second=np.array([rows[pair.texts[1]] for pair in pairs]),
    )


def tfidf_rewards(data: Data) -> NDArray[np.float64]:
    """Return rewards (n, 2) of a logistic regression on differences of TF-IDF vectors and of log length."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(min_df=2, sublinear_tf=True, ngram_range=(1, 2))
    vectorizer.fit([text for pair in data.train for _, text in pair.texts])

    def features(texts: list[str]) -> Any:
        length = csr_matrix(np.log1p([len(text) for text in texts])[:, np.newaxis])
        return hstack([vectorizer.transform(texts), length], format="csr")

    def sides(pairs: list[Pair]) -> tuple[Any, Any]:
        return features([pair.response_1 for pair in pairs]), features([pair.response_2 for pair in pairs])

    first, second = sides(data.train)
    better = np.array([pair.preference > 0 for pair in data.train])
    model = LogisticRegression(fit_intercept=False, max_iter=1000).fit(second - first, better)
    return np.stack([np.asarray(side @ model.coef_[0]) for side in sides(data.test)], axis=1)


def row(name: str, rewards: NDArray[Any], data: Data, *, is_length: bool = False) -> str:
    """Return a line of the table from rewards (n, 2) of the test pairs."""
    found = evaluate_pairs(
        rewards[:, 0],
        rewards[:, 1],
        [pair.preference for pair in data.test],
        data.clusters,
        [len(pair.response_1) for pair in data.test],
        [len(pair.response_2) for pair in data.test],
    )
    assert found is not None
    low, high = found["accuracy_interval"]
    shorter = "–" if found["accuracy_shorter_won"] is None else f"{found['accuracy_shorter_won']:.3f}"
    loss = "–" if is_length else f"{found['log_loss']:.3f}"  # a length is no logit
    return f"| {name} | {found['accuracy']:.3f} ({low:.3f}–{high:.3f}) | {shorter} | {loss} |"


def table(data: Data, cache: FeatureCache) -> str:
    """Train everything on the same pairs and return the table of the same test pairs."""
    lengths = np.array([[len(pair.response_1), len(pair.response_2)] for pair in data.test], dtype=float)
    shorter = int(sum((a > b) == (pair.preference > 0) for (a, b), pair in zip(lengths, data.test, strict=True)))
    lines = [
        f"**{data.name}**: {len(data.train)} pairs to learn from, {len(data.test)} to test, the shorter won {shorter}.",
        "",
        "| | accuracy (95 %) | where the shorter won | log-loss |",
        "|---|---:|---:|---:|",
        row("the longer one wins", lengths, data, is_length=True),
        row("TF-IDF of 1 and 2 words and log length, logistic regression", tfidf_rewards(data), data),
    ]
    for name, changes in RECIPES.items():
        recipe = Recipe.from_dict(changes)
        head, _ = fit(recipe, data.train, cache)
        test = _arrays(recipe, data.test, cache)
        rewards = head.rewards(test.features)
        sides = np.stack([rewards[test.first], rewards[test.second]], axis=1)
        lines.append(row(name, sides, data))
        if not changes:
            said = against_length(sides, lengths, data)
    return "\n".join([*lines, "", said])


def against_length(rewards: NDArray[Any], lengths: NDArray[Any], data: Data) -> str:
    """Say by how much the default beats length on the same pairs, and, where prompts are few, on each of them."""
    preference = [pair.preference for pair in data.test]
    found = compare_models((lengths[:, 0], lengths[:, 1]), (rewards[:, 0], rewards[:, 1]), preference, data.clusters)
    assert found is not None
    low, high = found["difference_interval"]
    said = f"The default against length: {found['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
    if found["prompts"] > FEW:
        return said + f", by {found['prompts']} first items."
    ours, theirs = (pair_hits(side[:, 0], side[:, 1], preference) for side in (rewards, lengths))
    each = [np.array(data.clusters) == key for key in dict.fromkeys(data.clusters)]
    by_prompt = ", ".join(f"{ours[at].mean():.2f} / {theirs[at].mean():.2f} of {at.sum()}" for at in each)
    return f"{said}, by {found['prompts']} prompts: {by_prompt}."


def calibration(data: Data, cache: FeatureCache) -> str:
    """Return how far the Laplace intervals of the default hold: between models of separate labels, and for labels."""
    recipe = Recipe()
    test = _arrays(recipe, data.test, cache)
    random = np.random.default_rng(0).permutation(len(data.train))
    halves = [[data.train[i] for i in part] for part in np.array_split(random, 2)]
    models = [fit(recipe, half, cache) for half in halves]
    difference = test.features[test.first] - test.features[test.second]
    margins, deviations = [], []
    for head, sure in models:
        assert sure is not None
        rewards = head.rewards(test.features)
        margins.append(rewards[test.first] - rewards[test.second])
        deviations.append(sure.margin_std(difference))
    apart = (margins[0] - margins[1]) / np.hypot(*deviations)
    head, sure = fit(recipe, data.train, cache)
    assert sure is not None
    rewards = head.rewards(test.features)
    margin = (rewards[test.first] - rewards[test.second]).astype(np.float64)
    spread = sure.margin_std(difference)
    hit = (margin > 0) == (test.preference < 0)
    order = np.argsort(np.abs(margin) / spread)
    fifths = ", ".join(f"{hit[part].mean():.3f}" for part in np.array_split(order, 5))
    first_better = test.preference < 0
    sure_of_it, moderated = (
        -np.log(np.where(first_better, p, 1 - p)).mean()
        for p in (probability(margin, 0.0), probability(margin, spread))
    )
    lines = [
        (
            "margins of two models of half the labels each, within 1.645 joint deviations (90 % are meant to be)",
            f"{np.mean(abs(apart) < 1.645):.1%}",
        ),
        ("root mean square of their difference in joint deviations", f"{np.sqrt(np.mean(np.square(apart))):.2f}"),
        ("accuracy by fifths of margin / deviation, least sure first", fifths),
        ("log-loss; moderated by the deviation", f"{sure_of_it:.3f}; {moderated:.3f}"),
        ("median deviation; median margin", f"{np.median(spread):.2f}; {np.median(np.abs(margin)):.2f}"),
    ]
    return "\n".join([f"| {data.name}: Laplace | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)])


def main() -> int:
    """Measure both data sets and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--cache", type=Path, help="keep the features in this file")
    options = parser.parse_args()
    if not (options.data / HUMOUR).exists():
        print(f"Skipped: {options.data} does not hold {HUMOUR}.")
        return 0
    started, load = time.perf_counter(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, FeatureCache(options.cache or Path(folder) / "cache") as cache:
        for data in (ukp(options.data), humour(options.data)):
            print(table(data, cache) + "\n")
            print(calibration(data, cache) + "\n", flush=True)
    print(f"{time.perf_counter() - started:.0f} s, load average before {load:.1f}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
