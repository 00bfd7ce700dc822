"""What is measured of rules on labeled pairs: support, agreement, by domain, over time, overlap, examples.

The names follow the methods sheet of AutoRule (arXiv 2506.15651, whose own formulas are not published): coverage is the
share of pairs on which a rule prefers a response, agreement the share of those on which people preferred it, too.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.rules.units import Bools, Floats, Ints, Labels, Votes, accuracy_of, agreement_of, difference_of
from worker.core.shares import Share, different_shares

LEAST_COVERAGE = 0.02
LEAST_DETERMINISM = 0.9
HIGH_AGREEMENT = 0.65
LEAST_IN_A_PERIOD = 30
MOST_PERIODS = 8
MOST_DOMAINS = 20
EXAMPLES = 10


@dataclass(frozen=True)
class Pairs:
    """Labeled pairs beside their labels: ids of comparisons, strength of the preference, domain, time (m,)."""

    labels: Labels
    comparison: Ints
    strength: Ints
    domain: Sequence[str]
    when: Floats
    """Seconds since 1970 at which the newest label came."""


def as_json(share: Share) -> dict[str, Any]:
    """Return a share as it is stored."""
    return {
        "count": share.count,
        "of": share.of,
        "share": share.share,
        "interval": share.interval and [*share.interval],
    }


def rule_figures(
    votes: Votes, pairs: Pairs, held_out: Bools, known: Bools, asked_again: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """Return the figures of one rule from its votes (m,) on the pairs whose verdicts are `known` on both sides (m,).

    `asked_again` are repeated verdicts on the same response. Without a known pair there is no coverage.
    """
    labels = pairs.labels
    votes = np.where(known, votes, 0).astype(np.int8)
    agreement, everywhere = agreement_of(votes[held_out], labels.where(held_out)), agreement_of(votes, labels)
    coverage = float((votes[known] != 0).mean()) if known.any() else None
    determinism = _determinism(asked_again)
    return {
        "verified": _part(known),
        "held_out": as_json(agreement),
        "all": as_json(everywhere),
        "coverage": coverage,
        "domains": _by_domain(votes, pairs),
        **_over_time(votes, pairs),
        "determinism": determinism,
        "examples": _examples(votes == labels.side, votes, pairs),
        "counterexamples": _examples(votes == -labels.side, votes, pairs),
        "retire": _why_retire(agreement, coverage, determinism),
    }


def set_figures(
    votes: Votes,
    weights: Floats,
    scores: Floats,
    pairs: Pairs,
    held_out: Bools,
    known: Bools,
    margins: Floats,
    unseen: Bools,
) -> dict[str, Any]:
    """Return the figures of a set: votes (m, k), weights (k,), scores (m,) and model margins (m,), response 2 minus 1.

    Only pairs are measured on which every verdict of both responses is `known` (m,). A margin is NaN where the model
    has not scored both, and `unseen` (m,) says on which pairs it was not trained.
    """
    labels = pairs.labels
    weighted = votes @ weights
    measured = held_out & known
    tested = labels.where(measured)
    both = measured & unseen & ~np.isnan(margins)
    return {
        "pairs": len(labels),
        "verified": _part(known),
        "coverage": float((weighted[measured] != 0).mean()) if measured.any() else None,
        "held_out": as_json(accuracy_of(weighted[measured], tested)),
        "score_held_out": as_json(accuracy_of(scores[measured], tested)),
        "overlap": overlap(votes[known]).round(3).tolist(),
        "with_model": _with_model(weighted[both], margins[both], labels.where(both)),
    }


def expected_sides(votes: Votes, known: Bools, weights: Floats, figures: Sequence[dict[str, Any]]) -> Votes:
    """Return the side that the rules with high agreement prefer in each pair (m,), 0 where they prefer none.

    Agreement is high if the lower end of its interval on held-out pairs is `HIGH_AGREEMENT` at least. Where one of
    these rules has no verdict yet (`known` (m, k) is false), nothing is expected.
    """
    lows = [(each["held_out"]["interval"] or [0.0])[0] for each in figures]
    high = np.array([low >= HIGH_AGREEMENT for low in lows], dtype=np.bool_)
    sides = np.sign(votes[:, high] @ weights[high])
    return np.where(known[:, high].all(axis=1), sides, 0).astype(np.int8)


def overlap(votes: Votes) -> Floats:
    """Return how much rules say the same (k, k): the cosine of their votes (m, k), 1 the same, −1 the opposite."""
    size = np.sqrt((votes.astype(np.float64) ** 2).sum(axis=0))
    size[size == 0.0] = 1.0
    return (votes.astype(np.float64).T @ votes) / np.outer(size, size)


def score_of(yes: Bools, applies: Bools, weights: Floats, *, not_applicable_is_yes: bool) -> Floats:
    """Return the weighted fraction of rules that each response satisfies (n,), from verdicts (n, k).

    AutoRule counts a rule that does not apply as satisfied, which moves every score towards 1; the alternative leaves
    it out. A response to which no rule applies has ½. Raises ValueError without a rule.
    """
    if yes.shape[1] == 0:
        raise ValueError("A rule score needs at least one rule.")
    if not_applicable_is_yes:
        yes, applies = yes | ~applies, np.ones_like(applies)
    total = (applies * weights).sum(axis=1)
    satisfied = ((yes & applies) * weights).sum(axis=1)
    return np.divide(satisfied, total, out=np.full(len(yes), 0.5), where=total > 0)


def _part(chosen: Bools) -> dict[str, Any]:
    """Return how many of the pairs these are (m,)."""
    count, of = int(chosen.sum()), len(chosen)
    return {"count": count, "of": of, "share": count / of if of else None}


def _by_domain(votes: Votes, pairs: Pairs) -> list[dict[str, Any]]:
    names = np.array(pairs.domain, dtype=object)
    known = [name for name, _count in Counter(name for name in pairs.domain if name).most_common(MOST_DOMAINS)]
    rows = []
    for name in known:
        inside = np.asarray(names == name, dtype=np.bool_)
        rows.append({"domain": name, **as_json(agreement_of(votes[inside], pairs.labels.where(inside)))})
    return rows


def _over_time(votes: Votes, pairs: Pairs) -> dict[str, Any]:
    """Return the agreement in periods of as many votes each, and how probable it is that early and late are alike."""
    voted = np.flatnonzero(votes != 0)
    voted = voted[np.argsort(pairs.when[voted], kind="stable")]
    number = min(MOST_PERIODS, len(voted) // LEAST_IN_A_PERIOD)
    if number < 2:
        return {"periods": [], "drift": None}
    hits = votes[voted] == pairs.labels.side[voted]
    periods = []
    for places in np.array_split(np.arange(len(voted)), number):
        chosen = voted[places]
        share = agreement_of(votes[chosen], pairs.labels.where(chosen))
        moments = pairs.when[chosen]
        periods.append({"from": float(moments[0]), "to": float(moments[-1]), **as_json(share)})
    half = len(voted) // 2
    early, late = hits[:half], hits[half:]
    probability = different_shares(int(early.sum()), len(early), int(late.sum()), len(late))
    return {"periods": periods, "drift": probability}


def _determinism(asked_again: Sequence[Sequence[str]]) -> dict[str, Any] | None:
    """Return the mean share of the commonest verdict among repetitions of a question; None if nothing was repeated."""
    repeated = [verdicts for verdicts in asked_again if len(verdicts) > 1]
    if not repeated:
        return None
    shares = [Counter(verdicts).most_common(1)[0][1] / len(verdicts) for verdicts in repeated]
    return {"questions": len(repeated), "share": sum(shares) / len(shares)}


def _examples(chosen: Bools, votes: Votes, pairs: Pairs) -> list[int]:
    """Return the ids of comparisons, the clearest preferences first, and the newest of equals."""
    places = np.flatnonzero(chosen & (votes != 0))
    order = np.lexsort((-pairs.comparison[places], -pairs.strength[places]))
    return [int(pairs.comparison[place]) for place in places[order][:EXAMPLES]]


def _why_retire(agreement: Share, coverage: float | None, determinism: dict[str, Any] | None) -> list[str]:
    """Name what speaks for retiring a rule: it says too little, no more than chance, or not twice the same."""
    reasons = []
    if coverage is not None and coverage < LEAST_COVERAGE:
        reasons.append("coverage")
    if agreement.interval and agreement.interval[0] <= 0.5 <= agreement.interval[1]:
        reasons.append("chance")
    if agreement.interval and agreement.interval[1] < 0.5:
        reasons.append("against")
    if determinism and determinism["share"] < LEAST_DETERMINISM:
        reasons.append("determinism")
    return reasons


def _with_model(rules: Floats, margins: Floats, labels: Labels) -> dict[str, Any] | None:
    """Return how often model, rules and their sum are right; None where there is nothing to compare.

    Each is brought to a mean square of 1 before they are added.
    """
    if len(labels) == 0:
        return None
    together = _scaled(margins) + _scaled(rules)
    gain = difference_of(together, margins, labels)
    return {
        "model": as_json(accuracy_of(margins, labels)),
        "rules": as_json(accuracy_of(rules, labels)),
        "both": as_json(accuracy_of(together, labels)),
        "gain": gain and [*gain],
    }


def _scaled(values: NDArray[np.float64]) -> Floats:
    size = float(np.sqrt((values**2).mean()))
    return values / size if size > 0.0 else values
