"""Import comparisons from a file, now: `import_pairs FILE --project SLUG [--format jsonl|json]`."""

from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import AppError
from apps.imports.services import import_stream
from apps.projects.models import Project
from apps.signals.services import score_new_responses

FORMATS = ("jsonl", "json")
SHOWN_ERRORS = 20


class Command(BaseCommand):
    help = "Import comparisons from JSON lines or a JSON array; exit with 1 if nothing could be imported."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", choices=FORMATS, help="Insist on this format instead of looking at the file.")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {options['project']!r}.")
        try:
            with options["file"].open("rb") as stream:
                if options["format"] not in {None, found := _format_of(stream)}:
                    raise CommandError(f"{options['file']} is {found}, not {options['format']}.")
                report = import_stream(project=project, stream=stream)
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}.") from error
        except AppError as error:
            raise CommandError(error.detail) from error
        for row in report.errors[:SHOWN_ERRORS]:
            self.stderr.write(f"line {row['line']}: {row['field'] or 'row'}: {row['reason']}")
        if report.rejected > SHOWN_ERRORS:
            self.stderr.write(f"… and {report.rejected - SHOWN_ERRORS} more")
        counts = {name: getattr(report, name) for name in ("created", "updated", "unchanged", "rejected")}
        self.stdout.write(", ".join(f"{count} {name}" for name, count in counts.items()))
        if sum(counts.values()) == report.rejected:
            raise CommandError("Nothing could be imported.")
        if job := score_new_responses(project=project):
            self.stdout.write(f"Scoring job {job.pk} is waiting for a gpu worker.")


def _format_of(stream: IO[bytes]) -> str:
    """Return what the file's first character says, and go back to its beginning."""
    first = stream.read(1)
    while first.isspace():
        first = stream.read(1)
    stream.seek(0)
    return "json" if first == b"[" else "jsonl"
