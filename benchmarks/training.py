"""Training and reading with packed rows beside the usual padded loops, on this machine's CPU in float32.

- Full fine-tuning of a small random decoder beside TRL's `RewardTrainer`: the same pairs, order, start and optimiser
  (AdamW, linear decay, clipping at 1, no dropout, no checkpointing), so that the losses must agree step by step. Two
  shapes: long prompts with short responses, as chats have them, and one that favours TRL: short prompts, and responses
  of one length, so that nothing is shared and nothing padded.
- Eight candidates of a prompt of 1,000 tokens beside one padded batch of them.
- The first pass of the embedded backbone beside sentence-transformers, which sorts and pads.

Run with `make bench` or `python -m benchmarks.training`. Each figure is a median of alternating repeats.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

DECODER = {
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "intermediate_size": 768,
    "max_position_embeddings": 2048,
}
PAD = 0
WRITTEN = ("ukpconvarg1_train_1.jsonl", "pandalm_human.jsonl")
PEER_BATCH = 32
BATCH_PAIRS, PAIRS, LEARNING_RATE = 8, 48, 1e-4


@dataclass(frozen=True)
class Shape:
    """Lengths in tokens: medians and spreads of lognormal distributions, cut at `most`."""

    name: str
    prompt: int
    response: int
    spread: float
    most: int = 1024


CHATS = Shape("long prompts, short responses", prompt=320, response=40, spread=0.8)
UNFAVOURABLE = Shape("short prompts, long responses of one length", prompt=16, response=240, spread=0.0)


def pairs_of(shape: Shape, count: int) -> list[np.ndarray[Any, np.dtype[np.int32]]]:
    """Return token rows, two a pair; the rows of a pair begin with the same prompt."""
    random = np.random.default_rng(7)
    draw = lambda median: int(np.clip(median * np.exp(shape.spread * random.normal()), 4, shape.most))  # noqa: E731
    rows = []
    for _ in range(count):
        prompt = random.integers(1, DECODER["vocab_size"], size=draw(shape.prompt))
        rows += [np.concatenate([prompt, random.integers(1, DECODER["vocab_size"], size=draw(shape.response))])
                 for _ in range(2)]  # fmt: skip
    return [row.astype(np.int32) for row in rows]


def save_start(folder: Path) -> None:
    """Write the decoder with its score layer, from which both sides start."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(0)
    config = Qwen3Config(**DECODER, num_labels=1, pad_token_id=PAD, bos_token_id=1, eos_token_id=2)
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(DECODER["vocab_size"])}, unk_token="w3"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w0", eos_token="w2").save_pretrained(folder)


def train_ours(folder: Path, rows: list[np.ndarray[Any, np.dtype[np.int32]]]) -> tuple[float, list[float]]:
    """Train one epoch with the project's loop; return seconds and the loss of each step."""
    from transformers import AutoModelForSequenceClassification

    from worker.core.forward import allow_packing
    from worker.core.training.network import RewardNetwork
    from worker.core.training.objective import Labels
    from worker.core.training.processes import World
    from worker.core.training.recipe import Recipe
    from worker.core.training.tuning import TokenisedPairs, tune

    whole = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    assert allow_packing(whole.model, "last")
    head = nn.Linear(whole.score.in_features, 1)
    with torch.no_grad():
        head.weight.copy_(whole.score.weight)
        head.bias.zero_()
    changes = {"learning_rate": LEARNING_RATE, "epochs": 1, "batch_pairs": BATCH_PAIRS, "objective": "bradley_terry"}
    recipe = Recipe.from_dict({"backbone": str(folder), "pooling": "last", "tuning": "full", **changes})
    pairs = len(rows) // 2
    labels = Labels(np.full(pairs, -1), np.ones(pairs, dtype=np.float32), np.zeros((pairs, 2, 0), dtype=np.float32), ())
    events: list[dict[str, Any]] = []
    started = time.perf_counter()
    tune(
        recipe,
        RewardNetwork(whole.model, head, "last").train(),
        ("reward",),
        TokenisedPairs([{"input_ids": row} for row in rows], labels),
        validation=None,
        world=World(),
        saving=None,
        report=events.append,
        should_stop=lambda: False,
    )
    return time.perf_counter() - started, [event["loss"] for event in events if event["event"] == "step"]


