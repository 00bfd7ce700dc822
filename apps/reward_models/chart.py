"""A line chart of a training run as coordinates for an inline SVG: loss and held-out accuracy over steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.formats import number_format

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 44, 14, 24
MAX_POINTS = 400


@dataclass(frozen=True)
class Tick:
    """A label with its place on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything the template draws; lines are SVG `points`."""

    loss: str
    accuracy: str
    accuracy_dots: tuple[tuple[float, float], ...]
    loss_ticks: tuple[Tick, ...]
    accuracy_ticks: tuple[Tick, ...]
    step_ticks: tuple[Tick, ...]
    last_loss: float | None
    last_accuracy: float | None
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def chart_of(history: Sequence[dict[str, Any]]) -> Chart | None:
    """Return the chart of a run's events; None before there is anything to draw.

    Of two stages the last one: their losses are no numbers of one scale.
    """
    last_stage = max((event.get("stage", 1) for event in history), default=1)
    history = [event for event in history if event.get("stage", 1) == last_stage]
    losses = [(event["step"], event["loss"]) for event in history if event["event"] == "step"]
    accuracies = [
        (event["step"], event["accuracy"])
        for event in history
        if event["event"] == "evaluation" and event.get("accuracy") is not None
    ]
    if not losses and not accuracies:
        return None
    last_step = max(step for step, _ in [*losses, *accuracies]) or 1
    top_loss = max((loss for _, loss in losses), default=1.0) * 1.05 or 1.0
    low = min([accuracy for _, accuracy in accuracies] + [0.5])
    low = max(0.0, low - 0.05) if low < 0.5 else 0.5  # 0.5 is guessing: the line that matters

    def x(step: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * step / last_step, 1)

    def y(share: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    def points(line: Sequence[tuple[float, float]], base: float, top: float) -> list[tuple[float, float]]:
        every = max(1, len(line) // MAX_POINTS)
        kept = [*line[:-1:every], *line[-1:]]
        return [(x(step), y((value - base) / (top - base))) for step, value in kept]

    dots = points(accuracies, low, 1.0)
    return Chart(
        loss=_joined(points(losses, 0.0, top_loss)),
        accuracy=_joined(dots),
        accuracy_dots=tuple(dots),
        loss_ticks=tuple(Tick(y(share), number_format(f"{top_loss * share:.2f}", 2)) for share in (0, 0.5, 1)),
        accuracy_ticks=tuple(Tick(y(share), f"{100 * (low + (1 - low) * share):.0f} %") for share in (0, 0.5, 1)),
        step_ticks=tuple(Tick(x(step), str(step)) for step in sorted({0, last_step // 2, last_step})),
        last_loss=losses[-1][1] if losses else None,
        last_accuracy=accuracies[-1][1] if accuracies else None,
    )


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
