"""The report of an import as a download: every finding, a chunk at a time."""

import csv
import io
import json
from collections.abc import Iterator

from django.http import StreamingHttpResponse

from apps.core.entity_tags import etag_by
from apps.core.spreadsheets import formula_safe
from apps.imports.models import Finding, Import

COLUMNS = ("line", "kind", "field", "reason", "external_id")
FORMATS = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
CHUNK = 2000


def report_of(made: Import, wanted: str) -> StreamingHttpResponse:
    """Return a download of the findings of an import, as JSON lines or CSV."""
    lines = _csv(made) if wanted == "csv" else _jsonl(made)
    response = StreamingHttpResponse(lines, content_type=FORMATS[wanted])
    response["Content-Disposition"] = f'attachment; filename="import-{made.pk}.{wanted}"'
    # Ids of findings only grow, so another run of the same import has another last one.
    last = made.findings.order_by("-line", "-id").values_list("pk", flat=True).first()
    response["ETag"] = etag_by("import", made.pk, made.position, last, wanted)
    return response


def _rows(made: Import) -> Iterator[tuple[int, str, str, str, str]]:
    findings = Finding.objects.filter(source=made).order_by("line", "id")
    yield from findings.values_list(*COLUMNS).iterator(chunk_size=CHUNK)


def _jsonl(made: Import) -> Iterator[str]:
    for row in _rows(made):
        yield json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n"


def _csv(made: Import) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for line, *cells in _rows(made):
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([line, *(formula_safe(cell) for cell in cells)])
    yield buffer.getvalue()
