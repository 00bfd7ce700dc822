"""Describe a dataset in Croissant 1.0, MLCommons' JSON-LD for machine-learning datasets.

Specification: docs.mlcommons.org/croissant/docs/croissant-spec.html. Written here and not by `mlcroissant`, with
which a test validates it: a snapshot is the same bytes wherever it is made (docs/decisions/0009-croissant-by-hand.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
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
    media_type: str
    bytes: int
    sha256: str


def describe(
    *, name: str, description: str, version: str, files: Sequence[DescribedFile], columns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON-LD: every file with its hash, and a record set per format and split with its columns.

    `columns` are those of `apps.exports.encodings` by format; nested ones are given as the JSON that they are.
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
                "encodingFormat": file.media_type,
                "sha256": file.sha256,
            }
            for file in files
        ],
        "recordSet": [_record_set(file, columns[file.format]) for file in files],
    }


def _record_set(file: DescribedFile, columns: Mapping[str, Any]) -> dict[str, Any]:
    ident = f"{file.format}-{file.split}"
    return {
        "@type": "cr:RecordSet",
        "@id": ident,
        "name": ident,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{ident}/{name}",
                "name": f"{ident}/{name}",
                "dataType": _TYPES.get(kind, "sc:Text") if isinstance(kind, str) else "sc:Text",
                "source": {"fileObject": {"@id": file.path}, "extract": {"column": name}},
            }
            for name, kind in columns.items()
        ],
    }
