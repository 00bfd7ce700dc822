"""Everything that is measured on held-out pairs, and what has changed since another version; numpy only.

All figures are shares of pairs with bootstrap intervals over prompts, ties of rewards counting 1/2.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.calibration import calibration
from worker.core.length_bias import length_bias
from worker.core.metrics import (
    Floats,
    Ints,
    PromptSums,
    bootstrap,
    compare_models,
    evaluate_pairs,
    group_figures,
    pair_hits,
    prompt_numbers,
    sums_by_prompt,
)
from worker.core.noise_ceiling import noise_ceiling

LENGTH_RATIOS = (1.25, 2.0, 4.0)
"""Where one bucket of lengths ends: the longer response so many times as long as the other."""
MAX_DOMAINS, MAX_ANNOTATORS = 30, 50
LEAST_ANSWERS = 10
"""A person with fewer is told together with the others: of two answers, 0 % and 100 % are luck."""
MAX_FLIPS = 200
MARGIN_BINS = 16
NO_DOMAIN, OTHER_DOMAINS = "", "…"

Rewards = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class HeldOutPair:
    """Two responses to one prompt, what people chose, and the consensus: -3...3, 0 where there is none to follow.

    `votes` are (annotator, preference) of everybody who named a side or a tie.
    """

    id: str
    prompt_key: str
    prompt: str
    response_1: str
    response_2: str
    preference: int
    domain: str = NO_DOMAIN
    votes: tuple[tuple[str, int], ...] = ()

    @property
    def texts(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return (prompt, response) of both sides."""
        return (self.prompt, self.response_1), (self.prompt, self.response_2)


def scorecard(pairs: Sequence[HeldOutPair], rewards: Rewards, seed: int = 0) -> dict[str, Any] | None:
    """Return every figure of a model on held-out pairs as JSON types; None without a pair that has a consensus.

    Pairs without one count in the figures per annotator only: each person's own votes are the yardstick there.
    """
    decided = np.array([pair.preference != 0 for pair in pairs], dtype=bool)
    if not decided.any():
        return None
    judged = [pair for pair in pairs if pair.preference]
    first, second = (np.asarray(side, dtype=np.float64)[decided] for side in rewards)
    preference = np.array([pair.preference for pair in judged])
    length_1, length_2 = _lengths(judged)
    prompt = prompt_numbers([pair.prompt_key for pair in judged])
    keys = [pair.prompt_key for pair in judged]
    basic = evaluate_pairs(first, second, preference, keys, length_1, length_2, seed)
    better = (second - first) * np.sign(preference)
    return {
        **(basic or {}),
        "groups": _groups(judged, pair_hits(first, second, preference), (length_1, length_2), prompt, seed),
        "annotators": _annotators(pairs, rewards, seed),
        "ceiling": _ceiling(judged, first, second, prompt, seed),
        "calibration": calibration(better, prompt, seed),
        "margins": margin_histogram(better),
        "length_bias": length_bias(second - first, preference, length_1, length_2, prompt),
        "seed": seed,
    }


def control_figures(
    pairs: Sequence[HeldOutPair], rewards: Rewards, before: Rewards | None, learned: int = 0
) -> dict[str, Any] | None:
    """Return accuracy on control pairs, whose answer is known, and which are wrong; None for a project without any.

    `lost` are those that the version before has right and this one has not. `left_out` is how many more control pairs
    there are, on which a version was trained and which therefore say nothing; of no pairs, accuracy is None.
    """
    if not pairs and not learned:
        return None
    hits = pair_hits(*rewards, [pair.preference for pair in pairs])
    earlier = None if before is None else pair_hits(*before, [pair.preference for pair in pairs])
    wrong = [pair.id for pair, hit in zip(pairs, hits, strict=True) if hit < 1]
    lost = [] if earlier is None else [pairs[at].id for at in np.flatnonzero((earlier == 1) & (hits < 1)).tolist()]
    accuracy = float(hits.mean()) if pairs else None
    return {"n": len(pairs), "left_out": learned, "accuracy": accuracy, "wrong": wrong[:MAX_FLIPS], "lost": lost}