def train_trl(folder: Path, rows: list[np.ndarray[Any, np.dtype[np.int32]]]) -> tuple[float, list[float]]:
    """Train one epoch with TRL's RewardTrainer at its fastest settings here; return seconds and losses."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback
    from trl import RewardConfig, RewardTrainer

    from worker.core.training.head import epoch_order

    order = epoch_order(0, 0, len(rows) // 2)
    data = Dataset.from_dict(
        {
            "chosen_ids": [rows[2 * pair].tolist() for pair in order],
            "rejected_ids": [rows[2 * pair + 1].tolist() for pair in order],
        }
    )
    with tempfile.TemporaryDirectory() as place:
        settings = RewardConfig(
            output_dir=place,
            per_device_train_batch_size=BATCH_PAIRS,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            max_length=None,
            bf16=False,
            gradient_checkpointing=False,
            train_sampling_strategy="sequential",
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        trainer = RewardTrainer(
            model=model, args=settings, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder)
        )
        trainer.remove_callback(PrinterCallback)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    return seconds, [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def training(shape: Shape, pairs: int, repeats: int) -> list[str]:
    """Return the table's rows of one shape."""
    rows = pairs_of(shape, pairs)
    with tempfile.TemporaryDirectory() as place:
        save_start(Path(place))
        ours, theirs = [], []
        for _ in range(repeats):
            ours.append(train_ours(Path(place), rows))
            theirs.append(train_trl(Path(place), rows))
    difference = max(abs(a - b) for a, b in zip(ours[0][1], theirs[0][1], strict=True))
    mine, other = (statistics.median(seconds for seconds, _ in side) for side in (ours, theirs))
    lengths = [len(row) for row in rows]
    return [
        f"| pairs/s, {shape.name} ({pairs} pairs, {sum(lengths) // len(lengths)} tokens a side) "
        f"| {pairs / mine:.2f} | TRL {pairs / other:.2f} | **{other / mine:.1f}×** |",
        f"| largest difference of a step's loss, {len(ours[0][1])} steps | {difference:.1e} | | |",
    ]


