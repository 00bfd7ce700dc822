"""Freeze a snapshot and write one format of it: `export_snapshot PROJECT --format F --output DIR`."""

import json
import shutil
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.errors import AppError
from apps.exports.formats import FORMATS
from apps.exports.services import create_snapshot, open_file, write_snapshot
from apps.projects.models import Project


class Command(BaseCommand):
    help = "Freeze a snapshot of a project and write its files of one format, and its manifest, to a folder."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="PROJECT", help="The project's slug.")
        parser.add_argument("--format", required=True, choices=sorted(FORMATS))
        parser.add_argument("--output", required=True, type=Path, metavar="DIR")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        folder, export_format = options["output"], options["format"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"Export of {timezone.now():%Y-%m-%d %H:%M}"
            snapshot = create_snapshot(project=project, body={"name": name}, created_by=None)
            write_snapshot(snapshot=snapshot)
            for split in snapshot.selection["splits"]:
                stream, entry = open_file(snapshot=snapshot, export_format=export_format, split=split)
                path = folder / f"{split}.jsonl"
                with stream, path.open("wb") as out:
                    shutil.copyfileobj(stream, out)
                self.stdout.write(f"{path}: {entry['rows']} rows")
            (folder / "manifest.json").write_text(json.dumps(snapshot.manifest, indent=2) + "\n")
        except OSError as error:
            raise CommandError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"Snapshot {snapshot.pk}, content {snapshot.content_hash}")
