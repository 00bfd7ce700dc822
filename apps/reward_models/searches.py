"""Search a recipe: start, take up where a killed worker stopped, and use what was found."""

from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput
from apps.exports.models import Snapshot
from apps.jobs.services import Claim, enqueue, storing
from apps.projects.models import Project
from apps.reward_models.evaluations import VALIDATION
from apps.reward_models.models import RecipeSearch, TrainingRun
from apps.reward_models.services import (
    check_enough_labels,
    check_same,
    check_snapshot,
    freeze_snapshot,
    parse_recipe,
    start_training,
)
from worker.core.training.recipe import Recipe
from worker.core.training.search import best_trial, combinations, default_grid

ANOTHER_SEARCH = gettext_lazy("Another search of this project is running; wait until it is over, or cancel it.")
DEFAULT_MINUTES, MAX_MINUTES = 30, 24 * 60


@transaction.atomic
def start_search(
    *,
    project: Project,
    recipe: dict[str, Any] | None = None,
    grid: dict[str, Any] | None = None,
    minutes: int | None = None,
    snapshot: Snapshot | None = None,
    created_by: User | None = None,
) -> RecipeSearch:
    """Start a search; while one is unfinished in the project, the same request returns that one, another is a Conflict.

    It lasts DEFAULT_MINUTES unless said otherwise. It chooses on the snapshot's validation split; a split named
    otherwise, such as test, is never read.
    """
    check_enough_labels(project)
    if minutes is not None and not 1 <= minutes <= MAX_MINUTES:
        rule = _("It must be a whole number from 1 to %(most)s.") % {"most": MAX_MINUTES}
        raise InvalidInput(_("The search is not valid."), [FieldError("/minutes", rule)])
    checked = parse_recipe(project, recipe or {})
    chosen = default_grid(checked) if grid is None else grid
    try:
        combinations(checked, chosen)
    except (TypeError, ValueError) as error:
        raise InvalidInput(_("The search is not valid."), [FieldError("/grid", str(error))]) from error
    if snapshot is not None:
        check_snapshot(project, snapshot, VALIDATION)
    job = enqueue(kind="recipe_search", project=project, inputs={}, created_by=created_by, key="recipe_search")
    if (unfinished := RecipeSearch.objects.filter(job=job).first()) is not None:
        wanted = None if recipe is None else checked.to_dict()
        asked = {"recipe": wanted, "grid": grid, "minutes": minutes, "snapshot": snapshot}
        check_same(unfinished, asked, str(ANOTHER_SEARCH))
        return unfinished
    return RecipeSearch.objects.create(
        project=project,
        recipe=checked.to_dict(),
        grid=chosen,
        minutes=minutes or DEFAULT_MINUTES,
        snapshot=snapshot or freeze_snapshot(project=project, purpose="Recipe search", created_by=created_by),
        job=job,
        created_by=created_by,
    )


def trials_of(search: RecipeSearch) -> list[dict[str, Any]]:
    """Return the changes that the search tries, in its order."""
    return combinations(Recipe.from_dict(search.recipe), search.grid)


def store_trial(*, search: RecipeSearch, claim: Claim, trial: dict[str, Any]) -> None:
    """Store what came of the next trial, under the job's lock."""
    with storing(claim):
        search.trials = [*search.trials, trial]
        search.save(update_fields=["trials"])


def use_recipe(*, search: RecipeSearch, trial: int | None = None, created_by: User | None = None) -> TrainingRun:
    """Start a training on all labels of today with a trial's recipe, the best one's unless another is named."""
    number = best_trial(search.trials) if trial is None else trial
    if number is None:
        raise Conflict(_("No trial of this search has been measured."))
    if not 0 <= number < len(search.trials):
        rule = _("The search has %(count)s trials, counted from 0.") % {"count": len(search.trials)}
        raise InvalidInput(_("There is no such trial."), [FieldError("/trial", rule)])
    recipe = {**search.recipe, **search.trials[number]["changes"]}
    return start_training(project=search.project, recipe=recipe, created_by=created_by)