def scoring(repeats: int) -> list[str]:
    """Return the table's row of eight candidates to one prompt."""
    from transformers import AutoModel

    from worker.core.forward import allow_packing, standard_attention, vectors
    from worker.core.packing import group_of, row_of

    random = np.random.default_rng(3)
    prompt = random.integers(1, DECODER["vocab_size"], size=1000)
    lengths = [20, 40, 50, 60, 70, 80, 90, 100]
    tokens = [
        {"input_ids": np.concatenate([prompt, random.integers(1, DECODER["vocab_size"], size=n)]).astype(np.int32)}
        for n in lengths
    ]
    with tempfile.TemporaryDirectory() as place:
        save_start(Path(place))
        model = AutoModel.from_pretrained(place, dtype=torch.float32).eval()
    allow_packing(model, "last")
    row = row_of(tokens, [group_of(tokens, range(8), share=True)], causal=True)
    ids = torch.zeros(8, 1100, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, one in enumerate(tokens):
        ids[number, : len(one["input_ids"])] = torch.from_numpy(one["input_ids"].astype(np.int64))
        mask[number, : len(one["input_ids"])] = 1

    def padded() -> Any:
        with standard_attention(model):
            states = model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states[range(8), mask.sum(dim=1) - 1]

    with torch.inference_mode():
        (mine, ours), (other, theirs) = alternating(lambda: vectors(model, row, "last"), padded, repeats)
    difference = float((ours - theirs).abs().max())
    return [
        f"| ms for 8 candidates (20–100 tokens) of a prompt of 1,000; vectors differ by {difference:.0e} "
        f"| {1e3 * mine:.0f} | one padded batch {1e3 * other:.0f} | **{other / mine:.1f}×** |"
    ]


def drawn_texts(count: int) -> list[tuple[str, str]]:
    """Return (prompt, response) of random words, their lengths as in `Shape`."""
    random = np.random.default_rng(5)
    words = ["the", "moon", "pulls", "on", "sea", "and", "tides", "rise", "twice", "a", "day", "because", "of", "it"]
    text = lambda median: " ".join(random.choice(words, int(np.clip(median * np.exp(0.8 * random.normal()), 3, 400))))  # noqa: E731
    return [(text(15), text(60)) for _ in range(count)]


def written_texts(path: Path, count: int) -> list[tuple[str, str]]:
    """Return so many different (prompt, response) of a file of real pairs, drawn at random, or all that it has."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = list(
        dict.fromkeys((row["messages"][-1]["content"], each["text"]) for row in rows for each in row["responses"])
    )
    return [texts[number] for number in np.random.default_rng(5).permutation(len(texts))[:count]]


def padded_share(pairs: list[tuple[str, str]], tokens: list[int]) -> float:
    """Return how many tokens of padding the peer reads for one of a text; it sorts by characters, and then batches."""
    ordered = [tokens[place] for place in np.argsort([-len(prompt) - len(response) for prompt, response in pairs])]
    batches = [ordered[start : start + PEER_BATCH] for start in range(0, len(ordered), PEER_BATCH)]
    return sum(max(batch) * len(batch) for batch in batches) / sum(tokens) - 1


def first_pass(name: str, pairs: list[tuple[str, str]], repeats: int) -> list[str]:
    """Return the table's row of the embedded backbone, all layers of it, tokenising included."""
    from sentence_transformers import SentenceTransformer

    from worker.core.backbone import Backbone, embedded_folder

    backbone = Backbone(embedded_folder(), "mean", 512)
    peer = SentenceTransformer(str(embedded_folder()), device="cpu")
    peer.max_seq_length = 512
    assert np.isfinite(backbone.features(pairs[:8])).all()

    def sorted_and_padded() -> Any:
        return peer.encode([list(pair) for pair in pairs], batch_size=PEER_BATCH, show_progress_bar=False)

    (mine, ours), (other, theirs) = alternating(lambda: backbone.features(pairs), sorted_and_padded, repeats)
    norm = np.linalg.norm(ours, axis=1, keepdims=True)
    difference = float(np.abs(ours / norm - theirs / np.linalg.norm(theirs, axis=1, keepdims=True)).max())
    padded = padded_share(pairs, [len(row["input_ids"]) for row in backbone.tokens(pairs)])
    said = f"texts/s of the embedded backbone's first pass, {len(pairs)} {name}; vectors differ by {difference:.0e}"
    beside = f"sorted and padded, {PEER_BATCH} a batch {len(pairs) / other:.0f} (it reads {padded:.0%} more tokens)"
    return [f"| {said} | {len(pairs) / mine:.0f} | {beside} | **{other / mine:.2f}×** |"]


def first_passes(data: Path, repeats: int) -> list[str]:
    """Return the rows of the first pass: random words, and what people wrote where there is such data."""
    lines = first_pass("texts of random words", drawn_texts(600), repeats)
    for file in WRITTEN:
        if (data / file).is_file():
            lines += first_pass(f"texts of {file}", written_texts(data / file, 600), repeats)
    return lines


def alternating(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> tuple[tuple[float, Any], tuple[float, Any]]:
    """Return median seconds and last result of both, run in turns after one run each that does not count."""
    results = [ours(), theirs()]
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, run in enumerate((ours, theirs)):
            started = time.perf_counter()
            results[side] = run()
            seconds[side].append(time.perf_counter() - started)
    return (statistics.median(seconds[0]), results[0]), (statistics.median(seconds[1]), results[1])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of real pairs")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("chats", "unfavourable", "scoring", "first-pass"), help="one of the parts")
    options = parser.parse_args()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    lines = [f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}", ""]
    lines += ["| | ours | beside | ratio |", "|---|---|---|---|"]
    parts: dict[str, Callable[[], list[str]]] = {
        "chats": lambda: training(CHATS, options.pairs, options.repeats),
        "unfavourable": lambda: training(UNFAVOURABLE, options.pairs, options.repeats),
        "scoring": lambda: scoring(2 * options.repeats),
        "first-pass": lambda: first_passes(options.data, options.repeats),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            lines += part()
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