def comparison(
    pairs: Sequence[HeldOutPair], current: Rewards, candidate: Rewards, seed: int = 0
) -> dict[str, Any] | None:
    """Compare two versions on the pairs with a consensus: `metrics.compare_models`, per domain too, and the flips."""
    decided = np.array([pair.preference != 0 for pair in pairs], dtype=bool)
    judged = [pair for pair in pairs if pair.preference]
    before, after = ((side[0][decided], side[1][decided]) for side in (current, candidate))
    preference = [pair.preference for pair in judged]
    keys = [pair.prompt_key for pair in judged]
    compared = compare_models(before, after, preference, keys, seed)
    if compared is None:
        return None
    gained = pair_hits(*after, preference) - pair_hits(*before, preference)
    domains, domain = _labels([pair.domain for pair in judged], MAX_DOMAINS, OTHER_DOMAINS)
    sums = sums_by_prompt(gained, prompt_numbers(keys), domain, len(domains))
    figures = group_figures(sums, bootstrap(sums, seed))
    length_1, length_2 = _lengths(judged)
    for name, side in (("current", before), ("candidate", after)):
        compared[name] = evaluate_pairs(*side, preference, keys, length_1, length_2, seed)
    compared["domains"] = [
        {"name": name, "n": row["n"], "difference": row["accuracy"], "interval": row["interval"]}
        for name, row in zip(domains, figures, strict=True)
    ]
    return compared | flips(judged, before, after)


def flips(pairs: Sequence[HeldOutPair], before: Rewards, after: Rewards) -> dict[str, Any]:
    """Return the pairs that two versions order differently, the biggest change of the margin first.

    Margins are those of the labeled side, in each version's own deviations: rewards of two versions have no common
    unit. `fixed` became right, `broken` became wrong; a tie is neither right nor wrong.
    """
    sign = np.sign([pair.preference for pair in pairs])
    margins = [(side[1].astype(np.float64) - side[0]) * sign for side in (before, after)]
    old, new = (margin / (float(np.abs(margin).std() + np.abs(margin).mean()) or 1.0) for margin in margins)
    changed = np.flatnonzero(np.sign(old) != np.sign(new))
    biggest = changed[np.argsort(-np.abs(new - old)[changed], kind="stable")]
    return {
        "fixed": int(((old <= 0) & (new > 0)).sum()),
        "broken": int(((old > 0) & (new <= 0)).sum()),
        "flips": [
            {
                "id": pairs[at].id,
                "preference": pairs[at].preference,
                "before": float(old[at]),
                "after": float(new[at]),
            }
            for at in biggest[:MAX_FLIPS].tolist()
        ],
    }


def margin_histogram(better: Floats) -> dict[str, Any]:
    """Return how many pairs have a margin of which size, where the model agrees and where it does not.

    Edges run from 0 to the 99th percentile in equal steps; what is beyond is in the last bin. A tie is half of each.
    """
    size = np.abs(better)
    top = float(np.quantile(size, 0.99)) or float(size.max()) or 1.0
    edges = np.linspace(0.0, top, MARGIN_BINS + 1)
    at = np.clip((size / top * MARGIN_BINS).astype(np.int64), 0, MARGIN_BINS - 1)
    agree = np.where(better == 0, 0.5, better > 0)
    return {
        "edges": edges.tolist(),
        "agree": np.bincount(at, weights=agree, minlength=MARGIN_BINS).tolist(),
        "disagree": np.bincount(at, weights=1 - agree, minlength=MARGIN_BINS).tolist(),
    }


def _lengths(pairs: Sequence[HeldOutPair]) -> tuple[Ints, Ints]:
    return (
        np.array([len(pair.response_1) for pair in pairs], dtype=np.int64),
        np.array([len(pair.response_2) for pair in pairs], dtype=np.int64),
    )


