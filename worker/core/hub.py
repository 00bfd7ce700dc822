"""Read a Hugging Face dataset row by row, without downloading it whole."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
"""An owner and a name: one word alone would be a builder of the library, such as `json`, or a folder here."""


class DatasetUnavailable(Exception):
    """The hub has no such dataset, or it cannot be read; the message is a sentence."""


def dataset_rows(dataset: Mapping[str, Any]) -> Iterator[tuple[int, object]]:
    """Yield (number, row) of `name`, `config`, `split` and `revision`, from the hub that HF_ENDPOINT names.

    Nothing of the dataset is executed: the library has not run loading scripts since its version 4.
    """
    name = dataset["name"]
    if not NAME.fullmatch(name) or ".." in name or Path(name).exists():
        raise DatasetUnavailable(f"{name!r} is not the name of a dataset on the hub, such as nvidia/HelpSteer2.")
    yield from _rows(name, dataset)


def folder_rows(folder: Path, split: str) -> Iterator[tuple[int, object]]:
    """Yield the rows of a folder of data files in the same way; never for a name that comes from outside."""
    yield from _rows(str(folder), {"split": split})


def _rows(path: str, dataset: Mapping[str, Any]) -> Iterator[tuple[int, object]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            path,
            dataset.get("config") or None,
            split=dataset.get("split") or "train",
            revision=dataset.get("revision") or None,
            streaming=True,
            token=os.environ.get("HF_TOKEN") or False,
        )
    except Exception as error:
        raise DatasetUnavailable(f"{path} cannot be opened: {_short(error)}.") from error
    yield from enumerate(_plain_rows(rows, path), start=1)


def _plain_rows(rows: Any, path: str) -> Iterator[object]:
    try:
        yield from rows
    except Exception as error:
        raise DatasetUnavailable(f"{path} cannot be read on: {_short(error)}.") from error


def _short(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")
