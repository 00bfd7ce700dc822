"""What one person's answers look like beside everybody else's; numpy only.

Nothing here says whether somebody is right: each figure is a share with an interval, and a remark stands where it is
further from what is expected, or from what the others do, than chance explains.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from worker.core.agreement import categorised
from worker.core.label_quality import (
    PREFERENCES,
    Annotations,
    Bools,
    Floats,
    Ints,
    Repeats,
    mean_of,
    median_of,
    sides_of,
    with_others,
)
from worker.core.shares import Share, different_shares, holm, share_of, sign_test

LEAST_TESTED = 20
"""So few answers of a person are not tested: an interval says enough about them."""
LEAST_APART = 0.1
"""A share that is closer than this to what it is compared with is no remark, however sure it is."""
FALSE_ALARMS = 0.01
"""In so many reports one of people who all work alike makes a remark about anybody."""


@dataclass(frozen=True)
class AnnotatorFigures:
    """One person's answers, in shares with intervals; `remarks` names what chance does not explain."""

    annotator: int
    annotations: int
    imported: int
    median_seconds: float | None
    mean_seconds: float | None
    agrees_with_others: Share
    control_items: Share
    agrees_with_self: Share
    skipped: Share
    flagged: Share
    neither: Share
    first_side: Share
    longer_side: Share
    follows_rules: Share
    same_ratings: Share
    pasted: Share
    short_justifications: Share
    repeated_justifications: Share
    preferences: list[int]
    remarks: list[str] = field(default_factory=list)


def annotator_figures(
    annotations: Annotations, repeats: Repeats, skips: dict[int, tuple[int, int]]
) -> list[AnnotatorFigures]:
    """Return the figures of everybody who answered or skipped; `skips` are skipped and flagged by annotator.

    The busiest first. Remarks stand under Holm's correction for all tests of all people together.
    """
    people, person = np.unique(annotations.annotator, return_inverse=True)
    everybody = np.array(sorted({*people.tolist(), *repeats.annotator.tolist(), *skips}), dtype=np.int64)
    person = np.searchsorted(everybody, people)[person] if len(people) else person
    width = len(everybody)

    def shares(used: Bools, hits: Bools, who: Ints = person) -> list[Share]:
        counts, bases = np.bincount(who[used & hits], minlength=width), np.bincount(who[used], minlength=width)
        return [share_of(count, of) for count, of in zip(counts.tolist(), bases.tolist(), strict=True)]

    def numbers(used: Bools) -> Ints:
        return np.bincount(person[used], minlength=width)

    preference = annotations.preference
    judged, agrees = with_others(annotations)
    known = ~np.isnan(annotations.gold) & (annotations.gold != 0) & ~annotations.imported
    ruled = ~np.isnan(annotations.expected) & annotations.decisive & ~annotations.imported
    measured = ~np.isnan(annotations.pasted)
    written = annotations.characters > 0
    ratings = annotations.same_ratings
    usual = median_of(annotations.characters[written].astype(np.float64)) or 0.0
    again = np.searchsorted(everybody, repeats.annotator)
    all_again = np.ones(len(again), dtype=np.bool_)
    chosen = np.zeros((width, len(PREFERENCES)), dtype=np.int64)
    np.add.at(chosen, (person, categorised(preference, PREFERENCES)), 1)
    answered = numbers(np.ones(len(annotations), dtype=np.bool_)) + np.bincount(again, minlength=width)
    columns: dict[str, list[Any]] = {
        "annotations": chosen.sum(axis=1).tolist(),
        "imported": numbers(annotations.imported).tolist(),
        "agrees_with_others": shares(judged, agrees),
        "control_items": shares(known, annotations.sides == sides_of(annotations.gold)),
        "agrees_with_self": shares(all_again, sides_of(repeats.preference) == sides_of(repeats.earlier), again),
        "neither": shares(np.ones(len(annotations), dtype=np.bool_), np.isnan(preference)),
        "first_side": shares(annotations.shown, annotations.first_side),
        "longer_side": shares(annotations.of_two_lengths, annotations.longer_side),
        "follows_rules": shares(ruled, np.sign(preference) == annotations.expected),
        "same_ratings": shares(~np.isnan(ratings), ratings == 1),
        "pasted": shares(measured & written, 2 * annotations.pasted > annotations.characters),
        "short_justifications": shares(written, 2 * annotations.characters < usual),
        "repeated_justifications": shares(written, written & _seen_before(person, annotations.text_hash, written)),
        "preferences": chosen.tolist(),
    }
    seconds = _by_person(person, annotations.active_seconds, width)
    columns["median_seconds"] = [median_of(each) for each in seconds]
    columns["mean_seconds"] = [mean_of(each) for each in seconds]
    skipped = [skips.get(each, (0, 0)) for each in everybody.tolist()]
    handled = [int(count) + given[0] for count, given in zip(answered, skipped, strict=True)]
    columns["skipped"] = [share_of(given[0], of) for given, of in zip(skipped, handled, strict=True)]
    columns["flagged"] = [share_of(given[1], of) for given, of in zip(skipped, handled, strict=True)]
    columns["remarks"] = _remarks(columns, width)
    rows = [
        AnnotatorFigures(annotator=int(who), **{name: values[place] for name, values in columns.items()})
        for place, who in enumerate(everybody)
    ]
    return sorted(rows, key=lambda row: (-row.annotations, row.annotator))


