"""Write a trained reward model as a folder that standard loaders read.

Mean-pooled encoders become a sentence-transformers model (Transformer, Pooling, Dense), every other one an
AutoModelForSequenceClassification with `num_labels=1`, `problem_type="regression"` (without it loaders apply
a sigmoid) and a padding token that is not the end token. The head is folded into the last layer. All weights
are safetensors.
"""

import copy
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import save as save_tensors

from worker.core.backbone import LIMITS_OF_TOKENIZERS, TEXT_FILES, Backbone, Texts, tokenise, weights_sha256
from worker.core.files import new_folder, write_bytes, write_json
from worker.core.training.head import Head
from worker.core.training.model_card import model_card
from worker.core.training.recipe import Recipe
from worker.core.uncertainty import Laplace

if TYPE_CHECKING:
    from worker.core.training.network import Adapter

FORMAT = 1
MANIFEST = "tiebreak.json"
HEAD_FILE = "head/head.safetensors"
ADAPTER = "adapter"
UNCERTAINTY_FILE = "head/uncertainty.safetensors"
PROBES: tuple[Texts, ...] = (
    ("What is two plus two?", "Four."),
    ("Name a colour.", "Blue, the colour of a clear sky on a day without clouds."),
)
PROBE_TOLERANCE = 1e-3
LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


class ModelFolderError(Exception):
    """A model folder cannot be written or read; the message says why."""


def save_model(
    folder: Path,
    recipe: Recipe,
    backbone: Backbone,
    head: Head,
    snapshot: str,
    metrics: dict[str, Any],
    uncertainty: Laplace | None = None,
    adapter: "Adapter | None" = None,
) -> None:
    """Write the model under a temporary name and rename it, so `folder` is whole or absent.

    An adapter, merged into the backbone already, is kept beside it as peft stores it.
    """
    with new_folder(folder) as new:
        if recipe.pooling == "mean":
            loader = "sentence-transformers"
            _write_sentence_transformer(new, backbone, head, own_weights=recipe.trains_backbone)
        else:
            loader = "transformers"
            _write_classifier(new, backbone, head)
        (new / HEAD_FILE).parent.mkdir()
        write_bytes(new / HEAD_FILE, save({"weight": head.weight, "bias": head.bias}))
        if adapter is not None:
            (new / ADAPTER).mkdir()
            adapter.config.save_pretrained(new / ADAPTER)
            write_bytes(new / ADAPTER / "adapter_model.safetensors", save_tensors(adapter.tensors))
        if uncertainty is not None:
            write_bytes(new / UNCERTAINTY_FILE, save({"centre": uncertainty.centre, "factor": uncertainty.factor}))
        manifest = {
            "format": FORMAT,
            "recipe": recipe.to_dict(),
            "recipe_hash": recipe.hash,
            "feature_revision": _revision(new, recipe, backbone),
            "weights_sha256": weights_sha256(new),
            "head": HEAD_FILE,
            "outputs": list(head.outputs),
            "uncertainty": None if uncertainty is None else {"method": "laplace", "file": UNCERTAINTY_FILE},
            "loader": loader,
            "snapshot": snapshot,
            "metrics": metrics,
        }
        write_json(new / MANIFEST, manifest)
        (new / "README.md").write_text(model_card(manifest), encoding="utf-8")


def _revision(folder: Path, recipe: Recipe, backbone: Backbone) -> str:
    """Return the revision of the vectors: of the backbone as it came, or of the files of a trained one."""
    if not recipe.trains_backbone:
        return backbone.revision
    return Backbone(folder, recipe.pooling, recipe.max_tokens).revision


