"""The README.md of a saved reward model."""

import json
from typing import Any

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


def model_card(manifest: dict[str, Any]) -> str:
    """Return the card: how to load the model, what it was trained on and how well it does."""
    recipe = manifest["recipe"]
    if manifest["loader"] == "sentence-transformers":
        usage = LOAD_WITH_SENTENCE_TRANSFORMERS
    else:
        usage = LOAD_DECODER if recipe["pooling"] == "last" else LOAD_ENCODER
    return f"""---
library_name: {manifest["loader"]}
pipeline_tag: text-classification
tags: [reward-model, tiebreak]
---

# Reward model: {recipe["name"]}

Gives a response to a prompt a number; of two responses to one prompt, the one with the higher number is the
one people are expected to prefer. Numbers for different prompts are not comparable. Trained with Tiebreak on
human preferences.

A prompt of several turns is written as `User: …`, `Assistant: …` paragraphs with an empty line between; a
single turn is written as it is.

## Load

```python
{usage}```

## Metrics on held-out prompts

{_metrics_table(manifest["metrics"].get("validation"))}

"Longer wins" is the accuracy of choosing the longer response. A model that has learned little but length is
close to it, and weak among the pairs where the shorter response won.

## Training

- recipe `{manifest["recipe_hash"]}`
- snapshot `{manifest["snapshot"]}`
- feature revision `{manifest["feature_revision"]}`
- outputs of the trained head: {", ".join(manifest["outputs"])}
  (of several, the reward is helpfulness where it was rated, else their mean)

```json
{json.dumps(recipe, indent=2, sort_keys=True)}
```
"""


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
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _number(value: float | None) -> str:
    return "no such pair" if value is None else f"{value:.3f}"
