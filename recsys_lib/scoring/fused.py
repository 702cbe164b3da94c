"""Top k on a CUDA device by Triton kernels: number groups of items, choose groups, score the chosen ones.

A group of consecutive items leaves one number, so that scores never reach memory; only groups with the
highest numbers are scored again, in float32. With `certify`, products run on tensor cores, whose inputs keep
10 bits, and the number is a bound: the highest score plus all that rounding may have taken away (Cauchy and
Schwarz). Where the best bound left out is below the k-th score found, nothing better was missed: the query
is certified. The others (equal scores at the edge of a list, mostly) need the way without `certify`: float32
products, and as in `accelerator.merge` the k groups with the highest maxima, which hold the k best items.
"""
# ruff: noqa: N803, PLR0913 (what a kernel is compiled for is in capitals, and it takes all that it reads)

from __future__ import annotations

from functools import cache
from math import ceil

import numpy as np
import torch
import triton
import triton.language as tl
from scipy.sparse import csr_array

# Two inputs cut to 10 bits lose at most 2⁻¹⁰ each, a float32 sum less than 2⁻²² per term (Higham 2002, 3.1).
_CUT, _SUM = 2.0**-9 + 2.0**-19, 2.0**-22
_TILE, _HEIGHT, _EXACT = 128, 256, 128  # queries per program; items, with tensor cores and without
_FEW = 4  # queries that do without tensor cores: reading the items is all the work
_STRIDE = 32  # programs that share the excluded pairs of a query
_SORTED = 1024  # candidates that one program sorts faster than torch selects
_MAX_K = 1024


