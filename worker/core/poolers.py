"""The layers that a classification model has between its encoder and its last layer, as one module of the encoder.

With pooling "pooler" a vector is what the architecture's own AutoModelForSequenceClassification gives its last linear
layer, so that the reward saved there is the reward that was trained. BERT's encoder has those layers itself. Those of
`LAYERS` have none or another pooler: theirs are taken out of the classification model, called `pooler`, and put back
when the model is saved. Dropout stays behind: neither features nor training have any.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
from transformers.activations import ACT2FN

from worker.core.backbone import BackboneError

SEED = 0
WORKS = "BERT and its like, RoBERTa, XLM-RoBERTa, CamemBERT, DeBERTa, DistilBERT, ELECTRA, ModernBERT and MPNet"


@dataclass(frozen=True)
class Layers:
    """Where a classification model keeps its layers: first token's state or mean → dense → activation → norm → last.

    `activation` is the name of one, or of the field of the config that names it.
    """

    dense: str
    activation: str
    last: str
    norm: str | None = None


OF_ROBERTA = Layers("classifier.dense", "tanh", "classifier.out_proj")
OF_DEBERTA = Layers("pooler.dense", "pooler_hidden_act", "classifier")
LAYERS: Mapping[str, Layers] = {
    "camembert": OF_ROBERTA,
    "deberta": OF_DEBERTA,
    "deberta-v2": OF_DEBERTA,
    "distilbert": Layers("pre_classifier", "relu", "classifier"),
    "electra": Layers("classifier.dense", "gelu", "classifier.out_proj"),
    "modernbert": Layers("head.dense", "classifier_activation", "classifier", norm="head.norm"),
    "mpnet": OF_ROBERTA,
    "roberta": OF_ROBERTA,
    "xlm-roberta": OF_ROBERTA,
}


class Pooler(nn.Module):
    """The vector of a text, read at its first token or, where it `averages`, of the mean of all."""

    def __init__(self, dense: nn.Module, activation: nn.Module, norm: nn.Module, *, averages: bool) -> None:
        super().__init__()
        self.dense, self.activation, self.norm, self.averages = dense, activation, norm, averages

    def forward(self, states: Tensor) -> Tensor:
        """Return the vectors (n, d) of the states (n, t, d) of texts without padding."""
        read = states.mean(dim=1) if self.averages else states[:, 0]
        return cast(Tensor, self.norm(self.activation(self.dense(read))))


def load_encoder(folder: Path, **settings: Any) -> Any:
    """Load an encoder and its pooler, whose weights are the checkpoint's or else the same on every load.

    Raises BackboneError for an architecture without one, and what `from_pretrained` raises.
    """
    layers = _layers(AutoConfig.from_pretrained(folder))
    if layers is None:
        model = AutoModel.from_pretrained(folder, **settings)
        if getattr(model, "pooler", None) is None:
            raise _unknown(model.config)
        return model
    whole, found = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True, **settings)
    config, dense = whole.config, whole.get_submodule(layers.dense)
    norm = nn.Identity() if layers.norm is None else whole.get_submodule(layers.norm)
    _initialise(dense, layers.dense, found["missing_keys"], config.initializer_range)
    _initialise(norm, layers.norm, found["missing_keys"], config.initializer_range)
    model = getattr(whole, whole.base_model_prefix)
    activation = ACT2FN[getattr(config, layers.activation, layers.activation)]
    model.pooler = Pooler(dense, activation, norm, averages=getattr(config, "classifier_pooling", "cls") == "mean")
    return model


def last_layer(classifier: Any) -> str:
    """Return the name of the layer that a classification model gives the pooler's vector. Raises BackboneError."""
    layers = _layers(classifier.config)
    if layers is not None:
        return layers.last
    base = getattr(classifier, classifier.base_model_prefix, None)
    if getattr(base, "pooler", None) is None or not isinstance(getattr(classifier, "classifier", None), nn.Linear):
        raise _unknown(classifier.config)
    return "classifier"


def put_into(classifier: Any, model: Any) -> None:
    """Make the model the one inside its classification model, which takes over its pooler's layers."""
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, Pooler):
        layers = LAYERS[model.config.model_type]
        classifier.set_submodule(layers.dense, pooler.dense)
        if layers.norm is not None:
            classifier.set_submodule(layers.norm, pooler.norm)
        # a copy that shares all weights, because the model itself is still read with its pooler
        encoder = copy.copy(model)
        encoder._modules = {**model._modules, "pooler": None}
        model = encoder
    setattr(classifier, classifier.base_model_prefix, model)


def _layers(config: Any) -> Layers | None:
    """Return where the architecture keeps its layers, None where its encoder may have a pooler itself."""
    return LAYERS.get(config.model_type)


def _unknown(config: Any) -> BackboneError:
    others = 'use "mean", or "last" for a decoder'
    return BackboneError(f'pooling "pooler" does not know {config.model_type}, only {WORKS}; {others}.')


def _initialise(layer: nn.Module, path: str | None, missing: set[str], spread: float) -> None:
    """Fill what the checkpoint lacks of a layer; not left to transformers, whose numbers differ from load to load."""
    generator = torch.Generator().manual_seed(SEED)
    for name, parameter in layer.named_parameters():
        if f"{path}.{name}" not in missing:
            continue
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=spread, generator=generator)
        else:
            nn.init.constant_(parameter, 1.0 if name == "weight" else 0.0)
