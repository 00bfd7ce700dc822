"""Training on a GPU: tokens a second and share of the card's peak, for 1B- and 8B-shaped models with random weights.

Beside TRL's `RewardTrainer` in the same run: bfloat16, the same pairs, gradient checkpointing on both sides. The 8B
model is trained through an adapter, whose optimiser fits one card. Where there is no GPU it says so and ends well.
Run with `make bench` or `python -m benchmarks.gpu`.
"""

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.training import CHATS, pairs_of

# dense bfloat16 of the data sheets, floating-point operations a second, by a word of the card's name
PEAKS = {"B200": 2.25e15, "H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
BATCH_PAIRS = 8


@dataclass(frozen=True)
class Model:
    """A Llama's shape (Llama-3.2-1B and Llama-3.1-8B), and how it is tuned."""

    name: str
    hidden: int
    layers: int
    heads: int
    inner: int
    tuning: str

    def config(self) -> Any:
        """Return the transformers configuration."""
        from transformers import LlamaConfig

        return LlamaConfig(
            vocab_size=32768,
            hidden_size=self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=8,
            intermediate_size=self.inner,
            max_position_embeddings=4096,
            num_labels=1,
            pad_token_id=0,
        )

    def operations(self, parameters: int) -> float:
        """Return operations a token (arXiv 2001.08361): 6 a weight, 4 where it is frozen and has no gradient."""
        return (4 if self.tuning == "lora" else 6) * parameters


MODELS = (
    Model("1B", hidden=2048, layers=16, heads=32, inner=8192, tuning="full"),
    Model("8B", hidden=4096, layers=32, heads=32, inner=14336, tuning="lora"),
)


def new_model(shape: Model) -> Any:
    """Return a classifier with random weights, on the GPU."""
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    dtype = torch.bfloat16 if shape.tuning == "lora" else torch.float32
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            return LlamaForSequenceClassification(shape.config())
    finally:
        torch.set_default_dtype(before)


def with_adapter(model: Any) -> Any:
    """Return peft's model with the adapter that both sides train."""
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))


def ours(shape: Model, rows: list[np.ndarray[Any, np.dtype[np.int32]]]) -> float:
    """Return the seconds of one epoch of the project's loop."""
    from worker.core.forward import allow_packing
    from worker.core.training.network import RewardNetwork
    from worker.core.training.objective import Labels
    from worker.core.training.processes import World
    from worker.core.training.recipe import Recipe
    from worker.core.training.tuning import TokenisedPairs, tune

    whole = new_model(shape)
    if not allow_packing(whole.model, "last"):
        raise SystemExit("The probe of packed rows failed on this GPU.")
    if shape.tuning == "lora":
        with_adapter(whole.model)
    whole.model.gradient_checkpointing_enable({"use_reentrant": False})
    network = RewardNetwork(whole.model, nn.Linear(shape.hidden, 1, device="cuda"), "last").train()
    changes = {"epochs": 1, "batch_pairs": BATCH_PAIRS, "objective": "bradley_terry", "precision": "bfloat16"}
    recipe = Recipe.from_dict({"backbone": "random", "pooling": "last", "tuning": shape.tuning, **changes})
    pairs = len(rows) // 2
    labels = Labels(np.full(pairs, -1), np.ones(pairs, dtype=np.float32), np.zeros((pairs, 2, 0), dtype=np.float32), ())
    started = time.perf_counter()
    tune(
        recipe,
        network,
        ("reward",),
        TokenisedPairs([{"input_ids": row} for row in rows], labels),
        validation=None,
        world=World(device=torch.device("cuda")),
        saving=None,
        report=lambda event: None,
        should_stop=lambda: False,
    )
    torch.cuda.synchronize()
    return time.perf_counter() - started


def trl(shape: Model, rows: list[np.ndarray[Any, np.dtype[np.int32]]]) -> float:
    """Return the seconds of one epoch of TRL's RewardTrainer."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, PrinterCallback
    from trl import RewardConfig, RewardTrainer

    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(8)}, unk_token="w3"))
    model = new_model(shape)
    data = {"chosen_ids": [row.tolist() for row in rows[0::2]], "rejected_ids": [row.tolist() for row in rows[1::2]]}
    with tempfile.TemporaryDirectory() as place:
        settings = RewardConfig(
            output_dir=place,
            per_device_train_batch_size=BATCH_PAIRS,
            num_train_epochs=1,
            max_length=None,
            bf16=True,
            gradient_checkpointing=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = RewardTrainer(
            model=with_adapter(model) if shape.tuning == "lora" else model,
            args=settings,
            train_dataset=Dataset.from_dict(data),
            processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2"),
        )
        trainer.remove_callback(PrinterCallback)
        torch.cuda.synchronize()
        started = time.perf_counter()
        trainer.train()
        torch.cuda.synchronize()
        return time.perf_counter() - started


def measure(shape: Model, pairs: int, repeats: int) -> list[str]:
    """Return the table's row of one model; tokens are those of both sides in full, however often they are computed."""
    rows = pairs_of(CHATS, pairs)
    tokens = sum(len(row) for row in rows)
    parameters = sum(parameter.numel() for parameter in new_model(shape).parameters())
    sides: list[Callable[[Model, list[Any]], float]] = [ours, trl]
    seconds: list[list[float]] = [[], []]
    for repeat in range(repeats + 1):
        for side, run in enumerate(sides):
            gc.collect()
            torch.cuda.empty_cache()
            took = run(shape, rows)
            if repeat:  # the first warms up
                seconds[side].append(took)
    mine, other = (statistics.median(side) for side in seconds)
    name = torch.cuda.get_device_name()
    peak = next((value for word, value in PEAKS.items() if word in name), None)
    shares = [
        "" if peak is None else f", {100 * shape.operations(parameters) * tokens / took / peak:.0f} % of peak"
        for took in (mine, other)
    ]
    return [
        f"| tokens/s, {shape.name}, {shape.tuning}, {name} | {tokens / mine:,.0f}{shares[0]} "
        f"| TRL {tokens / other:,.0f}{shares[1]} | **{other / mine:.2f}×** |"
    ]


def main() -> None:
    """Measure and print the table; without a GPU, say so."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.stdout.write("There is no GPU here: nothing measured.\n")
        return
    lines = ["| | ours | beside | ratio |", "|---|---|---|---|"]
    for shape in MODELS:
        lines += measure(shape, options.pairs, options.repeats)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
