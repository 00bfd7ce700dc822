"""The folder of a trained model gives the same rewards through the standard loaders as through ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.core.conftest import WORDS
from worker.core.backbone import BackboneError, embedded_folder
from worker.core.features import FeatureCache
from worker.core.scoring import Scorer

LONG = " ".join(WORDS * 8)
PAIRS = [
    ("why is the tide", "good clear"),
    ("what", "bad"),
    (LONG, "the moon is kind"),
    ("how is the sea", LONG),
    (LONG + " sun", "rude " + LONG),
    ("", "a b"),
    ("why", ""),
]


def trained(make_run: Callable[..., Path], train: Callable[..., Any], **recipe: Any) -> Path:
    run = make_run(**recipe)
    code, events = train(run)
    assert code == 0, events[-1]
    return run / "model"


def ours(folder: Path, cache: FeatureCache, pairs: list[tuple[str, str]] = PAIRS) -> np.ndarray:
    return Scorer.load(folder).score(pairs, cache)


def test_a_mean_pooled_encoder_loads_in_sentence_transformers(make_run: Any, train: Any, cache: FeatureCache) -> None:
    from sentence_transformers import SentenceTransformer

    folder = trained(make_run, train, pooling="mean", max_tokens=48)
    theirs = SentenceTransformer(str(folder)).encode([list(pair) for pair in PAIRS])
    assert theirs.shape == (len(PAIRS), 1)
    np.testing.assert_allclose(ours(folder, cache), theirs[:, 0], atol=1e-5)
    assert np.ptp(theirs) > 0.1


def test_the_embedded_backbone_loads_in_sentence_transformers(make_run: Any, train: Any, cache: FeatureCache) -> None:
    from sentence_transformers import SentenceTransformer

    folder = trained(make_run, train, backbone="embedded", max_tokens=512)
    words = "Tides rise and fall because the moon pulls on the sea. "
    pairs = [("Why are there tides?", words * n) for n in (1, 3, 60)] + [(words * 80, words * 70)]
    theirs = SentenceTransformer(str(folder)).encode([list(pair) for pair in pairs])
    np.testing.assert_allclose(ours(folder, cache, pairs), theirs[:, 0], atol=1e-5)
    with (
        safe_open(folder / "model.safetensors", "np") as saved,
        safe_open(embedded_folder() / "model.safetensors", "np") as whole,
    ):
        names = saved.keys()
        assert not [name for name in names if "layer.3." in name]  # three layers are read, and no other is saved
        assert all((saved.get_tensor(name) == whole.get_tensor(name)).all() for name in names)


def test_a_decoder_cut_to_its_first_layer_loads_as_a_classification_model(
    make_run: Any, train: Any, cache: FeatureCache, chat_decoder_folder: Path
) -> None:
    folder = trained(make_run, train, pooling="last", layers=1, max_tokens=48, backbone=str(chat_decoder_folder))
    tokenizer, model = standard(folder)
    assert model.config.num_hidden_layers == 1
    chat = [{"role": "user", "content": "why is the tide"}, {"role": "assistant", "content": "good clear"}]
    inputs = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
    assert ours(folder, cache, PAIRS[:1])[0] == pytest.approx(reward(model, inputs), abs=1e-5)


def test_an_encoder_with_a_pooler_loads_as_a_classification_model(
    make_run: Any, train: Any, cache: FeatureCache
) -> None:
    folder = trained(make_run, train, pooling="pooler", max_tokens=48)
    tokenizer, model = standard(folder)
    theirs = []
    for prompt, response in PAIRS:
        inputs = tokenizer([prompt], [response], truncation=True, return_tensors="pt")
        theirs.append(reward(model, inputs))
    np.testing.assert_allclose(ours(folder, cache), theirs, atol=1e-5)
    assert np.ptp(theirs) > 0.1


@pytest.mark.parametrize("name", ["chat_decoder_folder", "plain_decoder_folder"])
def test_a_decoder_loads_as_a_classification_model(
    name: str, make_run: Any, train: Any, cache: FeatureCache, request: pytest.FixtureRequest
) -> None:
    backbone = str(request.getfixturevalue(name))
    folder = trained(make_run, train, pooling="last", max_tokens=48, backbone=backbone)
    tokenizer, model = standard(folder)
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}] for prompt, response in PAIRS
    ]
    settings = {"truncation": True, "max_length": tokenizer.model_max_length, "return_dict": True}
    alone = [reward(model, tokenizer.apply_chat_template(chat, return_tensors="pt", **settings)) for chat in chats]
    batch = tokenizer.apply_chat_template(chats, padding=True, return_tensors="pt", **settings)
    with torch.inference_mode():
        together = model(**batch).logits[:, 0].numpy()
    np.testing.assert_allclose(ours(folder, cache), alone, atol=1e-5)
    np.testing.assert_allclose(ours(folder, cache), together, atol=1e-5)
    assert np.ptp(alone) > 0.1
    assert model.config.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_a_classification_model_says_that_its_output_is_a_raw_number(make_run: Any, train: Any) -> None:
    folder = trained(make_run, train, pooling="pooler")
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == "regression"
    assert config["id2label"] == {"0": "reward"}
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_a_saved_folder_scores_without_the_backbone_it_came_from(
    make_run: Any, train: Any, encoder_folder: Path, tmp_path: Path, cache: FeatureCache
) -> None:
    moved = tmp_path / "copy"
    moved.mkdir()
    for file in encoder_folder.iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    folder = trained(make_run, train, backbone=str(moved))
    for file in moved.iterdir():
        file.unlink()
    assert np.isfinite(ours(folder, cache)).all()


@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_a_saved_folder_holds_no_pickle_and_can_be_read_by_everyone(pooling: str, make_run: Any, train: Any) -> None:
    folder = trained(make_run, train, pooling=pooling)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.suffix for file in files} == {".json", ".safetensors", ".md"}
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in files)
    for file in files:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="numpy") as tensors:
                assert list(tensors.keys())


def test_the_model_card_tells_how_good_the_model_is(make_run: Any, train: Any) -> None:
    folder = trained(make_run, train, name="Tide recipe")
    card = (folder / "README.md").read_text()
    manifest = json.loads((folder / "tiebreak.json").read_text())
    assert "Reward model: Tide recipe" in card
    assert manifest["recipe_hash"] in card
    assert "| accuracy (95 % interval, by prompt) | 1.000 (1.000 to 1.000) |" in card
    assert manifest["metrics"]["validation"]["n"] == 2
    assert manifest["snapshot"] == "abc"


def test_damaged_weights_are_refused_when_they_are_needed(make_run: Any, train: Any, cache: FeatureCache) -> None:
    folder = trained(make_run, train)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BackboneError, match="not the ones that were saved"):
        ours(folder, cache)


def standard(folder: Path) -> tuple[Any, Any]:
    return (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
    )


def reward(model: Any, inputs: Any) -> float:
    with torch.inference_mode():
        return float(model(**inputs).logits[0, 0])
