"""A data card in Hugging Face's format: what a dataset says about itself.

Everything comes from the manifest, so that a card describes its snapshot and not the project of today.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True)
class CardFile:
    """One data file: format, split, path from the card, rows and bytes."""

    format: str
    split: str
    path: str
    rows: int
    bytes: int


def render_card(
    *, manifest: Mapping[str, Any], files: Sequence[CardFile], columns: Mapping[str, Any], summaries: Mapping[str, str]
) -> str:
    """Return the data card: front matter that `datasets` reads, and what a reader must know before using the labels.

    `files` has one encoding per format and split; `columns` are those of `apps.exports.encodings` by format. Only what
    is frozen is in the card, no date of writing, so that the same snapshot has the same card.
    """
    front = yaml.safe_dump(_front_matter(manifest, files, columns), sort_keys=False, allow_unicode=True, width=10**6)
    return f"---\n{front}---\n\n" + "\n\n".join(_sections(manifest, files, columns, summaries)) + "\n"


def what_it_is(figures: Mapping[str, Any]) -> str:
    """Return the first words about a dataset: imported labels are not known to be those of people."""
    return "Preferences" if figures["imported_labels"] else "Human preferences"


def _front_matter(manifest: Mapping[str, Any], files: Sequence[CardFile], columns: Mapping[str, Any]) -> dict[str, Any]:
    formats = list(dict.fromkeys(file.format for file in files))
    comparisons = sum(manifest["comparisons"].values())
    size = next((name for limit, name in SIZES if comparisons < limit), "n>10M")
    configs, described = [], []
    for number, name in enumerate(formats):
        of_format = [file for file in files if file.format == name]
        config: dict[str, Any] = {
            "config_name": name,
            "data_files": [{"split": file.split, "path": file.path} for file in of_format],
        }
        configs.append(config | ({"default": True} if number == 0 else {}))
        typed = any(file.path.endswith(".parquet") for file in of_format)
        described.append(
            {
                "config_name": name,
                # JSON lines and CSV are typed by who reads them: an empty column has no type there.
                **({"features": [_feature(column, kind) for column, kind in columns[name].items()]} if typed else {}),
                "splits": [
                    {"name": file.split, "num_bytes": file.bytes, "num_examples": file.rows} for file in of_format
                ],
                "download_size": sum(file.bytes for file in of_format),
                "dataset_size": sum(file.bytes for file in of_format),
            }
        )
    human = [] if manifest["figures"]["imported_labels"] else ["human-feedback"]
    return {
        "pretty_name": manifest["name"],
        "license": "unknown",
        "tags": ["preference", *human, "reward-model", "tiebreak"],
        "size_categories": [size],
        "configs": configs,
        "dataset_info": described,
    }


def _feature(name: str, kind: Any) -> dict[str, Any]:
    """Return a column as `datasets.Features` writes it."""
    return {"name": name, **_typed(kind)}


def _typed(kind: Any) -> dict[str, Any]:
    if isinstance(kind, list):
        inner = _typed(kind[0])
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if isinstance(kind, dict):
        return {"struct": [_feature(name, part) for name, part in kind.items()]}
    return {"dtype": {"int": "int64", "float": "float64", "bool": "bool"}.get(kind, "string")}


_PREFERENCES = """\
Preferences go from −3 (response 1 is much better) to 3 (response 2 is much better) and refer to the canonical order of
the responses, whatever order a person saw. 0 is a tie: annotators cannot choose it; it comes from averaging or from
imported data."""
_IMPORTED_UNDER = """\
Imported labels count under the version that was current when they came in; under which guideline they were given is
unknown here, unless the rows of `annotations` say so."""
_SOURCES = "{given:,} of the labels were given here, {imported:,} were imported."
_ALL_IMPORTED = "All {imported:,} labels were imported; none was given here."
_ALL_GIVEN = "All {given:,} labels were given here."
_GIVEN = """\
By the protocol as it stood when the snapshot was made, a comparison that is labeled here asks for {annotators}
annotators, and for up to {max_annotators} where they differ. People {rated}choose a preference and write why in {least}
to {most} words. Sides are swapped at random for each person."""
_IMPORTED = """\
How imported labels were made is unknown here: who gave them, people or models, what they were told and asked, which
response they saw first, and how many were asked. The rows of `annotations` have what came with them."""
_CONSENSUS = """\
The consensus was made here, of labels from anywhere: the rounded mean of the three most similar preferences, of all
where there are fewer; a comparison is excluded when those spread by more than {spread_limit} (HelpSteer2-Preference,
arXiv 2410.01257)."""
_AGREEMENT = """\
The second column is higher by construction: consensus keeps the most similar labels and drops comparisons on which they
differ widely. Quote the first one as the agreement of those who labeled. Intervals take the labels of a comparison
together (bootstrap over comparisons)."""


def _process(figures: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    """Return how labels were made, as far as it is known: what the protocol says holds for labels given here."""
    imported = figures["imported_labels"]
    given = figures["labels"] - imported
    least, most = protocol["justification_words"]
    attributes = ", ".join(attribute["name"] for attribute in protocol["attributes"])
    said = [_SOURCES if given and imported else _ALL_IMPORTED if imported else _ALL_GIVEN] if figures["labels"] else []
    said += [_GIVEN] if given or not imported else []
    said += [_IMPORTED] if imported else []
    return " ".join([*said, _CONSENSUS]).format(
        **{name: protocol[name] for name in ("annotators", "max_annotators", "spread_limit")},
        rated=f"rate both responses on {attributes}, " if attributes else "",
        least=least,
        most=most,
        given=given,
        imported=imported,
    )


def _dates(figures: Mapping[str, Any]) -> str:
    if not figures["labels"]:
        return "No label yet."
    # Snapshots from before such labels were counted name the time of their import among the others.
    undated = figures.get("labels_without_time")
    period = f"{figures['first_label']} to {figures['last_label']}"
    if undated is None:
        return f"Labels were given here, or imported, from {period}."
    if not undated:
        return f"Labels date from {period}."
    unknown = f"{undated:,} imported labels came without a time: when they were given is unknown."
    dated = figures["labels"] - undated
    return f"{unknown} The other {dated:,} date from {period}." if dated else unknown


def _who(figures: Mapping[str, Any]) -> str:
    """Return what to call those who labeled: of imported labels nobody knows that they were people."""
    return "annotators" if figures["imported_labels"] else "people"


def _sections(
    manifest: Mapping[str, Any], files: Sequence[CardFile], columns: Mapping[str, Any], summaries: Mapping[str, str]
) -> list[str]:
    figures, protocol = manifest["figures"], manifest["protocol"]["settings"]
    splits = ", ".join(f"{name} {count:,}" for name, count in manifest["comparisons"].items())
    excluded, filters = manifest["excluded"], manifest["selection"]["filters"]
    return [
        f"# {_line(manifest['name'])}",
        f"{what_it_is(figures)} between two responses, from the project `{manifest['project']}`: "
        f"{figures['comparisons']:,} comparisons with {figures['labels']:,} labels by {figures['annotators']:,} "
        f"{_who(figures)}. "
        f"Content hash `{manifest['content_hash']}`.",
        "## How it was collected",
        _PREFERENCES,
        _process(figures, protocol),
        _dates(figures),
        _table(
            ("selection", "value"),
            [
                ("splits, by prompt", splits),
                ("seed", str(manifest["selection"]["seed"])),
                *((f"filter `{name}`", f"`{json.dumps(wanted)}`") for name, wanted in filters.items()),
            ],
        )
        + "\n\n"
        + (
            "Left out by the selection: "
            + "; ".join(f"{count:,} × {reason}" for reason, count in excluded.items())
            + "."
            if excluded
            else "The selection left nothing out."
        ),
        "## Annotators",
        _table(
            ("labels per comparison", "comparisons"),
            [(count, f"{number:,}") for count, number in figures["labels_per_comparison"].items()],
        ),
        _per_annotator(figures),
        "## Agreement",
        _table(
            ("figure", "before: all labels", "after: the labels that consensus kept"),
            [
                (words, *(_shown(figures["agreement"][which][name]) for which in ("raw", "kept")))
                for words, name in (
                    ("same preference", "same_preference"),
                    ("same side", "same_side"),
                    ("Krippendorff's alpha, ordinal", "alpha_ordinal"),
                )
            ],
        ),
        _AGREEMENT,
        "## Bias",
        _table(
            ("figure", "share of decisive labels"),
            [
                ("for the response shown first", _shown(figures["position_bias"])),
                ("for the longer response", _shown(figures["length_bias"])),
            ],
        ),
        "Position counts labels given here only; nobody knows in which order other tools showed the responses. The "
        "interval of length takes the labels of a comparison together.",
        "## Known limits",
        "\n".join(f"- {limit}" for limit in _limits(figures, manifest)),
        "## Files",
        _table(
            ("format", "split", "file", "rows", "what it is"),
            [(file.format, file.split, f"`{file.path}`", f"{file.rows:,}", summaries[file.format]) for file in files],
        ),
        "The manifest beside this card has the size and SHA-256 of every file.",
        "## Fields",
        *(
            f"**{name}**\n\n"
            + _table(("field", "type"), [(f"`{column}`", f"`{_words(kind)}`") for column, kind in kinds.items()])
            for name, kinds in columns.items()
        ),
        "## Guideline",
        *([_IMPORTED_UNDER] if figures["imported_labels"] else []),
        *(
            f"### Version {version['number']} ({version['labels']:,} labels)\n\n" + _quoted(version["text"])
            for version in manifest["guidelines"]
        ),
    ]


def _limits(figures: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    limits = [
        "A justification may name both responses; `@Response 1` is always the canonical first one.",
        "Texts of models and people are as they came: unmoderated, and possibly wrong, offensive or personal.",
        "The licence of the prompts and responses is that of their source; this card does not know it.",
    ]
    single = figures["labels_per_comparison"].get("1", 0)
    if single:
        limits.append(f"{single:,} comparisons have one label: nobody has checked it.")
    if figures["imported_labels"]:
        limits.append(
            "Imported labels come with the conventions of where they were made; few say what was shown first. Their "
            "annotators are the names in their files, one for each place in a list where a file names nobody."
        )
    if len(manifest["guidelines"]) > 1:
        limits.append(
            "Labels were given under several versions of the guideline; each row of `annotations` names its own."
        )
    if figures["annotators"] < 3:
        limits.append(f"Fewer than three {_who(figures)} labeled: agreement says little.")
    return limits


def _per_annotator(figures: Mapping[str, Any]) -> str:
    spread = figures["labels_per_annotator"]
    if spread is None:
        return "Nobody has labeled yet."
    smallest, median, largest = (spread[name] for name in ("smallest", "median", "largest"))
    each = "annotator" if figures["imported_labels"] else "person"
    return f"Labels per {each}: {smallest:,} at least, {median:,} in the middle, {largest:,} at most."


def _shown(figure: Any) -> str:
    if figure is None:
        return "–"
    if isinstance(figure, float):
        return f"{figure:.3f}"
    if figure["share"] is None:
        return "–"
    shown = f"{figure['share']:.1%} of {figure['n']:,}"
    if figure["interval"] is None:
        return shown
    low, high = figure["interval"]
    return f"{shown} (95 %: {low:.1%} to {high:.1%})"


def _words(kind: Any) -> str:
    if isinstance(kind, list):
        return f"list of {_words(kind[0])}"
    if isinstance(kind, dict):
        return "{" + ", ".join(f"{name}: {_words(part)}" for name, part in kind.items()) + "}"
    return {"label": 'int or "neither"', "json": "object"}.get(kind, str(kind))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_line(cell) for cell in line)} |" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in (text or "(empty)").splitlines())
