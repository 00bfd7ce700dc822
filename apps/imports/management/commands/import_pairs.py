"""Import comparisons now: `import_pairs FILE_OR_FOLDER --project SLUG [--format F]`."""

import json
import re
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.errors import AppError
from apps.imports.files import SUFFIXES
from apps.imports.models import CAME_IN
from apps.imports.options import FORMATS, Options
from apps.imports.outcomes import COUNTS, ImportReport
from apps.imports.services import import_file
from apps.projects.models import Project
from apps.signals.services import score_new_responses

SHOWN_ERRORS = 20
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
_SPLITS |= {"dev": "validation", "test": "test", "eval": "test"}


class Command(BaseCommand):
    help = (
        "Import comparisons from a file, or from every data file of a folder laid out as the `datasets` library does, "
        "whose split is then kept as metadata; exit with 1 if nothing could be imported."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, metavar="FILE_OR_FOLDER")
        parser.add_argument("--project", required=True, metavar="SLUG")
        parser.add_argument("--format", choices=FORMATS, help="Insist on this format instead of looking at the file.")
        parser.add_argument("--mapping", help='Which columns are which fields, as JSON: {"prompt": "question", …}.')
        parser.add_argument("--dry-run", action="store_true", help="Report everything and store nothing.")
        parser.add_argument("--exclude-duplicates", action="store_true")
        parser.add_argument("--near-duplicates", action="store_true", help="Report pairs that are nearly the same.")
        parser.add_argument("--exclude-near-duplicates", action="store_true")
        parser.add_argument(
            "--benchmarks", type=Path, metavar="FILE", help="Prompts that no row should share text with."
        )
        parser.add_argument("--exclude-contaminated", action="store_true")

    def handle(self, *args: Any, **given: Any) -> None:
        project = Project.objects.filter(slug=given["project"]).first()
        if project is None:
            raise CommandError(f"There is no project {given['project']!r}.")
        total = ImportReport()
        for path, split in _files(given["path"]):
            try:
                options = _options(given, split)
                report = import_file(project=project, path=path, options=options, benchmarks=given["benchmarks"])
            except OSError as error:
                raise CommandError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error
            except AppError as error:
                details = "".join(f"\n{fault.pointer}: {fault.detail}" for fault in error.errors)
                raise CommandError(f"{path}: {error.detail}" + (details if error.errors[1:] else "")) from error
            self._say(path if path != given["path"] else None, report)
            for name in COUNTS:
                setattr(total, name, getattr(total, name) + getattr(report, name))
        counts = total.counts()
        shown = [name for name in counts if counts[name] or name in {"created", "updated", "unchanged", "rejected"}]
        self.stdout.write(", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in shown))
        if not any(counts[name] for name in CAME_IN):
            raise CommandError("Nothing could be imported.")
        for job in [] if given["dry_run"] else score_new_responses(project=project):
            self.stdout.write(f"Scoring job {job.pk} is waiting for a gpu worker.")

    def _say(self, path: Path | None, report: ImportReport) -> None:
        where = f"{path}: " if path else ""
        for row in report.errors[:SHOWN_ERRORS]:
            self.stderr.write(f"{where}line {row['line']}: {row['field'] or 'row'}: {row['reason']}")
        if report.rejected > SHOWN_ERRORS:
            self.stderr.write(f"{where}… and {report.rejected - SHOWN_ERRORS} more")
        for name, count in sorted(report.ignored_fields.items()):
            self.stderr.write(f"{where}the field {name!r} of {count} rows is not known, and was ignored")
        if report.broken_off:
            self.stderr.write(f"{where}{report.notice}")


def _options(given: dict[str, Any], split: str | None) -> Options:
    mapping = None
    if given["mapping"]:
        try:
            mapping = json.loads(given["mapping"])
        except ValueError as error:
            raise CommandError(f"The mapping is not JSON: {error}.") from error
        if not isinstance(mapping, dict):
            raise CommandError("The mapping must be a JSON object.")
    flags = ("dry_run", "exclude_duplicates", "near_duplicates", "exclude_near_duplicates", "exclude_contaminated")
    return Options(format=given["format"], mapping=mapping, split=split, **{name: given[name] for name in flags})


def _files(path: Path) -> list[tuple[Path, str | None]]:
    """Return the data files with their splits: of a folder, all whose name has a known ending, hidden ones left out."""
    if not path.is_dir():
        return [(path, None)]
    endings = (*SUFFIXES, *(f"{ending}.gz" for ending in SUFFIXES))
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file()
        and file.name.lower().endswith(endings)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.name not in {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
    ]
    if not files:
        raise CommandError(f"{path} has no data files ({', '.join(SUFFIXES)}, plain or .gz).")
    return [(file, _split_of(file.relative_to(path))) for file in files]


def _split_of(file: Path) -> str | None:
    """Return the split that a file's name or folder says: `train.jsonl`, `data/train-00000-of-00002.parquet`."""
    for part in (file.name, *reversed(file.parts[:-1])):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in _SPLITS:
                return _SPLITS[word]
    return None
