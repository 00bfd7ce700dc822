"""The README.md of a saved reward model, with the metadata of the Hugging Face hub (`model-index`)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from worker.core.metrics import FEW_PROMPTS
from worker.core.reward_benchmarks import Benchmark
from worker.core.training.card_data import NO_CLASSIFIER, Making, limits_section, making_lines, origin, people_section

LOAD_WITH_SENTENCE_TRANSFORMERS = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
rewards = model.encode([[prompt, response]])[:, 0]
"""
LOAD_ENCODER = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForSequenceClassification.from_pretrained("path/to/this/folder")
inputs = tokenizer([prompt], [response], truncation=True, return_tensors="pt")
reward = model(**inputs).logits[0, 0]
"""
LOAD_DECODER = """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForSequenceClassification.from_pretrained("path/to/this/folder")
chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
inputs = tokenizer.apply_chat_template(
    chat, truncation=True, max_length=tokenizer.model_max_length, return_dict=True, return_tensors="pt"
)
reward = model(**inputs).logits[0, 0]
"""


PLOTTED = {
    "reliability": "How often the model is right where it is so sure; on the line it would be honest.",
    "margins": "Held-out pairs by the size of their margin; red ones on top are ordered the other way.",
}

TASK = {"type": "preference_evaluation", "name": "Preference prediction"}
"""The type under which RewardBench files reward models."""


@dataclass(frozen=True)
class Figures:
    """What a version was measured on (a snapshot's or a benchmark's name, type and revision) and what came out."""

    name: str
    type: str
    revision: str
    metrics: dict[str, float | None]
    note: str = ""


def model_card(
    manifest: dict[str, Any],
    figures: Sequence[Figures] = (),
    plots: Sequence[str] = (),
    *,
    data: Mapping[str, Any] | None = None,
    making: Making | None = None,
) -> str:
    """Return the card: how to load the model, what it was trained on and how well it does.

    Without `figures`, those that training measured are in it. `plots` are files beside it, of the kinds of PLOTTED;
    `data` is the manifest of the snapshot; `making` is what only the application knows of how the version was made.
    """
    recipe = manifest["recipe"]
    if manifest["loader"] == "sentence-transformers":
        usage = LOAD_WITH_SENTENCE_TRANSFORMERS
    else:
        usage = LOAD_DECODER if recipe["pooling"] == "last" else LOAD_ENCODER
    validation = manifest["metrics"].get("validation")
    return f"""---
{_metadata(manifest, figures or _measured(manifest["snapshot"], validation))}---

# Reward model: {recipe["name"]}

Gives a response to a prompt a number; of two responses to one prompt, the one with the higher number is the
one people are expected to prefer. Numbers for different prompts are not comparable. Trained with Tiebreak on
human preferences.

A prompt of several turns is written as `User: …`, `Assistant: …` paragraphs with an empty line between; a
single turn is written as it is.

## Load

```python
{usage}```
{NO_CLASSIFIER if manifest["loader"] == "sentence-transformers" else ""}
## Metrics on held-out prompts

{_metrics_table(validation)}

"Longer wins" is the accuracy of choosing the longer response. A model that has learned little but length is
close to it, and weak among the pairs where the shorter response won.
{_other_figures(figures)}{_plots(plots)}{people_section(data)}{limits_section(manifest, data)}
## Training

{making_lines(recipe["initialisation"], making)}
- recipe `{manifest["recipe_hash"]}`
- snapshot `{manifest["snapshot"]}`
- feature revision `{manifest["feature_revision"]}`
- outputs of the trained head: {", ".join(manifest["outputs"])}
  (of several, the reward is helpfulness where it was rated, else their mean)

```json
{json.dumps(recipe, indent=2, sort_keys=True)}
```
"""


def held_out_figures(snapshot: str, result: dict[str, Any]) -> tuple[Figures, ...]:
    """Return what a hub shows of a held-out evaluation: scorecard and control pairs; people's names stay out of it."""
    card = result["card"]
    calibration, ceiling, bias = card.get("calibration"), card.get("ceiling"), card.get("length_bias")
    plain = calibration and calibration["raw"]  # what somebody who loads the model finds; a temperature is one's own
    metrics = {
        "accuracy": card["accuracy"],
        "nll": plain and plain["nll"],
        "brier_score": plain and plain["brier"],
        "expected_calibration_error": plain and plain["ece"],
        "temperature": calibration and calibration["temperature"],
        "nll_with_temperature": calibration and calibration["temperature"] and calibration["nll"],
        "length_bias": bias and bias["choice"]["coefficient"],
        "agreement_with_single_people": (card.get("annotators") or {}).get("all")
        and card["annotators"]["all"]["accuracy"],
        "noise_ceiling": ceiling and ceiling["person"]["accuracy"],
    }
    name = "Held-out prompts of a Tiebreak snapshot"
    if chosen := result.get("chosen_on"):
        name += f", on {chosen['prompts']} of which a search chose the recipe out of {chosen['trials']}"
    held_out = Figures(name, "tiebreak-snapshot", snapshot, metrics)
    return held_out, *_control_pair_figures(snapshot, result["controls"])


