"""Freeze a snapshot and write one format of it: `export_snapshot PROJECT --format F --output DIR`."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.core.errors import AppError
from apps.exports.encodings import ENCODINGS
from apps.exports.formats import FORMATS, KNOWN_FORMATS, RULE_VERDICTS
from apps.exports.services import BASE_FORMAT, create_snapshot, export_folder, write_snapshot
from apps.projects.models import Project


class Command(BaseCommand):
    help = (
        "Freeze a snapshot of a project and write its files of one format, its manifest and its data card to a folder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", metavar="PROJECT", help="The project's slug.")
        parser.add_argument(
            "--format", required=True, choices=sorted(KNOWN_FORMATS), metavar="F", help=", ".join(KNOWN_FORMATS)
        )
        parser.add_argument("--output", required=True, type=Path, metavar="DIR")
        parser.add_argument("--encoding", default="jsonl", choices=list(ENCODINGS))

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        folder, export_format, encoding = options["output"], options["format"], options["encoding"]
        body = {
            "name": f"Export of {timezone.now():%Y-%m-%d %H:%M}",
            "formats": [export_format if export_format in FORMATS else BASE_FORMAT],
            "encodings": [encoding],
            "rule_verdicts": export_format == RULE_VERDICTS,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            snapshot = create_snapshot(project=project, body=body, created_by=None)
            write_snapshot(snapshot=snapshot)
            rows = export_folder(snapshot=snapshot, export_format=export_format, encoding=encoding, folder=folder)
        except OSError as error:
            raise CommandError(f"{error.filename or folder} cannot be written: {error.strerror}.") from error
        except AppError as error:
            raise CommandError(error.detail) from error
        for name, count in rows.items():
            self.stdout.write(f"{folder / name}: {count} rows")
        self.stdout.write(f"Snapshot {snapshot.pk}, content {snapshot.content_hash}")
