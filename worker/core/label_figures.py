"""Figures of a dataset's labels, gathered in one reading and in constant memory: agreement, bias, labels per person."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from worker.core.agreement import Estimate, Votes, krippendorff_alpha, same_pairs
from worker.core.shares import Share, share_by_tally, share_of

PREFERENCES = (-3, -2, -1, 0, 1, 2, 3, None)
"""What a vote can be; None is neither valid."""
MOST_ALIKE = 10_000
"""So many different comparisons are told apart before they are added up."""


class Vote(NamedTuple):
    """What figures say of one current label; `preference` is None for neither valid."""

    preference: int | None
    kept: bool
    swapped: bool
    imported: bool


class Labeled(NamedTuple):
    """A comparison with its votes and what they add up to; `second_is_longer` is None for responses of one length."""

    votes: tuple[Vote, ...]
    status: str
    preference: int | None
    second_is_longer: bool | None


@dataclass
class Agreement:
    """How far votes on the same comparison agree: from a count of each pattern of votes, so in constant memory."""

    patterns: Counter[tuple[int | None, ...]] = field(default_factory=Counter)

    def add(self, patterns: Iterable[tuple[int | None, ...]] | Mapping[tuple[int | None, ...], int]) -> None:
        """Count the votes of comparisons, one tuple each, or how many comparisons have the same ones."""
        self.patterns.update(patterns)

    def to_dict(self) -> dict[str, Any]:
        """Return the pairs of votes that agree exactly and on the side, and alpha of the numbers.

        Pairs of one comparison share its votes, so their intervals come from bootstrap samples of whole comparisons, as
        in the quality report: draws of how many comparisons have each pattern (multinomial), always from seed 0. They
        cost the same for a million comparisons, and with the patterns in one order give the same numbers.
        """
        votes = self._votes()
        alpha, pairs = krippendorff_alpha(votes, "ordinal"), same_pairs(votes)
        return {
            "comparisons": votes.paired().units,
            "same_preference": _shown(pairs.same, pairs.pairs, pairs.exact),
            "same_side": _shown(pairs.same_side, pairs.pairs, pairs.sided),
            "alpha_ordinal": None if alpha is None else round(alpha, 6),
        }

    def _votes(self) -> Votes:
        """Return the patterns as counts per preference, in the order of `tally`, whatever that of the rows was."""
        counted: Counter[tuple[int, ...]] = Counter()
        for votes, count in self.patterns.items():
            counted[tuple([votes.count(value) for value in PREFERENCES])] += count
        ordered = sorted(counted, key=lambda row: row[::-1])
        rows = np.array(ordered, dtype=np.int64).reshape(-1, len(PREFERENCES))
        return Votes(rows, np.array([counted[row] for row in ordered], dtype=np.int64), PREFERENCES)


@dataclass
class LabelFigures:
    """Figures of a dataset's labels, gathered chunk by chunk.

    Comparisons that look alike are counted first and added up together: many thousands have a few hundred looks.
    """

    raw: Agreement = field(default_factory=Agreement)
    kept: Agreement = field(default_factory=Agreement)
    statuses: Counter[str] = field(default_factory=Counter)
    preferences: Counter[int] = field(default_factory=Counter)
    labels_each: Counter[int] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)
    imported: int = 0
    first_shown: Counter[bool] = field(default_factory=Counter)
    longer: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Comparisons by how many of so many decisive votes name the longer response."""
    undated: int = 0
    earliest: datetime | None = None
    latest: datetime | None = None
    _alike: Counter[Labeled] = field(default_factory=Counter)

    def add(
        self,
        comparisons: Sequence[Labeled],
        annotators: Sequence[str] = (),
        moments: Sequence[datetime] = (),
        undated: int = 0,
    ) -> None:
        """Count comparisons, who gave their labels at which moments, and for how many labels no moment is known.

        This runs for every row of a snapshot.
        """
        self._alike.update(comparisons)
        if len(self._alike) > MOST_ALIKE:
            self._add_up()
        self.annotators.update(annotators)
        self.undated += undated
        self.earliest = min([*moments, self.earliest] if self.earliest else moments, default=None)
        self.latest = max([*moments, self.latest] if self.latest else moments, default=None)

    def _add_up(self) -> None:
        raw: Counter[tuple[int | None, ...]] = Counter()
        kept: Counter[tuple[int | None, ...]] = Counter()
        for each, times in self._alike.items():
            self.statuses[each.status] += times
            self.labels_each[len(each.votes)] += times
            raw[tuple([vote.preference for vote in each.votes])] += times
            if each.preference is not None:
                self.preferences[each.preference] += times
            if each.status == "agreed":
                kept[tuple([vote.preference for vote in each.votes if vote.kept])] += times
            for vote in each.votes:
                self._add_vote(vote, times)
            self._add_lengths(each, times)
        self.raw.add(raw)
        self.kept.add(kept)
        self._alike.clear()

    def _add_vote(self, vote: Vote, times: int) -> None:
        self.imported += times * vote.imported
        if vote.preference and not vote.imported:  # nobody knows in which order other tools showed the responses
            self.first_shown[(vote.preference > 0) == vote.swapped] += times

    def _add_lengths(self, labeled: Labeled, times: int) -> None:
        seconds = [vote.preference > 0 for vote in labeled.votes if vote.preference]
        if seconds and labeled.second_is_longer is not None:
            self.longer[seconds.count(labeled.second_is_longer), len(seconds)] += times

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as they stand in the manifest."""
        self._add_up()
        labels = sum(self.annotators.values())
        comparisons = sum(self.statuses.values())
        return {
            "comparisons": comparisons,
            "labels": labels,
            "imported_labels": self.imported,
            "annotators": len(self.annotators),
            "labels_per_comparison": {str(count): self.labels_each[count] for count in sorted(self.labels_each)},
            "labels_per_annotator": _spread_of(list(self.annotators.values())),
            "statuses": dict(sorted(self.statuses.items())),
            "consensus_preferences": {str(value): self.preferences[value] for value in sorted(self.preferences)},
            "agreement": {"raw": self.raw.to_dict(), "kept": self.kept.to_dict()},
            "position_bias": _share(share_of(self.first_shown[True], self.first_shown.total())),
            "length_bias": _share(share_by_tally(self.longer)),
            "labels_without_time": self.undated,
            "first_label": _when(self.earliest),
            "last_label": _when(self.latest),
        }


def _share(share: Share) -> dict[str, Any]:
    return _shown(share.count, share.of, Estimate(share.share, share.interval))


def _shown(count: int, of: int, share: Estimate) -> dict[str, Any]:
    """Return count, n, share and its 95 % interval; null where there is no case, or too few for an interval."""
    return {
        "count": count,
        "n": of,
        "share": None if share.value is None else round(share.value, 6),
        "interval": None if share.interval is None else [round(bound, 6) for bound in share.interval],
    }


def _when(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _spread_of(counts: list[int]) -> dict[str, float] | None:
    if not counts:
        return None
    middle = median(counts)  # of an even number of people it may be a half
    return {"smallest": min(counts), "median": int(middle) if middle % 1 == 0 else middle, "largest": max(counts)}
