"""Top k on a CUDA device by Triton kernels: number groups of items, choose groups, score the chosen ones.

A group of consecutive items leaves one number, so that scores never reach memory; only groups with the
highest numbers are scored again, in float32. With `certify`, products run on tensor cores, whose inputs keep
10 bits, and the number is a bound: the highest score plus all that rounding may have taken away (Cauchy and
Schwarz). Where the best bound left out is below the k-th score found, nothing better was missed: the query
is certified. The others (equal scores at the edge of a list, mostly) need the way without `certify`: float32
products, and as in `accelerator.merge` the k groups with the highest maxima, which hold the k best items.
"""

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
import torch
import triton
from scipy.sparse import csr_array

from recsys_lib.scoring import kernels

# Two inputs cut to 10 bits lose at most 2⁻¹⁰ each, a float32 sum less than 2⁻²² per term (Higham 2002, 3.1).
_CUT, _SUM = 2.0**-9 + 2.0**-19, 2.0**-22
_TILE, _HEIGHT, _EXACT = 128, 256, 128  # queries per program; items, with tensor cores and without
_FEW = 4  # queries that do without tensor cores: reading the items is all the work
_STRIDE = 64  # programs that share the excluded pairs of a query
# Up to which length of lists, groups per query and groups of all queries one program per query pays.
_SHORT, _SEGMENT, _KEYS = 32, 16_384, 2**22
_RUN = 16  # groups that are looked at through their maximum first
_MAX_K = 1024


