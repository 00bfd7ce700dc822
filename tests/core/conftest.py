"""Small real models, made on the spot, and the files of a training run."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
)

from worker.core.features import FeatureCache

WORDS = [
    "good",
    "bad",
    "fine",
    "wrong",
    "clear",
    "vague",
    "kind",
    "rude",
    "red",
    "blue",
    "tide",
    "moon",
    "sun",
    "sea",
    "why",
    "how",
    "what",
    "is",
    "the",
    "a",
    "b",
    "c",
    "d",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }} {{ message['content'] }}<|end|>{% endfor %}"
)
TINY = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def word_tokenizer(special: list[str], **names: str) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([*special, "[UNK]", "user", "assistant", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if "[CLS]" in special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **names)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, width 8, 64 positions."""
    folder = tmp_path_factory.mktemp("encoder")
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    tokenizer = word_tokenizer(list(names.values()), **names)
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.5, **TINY)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def chat_decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two layers, width 8, with a chat template, whose padding token is its end token."""
    folder = tmp_path_factory.mktemp("chat-decoder")
    tokenizer = word_tokenizer(["<|start|>", "<|end|>"], eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(2)
    sizes = TINY | {"num_key_value_heads": 2, "head_dim": 4}
    config = Qwen3Config(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.5, **sizes)
    Qwen3Model(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def plain_decoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers, width 8, without padding token and without chat template."""
    folder = tmp_path_factory.mktemp("plain-decoder")
    tokenizer = word_tokenizer(["<s>", "</s>"], bos_token="<s>", eos_token="</s>")
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, num_key_value_heads=2, initializer_range=0.5, **TINY
    )
    LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FeatureCache]:
    with FeatureCache(tmp_path / "features.sqlite") as cache:
        yield cache


def pair_row(number: int, better: str = "good clear", worse: str = "bad vague", **changes: Any) -> dict[str, Any]:
    """A row of train.jsonl; odd rows have the better response second."""
    prompt = f"why is {WORDS[number % len(WORDS)]} {WORDS[number * 7 % len(WORDS)]}"
    second = number % 2 == 1
    row = {
        "id": f"pair-{number}",
        "prompt_key": f"prompt-{number}",
        "messages": [{"role": "user", "content": prompt}],
        "response_1": worse if second else better,
        "response_2": better if second else worse,
        "preference": (number % 3 + 1) * (1 if second else -1),
        "ratings": None,
    }
    return row | changes


@pytest.fixture
def make_run(tmp_path: Path, encoder_folder: Path) -> Callable[..., Path]:
    """Return a function that writes the input of `python -m worker.train`."""

    def make(
        at: str = "run",
        train: list[dict[str, Any]] | None = None,
        validation: list[dict[str, Any]] | None = None,
        settings: dict[str, Any] | None = None,
        **recipe: Any,
    ) -> Path:
        folder = tmp_path / at
        folder.mkdir()
        rows = {
            "train": [pair_row(number) for number in range(20)] if train is None else train,
            "validation": [pair_row(number) for number in (20, 21)] if validation is None else validation,
        }
        for split, content in rows.items():
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
        recipe = {"backbone": str(encoder_folder), "max_tokens": 64} | recipe
        (folder / "recipe.json").write_text(json.dumps(recipe))
        defaults = {"feature_cache": str(tmp_path / "cache.sqlite"), "snapshot": "abc", "threads": 1}
        (folder / "settings.json").write_text(json.dumps(defaults | {"initial_model": None} | (settings or {})))
        return folder

    return make


@pytest.fixture
def train(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, list[dict[str, Any]]]]]:
    """Return a function that runs the training command here and gives its exit code and events."""
    from worker.train import main

    before = signal.getsignal(signal.SIGTERM)

    def run(folder: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        code = main(["--run", str(folder), *options])
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    yield run
    signal.signal(signal.SIGTERM, before)
