"""What a reward model's card says of where the model comes from: base model, people, policy of labels, limits.

Everything is read from the model's own manifest and that of its snapshot; what neither knows is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.core.metrics import FEW_PROMPTS
from worker.core.training.recipe import EMBEDDED, REGRESSION_FIRST, parent_of

EMBEDDED_ON_THE_HUB = "sentence-transformers/all-MiniLM-L6-v2"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
NO_CLASSIFIER = """\

**This folder is no `AutoModelForSequenceClassification`.** Its head is in `2_Dense`, where only sentence-transformers
looks. That class, and with it TRL, vLLM and RewardBench, would draw a head at random, with a warning at most, and give
rewards that mean nothing. For these, ask the model over HTTP, or train with the pooling "pooler" or with a decoder:
such folders have their head where that class reads it.
"""


@dataclass(frozen=True)
class Making:
    """How a version was made, as far as it is known: other versions by their number, the code by its version."""

    start: int | None
    compared_with: int | None
    code_version: str


def making_lines(initialisation: str, making: Making | None) -> str:
    """Return what weights training started from, and where it is known what the version was compared with."""
    parent = parent_of(initialisation)
    if parent is not None:
        version = f"version {making.start} (id {parent})" if making and making.start else f"the version of id {parent}"
        lines = [f"- starts from the weights of {version}"]
    elif initialisation == REGRESSION_FIRST:
        lines = ["- starts from scratch, by a regression on helpfulness first"]
    else:
        lines = ["- starts from scratch"]
    if making and making.compared_with:
        lines.append(f"- compared with version {making.compared_with} on held-out prompts")
    if making and making.code_version:
        lines.append(f"- code `{making.code_version}`")
    return "\n".join(lines)


def origin(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base_model`, `datasets` and `license` for the front matter (huggingface/hub-docs, `modelcard.md`).

    A backbone that is a folder has no name on the hub; a licence is nowhere stated, so it is `other`.
    """
    backbone = manifest["recipe"]["backbone"]
    name = EMBEDDED_ON_THE_HUB if backbone == EMBEDDED else backbone
    base = {"base_model": name, "base_model_relation": "finetune"} if _HUB_NAME.fullmatch(name) else {}
    return {"license": "other", **base, "datasets": [f"tiebreak-snapshot-{manifest['snapshot'][:16]}"]}


def people_section(snapshot: Mapping[str, Any] | None) -> str:
    """Return who labeled and by which policy, from a snapshot's manifest; nothing where there is none."""
    if not snapshot or "figures" not in snapshot:
        return ""
    figures, settings = snapshot["figures"], snapshot["protocol"]["settings"]
    labels = f"{figures['labels']:,} labels by {figures['annotators']:,} people"
    splits = ", ".join(f"{name} {count:,}" for name, count in snapshot["comparisons"].items())
    return f"""
## People and their labels

- {labels} on {figures["comparisons"]:,} comparisons; {figures["imported_labels"]:,} labels were imported
- comparisons by split, which goes by prompt: {splits}
- each comparison asks for {settings["annotators"]} people, and for up to {settings["max_annotators"]} where they
  differ; consensus is the rounded mean of the three most similar preferences (-3 to 3), and a comparison whose three
  spread by more than {settings["spread_limit"]} is left out
- ties and "neither is valid" are no preference; the recipe below says what it made of ties
"""


def limits_section(manifest: Mapping[str, Any], snapshot: Mapping[str, Any] | None) -> str:
    """Return what is known to limit the model."""
    recipe, validation = manifest["recipe"], manifest["metrics"].get("validation")
    limits = [
        "A reward says what these people are expected to prefer, not what is true, safe or lawful.",
        f"Inputs beyond {recipe['max_tokens']} tokens are cut.",
        "Prompts and languages unlike those it was trained on were not measured.",
        "The licence is not stated: it follows from the base model and from the texts.",
    ]
    if validation is None:
        limits.append("Nothing was measured on held-out prompts.")
    elif validation["prompts"] < FEW_PROMPTS:
        limits.append(f"Only {validation['prompts']} held-out prompts: no figure here is to be relied on.")
    figures = (snapshot or {}).get("figures")
    if figures and figures["annotators"] < 3:
        limits.append(f"Labels come from {figures['annotators']} people, which is too few to speak for others.")
    if figures and (single := figures["labels_per_comparison"].get("1", 0)):
        limits.append(f"{single:,} comparisons have one label, which nobody has checked.")
    return "\n## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits) + "\n"