def _groups(
    pairs: Sequence[HeldOutPair], hits: Floats, lengths: tuple[Ints, Ints], prompt: Ints, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the figures by domain, by strength and by how much longer one response is."""
    domains, domain = _labels([pair.domain for pair in pairs], MAX_DOMAINS, OTHER_DOMAINS)
    strength = np.abs([pair.preference for pair in pairs]) - 1
    shorter, longer = np.minimum(*lengths), np.maximum(*lengths)
    bucket = np.searchsorted(LENGTH_RATIOS, longer / np.maximum(shorter, 1), side="right")
    kinds: list[tuple[str, list[Any], Ints]] = [
        ("domain", list(domains), domain),
        ("strength", [1, 2, 3], strength),
        ("length", [1.0, *LENGTH_RATIOS], bucket),
    ]
    sums = [sums_by_prompt(hits, prompt, label, len(names)) for _, names, label in kinds]
    figures = _figures(sums, seed)
    return {
        kind: [{"name": name, **row} for name, row in zip(names, rows, strict=True) if row["n"]]
        for (kind, names, _), rows in zip(kinds, figures, strict=True)
    }


def _figures(parts: Sequence[PromptSums], seed: int) -> list[list[dict[str, Any]]]:
    """Return the figures of several sets of groups, which share their draws."""
    whole = parts[0]
    for part in parts[1:]:
        whole |= part
    rows = iter(group_figures(whole, bootstrap(whole, seed)))
    return [[next(rows) for _ in range(part.totals.shape[1])] for part in parts]


def _labels(values: Sequence[str], most: int, others: str = "") -> tuple[list[str], Ints]:
    """Number the most frequent values, ties by name; the rest is one more group named `others`, or none (-1)."""
    counted = Counter(values)
    ordered = sorted(counted, key=lambda name: (-counted[name], name))
    kept = ordered if len(ordered) <= most + 1 else ordered[:most]
    rest = len(kept) < len(ordered) and bool(others)
    number = {name: at for at, name in enumerate(kept)}
    missing = len(kept) if rest else -1
    names = [*kept, others] if rest else kept
    return names, np.array([number.get(value, missing) for value in values], dtype=np.int64)


def _annotators(pairs: Sequence[HeldOutPair], rewards: Rewards, seed: int) -> dict[str, Any]:
    """Return the model's accuracy against each person's own decisive votes, those with most votes first.

    `others` are those with fewer than LEAST_ANSWERS, and beyond the first MAX_ANNOTATORS, together; None without any.
    """
    rows = [
        (at, annotator, preference)
        for at, pair in enumerate(pairs)
        for annotator, preference in pair.votes
        if preference
    ]
    if not rows:
        return {"people": 0, "all": None, "each": [], "others": None}
    at = np.array([row[0] for row in rows])
    hits = pair_hits(rewards[0][at], rewards[1][at], [row[2] for row in rows])
    prompt = prompt_numbers([pair.prompt_key for pair in pairs])[at]
    prompts = int(prompt.max()) + 1
    counted = Counter(row[1] for row in rows)
    ordered = sorted(counted, key=lambda name: (-counted[name], name))
    shown = [name for name in ordered if counted[name] >= LEAST_ANSWERS][:MAX_ANNOTATORS]
    number = {name: place for place, name in enumerate(shown)}
    person = np.array([number.get(row[1], len(shown)) for row in rows], dtype=np.int64)
    parts = [
        sums_by_prompt(hits, prompt, prompts=prompts),
        sums_by_prompt(hits, prompt, person, len(shown) + 1, prompts=prompts),
    ]
    (everybody,), (*each, together) = _figures(parts, seed)
    return {
        "people": len(counted),
        "all": everybody,
        "each": [{"annotator": name, **row} for name, row in zip(shown, each, strict=True)],
        "others": {"people": len(counted) - len(shown), **together} if together["n"] else None,
    }


def _ceiling(
    pairs: Sequence[HeldOutPair], first: Floats, second: Floats, prompt: Ints, seed: int
) -> dict[str, Any] | None:
    votes = [(at, int(np.sign(preference))) for at, pair in enumerate(pairs) for _, preference in pair.votes]
    if not votes:
        return None
    pair = np.array([at for at, _ in votes])
    side = np.array([vote for _, vote in votes])
    model = np.sign(second - first).astype(np.int64)[pair]
    return noise_ceiling(pair, side, prompt[pair], model, seed)