def _write_sentence_transformer(folder: Path, backbone: Backbone, head: Head, *, own_weights: bool) -> None:
    """Write the backbone, copied unless it was trained or cut, and add pooling and head.

    The layout is written by hand: it is small and stable, and saves the worker a dependency on
    sentence-transformers.
    """
    if own_weights:
        _save_pretrained(backbone.model, folder)
    elif backbone.layers is not None:
        _write_first_layers(backbone, folder)
    else:
        for source in sorted(backbone.folder.glob("*.safetensors*")):
            shutil.copyfile(source, folder / source.name)
    config = json.loads((backbone.folder / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    write_json(folder / "config.json", config | backbone.depth | {"dtype": "float32"})
    if not _copy_tokenizer(backbone, folder):
        backbone.tokenizer.save_pretrained(folder)
    weight, bias = head.reward_layer()
    size = len(weight)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": backbone.max_tokens, "do_lower_case": False})
    pooling = {
        "word_embedding_dimension": size,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_cls_token": False,
    }
    dense = {
        "in_features": size,
        "out_features": 1,
        "bias": True,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", pooling)
    (folder / "2_Dense").mkdir()
    write_json(folder / "2_Dense" / "config.json", dense)
    layer = {"linear.weight": weight[np.newaxis, :], "linear.bias": np.array([bias], dtype=np.float32)}
    write_bytes(folder / "2_Dense" / "model.safetensors", save(layer))


def _copy_tokenizer(backbone: Backbone, folder: Path) -> bool:
    """Write the tokenizer as `Backbone.tokenizer` sets it up, from its files; False where they do not say enough.

    Without transformers, whose import takes longer than everything else that saves a head.
    """
    known, settings = backbone.folder / "tokenizer.json", backbone.folder / "tokenizer_config.json"
    if not known.is_file() or not settings.is_file():
        return False
    config = json.loads(settings.read_text(encoding="utf-8"))
    if not config.get("pad_token") or not str(config.get("tokenizer_class", "")) or "auto_map" in config:
        return False
    for name in set(TEXT_FILES) - {known.name, settings.name, "config.json"}:
        if (backbone.folder / name).is_file():
            shutil.copyfile(backbone.folder / name, folder / name)
    tokenizer = json.loads(known.read_text(encoding="utf-8")) | {"truncation": None, "padding": None}
    write_bytes(folder / known.name, json.dumps(tokenizer, ensure_ascii=False).encode())
    ours = {"model_max_length": backbone.max_tokens, "padding_side": "right", "truncation_side": "right"}
    kept = {name: value for name, value in config.items() if name not in {*LIMITS_OF_TOKENIZERS, "name_or_path"}}
    write_json(folder / settings.name, kept | ours)
    return True


def _write_classifier(folder: Path, backbone: Backbone, head: Head) -> None:
    """Put backbone and head into the architecture's own classification model and save that."""
    from worker.core.forward import standard_attention

    ours = head.rewards(backbone.features(PROBES))
    with standard_attention(backbone.model):
        classifier = _classifier(backbone, head)
        _check_equal_scores(classifier, backbone, ours)
        _save_pretrained(classifier, folder)
    backbone.tokenizer.save_pretrained(folder)


def _write_first_layers(backbone: Backbone, folder: Path) -> None:
    """Write the layers that are read, and no others; without loading the model where it is one file."""
    whole = backbone.folder / "model.safetensors"
    if not whole.is_file():
        _save_pretrained(backbone.model, folder)
        return
    tensors = {}
    with safe_open(whole, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 not a dict
            layer = LAYER.search(name)
            if layer is None or int(layer[1]) < (backbone.layers or 0):
                tensors[name] = file.get_tensor(name)
    write_bytes(folder / whole.name, save_tensors(tensors, metadata={"format": "pt"}))


def _save_pretrained(model: Any, folder: Path) -> None:
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise ModelFolderError(f"The model could not be written to {folder.parent}: {error}") from error


def check_architecture(backbone: Backbone) -> None:
    """Raise ModelFolderError or BackboneError when no classification model of the architecture pools like the recipe.

    Reads the config only, so that a recipe that cannot be saved fails before hours of features, not after.
    """
    if backbone.pooling != "mean":
        from transformers import AutoConfig

        _empty_classifier(AutoConfig.from_pretrained(backbone.folder), backbone.pooling)


def _classifier(backbone: Backbone, head: Head) -> Any:
    """Return the classification model around the backbone in memory, the reward layer in its last layer."""
    import torch

    from worker.core.poolers import put_into

    config = copy.deepcopy(backbone.model.config)
    config.problem_type = "regression"
    config.pad_token_id = backbone.tokenizer.pad_token_id
    config.dtype = "float32"
    classifier, name = _empty_classifier(config, backbone.pooling)
    put_into(classifier, backbone.model)
    weight, bias = head.reward_layer()
    has_bias = classifier.get_submodule(name).bias is not None
    layer = torch.nn.Linear(len(weight), 1, bias=has_bias)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight[np.newaxis, :]))
        if has_bias:
            layer.bias.fill_(float(bias))
    classifier.set_submodule(name, layer.to(backbone.model.device))
    return classifier.eval()


def _empty_classifier(config: Any, pooling: str) -> tuple[Any, str]:
    """Return the architecture's classification model without memory for weights, and its last layer's name."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from worker.core.poolers import last_layer

    config.num_labels = 1
    config.id2label, config.label2id = {0: "reward"}, {"reward": 0}
    make = AutoModelForSequenceClassification.from_config
    try:
        with torch.device("meta"):
            classifier = make(config)
    except ValueError as error:
        raise ModelFolderError(f"transformers has no classification model for {config.model_type}.") from error
    name = "score" if pooling == "last" else last_layer(classifier)
    layer = dict(classifier.named_modules()).get(name)
    if not isinstance(layer, torch.nn.Linear) or layer.in_features != config.get_text_config().hidden_size:
        raise ModelFolderError(
            f"The classification model of {config.model_type} is not one linear layer on pooling {pooling!r}; "
            "use another pooling."
        )
    return classifier, name


def _check_equal_scores(classifier: Any, backbone: Backbone, ours: NDArray[np.float32]) -> None:
    """Refuse an architecture whose classification model pools in a way of its own."""
    import torch

    rows = tokenise(backbone.tokenizer, PROBES, backbone.pooling, backbone.max_tokens)
    for row, reward in zip(rows, ours, strict=True):
        inputs = {name: torch.from_numpy(values[np.newaxis, :].astype(np.int64)) for name, values in row.items()}
        with torch.inference_mode():
            theirs = classifier(**{name: values.to(backbone.model.device) for name, values in inputs.items()}).logits
        if abs(float(theirs[0, 0]) - float(reward)) > PROBE_TOLERANCE * max(1.0, abs(float(reward))):
            raise ModelFolderError(
                f"The classification model of {backbone.model.config.model_type} pools in a way of its own: it "
                f"gives a probe {float(theirs[0, 0]):.4f}, the trained head {float(reward):.4f}."
            )
