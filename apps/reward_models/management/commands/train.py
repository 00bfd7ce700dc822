"""Start a training run: `train PROJECT [--recipe FILE]`."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import AppError
from apps.core.json_values import why_unstorable
from apps.jobs.services import worker_seen
from apps.projects.models import Project
from apps.reward_models.services import start_training


class Command(BaseCommand):
    help = "Start a training run of a project's reward model. A gpu worker does the work."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="PROJECT", help="The project's slug.")
        parser.add_argument("--recipe", type=Path, metavar="FILE", help="JSON object: what differs from the default.")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        recipe = _read_recipe(options["recipe"]) if options["recipe"] else None
        try:
            run = start_training(project=project, recipe=recipe)
        except AppError as error:
            raise CommandError(" ".join([error.detail, *(field.detail for field in error.errors)])) from error
        self.stdout.write(f"Training run {run.pk}, job {run.job_id}")
        if worker_seen(run.job.queue):
            self.stdout.write("A gpu worker is running and will take it.")
        else:
            self.stdout.write("No gpu worker is running: the run waits until one is started.")


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = json.loads(path.read_text())
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise CommandError(f"{path} is not JSON: {error}.") from error
    if not isinstance(recipe, dict):
        raise CommandError(f"{path} must hold a JSON object.")
    if problem := why_unstorable(recipe):
        raise CommandError(f"{path}: the recipe {problem}.")
    return recipe
