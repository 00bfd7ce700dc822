"""Measure a version: `evaluate PROJECT BENCHMARK [--model N] [--file F | --dataset NAME [--split S]]`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import AppError
from apps.jobs.services import worker_seen
from apps.projects.models import Project
from apps.reward_models.evaluations import start_evaluation
from apps.reward_models.models import Evaluation, RewardModel


class Command(BaseCommand):
    help = "Measure a version of a reward model on its held-out prompts or on a benchmark. A gpu worker does the work."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="PROJECT", help="The project's slug.")
        parser.add_argument("benchmark", metavar="BENCHMARK", choices=Evaluation.Benchmark.values)
        parser.add_argument(
            "--model", type=int, metavar="N", help="Number of the version; without it, the current one."
        )
        parser.add_argument("--file", type=Path, metavar="FILE", help="A file in the benchmark's format.")
        parser.add_argument("--dataset", metavar="NAME", help="A dataset on the hub, in the benchmark's format.")
        parser.add_argument("--split", metavar="SPLIT", default="test", help="Its split; test without it.")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        model = _version(project, options["model"])
        dataset = {"name": options["dataset"], "split": options["split"]} if options["dataset"] else None
        asked = {"model": model, "benchmark": options["benchmark"], "dataset": dataset, "created_by": None}
        try:
            if options["file"]:
                with options["file"].open("rb") as file:
                    job = start_evaluation(file=file, file_name=options["file"].name, **asked)
            else:
                job = start_evaluation(**asked)
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"Evaluation of version {model.version}, job {job.pk}")
        if not worker_seen(job.queue):
            self.stdout.write("No gpu worker is running: the job waits until one is started.")


def _version(project: Project, number: int | None) -> RewardModel:
    if number is None:
        model = RewardModel.objects.current_of(project)
        if model is None:
            raise CommandError("The project has no current reward model.")
        return model
    model = RewardModel.objects.filter(project=project, version=number).first()
    if model is None:
        raise CommandError(f"The project has no version {number} of a reward model.")
    return model
