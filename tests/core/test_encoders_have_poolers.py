"""With pooling "pooler" an encoder gives the vector that its own classification model reads, whatever its layers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CamembertConfig,
    ConvBertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    Qwen3Config,
    RobertaConfig,
    XLMRobertaConfig,
)

from tests.core.conftest import TINY, WORDS, word_tokenizer
from tests.core.test_backbones_are_trained import starting
from worker.core.attention import PACKED
from worker.core.backbone import Backbone, BackboneError
from worker.core.features import FeatureCache
from worker.core.scoring import Scorer
from worker.core.training.save import check_architecture

LONG = " ".join(WORDS * 8)
PAIRS = [("why is the tide", "good clear"), ("what", "bad"), (LONG, "the moon is kind"), ("how", LONG), ("", "a b")]
SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
IDS = {"pad_token_id": 0, "cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
SIZES = {"initializer_range": 0.5, "max_position_embeddings": 64}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
QUICK = {"learning_rate": 0.01, "epochs": 1, "batch_pairs": 10}

# what the encoder is, and the dense layer of its pooler in the classification model
ENCODERS: dict[str, tuple[Callable[..., PreTrainedConfig], dict[str, Any], str]] = {
    "roberta": (RobertaConfig, TINY, "classifier.dense"),
    "xlm-roberta": (XLMRobertaConfig, TINY, "classifier.dense"),
    "camembert": (CamembertConfig, TINY, "classifier.dense"),
    "mpnet": (MPNetConfig, TINY, "classifier.dense"),
    "deberta": (DebertaConfig, TINY | RELATIVE, "pooler.dense"),
    "deberta-v2": (DebertaV2Config, TINY | RELATIVE, "pooler.dense"),
    "distilbert": (DistilBertConfig, {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}, "pre_classifier"),
    "modernbert": (ModernBertConfig, TINY | {"local_attention": 6, "classifier_pooling": "cls"}, "head.dense"),
    "modernbert-mean": (ModernBertConfig, TINY | {"local_attention": 6, "classifier_pooling": "mean"}, "head.dense"),
    "electra": (ElectraConfig, TINY | {"embedding_size": 8}, "classifier.dense"),
}
PACKABLE = {"roberta", "xlm-roberta", "camembert", "distilbert", "modernbert", "modernbert-mean", "electra"}
every_encoder = pytest.mark.parametrize("encoder", ENCODERS, indirect=True)


def written(folder: Path, config: PreTrainedConfig, auto: Any = AutoModel) -> Path:
    """Write a random model whose tokenizer gives what such a model reads."""
    torch.manual_seed(5)
    auto.from_config(config).save_pretrained(folder)
    reads = ["input_ids", "attention_mask"] + ["token_type_ids"] * (config.model_type in {"electra", "convbert"})
    tokenizer = word_tokenizer(list(SPECIAL.values()), **SPECIAL)
    tokenizer.model_input_names = reads
    tokenizer.save_pretrained(folder)
    return folder


def config_of(name: str, **changes: Any) -> PreTrainedConfig:
    make, sizes, _ = ENCODERS[name]
    # with fewer tokens the texts that try packing out would hold the padding token, which RoBERTa does not count
    return make(**({"vocab_size": 200} | IDS | SIZES | sizes | changes))


@pytest.fixture
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An encoder of two layers, width 8, without any layer of a classification model."""
    return written(tmp_path / request.param, config_of(request.param))


def read_by_the_last_layer(folder: Path, pairs: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the standard classification model of a folder gives its last layer for each pair, and its outputs."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    seen: list[torch.Tensor] = []
    last = getattr(model.classifier, "out_proj", model.classifier)
    last.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    with torch.inference_mode():
        outputs = [
            model(**tokenizer([prompt], [response], truncation=True, max_length=48, return_tensors="pt")).logits[0]
            for prompt, response in pairs
        ]
    return torch.cat(seen).numpy(), torch.stack(outputs).numpy()


@every_encoder
@pytest.mark.parametrize("tuning", ["head", "full", "lora"])
def test_a_trained_encoder_gives_its_rewards_in_the_standard_loader(
    encoder: Path, tuning: str, make_run: Any, train: Any, cache: FeatureCache
) -> None:
    how = {} if tuning == "head" else QUICK
    run = make_run(backbone=str(encoder), pooling="pooler", tuning=tuning, max_tokens=48, **how)
    code, events = train(run)
    assert code == 0, events[-1]
    vectors, outputs = read_by_the_last_layer(run / "model", PAIRS)
    scorer = Scorer.load(run / "model")
    assert outputs.shape == (len(PAIRS), 1)
    assert np.ptp(outputs) > 0.01
    np.testing.assert_allclose(scorer.score(PAIRS, cache), outputs[:, 0], atol=1e-5)
    anew = Backbone(run / "model", "pooler", 48)  # not what lies in memory or in the cache
    np.testing.assert_allclose(anew.features(PAIRS), vectors, atol=1e-5)
    dense = ENCODERS[encoder.name][2]
    saved = load_file(run / "model" / "model.safetensors")
    start = Backbone(encoder, "pooler", 48).model.pooler.dense.weight.detach().numpy()
    assert (saved[f"{dense}.weight"] == start).all() == (tuning == "head")  # a tuning trains the pooler too
    said = AutoModelForSequenceClassification.from_pretrained(run / "model", output_loading_info=True)[1]
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]


