"""Run a language model on packed rows and pool one vector per text."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from worker.core.attention import PACKED
from worker.core.packing import Row, group_of, row_of

# The attention of each part on its own makes long rows useless on a CPU; the row then only leaves the cache.
CPU_ROW_TOKENS = 1024
PROBE_LENGTHS = (7, 5, 9)
PROBE_TOLERANCE = 1e-3
KNOWN_LAYERS = {"full_attention", "sliding_attention"}  # others hide what they attend to in the mask
POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert"}
Item = TypeVar("Item")
Result = TypeVar("Result")


def row_tokens(batch_tokens: int, device: torch.device) -> int:
    """Return how many tokens a row may hold: on a CPU more than a thousand do not pay."""
    return batch_tokens if device.type == "cuda" else min(batch_tokens, CPU_ROW_TOKENS)


def first_position(model: Any) -> int:
    """Return the number of a text's first position: RoBERTa and its relatives count from the padding index on."""
    config = model.config
    return int(config.pad_token_id) + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0


def vectors(model: Any, row: Row, pooling: str) -> Tensor:
    """Return the vector of each text of the row (n, d): at once where `allow_packing` found that exact, else singly."""
    if model.config._attn_implementation != PACKED:
        return torch.cat([_alone(model, row, number, pooling) for number in range(len(row.texts))])
    device = model.get_input_embeddings().weight.device
    inputs: dict[str, Any] = {"input_ids": _batch(row.ids, device), "position_ids": _batch(row.positions, device)}
    if row.types is not None:
        inputs["token_type_ids"] = _batch(row.types, device)
    states = model(**inputs, layout=row.layout, **_no_cache(pooling)).last_hidden_state[0]
    spans = row.spans()
    if pooling == "last":
        return states.index_select(0, torch.tensor([end - 1 for _, end in spans], device=device))
    if pooling == "pooler":
        read = _means(states, spans) if getattr(model.pooler, "averages", False) else _firsts(states, spans)
        pooled: Tensor = model.pooler(read[:, None])
        return pooled
    return _means(states, spans)


def side_by_side(rows: Iterable[Item], read: Callable[[Item], Result], threads: int) -> Iterator[tuple[Item, Result]]:
    """Yield each row with what `read` makes of it, in order: so many rows at a time, each read by one thread.

    Threads that share a row wait for each other after each of its many small steps. With one thread, torch reads row
    after row as it is set to.
    """
    if threads == 1:
        yield from ((row, read(row)) for row in rows)
        return
    before = torch.get_num_threads()
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads, "row", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for row in rows:
                waiting.append((row, pool.submit(read, row)))
                if len(waiting) > threads:
                    done, found = waiting.popleft()
                    yield done, found.result()
            while waiting:
                done, found = waiting.popleft()
                yield done, found.result()
        finally:
            for _, found in waiting:
                found.cancel()
            torch.set_num_threads(before)  # what a thread sets for itself is also what later ones begin with


def allow_packing(model: Any, pooling: str) -> bool:
    """Let the model read packed rows when a probe shows that it then gives the vectors of each text alone.

    Positions, attention and masks differ between architectures in ways no list of names would keep up with.
    """
    if not set(getattr(model.config, "layer_types", None) or ()) <= KNOWN_LAYERS:
        return False
    before = model.config._attn_implementation
    size = min(int(model.get_input_embeddings().num_embeddings), 1000)
    ids = [np.arange(3, 3 + length, dtype=np.int32) * (7 + length) % size for length in PROBE_LENGTHS]
    if pooling == "last":
        ids = [np.concatenate([ids[0], one]) for one in ids]  # a prefix to share
    tokens = [{"input_ids": one} for one in ids]
    numbers = range(len(tokens))
    if pooling == "last":
        groups = [group_of(tokens, list(numbers)[:2], share=True), group_of(tokens, [2], share=True)]
    else:
        groups = [group_of(tokens, [number], share=False) for number in numbers]
    row = row_of(tokens, groups, causal=pooling == "last", first_position=first_position(model))
    training, verbosity = model.training, logging.get_verbosity()
    logging.set_verbosity_error()  # it warns about an architecture whose attention cannot be replaced
    model.eval()
    try:
        with torch.inference_mode():
            alone = vectors(model, row, pooling)
            model.set_attn_implementation(PACKED)
            together = vectors(model, row, pooling)
        equal = torch.allclose(together, alone, atol=PROBE_TOLERANCE * float(alone.abs().max()), rtol=0.0)
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, NotImplementedError):
        equal = False
    finally:
        logging.set_verbosity(verbosity)
        model.train(training)
    if not equal and model.config._attn_implementation != before:
        model.set_attn_implementation(before)
    return bool(equal and model.config._attn_implementation == PACKED)


@contextmanager
def standard_attention(model: Any) -> Iterator[None]:
    """Give the model the attention that a standard loader would, and then its own again."""
    before = model.config._attn_implementation
    if before == PACKED:
        model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    try:
        yield
    finally:
        if before == PACKED:
            model.set_attn_implementation(before)


def _means(states: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    return torch.stack([part.mean(dim=0) for part in torch.split(states, [end - start for start, end in spans])])


def _firsts(states: Tensor, spans: list[tuple[int, int]]) -> Tensor:
    return states.index_select(0, torch.tensor([start for start, _ in spans], device=states.device))


def _alone(model: Any, row: Row, number: int, pooling: str) -> Tensor:
    device = model.get_input_embeddings().weight.device
    inputs = {"input_ids": _batch(row.alone(row.ids)[number], device)}
    if row.types is not None:
        inputs["token_type_ids"] = _batch(row.alone(row.types)[number], device)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    output = model(**inputs, **_no_cache(pooling))
    if pooling == "pooler":
        given: Tensor | None = getattr(output, "pooler_output", None)  # DeBERTa's encoder and others run no pooler
        pooled: Tensor = model.pooler(output.last_hidden_state) if given is None else given
        return pooled
    states: Tensor = output.last_hidden_state[0]
    return states[-1:] if pooling == "last" else states.mean(dim=0, keepdim=True)


def _no_cache(pooling: str) -> dict[str, bool]:
    return {"use_cache": False} if pooling == "last" else {}


def _batch(values: np.ndarray[Any, np.dtype[np.int64]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)
