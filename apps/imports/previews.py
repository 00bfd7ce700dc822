"""Look at the first rows of a source, and say what they would become."""

import json
from itertools import islice
from typing import Any

import orjson

from apps.core.errors import AppError
from apps.imports.files import Row
from apps.imports.models import Import
from apps.imports.options import options_of
from apps.imports.rows import BadRow, ImportedPair
from apps.imports.services import DatasetRows, rows_from
from apps.imports.shapes import pairs_of, shape_of

ROWS = 5
SHOWN_CHARS = 400
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def preview_import(*, made: Import, dataset_rows: DatasetRows | None = None) -> dict[str, Any]:
    """Store columns, samples, the shape that was recognised, and the first rows as they would be stored."""
    with rows_from(made, dataset_rows) as rows:
        first = list(islice(rows, 2 * ROWS))
    made.preview = preview_of(first, made)
    made.save(update_fields=["preview"])
    return {"import": str(made.pk)}


def preview_of(first: list[Row], made: Import) -> dict[str, Any]:
    """Return what the page shows of the first rows."""
    options = options_of(made.options)
    objects = [row for _, row in first if isinstance(row, dict)]
    columns = list(dict.fromkeys(name for row in objects for name in row))
    samples = {
        name: _sample(next((row[name] for row in objects if row.get(name) is not None), None)) for name in columns
    }
    found = next((shape.name for row in objects if (shape := shape_of(row))), None)
    preview: dict[str, Any] = {
        "columns": [{"name": name, "sample": samples[name]} for name in columns],
        "shape": options.shape or ("mapped" if options.mapping else found),
        "rows": [],
        "problems": [],
    }
    try:
        for line, unit in islice(pairs_of(iter(first), shape=options.shape, mapping=options.mapping), ROWS):
            if isinstance(unit, BadRow):
                preview["problems"].append({"line": line, "field": unit.field, "reason": unit.reason})
            else:
                preview["rows"] += [_shown(line, pair) for pair in unit][:ROWS]
    except AppError as error:
        preview["problems"].append({"line": None, "field": "", "reason": error.detail})
    return preview


def _shown(line: int, pair: ImportedPair) -> dict[str, Any]:
    messages: list[dict[str, str]] = orjson.loads(pair.messages)
    return {
        "line": line,
        "external_id": pair.external_id,
        "messages": [
            {"role": message["role"], "content": message["content"][:SHOWN_CHARS]} for message in messages[-3:]
        ],
        "responses": [
            {"text": text[:SHOWN_CHARS], "model": model} for text, model in zip(pair.texts, pair.models, strict=True)
        ],
        "labels": ["neither" if label.preference is None else label.preference for label in pair.annotations],
        "gold": pair.gold,
        "reference": pair.reference[:SHOWN_CHARS],
        "metadata": _sample(pair.metadata) if pair.metadata else "",
    }


def _sample(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else _compact(value)
    return text[:SHOWN_CHARS].replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