def group_of(n_items: int, k: int) -> tuple[int, int]:
    """Return the items per group and the groups to score; no groups where choosing some would not pay."""
    group = 16 if n_items < 50_000 else 32 if k > 32 or n_items < 500_000 else 64
    chosen = k + max(22, k // 2)  # measured: on real and random factors hardly a query stays uncertified
    return group, chosen if k <= _MAX_K and 2 * group * chosen < n_items else 0


def rank_factors(
    queries: torch.Tensor,
    items: torch.Tensor,
    k: int,
    seen: csr_array | None,
    max_bytes: int,
    certify: bool,
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
    longest = _norms(items, group) if certify and len(queries) > _FEW else items
    blocks = []
    for first in range(0, len(queries), n_block):
        block = queries[first : first + n_block]
        bounds, pairs = _bound(block, items, longest, group, certify, (seen, first))
        blocks.append(_choose(block, items, bounds, pairs, k, certify))
    return tuple(torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*blocks, strict=True))


def _bound(
    queries: torch.Tensor, items: torch.Tensor, longest: torch.Tensor, group: int, certify: bool, seen: tuple
) -> tuple[torch.Tensor, tuple]:
    """Give every group a number for every query; also return the excluded pairs, on the device."""
    n_queries, (n_items, width) = len(queries), items.shape
    shape = (
        n_items,
        ceil(n_items / group),
        width,
        _CUT * certify + width * _SUM,
        certify,
        _chunk(width, 32),
        group,
    )
    bounds = queries.new_empty((n_queries, shape[1]), dtype=torch.float32 if certify else torch.int64)
    if n_queries <= _FEW:
        _bound_few[(ceil(n_items / 128), n_queries)](queries, items, bounds, *shape, 128)
    else:
        lengths = _norms(queries, 1) if certify else queries
        tile = _TILE if n_queries > _TILE // 2 else max(16, triton.next_power_of_2(n_queries))
        height, stages = _block(queries.device, certify)
        _bound_many[(ceil(n_queries / tile) * ceil(n_items / height),)](
            queries, items, lengths, longest, bounds, n_queries, *shape, tile, height, num_warps=8,
            num_stages=stages,
        )  # fmt: skip
    starts, pairs = _pairs(*seen, queries)  # while the device is busy
    if pairs is not None:
        grid = n_queries, _STRIDE
        _bound_unseen[grid](queries, items, bounds, starts, pairs, *shape, _STRIDE, num_warps=1)
    return bounds, (starts, pairs)


def _choose(
    queries: torch.Tensor, items: torch.Tensor, bounds: torch.Tensor, pairs: tuple, k: int, certify: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Score the groups with the highest bounds; find the k best in them."""
    n_queries, (n_items, width) = len(queries), items.shape
    group, n_chosen = group_of(n_items, k)
    n_chosen = n_chosen if certify else k
    n_candidates = n_chosen * group
    best = bounds.topk(n_chosen + 1)
    keys = bounds.new_empty((n_queries, n_candidates), dtype=torch.int64)
    _score[(n_queries, ceil(n_candidates / 128))](
        queries, items, best.indices, keys, *pairs, n_items, n_chosen, width, _chunk(width, 32), group, 128
    )
    if n_candidates > _SORTED:
        keys = keys.topk(k).values
    ids, scores = keys.new_empty((n_queries, k)), queries.new_empty((n_queries, k), dtype=torch.float32)
    certain, length = keys.new_empty(n_queries, dtype=torch.bool), keys.shape[1]
    how = certify, n_candidates <= _SORTED, triton.next_power_of_2(length)
    _decode[(n_queries,)](keys, best.values, ids, scores, certain, k, length, n_chosen, *how)
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


def _norms(factors: torch.Tensor, group: int) -> torch.Tensor:
    """Return the greatest norm of every group of rows; infinity where one is no finite number."""
    norms = factors.new_empty(ceil(len(factors) / group), dtype=torch.float32)
    grid = (ceil(len(factors) / 128),)
    _longest[grid](factors, norms, *factors.shape, _chunk(factors.shape[1], 64), group, 128)
    return norms


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
    sent = both.to(queries.device, non_blocking=True)
    return sent[: 2 * len(starts)].view(torch.int64), sent[2 * len(starts) :]


@triton.jit
def _longest(factors, norms, n_rows, width, CHUNK: tl.constexpr, GROUP: tl.constexpr, HEIGHT: tl.constexpr):
    i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    squares = tl.zeros((HEIGHT,), tl.float32)
    for start in range(0, width, CHUNK):
        f = start + tl.arange(0, CHUNK)
        at = i.to(tl.int64)[:, None] * width + f[None, :]
        rows = tl.load(factors + at, mask=(i < n_rows)[:, None] & (f < width)[None, :], other=0.0)
        squares += tl.sum(rows.to(tl.float32) * rows.to(tl.float32), 1)
    sound = squares < float("inf")  # false for NaN, which a maximum might hide
    lengths = tl.where(sound, tl.sqrt(squares), float("inf"))
    g = tl.program_id(0) * (HEIGHT // GROUP) + tl.arange(0, HEIGHT // GROUP)
    tl.store(norms + g, tl.max(tl.reshape(lengths, (HEIGHT // GROUP, GROUP)), 1), mask=g * GROUP < n_rows)


@triton.jit
def _bound_many(
    queries, items, lengths, longest, bounds, n_queries, n_items, n_groups, width, slack,
    CERTIFY: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr, TILE: tl.constexpr, HEIGHT: tl.constexpr,
):  # fmt: skip
    """Bound the groups of HEIGHT items for TILE queries."""
    n_tiles = tl.cdiv(n_queries, TILE)
    tile, block = tl.program_id(0) % n_tiles, tl.program_id(0) // n_tiles  # neighbors share their items
    q = tile * TILE + tl.arange(0, TILE)
    i = block * HEIGHT + tl.arange(0, HEIGHT)
    q_at, i_at = q.to(tl.int64) * width, i.to(tl.int64) * width
    precision: tl.constexpr = "tf32" if CERTIFY else "ieee"
    scores = tl.zeros((TILE, HEIGHT), tl.float32)
    for start in range(0, width, CHUNK):
        f = start + tl.arange(0, CHUNK)
        left = tl.load(queries + q_at[:, None] + f, mask=(q < n_queries)[:, None] & (f < width), other=0.0)
        right = tl.load(items + i_at[:, None] + f, mask=(i < n_items)[:, None] & (f < width), other=0.0)
        scores = tl.dot(
            left.to(tl.float32), tl.trans(right.to(tl.float32)), scores, input_precision=precision
        )
    scores = tl.where((i < n_items)[None, :], scores, -float("inf"))
    peaks = tl.max(tl.reshape(scores, (TILE, HEIGHT // GROUP, GROUP)), 2)
    g = block * (HEIGHT // GROUP) + tl.arange(0, HEIGHT // GROUP)
    inside = (q < n_queries)[:, None] & (g < n_groups)[None, :]
    places = bounds + q.to(tl.int64)[:, None] * n_groups + g[None, :]
    if CERTIFY:
        length, reach = tl.load(lengths + q, mask=q < n_queries), tl.load(longest + g, mask=g < n_groups)
        tl.store(places, peaks + slack * length[:, None] * reach[None, :] + 1e-36, mask=inside)
    else:
        tl.store(places, _key(peaks, g[None, :]), mask=inside)


@triton.jit
def _bound_few(
    queries, items, bounds, n_items, n_groups, width, slack,
    CERTIFY: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr, HEIGHT: tl.constexpr,
):  # fmt: skip
    """Bound the groups of HEIGHT items for one query, without tensor cores."""
    q = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    scores, q_square, squares = _products(queries, items, q, i, i < n_items, width, CHUNK, HEIGHT)
    if CERTIFY:
        room = tl.sqrt(squares) * tl.sqrt(q_square)
        sound = squares + q_square < float("inf")
        scores = tl.where(sound, scores + slack * room + 1e-36, float("inf"))
    scores = tl.where(i < n_items, scores, -float("inf"))
    g = tl.program_id(0) * (HEIGHT // GROUP) + tl.arange(0, HEIGHT // GROUP)
    peaks = tl.max(tl.reshape(scores, (HEIGHT // GROUP, GROUP)), 1)
    tl.store(bounds + q * n_groups + g, peaks if CERTIFY else _key(peaks, g), mask=g < n_groups)


@triton.jit
def _bound_unseen(
    queries, items, bounds, starts, seen, n_items, n_groups, width, slack,
    CERTIFY: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr, STRIDE: tl.constexpr,
):  # fmt: skip
    """Bound groups again without the items that a query excludes, where those may be the highest."""
    q = tl.program_id(0).to(tl.int64)
    first, last = tl.load(starts + q), tl.load(starts + q + 1)
    for pair in range(first + tl.program_id(1), last, STRIDE):
        own = tl.load(seen + pair)
        g = own // GROUP
        bound = tl.load(bounds + q * n_groups + g)
        if not CERTIFY:
            bound = _score_of(bound)
        one = own + tl.arange(0, 1)
        score, q_square, square = _products(queries, items, q, one, one >= 0, width, CHUNK, 1)
        reach = tl.max(score + 3 * slack * tl.sqrt(q_square) * tl.sqrt(square), 0)
        if (reach >= bound) & (bound < float("inf")):
            i = g * GROUP + tl.arange(0, GROUP)
            scores, _, squares = _products(queries, items, q, i, i < n_items, width, CHUNK, GROUP)
            # Items of a query ascend and none is there twice: all of this group lie within GROUP places.
            near = pair - GROUP + tl.arange(0, 2 * GROUP)
            others = tl.load(seen + near, mask=(near >= first) & (near < last), other=-1)
            out = tl.max((i[:, None] == others[None, :]).to(tl.int32), 1) > 0
            if CERTIFY:
                scores += slack * tl.sqrt(q_square) * tl.sqrt(squares) + 1e-36
            peak = tl.max(tl.where(out | (i >= n_items), -float("inf"), scores), 0)
            tl.store(bounds + q * n_groups + g, peak if CERTIFY else _key(peak, g))


@triton.jit
def _score(
    queries, items, chosen, keys, starts, seen, n_items, n_chosen, width,
    CHUNK: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Score candidates of the chosen groups."""
    q = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    place = c < n_chosen * GROUP
    g = tl.load(chosen + q * (n_chosen + 1) + c // GROUP, mask=place, other=0)
    i = (g * GROUP + c % GROUP).to(tl.int32)
    candidate = place & (i < n_items)
    scores, _, _ = _products(queries, items, q, i, candidate, width, CHUNK, ROWS)
    if seen is not None:
        last = tl.load(starts + q + 1)
        for at in range(tl.load(starts + q), last, 32):
            near = at + tl.arange(0, 32)
            others = tl.load(seen + near, mask=near < last, other=-1)
            candidate = candidate & (tl.max((i[:, None] == others[None, :]).to(tl.int32), 1) == 0)
    key = _key(tl.where(candidate, scores, -float("inf")), i)
    tl.store(keys + q * (n_chosen * GROUP) + c, key, mask=place)


@triton.jit
def _decode(
    keys, best, ids, scores, certain, k, length, n_chosen,
    CERTIFY: tl.constexpr, SORT: tl.constexpr, LENGTH: tl.constexpr,
):  # fmt: skip
    """Turn the k highest keys of a query into ids and scores, and say whether they are certain."""
    q = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, LENGTH)
    key = tl.load(keys + q * length + c, mask=c < length, other=-0x7FFFFFFFFFFFFFFF)
    if SORT:
        key = tl.sort(key, descending=True)
    score = _score_of(key)
    tl.store(scores + q * k + c, score, mask=c < k)
    found = tl.where(score > -float("inf"), 0x7FFFFFFF - (key & 0xFFFFFFFF), -1)
    tl.store(ids + q * k + c, found, mask=c < k)
    if CERTIFY:
        kth = tl.min(tl.where(c < k, score, float("inf")), 0)
        top = tl.load(best + q * (n_chosen + 1))  # infinite where a factor is not finite
        left_out = tl.load(best + q * (n_chosen + 1) + n_chosen)
        tl.store(certain + q, (left_out < kth) & (top < float("inf")))
    else:
        tl.store(certain + q, True)


@triton.jit
def _key(score, number):
    """Pack as `best.encode` does: a higher score, or a lower number at equal score, is a higher key."""
    bits = (score + 0.0).to(tl.int32, bitcast=True)
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return (bits.to(tl.int64) << 32) | (0x7FFFFFFF - number).to(tl.int64)


@triton.jit
def _score_of(key):
    bits = (key >> 32).to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _products(queries, items, q, i, inside, width, CHUNK: tl.constexpr, ROWS: tl.constexpr):
    """Score some items for one query in float32; also the squares of their norms."""
    scores = tl.zeros((ROWS,), tl.float32)
    squares = tl.zeros((ROWS,), tl.float32)
    q_square = 0.0
    for start in range(0, width, CHUNK):
        f = start + tl.arange(0, CHUNK)
        left = tl.load(queries + q * width + f, mask=f < width, other=0.0).to(tl.float32)
        at = i.to(tl.int64)[:, None] * width + f[None, :]
        mask = inside[:, None] & (f < width)[None, :]
        right = tl.load(items + at, mask=mask, other=0.0).to(tl.float32)
        scores += tl.sum(left[None, :] * right, 1)
        squares += tl.sum(right * right, 1)
        q_square += tl.sum(left * left, 0)
    return scores, q_square, squares
