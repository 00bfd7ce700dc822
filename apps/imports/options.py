"""What one may ask of an import."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from apps.core.errors import FieldError, InvalidInput
from apps.imports.files import CONTAINERS
from apps.imports.mapping import why_no_mapping
from apps.imports.shapes import SHAPE_NAMES

FORMATS = (*CONTAINERS, *SHAPE_NAMES)
DATASET_NAME = r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$"


@dataclass(frozen=True)
class Options:
    """Checked options; `format` is what the file is (csv) or what its rows are (helpsteer2-ratings)."""

    format: str | None = None
    mapping: dict[str, Any] | None = None
    dry_run: bool = False
    exclude_duplicates: bool = False
    near_duplicates: bool = False
    exclude_near_duplicates: bool = False
    exclude_contaminated: bool = False
    benchmarks: str | None = None
    """The name under which the file of benchmark prompts is stored."""
    split: str | None = None
    """A split that every row is said to be of, where the row says nothing."""

    def __post_init__(self) -> None:
        errors = []
        if self.format is not None and self.format not in FORMATS:
            errors.append(FieldError("/format", f"Use one of {', '.join(FORMATS)}."))
        if self.mapping is not None:
            wrong = why_no_mapping(self.mapping)
            errors += [FieldError(f"/mapping/{name}", reason) for name, reason in wrong.items()]
            if self.shape is not None:
                errors.append(FieldError("/mapping", "Name a format of rows, or map the columns, not both."))
        if errors:
            raise InvalidInput("The options of the import are not valid.", errors)

    @property
    def container(self) -> str | None:
        """Return the format of the file, if one was named."""
        return self.format if self.format in CONTAINERS else None

    @property
    def shape(self) -> str | None:
        """Return the format of the rows, if one was named."""
        return self.format if self.format in SHAPE_NAMES else None

    @property
    def looks_for_near_duplicates(self) -> bool:
        """Say whether every pair is compared with all others: that takes time, so only when asked."""
        return self.near_duplicates or self.exclude_near_duplicates

    def stored(self) -> dict[str, Any]:
        """Return the JSON form: what differs from the defaults."""
        return {name: value for name, value in asdict(self).items() if value}


def options_of(stored: Mapping[str, Any]) -> Options:
    """Return options from their JSON form."""
    known = {field.name for field in fields(Options)}
    return Options(**{name: value for name, value in stored.items() if name in known})
