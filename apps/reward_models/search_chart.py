"""The trials of a recipe search as coordinates for an inline SVG: accuracy with its interval, best on top."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, ROW = 640, 18
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 10, 24


@dataclass(frozen=True)
class Bar:
    """One trial: its number from 1, the dot of its accuracy and the ends of its interval, on a line at `y`."""

    number: int
    y: float
    dot: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchChart:
    """Everything the template draws; `ticks` are places on the accuracy axis with their text."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    height: int
    bottom: int
    width: int = WIDTH
    top: int = TOP
    label: int = LEFT - 8


def chart_of(trials: Sequence[Mapping[str, Any]]) -> SearchChart | None:
    """Return the chart of what was measured; None before there is anything to draw."""
    measured = [(number, trial["validation"]) for number, trial in enumerate(trials) if trial.get("validation")]
    if not measured:
        return None
    measured.sort(key=lambda one: (-one[1]["accuracy"], one[1]["log_loss"], one[0]))
    low = min(figures["accuracy_interval"][0] for _, figures in measured)
    high = max(figures["accuracy_interval"][1] for _, figures in measured)
    span = max(high - low, 0.01)
    bottom = TOP + ROW * len(measured)

    def x(accuracy: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (accuracy - low) / span, 1)

    bars = tuple(
        Bar(
            number + 1,
            TOP + ROW * (place + 0.5),
            x(figures["accuracy"]),
            x(figures["accuracy_interval"][0]),
            x(figures["accuracy_interval"][1]),
        )
        for place, (number, figures) in enumerate(measured)
    )
    ticks = tuple((x(low + span * share), f"{100 * (low + span * share):.1f} %") for share in (0, 0.5, 1))
    return SearchChart(bars, ticks, bottom + BOTTOM, bottom)
