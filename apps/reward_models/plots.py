"""A reliability plot and a histogram of margins as coordinates for inline SVGs."""

from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format

from apps.reward_models.chart import Tick

WIDTH, HEIGHT = 320, 220
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 26


@dataclass(frozen=True)
class Reliability:
    """How often the model is right where it is so sure: a dot a bin, and the diagonal on which it would be honest."""

    dots: tuple[tuple[float, float], ...]
    line: str
    diagonal: tuple[float, float, float, float]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Bar:
    """One bin of margins: pairs that the model orders as people did, and the others on top of them."""

    x: float
    width: float
    agree_y: float
    agree_height: float
    disagree_y: float
    disagree_height: float


@dataclass(frozen=True)
class Margins:
    """How large the margins are, where the model agrees and where it does not."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def reliability_of(calibration: dict[str, Any] | None) -> Reliability | None:
    """Return the plot of a calibration's bins; None where nothing was measured."""
    if calibration is None:
        return None
    bins = calibration["bins"]
    low = min(0.5, *(each["accuracy"] for each in bins))
    dots = tuple((_x((each["confidence"] - 0.5) * 2), _y((each["accuracy"] - low) / (1 - low))) for each in bins)
    return Reliability(
        dots=dots,
        line=" ".join(f"{x},{y}" for x, y in dots),
        diagonal=(_x(0), _y((0.5 - low) / (1 - low)), _x(1), _y(1)),
        x_ticks=tuple(Tick(_x(share), f"{50 + 50 * share:.0f} %") for share in (0, 0.5, 1)),
        y_ticks=tuple(Tick(_y(share), f"{100 * (low + (1 - low) * share):.0f} %") for share in (0, 0.5, 1)),
    )


def margins_of(histogram: dict[str, Any]) -> Margins:
    """Return the bars of a histogram of margins."""
    agree, disagree = histogram["agree"], histogram["disagree"]
    top = max(a + b for a, b in zip(agree, disagree, strict=True)) or 1
    step = (WIDTH - LEFT - RIGHT) / len(agree)
    bars = []
    for number, (a, b) in enumerate(zip(agree, disagree, strict=True)):
        agree_y, both_y = _y(a / top), _y((a + b) / top)
        bars.append(
            Bar(
                x=round(LEFT + number * step + 0.5, 1),
                width=round(step - 1, 1),
                agree_y=agree_y,
                agree_height=round(_y(0) - agree_y, 1),
                disagree_y=both_y,
                disagree_height=round(agree_y - both_y, 1),
            )
        )
    edges = histogram["edges"]
    return Margins(
        bars=tuple(bars),
        x_ticks=tuple(Tick(_x(share), number_format(f"{edges[-1] * share:.2g}")) for share in (0, 0.5, 1)),
        y_ticks=tuple(Tick(_y(share), str(round(top * share))) for share in (0, 0.5, 1)),
    )


def _x(share: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)
