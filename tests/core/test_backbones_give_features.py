"""A backbone turns (prompt, response) into the vector that transformers gives for the pair alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.core.conftest import CHAT_TEMPLATE, WORDS
from worker.core.backbone import (
    FROZEN_DATE,
    Backbone,
    BackboneError,
    checked_embedded_folder,
    date_free,
    embedded_folder,
    open_backbone,
)
from worker.core.forward import side_by_side
from worker.core.training.recipe import Recipe

PAIRS = [
    ("why is the tide", "good"),
    ("how", "clear " * 20),
    (" ".join(WORDS * 3), "bad " * 40),
    ("", "kind"),
    ("a", ""),
]


def test_mean_and_pooler_features_are_those_of_transformers(encoder_folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(encoder_folder), AutoModel.from_pretrained(encoder_folder).eval()
    mean = Backbone(encoder_folder, "mean", 48).features(PAIRS, batch_tokens=100)
    pooler = Backbone(encoder_folder, "pooler", 48).features(PAIRS, batch_tokens=100)
    assert mean.dtype == np.float32
    for row, (prompt, response) in enumerate(PAIRS):
        inputs = tokenizer([prompt], [response], truncation="longest_first", max_length=48, return_tensors="pt")
        with torch.inference_mode():
            output = model(**inputs)
        np.testing.assert_allclose(mean[row], output.last_hidden_state[0].mean(dim=0), atol=1e-5)
        np.testing.assert_allclose(pooler[row], output.pooler_output[0], atol=1e-5)


def test_an_inner_layer_is_read_and_has_a_revision_of_its_own(encoder_folder: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(encoder_folder), AutoModel.from_pretrained(encoder_folder).eval()
    first = open_backbone(Recipe(backbone=str(encoder_folder), layers=1, max_tokens=48))
    inputs = tokenizer([PAIRS[0][0]], [PAIRS[0][1]], return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(first.features(PAIRS[:1])[0], states[1][0].mean(dim=0), atol=1e-5)
    assert first.revision != open_backbone(Recipe(backbone=str(encoder_folder), max_tokens=48)).revision
    with pytest.raises(BackboneError, match="layers is 3, but the backbone has 2"):
        open_backbone(Recipe(backbone=str(encoder_folder), layers=3, max_tokens=48))


def test_a_decoder_is_read_at_its_last_token(chat_decoder_folder: Path) -> None:
    backbone = Backbone(chat_decoder_folder, "last", 48)
    vectors = backbone.features(PAIRS, batch_tokens=100)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(chat_decoder_folder),
        AutoModel.from_pretrained(chat_decoder_folder),
    )
    for row, (prompt, response) in enumerate(PAIRS):
        text = f"<|start|>user {prompt}<|end|><|start|>assistant {response}<|end|>"
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][-48:]  # the beginning is cut, not the end
        with torch.inference_mode():
            expected = model.eval()(torch.tensor([ids])).last_hidden_state[0, -1]
        np.testing.assert_allclose(vectors[row], expected, atol=1e-5)


def test_features_do_not_depend_on_what_stands_in_the_same_batch(encoder_folder: Path) -> None:
    backbone = Backbone(encoder_folder, "mean", 48)
    together = backbone.features(PAIRS, batch_tokens=10_000)
    alone = np.concatenate([backbone.features([pair]) for pair in PAIRS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("pooling", "folder"), [("mean", "encoder_folder"), ("last", "chat_decoder_folder")])
def test_rows_that_are_read_side_by_side_have_the_bits_of_rows_read_one_by_one(
    two_threads: None, pooling: str, folder: str, request: pytest.FixtureRequest
) -> None:
    backbone, many = Backbone(request.getfixturevalue(folder), pooling, 48), [*PAIRS, *PAIRS[::-1]]
    told: list[list[int]] = []
    together = backbone.features(many, batch_tokens=50, on_batch=lambda rows, _vectors: told.append(rows))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    one_by_one: list[list[int]] = []
    alone = backbone.features(many, batch_tokens=50, on_batch=lambda rows, _vectors: one_by_one.append(rows))
    assert len(told) >= 3
    assert told == one_by_one
    assert (together == alone).all()


def test_what_goes_wrong_beside_another_row_is_told_and_leaves_the_threads_as_they_were(two_threads: None) -> None:
    def read(row: int) -> int:
        return 1 // (3 - row)

    rows = side_by_side(range(9), read, 2)
    assert [next(rows)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        next(rows)
    assert torch.get_num_threads() == 2


def test_a_lone_surrogate_is_read_as_unknown(encoder_folder: Path) -> None:
    assert np.isfinite(Backbone(encoder_folder, "mean", 48).features([("why \ud83d", "good \udfff")])).all()


def test_the_revision_changes_with_all_that_a_vector_depends_on(encoder_folder: Path, tmp_path: Path) -> None:
    base = Backbone(encoder_folder, "mean", 48)
    other_weights = shutil.copytree(encoder_folder, tmp_path / "weights")
    content = bytearray((other_weights / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (other_weights / "model.safetensors").write_bytes(content)
    other_tokenizer = shutil.copytree(encoder_folder, tmp_path / "tokenizer")
    text = (other_tokenizer / "tokenizer.json").read_text()
    (other_tokenizer / "tokenizer.json").write_text(text.replace('"good"', '"goot"'))
    revisions = {
        base.revision,
        Backbone(encoder_folder, "pooler", 48).revision,
        Backbone(encoder_folder, "mean", 47).revision,
        Backbone(other_weights, "mean", 48).revision,
        Backbone(other_tokenizer, "mean", 48).revision,
    }
    assert len(revisions) == 5
    assert Backbone(shutil.copytree(encoder_folder, tmp_path / "same"), "mean", 48).revision == base.revision
    assert not base.is_loaded


def test_the_embedded_backbone_is_upstreams_file() -> None:
    assert (embedded_folder() / "model.safetensors").stat().st_size == 90_868_376


def test_changed_weights_of_the_embedded_backbone_are_refused(tmp_path: Path) -> None:
    content = bytearray((embedded_folder() / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(BackboneError, match=r"not the published all-MiniLM-L6-v2.*Reinstall the wheel"):
        checked_embedded_folder(tmp_path)


def test_missing_weights_of_the_embedded_backbone_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"model.safetensors is missing. Reinstall"):
        checked_embedded_folder(tmp_path)


def test_weights_that_can_run_code_are_refused(encoder_folder: Path, tmp_path: Path) -> None:
    shutil.copyfile(encoder_folder / "config.json", tmp_path / "config.json")
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match=r"no \.safetensors file"):
        open_backbone(Recipe(backbone=str(tmp_path), max_tokens=48))


def test_a_decoder_cannot_be_pooled_like_an_encoder(plain_decoder_folder: Path) -> None:
    with pytest.raises(BackboneError, match='Use pooling "last"'):
        Backbone(plain_decoder_folder, "mean", 48).features(PAIRS)


@pytest.mark.parametrize("name", ["chat_decoder_folder", "plain_decoder_folder"])
def test_a_decoder_gets_a_padding_token_of_its_own(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = Backbone(request.getfixturevalue(name), "last", 48).tokenizer
    assert tokenizer.pad_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_template_that_prints_the_date_prints_a_fixed_one(chat_decoder_folder: Path) -> None:
    dated = "{%- if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}" + CHAT_TEMPLATE
    tokenizer = Backbone(chat_decoder_folder, "last", 48).tokenizer
    tokenizer.chat_template = date_free(dated)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "why"}], tokenize=False)
    assert text == "01 Jan 2025<|start|>user why<|end|>"
    assert date_free(date_free(dated)) == date_free(dated)
    assert date_free(CHAT_TEMPLATE) == CHAT_TEMPLATE
    assert FROZEN_DATE not in CHAT_TEMPLATE
