"""Score what a reward service is asked about: pairs, templated texts and token ids, with one resident model."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.core.backbone import Features, tokenise
from worker.core.chat_markup import split_text
from worker.core.features import FeatureCache
from worker.core.reward_inputs import Ids, Input, InputError, Pair, Text
from worker.core.scoring import Scorer

KEPT_VECTORS = 50_000
_NO_LIMIT = 1 << 30

Row = dict[str, NDArray[np.int32]]


@dataclass(frozen=True)
class Measured:
    """The raw reward of one input, its standard deviation, and how many tokens the model reads of it.

    The deviation is None for a version that holds none, the tokens are 0 where they were not counted.
    """

    reward: float
    std: float | None
    tokens: int


class ServedFeatures(FeatureCache):
    """The machine's cache of features, read but never written, before a memory of the vectors asked for last.

    What trainers send is new each time and comes by the million: stored for good, it would fill the disk.
    """

    def __init__(self, path: Path, kept: int = KEPT_VECTORS) -> None:
        super().__init__(path)
        self._kept = kept
        self._memory: OrderedDict[str, Features] = OrderedDict()

    def get_many(self, keys: Sequence[str]) -> dict[str, Features]:
        """Return the vectors that are known, by key."""
        found = {}
        for key in keys:
            if (vector := self._memory.get(key)) is not None:
                self._memory.move_to_end(key)
                found[key] = vector
        missing = [key for key in keys if key not in found]
        return found | super().get_many(missing) if missing else found

    def put_many(self, vectors: Mapping[str, Features]) -> None:
        """Remember vectors, and forget those that nobody has asked for for longest."""
        self._memory.update(vectors)
        while len(self._memory) > self._kept:
            self._memory.popitem(last=False)


def measure(
    scorer: Scorer, inputs: Sequence[Input], cache: FeatureCache, *, count: bool, whole: Collection[int] = ()
) -> list[Measured]:
    """Return what the model says of inputs, in their order. Raises InputError.

    Those whose numbers are in `whole` are refused, not cut, where the model reads fewer tokens than they have.

    A pair becomes tokens as in training. A text does as the standard loaders would have it: for a decoder it is
    tokenised as it stands; for an encoder it is read back into prompt and response where it shows them, and else is one
    segment. Both are cut to the recipe's `max_tokens` like pairs.
    """
    resolved = [_resolved(scorer, item) for item in inputs]
    for place in whole:
        _refuse_longer(scorer, resolved[place], place)
    limit = scorer.recipe.max_tokens
    pairs = {place: item for place, item in enumerate(resolved) if isinstance(item, Pair)}
    rows = {
        place: _row(scorer, item, place, limit) for place, item in enumerate(resolved) if not isinstance(item, Pair)
    }
    rewards = np.empty(len(inputs), dtype=np.float32)
    stds = np.full(len(inputs), np.nan)
    if pairs:
        texts = [(item.prompt, item.response) for item in pairs.values()]
        rewards[list(pairs)], spread = scorer.score_with_uncertainty(texts, cache)
        stds[list(pairs)] = np.nan if spread is None else spread
    if rows:
        vectors = scorer.backbone.vectors(list(rows.values()), scorer.recipe.batch_tokens)
        rewards[list(rows)] = scorer.head.rewards(vectors)
        stds[list(rows)] = np.nan if scorer.laplace is None else scorer.laplace.std(vectors)
    lengths = [0] * len(inputs)
    if count:
        counted = scorer.backbone.tokens([(item.prompt, item.response) for item in pairs.values()])
        for place, row in (*zip(pairs, counted, strict=True), *rows.items()):
            lengths[place] = len(row["input_ids"])
    return [
        Measured(float(reward), None if np.isnan(std) else float(std), tokens)
        for reward, std, tokens in zip(rewards, stds, lengths, strict=True)
    ]


def _resolved(scorer: Scorer, item: Input) -> Input:
    """Return a text as a pair where the model reads pairs and the text shows one."""
    if isinstance(item, Text) and scorer.recipe.pooling != "last":
        return split_text(item.text, item.prompt) or item
    return item


def _refuse_longer(scorer: Scorer, item: Input, place: int) -> None:
    """Raise InputError for an input that would be cut."""
    backbone, limit = scorer.backbone, scorer.recipe.max_tokens
    if isinstance(item, Pair):
        (row,) = tokenise(backbone.tokenizer, [(item.prompt, item.response)], backbone.pooling, _NO_LIMIT)
    else:
        row = _row(scorer, item, place, _NO_LIMIT)
    if (tokens := len(row["input_ids"])) > limit:
        raise InputError(place, f"It has {tokens} tokens, and the model reads {limit}.")


def _row(scorer: Scorer, item: Text | Ids, place: int, limit: int) -> Row:
    """Return the model inputs of a text or of token ids. A decoder's text begins as its conversations do.

    Where those begin with the token of the beginning, a client may have left it to the server (verl does) or sent it
    twice: the model was trained with exactly one.
    """
    tokenizer = scorer.backbone.tokenizer
    decoder = scorer.recipe.pooling == "last"
    if isinstance(item, Ids):
        if max(item.ids) >= len(tokenizer):
            raise InputError(place, f"The model's vocabulary ends at token {len(tokenizer) - 1}.")
        ids = list(item.ids[-limit:] if decoder else item.ids[:limit])
        return _plain_row(ids, tokenizer)
    if not decoder:
        encoded = tokenizer(item.text, truncation=True, max_length=limit)
        return {name: np.asarray(encoded[name], dtype=np.int32) for name in encoded}
    ids = tokenizer(item.text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError(place, "The text has no token in it.")
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        ids = ids[1:]
    elif ids[0] != tokenizer.bos_token_id and scorer.backbone.begins_with_bos:
        ids = [tokenizer.bos_token_id, *ids]
    return _plain_row(ids[-limit:], tokenizer)


def _plain_row(ids: list[int], tokenizer: Any) -> Row:
    filled = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
    names = [name for name in filled if name in tokenizer.model_input_names]
    return {name: np.asarray(filled[name], dtype=np.int32) for name in names}