@dataclass(frozen=True)
class _Question:
    """What is asked of one share of a person: which remark it makes when it is higher, and when it is lower."""

    share: str
    higher: str = ""
    lower: str = ""


_AGAINST_THE_REST = (
    _Question("longer_side", higher="longer_side", lower="shorter_side"),
    _Question("agrees_with_others", lower="disagrees_with_others"),
    _Question("follows_rules", lower="against_rules"),
    _Question("control_items", lower="misses_control_items"),
    _Question("agrees_with_self", lower="disagrees_with_self"),
    _Question("same_ratings", higher="same_ratings"),
    _Question("neither", higher="neither"),
    _Question("pasted", higher="pasted"),
    _Question("repeated_justifications", higher="repeated_justifications"),
)


def _remarks(columns: dict[str, list[Any]], width: int) -> list[list[str]]:
    """Test every person: sides against a fair coin, everything else against all the others together."""
    found: list[tuple[float, int, str]] = []
    for who, share in enumerate(columns["first_side"]):
        probability = sign_test(share.count, share.of)
        if probability is not None and share.of >= LEAST_TESTED:
            apart = share.share - 0.5
            found.append((probability, who, _remark(apart, "first_side", "second_side")))
    for question in _AGAINST_THE_REST:
        column: list[Share] = columns[question.share]
        count, of = sum(share.count for share in column), sum(share.of for share in column)
        for who, share in enumerate(column):
            probability = different_shares(share.count, share.of, count - share.count, of - share.of)
            if probability is None or share.share is None or share.of < LEAST_TESTED:
                continue
            apart = share.share - (count - share.count) / (of - share.of)
            found.append((probability, who, _remark(apart, question.higher, question.lower)))
    remarks: list[list[str]] = [[] for _ in range(width)]
    for sure, (_, who, name) in zip(holm([each[0] for each in found], FALSE_ALARMS), found, strict=True):
        if sure and name:
            remarks[who].append(name)
    return remarks


def _remark(apart: float, higher: str, lower: str) -> str:
    if abs(apart) < LEAST_APART:
        return ""
    return higher if apart > 0 else lower


def _seen_before(person: Ints, text_hash: Ints, written: Bools) -> Bools:
    """Say which texts the same person has written before, in the order of the rows."""
    seen = np.zeros(len(person), dtype=np.bool_)
    places = np.flatnonzero(written)
    order = places[np.lexsort((places, text_hash[places], person[places]))]
    same = (person[order][1:] == person[order][:-1]) & (text_hash[order][1:] == text_hash[order][:-1])
    seen[order[1:][same]] = True
    return seen


def _by_person(person: Ints, values: Floats, width: int) -> list[Floats]:
    """Return the values that are not NaN, of each person."""
    given = ~np.isnan(values)
    order = np.argsort(person[given], kind="stable")
    ends = np.cumsum(np.bincount(person[given], minlength=width))
    return np.split(values[given][order], ends[:-1]) if width else []
