"""A project's annotations as columns of numbers, without a Python object per row.

PostgreSQL packs rows into a few byte strings of records of one length, which numpy reads as they are; COPY and cursors
take several times as long. No text leaves the database, only lengths and hashes of texts do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from apps.projects.models import Project
from worker.core.label_quality import Annotations, Repeats

Column = tuple[str, str]
"""What is selected, and as which of the types below; never NULL."""
_SENT = {
    "int8": ("int8send", ">i8", np.int64),
    "int4": ("int4send", ">i4", np.int64),
    "float4": ("float4send", ">f4", np.float64),
    "bool": ("boolsend", "?", np.bool_),
}
PART = 500_000
"""So many rows are packed at a time: most projects at once, and no more than a web process has memory for."""
_SELECT = "SELECT string_agg({columns}, ''::bytea) FROM {rows} AND {id} %% %(parts)s = %(part)s"

_ANNOTATIONS = """
labeling_annotation AS annotation LEFT JOIN labeling_consensus AS consensus USING (comparison_id)
WHERE annotation.project_id = %(project)s AND annotation.is_current AND NOT annotation.is_repeat
"""
_OF_ANNOTATION: dict[str, Column] = {
    "comparison": ("annotation.comparison_id", "int8"),
    "annotator": ("annotation.annotator_id", "int8"),
    "guideline": ("annotation.guideline_version_id", "int8"),
    "preference": ("coalesce(annotation.preference::float4, 'NaN')", "float4"),
    "swapped": ("annotation.swapped", "bool"),
    "imported": ("annotation.imported", "bool"),
    "kept": ("coalesce(consensus.kept @> to_jsonb(annotation.id), false)", "bool"),
    "active_seconds": ("coalesce(annotation.active_seconds::float4, 'NaN')", "float4"),
    "characters": ("length(annotation.justification)", "int4"),
    "pasted": ("coalesce(annotation.pasted_characters::float4, 'NaN')", "float4"),
    "text_hash": ("hashtextextended(btrim(annotation.justification), 0)", "int8"),
}
# A comparison has a consensus, if only a pending one, from its first annotation on.
_COMPARISONS = """
labeling_consensus AS consensus
JOIN prompts_comparison AS comparison ON comparison.id = consensus.comparison_id
JOIN labeling_queueitem AS queue ON queue.comparison_id = comparison.id
JOIN prompts_response AS first ON first.id = comparison.response_1_id
JOIN prompts_response AS second ON second.id = comparison.response_2_id
LEFT JOIN quality_expectedside AS expected ON expected.comparison_id = comparison.id
WHERE consensus.project_id = %(project)s
"""
_OF_COMPARISON: dict[str, Column] = {
    "comparison": ("comparison.id", "int8"),
    "length_1": ("length(first.text)", "int4"),
    "length_2": ("length(second.text)", "int4"),
    "gold": ("coalesce(comparison.gold::float4, 'NaN')", "float4"),
    "expected": ("coalesce(expected.side::float4, 'NaN')", "float4"),
    "control": ("queue.state = 'control'", "bool"),
    "agreed": ("consensus.status = 'agreed'", "bool"),
}
_REPEATS = """
labeling_annotation AS repeat
JOIN labeling_assignment AS assignment ON assignment.id = repeat.assignment_id
JOIN labeling_annotation AS earlier ON earlier.assignment_id = assignment.repeat_of_id AND earlier.is_current
WHERE repeat.project_id = %(project)s AND repeat.is_current AND repeat.is_repeat
"""
_OF_REPEAT: dict[str, Column] = {
    "annotator": ("repeat.annotator_id", "int8"),
    "preference": ("coalesce(repeat.preference::float4, 'NaN')", "float4"),
    "earlier": ("coalesce(earlier.preference::float4, 'NaN')", "float4"),
}


def read_annotations(project: Project, *, expected: int) -> Annotations:
    """Return the current annotations without repeats, in no order (two queries for each of the `PART`s expected).

    One that came between the two queries, on a comparison that had none before, is left out.
    """
    names = project.protocol.attribute_names
    values: dict[str, Any] = {"project": project.pk, "parts": 1 + expected // PART}
    columns = dict(_OF_ANNOTATION)
    for place, name in enumerate(names):
        values[f"name_{place}"] = name
        for side in (1, 2):
            rating = f"coalesce((annotation.ratings_{side} ->> %(name_{place})s)::float4, 'NaN')"
            columns[f"rating_{side}_{place}"] = (rating, "float4")
    rows = _read(_ANNOTATIONS, "annotation.id", columns, values)
    comparisons = _read(_COMPARISONS, "comparison.id", _OF_COMPARISON, values)
    order = np.argsort(comparisons["comparison"])
    ids = comparisons["comparison"][order]
    place_of = np.searchsorted(ids, rows["comparison"])
    known = np.append(ids, -1)[place_of] == rows["comparison"]
    place_of = order[place_of[known]]
    sides = [[rows[f"rating_{side}_{place}"][known] for place in range(len(names))] for side in (1, 2)]
    return Annotations(
        **{name: rows[name][known] for name in _OF_ANNOTATION},
        **{name: comparisons[name][place_of] for name in _OF_COMPARISON if name != "comparison"},
        ratings_1=np.stack(sides[0], axis=1),
        ratings_2=np.stack(sides[1], axis=1),
    )


def read_repeats(project: Project) -> Repeats:
    """Return what people said of pairs they were asked about twice (one query)."""
    return Repeats(**_read(_REPEATS, "repeat.id", _OF_REPEAT, {"project": project.pk, "parts": 1}))


def _read(rows: str, id: str, columns: Mapping[str, Column], values: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    packed = " || ".join(f"{_SENT[kind][0]}({selected})" for selected, kind in columns.values())
    statement = _SELECT.format(columns=packed, rows=rows, id=id)
    content = []
    with connection.cursor() as cursor:
        for part in range(values["parts"]):
            cursor.execute(statement, {**values, "part": part})
            content.append(cursor.fetchone()[0] or b"")
    record = np.dtype([(name, _SENT[kind][1]) for name, (_selected, kind) in columns.items()])
    found = np.frombuffer(b"".join(content), dtype=record)
    return {name: found[name].astype(_SENT[kind][2]) for name, (_selected, kind) in columns.items()}
