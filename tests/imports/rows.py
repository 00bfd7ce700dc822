"""Rows and files for the tests of imports."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apps.imports.files import rows_of
from apps.imports.services import import_rows, import_stream
from apps.labeling.models import Annotation
from apps.prompts.models import Comparison

SHARED = Path("../shared/data")


def row(**changes: Any) -> dict[str, Any]:
    """Return a native row."""
    body = {
        "external_id": "q-1",
        "messages": [{"role": "user", "content": "Name two primes."}],
        "responses": [{"text": "2 and 4", "model": "a"}, {"text": "2 and 3", "model": "b"}],
    }
    return {**body, **changes}


def lines(rows: Iterable[Any]) -> bytes:
    """Return JSON lines."""
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in rows)


def load(project: Any, *rows: Any, **options: Any) -> Any:
    """Import JSON lines and return the report."""
    return import_stream(project=project, stream=io.BytesIO(lines(rows)), **options)


def load_file(project: Any, path: Path, **options: Any) -> Any:
    """Import a file of any kind and return the report."""
    with rows_of(path, file_name=path.name) as rows:
        return import_rows(project=project, rows=rows, **options)


def labels() -> list[tuple[str, Any]]:
    """Return who said what, in the order of storing."""
    rows = Annotation.objects.order_by("id").values_list("annotator__imported_name", "neither", "preference")
    return [(name, "neither" if neither else preference) for name, neither, preference in rows]


def sides() -> tuple[str, str]:
    """Return the texts of the one comparison there is."""
    made = Comparison.objects.get()
    return made.response_1.text, made.response_2.text