@every_encoder
def test_vectors_of_packed_rows_are_those_of_each_text_alone(encoder: Path) -> None:
    backbone = Backbone(encoder, "pooler", 48)
    together = backbone.features(PAIRS)
    assert (backbone.model.config._attn_implementation == PACKED) == (encoder.name in PACKABLE)
    model, tokenizer = backbone.model, AutoTokenizer.from_pretrained(encoder)
    if encoder.name in PACKABLE:
        model.set_attn_implementation("eager")
    for row, (prompt, response) in enumerate(PAIRS):
        inputs = tokenizer([prompt], [response], truncation=True, max_length=48, return_tensors="pt")
        with torch.inference_mode():
            alone = model.pooler(model(**inputs).last_hidden_state)[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-5)


@every_encoder
def test_a_checkpoint_without_these_layers_gives_the_same_bits_on_every_load(encoder: Path) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(Backbone(encoder, "pooler", 48).features(PAIRS))
    assert (found[0] == found[1]).all()
    assert np.ptp(found[0], axis=0).max() > 0.1


@every_encoder
def test_a_trained_classification_model_is_read_with_its_own_layers(encoder: Path, tmp_path: Path) -> None:
    three_classes = config_of(encoder.name, num_labels=3)
    folder = written(tmp_path / "classifier", three_classes, AutoModelForSequenceClassification)
    vectors, outputs = read_by_the_last_layer(folder, PAIRS)
    assert outputs.shape == (len(PAIRS), 3)
    np.testing.assert_allclose(Backbone(folder, "pooler", 48).features(PAIRS), vectors, atol=1e-5)


@pytest.mark.parametrize("encoder", ["roberta", "modernbert"], indirect=True)
def test_a_version_is_a_start_with_its_pooler(encoder: Path, make_run: Any, train: Any, cache: FeatureCache) -> None:
    recipe = {"backbone": str(encoder), "pooling": "pooler", "tuning": "full", "max_tokens": 48} | QUICK
    first = make_run("first", **recipe)
    assert train(first)[0] == 0
    stays = make_run("stays", extrapolation=0, initialisation="7", settings={"initial_model": str(first / "model")},
                     **recipe)  # fmt: skip
    code, events = train(stays)
    assert code == 0, events[-1]
    scores = [Scorer.load(run / "model").score(PAIRS, cache) for run in (first, stays)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)


def test_two_processes_train_a_pooler_like_one(tmp_path: Path, make_run: Any, train: Any) -> None:
    encoder = written(tmp_path / "roberta", config_of("roberta"))
    recipe = {"backbone": str(encoder), "pooling": "pooler", "tuning": "full", "max_tokens": 48} | QUICK
    alone, together = make_run("alone", **recipe, batch_tokens=30), make_run("together", **recipe, batch_tokens=30)
    assert train(alone)[0] == 0
    with starting(together, "--standalone", "--nproc-per-node=2") as process:
        said = process.communicate(timeout=180)[0]
    assert process.returncode == 0, said
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (alone, together))
    assert "classifier.dense.weight" in found
    for name, value in expected.items():
        if name.endswith("key.bias"):  # no attention depends on it: its gradient is rounding, which Adam makes large
            continue
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def decoder() -> PreTrainedConfig:
    return Qwen3Config(vocab_size=50, num_key_value_heads=2, head_dim=4, **SIZES, **TINY)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (ConvBertConfig(vocab_size=50, embedding_size=8, **SIZES, **TINY), "does not know convbert, only BERT and"),
        (decoder(), "does not know qwen3, only BERT and"),
    ],
    ids=["layers-of-another-kind", "a-decoder"],
)
def test_what_has_no_pooler_is_refused_before_anything_is_read(
    config: PreTrainedConfig, sentence: str, tmp_path: Path, make_run: Any, train: Any
) -> None:
    folder = written(tmp_path / "other", config)
    with pytest.raises(BackboneError, match=sentence):
        Backbone(folder, "pooler", 48).features(PAIRS)
    run = make_run(backbone=str(folder), pooling="pooler", max_tokens=48)
    (folder / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(BackboneError, match=sentence):
        check_architecture(Backbone(folder, "pooler", 48))
    code, events = train(run)
    assert code == 1
    assert re.search(sentence, events[-1]["message"])