def group_of(n_items: int, k: int) -> tuple[int, int]:
    """Return the items per group and the groups to score; no groups where choosing some would not pay."""
    group = 16 if n_items < 50_000 else 32 if k > 32 or n_items < 500_000 else 64
    chosen = k + max(21, k // 2)  # measured: on real and random factors hardly a query stays uncertified
    return group, chosen if k <= _MAX_K and 2 * group * chosen < n_items else 0


def rank_factors(
    queries: torch.Tensor, items: torch.Tensor, k: int, seen: csr_array | None, max_bytes: int, certify: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rank factors of at most 32 bits: ids and scores, shape (n_queries, k), and which queries are certain.

    At least one query; `group_of(n_items, k)` must have named groups. Where factors are NaN, infinite or too
    large, no query is certified. Pairs to leave out ascend in `seen`, none is repeated; `max_bytes` bounds
    the working memory, above the smallest blocks. With `certify`, tensor cores are used and uncertain queries
    are left to the caller; otherwise all are certain.
    """
    queries, items = queries.contiguous(), items.contiguous()
    group, n_chosen = group_of(len(items), k)
    room = max_bytes // ((6 if certify else 10) * ceil(len(items) / group) + 20 * group * n_chosen)
    n_block = room // _TILE * _TILE or max(1, room)
    blocks = []
    for first in range(0, len(queries), n_block):
        block = queries[first : first + n_block]
        bounds, pairs = _bound(block, items, group, certify, (seen, first))
        blocks.append(_choose(block, items, bounds, pairs, k, certify))
    return tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*blocks, strict=True))


def _bound(
    queries: torch.Tensor, items: torch.Tensor, group: int, certify: bool, seen: tuple
) -> tuple[torch.Tensor, tuple]:
    """Give every group a number for every query; also return the excluded pairs, on the device."""
    n_queries, (n_items, width) = len(queries), items.shape
    n_groups, slack = ceil(n_items / group), _CUT * certify + width * _SUM
    shape = n_items, n_groups, width, slack, certify, _chunk(width, 32), group
    bounds = queries.new_empty((n_queries, n_groups), dtype=torch.float32 if certify else torch.int64)
    if n_queries <= _FEW:
        kernels.bound_few[(ceil(n_items / 128), n_queries)](queries, items, bounds, *shape, 128)
    else:
        norms = queries.new_empty(n_queries + n_groups if certify else 0, dtype=torch.float32)
        if certify:
            grid = (ceil(n_queries / 128) + ceil(n_items / 128),)
            kernels.longest[grid](
                queries, items, norms, n_queries, n_items, width, _chunk(width, 64), group, 128
            )
        tile = _TILE if n_queries > _TILE // 2 else max(16, triton.next_power_of_2(n_queries))
        height, stages = _block(queries.device, certify)
        kernels.bound_many[(ceil(n_queries / tile) * ceil(n_items / height),)](
            queries, items, norms, bounds, n_queries, *shape, tile, height, num_warps=8, num_stages=stages
        )
    starts, pairs = _pairs(*seen, queries)  # while the device is busy
    if pairs is not None:
        grid = n_queries, _STRIDE
        kernels.bound_unseen[grid](queries, items, bounds, starts, pairs, *shape, _STRIDE, num_warps=1)
    return bounds, (starts, pairs)


def _choose(
    queries: torch.Tensor, items: torch.Tensor, bounds: torch.Tensor, pairs: tuple, k: int, certify: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score the groups with the highest bounds; find the k best in them."""
    (n_queries, n_groups), (n_items, width) = bounds.shape, items.shape
    group, n_chosen = group_of(n_items, k)
    n_chosen = n_chosen if certify else k
    ids = bounds.new_empty((n_queries, k), dtype=torch.int64)
    scores = queries.new_empty((n_queries, k), dtype=torch.float32)
    certain = bounds.new_empty(n_queries, dtype=torch.bool)
    lists, length = (ids, scores, certain, k, n_chosen), triton.next_power_of_2(max(2, k))
    if k <= _SHORT and n_groups <= _SEGMENT and n_queries * n_groups <= _KEYS:
        keep = triton.next_power_of_2(n_chosen + 1)
        segment = max(keep * _RUN, triton.next_power_of_2(n_groups))
        kernels.choose_short[(n_queries,)](
            queries, items, bounds, *pairs, *lists, n_items, n_groups, width, certify, 8, group, keep,
            segment, _RUN, length, num_warps=4 if max(segment, 2 * keep * group) <= 2048 else 16,
        )  # fmt: skip
        return ids, scores, certain
    best = bounds.topk(n_chosen + 1)
    keys = bounds.new_empty((n_queries, n_chosen * group), dtype=torch.int64)
    kernels.score[(n_queries, ceil(keys.shape[1] / 128))](
        queries, items, best.indices, keys, *pairs, n_items, n_chosen, width, _chunk(width, 32), group,
        128 // group,
    )  # fmt: skip
    kernels.decode[(n_queries,)](keys.topk(k).values, best.values, *lists, certify, length)
    return ids, scores, certain


@cache
def _block(device: torch.device, certify: bool) -> tuple[int, int]:
    """Choose the items per program and the loads under way, such that both fit the memory of a core."""
    if device.type == "cuda":
        room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
        if room < 160_000:  # less than a data center's card: compiled for these, not measured on one
            return 64, 2
    return _HEIGHT if certify else _EXACT, 3


def _chunk(width: int, most: int) -> int:
    """Choose how many factors to load at once."""
    return min(most, max(16, triton.next_power_of_2(width)))


def _pairs(
    seen: csr_array | None, first: int, queries: torch.Tensor
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Send to the device where the excluded items of each query of a block start, and the items."""
    if seen is None:
        return None, None
    starts = seen.indptr[first : first + len(queries) + 1].astype(np.int64)
    items = seen.indices[starts[0] : starts[-1]].astype(np.int32)
    if not len(items):
        return None, None
    both = torch.from_numpy(np.concatenate([(starts - starts[0]).view(np.int32), items]))  # one transfer
    if queries.is_cuda:
        both = both.pin_memory()  # or the host would wait for the device before it could send
    sent = both.to(queries.device, non_blocking=True)
    return sent[: 2 * len(starts)].view(torch.int64), sent[2 * len(starts) :]
