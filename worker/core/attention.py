"""Attention over packed rows, under a name that transformers' models can be told to use.

A part attends to its prefix and to itself, so there is no mask over the whole row to build and none of its zeros
to multiply: on a CPU each part is one call, on a GPU all parts are one call of the variable-length flash kernel.
"""

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from worker.core.packing import Layout

PACKED = "tiebreak_packed"
UNKNOWN = ("softcap", "s_aux", "position_bias")


class NotPackable(ValueError):
    """A model's attention asks for something that packed rows do not offer."""


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend within the parts of `layout`; query (1, h, t, d), key and value (1, g, t, d) → (1, t, h, d)."""
    if layout is None or any(others.get(name) is not None for name in UNKNOWN):
        raise NotPackable(f"{type(module).__name__} cannot attend in packed rows.")
    if sliding_window is not None and sliding_window >= max(layout.key_lengths):
        sliding_window = None
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] <= 256:
        return _in_one_call(query, key, value, layout, scaling, sliding_window), None
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=1), value.repeat_interleave(shared, dim=1)
    # split, not slices: its gradient is one concatenation, that of slices a row of zeros for each
    queries, keys, values = (torch.split(tensor, list(layout.lengths), dim=2) for tensor in (query, key, value))
    attended = []
    for part, prefix in enumerate(layout.prefixes):
        own_key, own_value, mask = keys[part], values[part], None
        if prefix is not None:
            own_key = torch.cat((keys[prefix], own_key), dim=2)
            own_value = torch.cat((values[prefix], own_value), dim=2)
        if sliding_window is not None or (layout.causal and prefix is not None):
            mask = _seen(queries[part].shape[2], own_key.shape[2], layout.causal, sliding_window, query.device)
        attended.append(
            scaled_dot_product_attention(
                queries[part],
                own_key,
                own_value,
                attn_mask=mask,
                is_causal=layout.causal and mask is None,
                scale=scaling,
            )
        )
    # The kernel leaves its results as (1, t, h, d) in memory: put together like this, each is copied once.
    return torch.cat([part.transpose(1, 2) for part in attended], dim=1), None


def _seen(queries: int, keys: int, causal: bool, window: int | None, device: torch.device) -> Tensor:
    """Return what the last `queries` of `keys` tokens may look at, (queries, keys): less than `window` away."""
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device)
    if causal:
        seen = seen.tril(keys - queries)
    if window is None:
        return seen
    seen = seen.triu(keys - queries - window + 1)
    return seen if causal else seen.tril(keys - queries + window - 1)


def _in_one_call(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float | None, window: int | None
) -> Tensor:
    """Attend with flash attention's variable-length kernel: CUDA, half precision; its causal mask ends bottom right.

    A prefix is copied for each part that continues it, in this layer's keys and values only.
    """
    from torch.nn.attention.varlen import varlen_attn

    index, query_ends, key_ends = _kernel_inputs(layout, query.device)
    reach = -1 if window is None else window - 1
    attended = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1)[index],
        value[0].transpose(0, 1)[index],
        query_ends,
        key_ends,
        max(layout.lengths),
        max(layout.key_lengths),
        scale=scaling,
        window_size=(reach, 0 if layout.causal else reach),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return cast(Tensor, attended).unsqueeze(0)


@lru_cache(maxsize=4)
def _kernel_inputs(layout: Layout, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the kernel's keys by number and the ends of queries and keys, moved once for all layers of a row."""
    with torch.inference_mode(False):  # training may need again what a scoring pass has made
        index = torch.from_numpy(layout.keys).to(device)
        ends = [torch.tensor([0, *lengths], device=device).cumsum(0, dtype=torch.int32)
                for lengths in (layout.lengths, layout.key_lengths)]  # fmt: skip
    return index, ends[0], ends[1]


def _no_mask(*arguments: Any, **others: Any) -> None:
    """Spare the models the mask over the whole row that they would build from the positions."""


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, _no_mask)