def _control_pair_figures(snapshot: str, controls: dict[str, Any] | None) -> tuple[Figures, ...]:
    """Return the figures of control pairs, with how many were left out because they were trained on; none of none."""
    if not controls or not controls["n"] or "left_out" not in controls:
        return ()
    note = f"{controls['n']}; {controls['left_out']} that were trained on are left out"
    metrics = {"accuracy": controls["accuracy"]}
    return (Figures("Control pairs that were not trained on", "tiebreak-control-pairs", snapshot, metrics, note),)


def benchmark_figures(benchmark: Benchmark, content_hash: str, result: dict[str, Any]) -> Figures:
    """Return the figures of a benchmark, its average and its sections, under its type only where all rows are there."""
    sections = {
        f"accuracy_{section['name'].lower().replace(' ', '_')}": section["score"] for section in result["sections"]
    }
    published = benchmark.published_set(result) is not None
    kind = benchmark.name if published else f"tiebreak-file-like-{benchmark.name}"
    note = "" if published else "not to be compared with published figures"
    metrics = {"accuracy": result["overall"], **sections}
    return Figures(benchmark.measured_on(result), kind, content_hash, metrics, note)


def _measured(snapshot: str, validation: dict[str, Any] | None) -> tuple[Figures, ...]:
    if validation is None:
        return ()
    metrics = {"accuracy": validation["accuracy"], "nll": validation["log_loss"]}
    return (Figures("Held-out prompts of a Tiebreak snapshot", "tiebreak-snapshot", snapshot, metrics),)


def _metadata(manifest: dict[str, Any], figures: Sequence[Figures]) -> str:
    """Return the card's front matter; the hub's specification is huggingface/hub-docs, `modelcard.md`."""
    metadata: dict[str, Any] = {
        "library_name": manifest["loader"],
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "tiebreak"],
        **origin(manifest),
    }
    results = [
        {
            "task": TASK,
            "dataset": {"name": each.name, "type": each.type, "revision": each.revision},
            "metrics": [
                {"type": name, "value": round(value, 6)} for name, value in each.metrics.items() if value is not None
            ],
        }
        for each in figures
    ]
    if results:
        metadata["model-index"] = [{"name": manifest["recipe"]["name"], "results": results}]
    return yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)


def _other_figures(figures: Sequence[Figures]) -> str:
    """Return the figures beside the accuracy as a table."""
    rows = [
        f"| {each.name}{f' ({each.note})' if each.note else ''} | {name.replace('_', ' ')} | {value:.3f} |"
        for each in figures
        for name, value in each.metrics.items()
        if value is not None
    ]
    return "\n| measured on | figure | value |\n|---|---|---:|\n" + "\n".join(rows) + "\n" if rows else ""


def _plots(paths: Sequence[str]) -> str:
    return "".join(f"\n![{PLOTTED[PurePosixPath(path).stem]}]({path})\n" for path in paths)


def _metrics_table(validation: dict[str, Any] | None) -> str:
    if validation is None:
        return "There was no held-out pair, so nothing was measured."
    low, high = validation["accuracy_interval"]
    rows = [
        ("pairs (prompts)", f"{validation['n']} ({validation['prompts']})"),
        ("accuracy (95 % interval, by prompt)", f"{validation['accuracy']:.3f} ({low:.3f} to {high:.3f})"),
        ("longer wins", f"{validation['length_baseline']:.3f}"),
        (
            f"accuracy where the longer won (n = {validation['n_longer_won']})",
            _number(validation["accuracy_longer_won"]),
        ),
        (
            f"accuracy where the shorter won (n = {validation['n_shorter_won']})",
            _number(validation["accuracy_shorter_won"]),
        ),
        ("log-loss (0.693 is chance)", f"{validation['log_loss']:.3f}"),
    ]
    table = "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)
    if validation["prompts"] >= FEW_PROMPTS:
        return table
    return f"{table}\n\n**Measured on fewer than {FEW_PROMPTS} prompts: figures and intervals say little.**"


def _number(value: float | None) -> str:
    return "no such pair" if value is None else f"{value:.3f}"
