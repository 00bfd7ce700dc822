"""Packed rows hold no padding and no token twice, and keep vectors and gradients those of each text alone."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoModel,
    Gemma2Config,
    Gemma2Model,
    MistralConfig,
    MistralModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from tests.core.conftest import TINY
from worker.core.attention import PACKED, _in_one_call, packed_attention
from worker.core.backbone import Backbone
from worker.core.forward import allow_packing, first_position, vectors
from worker.core.packing import Group, Layout, batches_of_groups, group_of, packed, row_of


def tokens_of(*rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
    return [{"input_ids": np.array(row, dtype=np.int32)} for row in rows]


def test_what_texts_begin_with_stands_in_the_row_once() -> None:
    tokens = tokens_of([5, 6, 7, 1, 2], [5, 6, 7, 3], [9, 8])
    groups = [group_of(tokens, (0, 1), share=True), group_of(tokens, (2,), share=True)]
    assert groups == [Group((0, 1), shared=3, size=6), Group((2,), shared=0, size=2)]
    row = row_of(tokens, groups, causal=True)
    assert row.ids.tolist() == [5, 6, 7, 1, 2, 3, 9, 8]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 3, 0, 1]
    assert row.layout.lengths == (3, 2, 1, 2)
    assert row.layout.prefixes == (None, 0, 0, None)
    assert row.spans() == [(3, 5), (5, 6), (6, 8)]
    assert [ids.tolist() for ids in row.alone(row.ids)] == [[5, 6, 7, 1, 2], [5, 6, 7, 3], [9, 8]]
    assert row.layout.keys.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5, 6, 7]  # what the gpu's kernel gathers


@pytest.mark.parametrize(("one", "other", "shared"), [([1, 2], [1, 2], 1), ([1], [1, 2], 0), ([1, 2, 3], [1, 2], 1)])
def test_each_text_keeps_its_last_token_to_itself(one: list[int], other: list[int], shared: int) -> None:
    assert group_of(tokens_of(one, other), (0, 1), share=True).shared == shared


def test_rows_keep_to_the_budget_and_every_group_is_in_one() -> None:
    sizes = [int(size) for size in np.random.default_rng(0).integers(1, 90, size=100)]
    rows = packed([Group((number,), 0, size) for number, size in enumerate(sizes)], 64)
    assert sorted(group.texts[0] for row in rows for group in row) == list(range(100))
    assert all(sum(group.size for group in row) <= 64 or len(row) == 1 for row in rows)
    assert len(rows) < 1.2 * sum(sizes) / 64 + sum(size > 64 for size in sizes)


@pytest.mark.parametrize("share", [False, True])
def test_what_is_left_of_a_pass_falls_into_the_same_batches(share: bool) -> None:
    random = np.random.default_rng(0)
    prompts = ["p" * int(random.integers(1, 9)) for _ in range(150)]
    tokens = tokens_of(*(random.integers(0, 3, size=random.integers(1, 40)) for _ in prompts))

    def batches(rows: list[int]) -> list[list[tuple[tuple[int, ...], int]]]:
        found = batches_of_groups([tokens[row] for row in rows], [prompts[row] for row in rows], 100, share=share)
        return [[(tuple(rows[text] for text in group.texts), group.shared) for group in batch] for batch in found]

    whole = batches(list(range(150)))
    assert all(len(batch) == 1 or sum(len(texts) for texts, _ in batch) <= 100 for batch in whole)
    for done in range(len(whole)):
        left = sorted(text for batch in whole[done:] for texts, _ in batch for text in texts)
        assert batches(left) == whole[done:]


@pytest.mark.parametrize("name", ["encoder_folder", "chat_decoder_folder"])
def test_gradients_are_those_of_padded_rows(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    causal = name == "chat_decoder_folder"
    random = np.random.default_rng(1)
    prompts = [random.integers(4, 25, size=size) for size in (20, 3, 11)]
    tokens = tokens_of(*(np.concatenate([p, random.integers(4, 25, size=random.integers(1, 9))])
                         for p in prompts for _ in range(2)))  # fmt: skip
    weights = torch.from_numpy(random.normal(size=(6, 8)).astype(np.float32))

    ours = AutoModel.from_pretrained(folder)
    assert allow_packing(ours, "last" if causal else "mean")
    groups = [group_of(tokens, (2 * pair, 2 * pair + 1), share=causal) for pair in range(3)]
    row = row_of(tokens, groups, causal=causal)
    assert row.size == sum(len(one["input_ids"]) for one in tokens) - causal * sum(group.shared for group in groups)
    (vectors(ours, row, "last" if causal else "mean") * weights).sum().backward()

    theirs = AutoModel.from_pretrained(folder)
    longest = max(len(one["input_ids"]) for one in tokens)
    ids = torch.stack(
        [torch.from_numpy(np.pad(one["input_ids"], (0, longest - len(one["input_ids"])))) for one in tokens]
    )
    mask = torch.stack([torch.arange(longest) < len(one["input_ids"]) for one in tokens]).long()
    states = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
    last = states[range(6), mask.sum(1) - 1]
    pooled = last if causal else (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    (pooled * weights).sum().backward()

    compared = 0
    for (parameter, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-5, msg=parameter)
            compared += 1
    assert compared > 10


LONG = np.arange(40) % 20 + 4
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}


def roberta() -> PreTrainedModel:
    return RobertaModel(RobertaConfig(vocab_size=50, max_position_embeddings=64, **TINY))


def mistral() -> PreTrainedModel:
    return MistralModel(MistralConfig(vocab_size=50, num_key_value_heads=1, sliding_window=6, **TINY))


def modern_bert() -> PreTrainedModel:
    return ModernBertModel(ModernBertConfig(vocab_size=50, local_attention=6, **SPECIAL, **TINY))


def gemma() -> PreTrainedModel:
    return Gemma2Model(Gemma2Config(vocab_size=50, num_key_value_heads=1, head_dim=4, **TINY))


@pytest.mark.parametrize(
    ("make", "pooling", "packs"),
    [(roberta, "pooler", True), (mistral, "last", True), (modern_bert, "mean", True), (gemma, "last", False)],
    ids=["positions-after-padding", "sliding-window", "window-both-ways", "capped-scores"],
)
def test_architectures_that_cannot_be_packed_are_found_out_and_all_are_read_right(
    make: Callable[[], PreTrainedModel], pooling: str, packs: bool
) -> None:
    torch.manual_seed(4)
    model = make().eval()
    tokens = tokens_of(LONG, np.concatenate([LONG[:20], LONG[5:18]]), LONG[3:9])
    share = pooling == "last"
    groups = [group_of(tokens, (0, 1), share=share), group_of(tokens, (2,), share=share)]
    row = row_of(tokens, groups, causal=share, first_position=first_position(model))
    with torch.inference_mode():
        expected = []
        for one in tokens:
            ids = torch.from_numpy(one["input_ids"].astype(np.int64))[None]
            output = model(input_ids=ids, attention_mask=torch.ones_like(ids))
            states = output.last_hidden_state[0]
            pooled = {
                "last": states[-1],
                "mean": states.mean(dim=0),
                "pooler": getattr(output, "pooler_output", [None])[0],
            }
            expected.append(pooled[pooling])
        assert allow_packing(model, pooling) == packs
        assert (model.config._attn_implementation == PACKED) == packs
        torch.testing.assert_close(vectors(model, row, pooling), torch.stack(expected), atol=1e-5, rtol=1e-4)


def test_many_responses_to_one_prompt_are_read_as_each_alone(chat_decoder_folder: Path) -> None:
    pairs = [("why is the sea blue " * 3, " ".join(["good", "clear", "kind"][: n % 3 + 1] * n)) for n in range(1, 8)]
    pairs.append(("why is the sea blue " * 30, "good clear"))  # cut at its beginning: nothing to share
    pairs.append(("why is the sea blue " * 30, "good"))
    together = Backbone(chat_decoder_folder, "last", 48).features(pairs)
    alone = [Backbone(chat_decoder_folder, "last", 48).features([pair])[0] for pair in pairs]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def kernel(query: Tensor, key: Tensor, value: Tensor, query_ends: Tensor, key_ends: Tensor, *sizes: int,
           scale: float, window_size: tuple[int, int], enable_gqa: bool) -> Tensor:  # fmt: skip
    """Do what the documentation of torch.nn.attention.varlen says, which itself runs on GPUs only."""
    left, right = window_size
    found = []
    for (a, b), (c, d) in zip(pairwise(query_ends.tolist()), pairwise(key_ends.tolist()), strict=True):
        here, there = torch.arange(d - c - (b - a), d - c)[:, None], torch.arange(d - c)[None]
        seen = (there <= here + right if right >= 0 else there >= 0) & (
            there >= here - left if left >= 0 else there >= 0
        )
        one = scaled_dot_product_attention(
            query[a:b].transpose(0, 1), key[c:d].transpose(0, 1), value[c:d].transpose(0, 1), attn_mask=seen,
            scale=scale, enable_gqa=enable_gqa,
        )  # fmt: skip
        found.append(one.transpose(0, 1))
    return torch.cat(found)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize(("causal", "prefixes"), [(True, (None, 0, 0, None)), (False, (None, None, None, None))])
def test_the_gpus_one_call_is_asked_for_what_the_parts_see(
    causal: bool, prefixes: tuple[int | None, ...], window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    layout = Layout((6, 3, 4, 7), prefixes, causal)
    query, key, value = torch.randn(1, 4, 20, 8), torch.randn(1, 2, 20, 8), torch.randn(1, 2, 20, 8)
    by_parts, _ = packed_attention(torch.nn.Identity(), query, key, value, None, 0.3, 0.0, window, layout)
    at_once = _in_one_call(query, key, value, layout, 0.3, window)
    torch.testing.assert_close(at_once, by_parts)
