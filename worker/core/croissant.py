"""Describe a dataset in Croissant 1.1, MLCommons' JSON-LD for machine-learning datasets.

Specification: docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. Written here and not by `mlcroissant`, with
which a test validates it: a snapshot is the same bytes wherever it is made (docs/decisions/0009-croissant-by-hand.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"int": "sc:Integer", "float": "sc:Float", "bool": "sc:Boolean"}


@dataclass(frozen=True)
class DescribedFile:
    """One data file as Croissant lists it."""

    format: str
    split: str
    path: str
    encoding: str
    media_types: list[str]
    bytes: int
    sha256: str


def describe(
    *, name: str, description: str, version: str, files: Sequence[DescribedFile], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON-LD: every file with its hash, and a record set per format and split with its columns.

    `columns` are those of `apps.exports.encodings` by format. Lists are arrays and objects have a field for each part,
    but for CSV, where both are JSON text. Objects of any shape in JSON lines have no type in Croissant, so no field.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": description,
        "conformsTo": CONFORMS_TO,
        "version": version,
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file.path,
                "name": file.path,
                "contentUrl": file.path,
                "contentSize": f"{file.bytes} B",
                "encodingFormat": file.media_types if len(file.media_types) > 1 else file.media_types[0],
                "sha256": file.sha256,
            }
            for file in files
        ],
        "recordSet": [_record_set(file, columns[file.format]) for file in files],
    }


def _record_set(file: DescribedFile, columns: Mapping[str, Any]) -> dict[str, Any]:
    ident = f"{file.format}-{file.split}"
    fields = [_field(file, f"{ident}/{name}", kind, name, "") for name, kind in columns.items()]
    return {
        "@type": "cr:RecordSet",
        "@id": ident,
        "name": ident,
        "field": [field for field in fields if field],
    }


def _field(file: DescribedFile, ident: str, kind: Any, column: str, path: str) -> dict[str, Any] | None:
    """Return a field, or None for what has no type; `path` leads to it inside its column, from an item of a list."""
    as_text = file.encoding.startswith("csv")
    item, depth = kind, 0
    while isinstance(item, list) and not as_text:
        item, depth = item[0], depth + 1
    if item == "json" and file.encoding.startswith("jsonl"):
        return None
    array = {"isArray": True, "arrayShape": ",".join(["-1"] * depth)} if depth else {}
    described = {"@type": "cr:Field", "@id": ident, "name": ident, **array}
    if isinstance(item, dict) and not as_text:
        inside = f"{path}[*]." if path and depth else f"{path}." if path else ""
        parts = [_field(file, f"{ident}/{name}", part, column, inside + name) for name, part in item.items()]
        return {**described, "subField": [part for part in parts if part]}
    source = {
        "fileObject": {"@id": file.path},
        "extract": {"column": column},
        **({"transform": {"jsonPath": path}} if path else {}),
    }
    return {
        **described,
        "dataType": _TYPES.get(item, "sc:Text") if isinstance(item, str) else "sc:Text",
        "source": source,
    }
