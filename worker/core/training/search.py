"""Which recipes a search tries, and which of them it finds best."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from worker.core.training.recipe import MOST, SCRATCH, Recipe

FACTOR = "extrapolation"
# The factor comes last: trials in a row that differ in it alone share one training.
SEARCHED = ("learning_rate", "weight_decay", "epochs", "layers", FACTOR)
MAX_TRIALS = 48


def default_grid(recipe: Recipe) -> dict[str, list[float]]:
    """Return learning rates and decays around the recipe's own, and factors where there is a start to go on from."""
    grid = {}
    for name in ("learning_rate", "weight_decay"):
        own = getattr(recipe, name)
        grid[name] = list(dict.fromkeys(min(value, MOST[name]) for value in (own / 3, own, own * 3)))
    return grid if recipe.initialisation == SCRATCH else grid | {"extrapolation": [1.0, 1.25, 1.5]}


def combinations(recipe: Recipe, grid: object) -> list[dict[str, Any]]:
    """Return the changes to try, in a fixed order. Raises ValueError naming field and rule.

    Every combination is checked as a recipe before the first one is trained.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError("grid: must map fields of a recipe to lists of values.")
    for name, values in grid.items():
        if name not in SEARCHED:
            raise ValueError(f"{name}: a search varies {', '.join(SEARCHED)}.")
        if not isinstance(values, list) or not values:
            raise ValueError(f"{name}: must be a list of values.")
        if len({repr(value) for value in values}) != len(values):
            raise ValueError(f"{name}: a value is listed twice.")
    names = [name for name in SEARCHED if name in grid]
    count = 1
    for name in names:
        count *= len(grid[name])
    if count > MAX_TRIALS:
        raise ValueError(f"grid: has {count} combinations, {MAX_TRIALS} are allowed.")
    found = [dict(zip(names, values, strict=True)) for values in product(*(grid[name] for name in names))]
    for changes in found:
        Recipe.from_dict({**recipe.to_dict(), **changes})
    return found


def best_trial(trials: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the place of the trial with the highest validation accuracy, of equal ones that with the least log-loss.

    Trials that failed are passed over; None when there is no other.
    """
    measured = [(number, trial["validation"]) for number, trial in enumerate(trials) if trial.get("validation")]
    if not measured:
        return None
    return min(measured, key=lambda one: (-one[1]["accuracy"], one[1]["log_loss"], one[0]))[0]


def first_of_its_training(trials: Sequence[Mapping[str, Any]], number: int) -> int:
    """Return the place of the first trial that ends with the same weights before the factor is applied."""
    alone = [{name: value for name, value in changes.items() if name != FACTOR} for changes in trials]
    return alone.index(alone[number])
