"""The Triton kernels that `fused` launches, one query or one tile of queries and items per program."""
# ruff: noqa: N803, PLR0913 (what a kernel is compiled for is in capitals, and it takes all that it reads)

from __future__ import annotations

import triton
import triton.language as tl

_NO_GROUP = tl.constexpr(2**31)  # its items are none
_LOWEST = tl.constexpr(-0x7FFFFFFFFFFFFFFF)  # a key below all others


@triton.jit
def longest(
    queries, items, norms, n_queries, n_items, width,
    CHUNK: tl.constexpr, GROUP: tl.constexpr, HEIGHT: tl.constexpr,
):  # fmt: skip
    """Store the norm of every query, then the greatest of every group of items."""
    ahead = tl.cdiv(n_queries, HEIGHT)
    if tl.program_id(0) < ahead:
        i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
        tl.store(norms + i, _norms(queries, i, n_queries, width, CHUNK, HEIGHT), mask=i < n_queries)
    else:
        block = tl.program_id(0) - ahead
        lengths = _norms(items, block * HEIGHT + tl.arange(0, HEIGHT), n_items, width, CHUNK, HEIGHT)
        g = block * (HEIGHT // GROUP) + tl.arange(0, HEIGHT // GROUP)
        longest = tl.max(tl.reshape(lengths, (HEIGHT // GROUP, GROUP)), 1)
        tl.store(norms + n_queries + g, longest, mask=g * GROUP < n_items)


@triton.jit
def _norms(factors, i, n_rows, width, CHUNK: tl.constexpr, HEIGHT: tl.constexpr):
    squares = tl.zeros((HEIGHT,), tl.float32)
    for start in range(0, width, CHUNK):
        f = start + tl.arange(0, CHUNK)
        at = i.to(tl.int64)[:, None] * width + f[None, :]
        rows = tl.load(factors + at, mask=(i < n_rows)[:, None] & (f < width)[None, :], other=0.0)
        squares += tl.sum(rows.to(tl.float32) * rows.to(tl.float32), 1)
    # Infinity where the norm is no finite number, which a maximum might hide.
    return tl.where(squares < float("inf"), tl.sqrt(squares), float("inf"))


@triton.jit
def bound_many(
    queries, items, norms, bounds, n_queries, n_items, n_groups, width, slack,
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
        left, right = left.to(tl.float32), tl.trans(right.to(tl.float32))
        scores = tl.dot(left, right, scores, input_precision=precision)
    scores = tl.where((i < n_items)[None, :], scores, -float("inf"))
    peaks = tl.max(tl.reshape(scores, (TILE, HEIGHT // GROUP, GROUP)), 2)
    g = block * (HEIGHT // GROUP) + tl.arange(0, HEIGHT // GROUP)
    inside = (q < n_queries)[:, None] & (g < n_groups)[None, :]
    places = bounds + q.to(tl.int64)[:, None] * n_groups + g[None, :]
    if CERTIFY:
        length = tl.load(norms + q, mask=q < n_queries)
        longest = tl.load(norms + n_queries + g, mask=g < n_groups)
        peaks += slack * length[:, None] * longest[None, :] + 1e-36
        peaks = tl.where(peaks < float("inf"), peaks, float("inf"))  # NaN like infinity
    tl.store(places, peaks if CERTIFY else _key(peaks, g[None, :]), mask=inside)


@triton.jit
def bound_few(
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
def bound_unseen(
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
def score(
    queries, items, chosen, keys, starts, seen, n_items, n_chosen, width,
    CHUNK: tl.constexpr, GROUP: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Score the items of some of the chosen groups."""
    q = tl.program_id(0).to(tl.int64)
    place = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    g = tl.load(chosen + q * (n_chosen + 1) + place, mask=place < n_chosen, other=_NO_GROUP)
    key = _keys_of(queries, items, q, g, starts, seen, n_items, width, CHUNK, GROUP, GROUPS)
    c = tl.program_id(1) * GROUPS * GROUP + tl.arange(0, GROUPS * GROUP)
    tl.store(keys + q * (n_chosen * GROUP) + c, key, mask=c < n_chosen * GROUP)


@triton.jit
def decode(keys, best, ids, scores, certain, k, n_chosen, CERTIFY: tl.constexpr, LENGTH: tl.constexpr):
    """Turn the k highest keys of a query into its list."""
    q = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, LENGTH)
    key = tl.load(keys + q * k + c, mask=c < k, other=0)
    top, left_out = 0.0, 0.0
    if CERTIFY:
        top = tl.load(best + q * (n_chosen + 1))
        left_out = tl.load(best + q * (n_chosen + 1) + n_chosen)
    _store_list(key, c, top, left_out, q, ids, scores, certain, k, CERTIFY)


@triton.jit
def choose_short(
    queries, items, bounds, starts, seen, ids, scores, certain, k, n_chosen, n_items, n_groups, width,
    CERTIFY: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr,
    KEEP: tl.constexpr, SEGMENT: tl.constexpr, RUN: tl.constexpr, LENGTH: tl.constexpr,
):  # fmt: skip
    """Do for one query what otherwise takes selections between kernels: choose, score, select."""
    q = tl.program_id(0).to(tl.int64)
    best = _select(bounds + q * n_groups, n_groups, CERTIFY, KEEP, SEGMENT, RUN)
    place = tl.arange(0, KEEP)
    g = tl.where(place < n_chosen, _number_of(best), _NO_GROUP)
    key = tl.topk(_keys_of(queries, items, q, g, starts, seen, n_items, width, CHUNK, GROUP, KEEP), LENGTH)
    bound = _score_of(best)
    left_out = tl.max(tl.where(place == n_chosen, bound, -float("inf")), 0)
    _store_list(key, tl.arange(0, LENGTH), tl.max(bound, 0), left_out, q, ids, scores, certain, k, CERTIFY)


@triton.jit
def _select(row, length, BARE: tl.constexpr, KEEP: tl.constexpr, SEGMENT: tl.constexpr, RUN: tl.constexpr):
    """Return the highest keys of a row, descending: they lie in the runs that hold the highest."""
    c = tl.arange(0, SEGMENT)
    r = tl.arange(0, SEGMENT // RUN)
    lowest: tl.constexpr = -float("inf") if BARE else _LOWEST
    numbers = tl.load(row + c, mask=c < length, other=lowest)
    peaks = tl.max(tl.reshape(numbers, (SEGMENT // RUN, RUN)), 1)
    if BARE:  # numbers become keys with their places
        peaks = _key(peaks, r * RUN)
    runs = _number_of(tl.topk(peaks, KEEP)) // RUN
    c = tl.reshape((runs * RUN)[:, None] + tl.arange(0, RUN)[None, :], (KEEP * RUN,))
    best = tl.load(row + c, mask=c < length, other=lowest)
    return tl.topk(_key(best, c) if BARE else best, KEEP)


@triton.jit
def _keys_of(
    queries, items, q, g, starts, seen, n_items, width,
    CHUNK: tl.constexpr, GROUP: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Score the items of some groups for one query; what is excluded, or no item, gets the score -inf."""
    i = tl.reshape(g[:, None].to(tl.int64) * GROUP + tl.arange(0, GROUP)[None, :], (GROUPS * GROUP,))
    candidate, i = i < n_items, i.to(tl.int32)  # the last group may be short
    scores, _, _ = _products(queries, items, q, i, candidate, width, CHUNK, GROUP * GROUPS)
    if seen is not None:
        candidate = candidate & _unseen(g, starts, seen, q, GROUP, GROUPS)
    return _key(tl.where(candidate, scores, -float("inf")), i)


@triton.jit
def _unseen(g, starts, seen, q, GROUP: tl.constexpr, GROUPS: tl.constexpr):
    """Say which items of some groups the query does not exclude, by one bit for each of a group."""
    bits = tl.zeros((GROUPS,), tl.int64)
    last = tl.load(starts + q + 1)
    for at in range(tl.load(starts + q), last, 32):
        near = at + tl.arange(0, 32)
        own = tl.load(seen + near, mask=near < last, other=-GROUP).to(tl.int64)
        bit = tl.full((32,), 1, tl.int64) << (own % GROUP)
        bits += tl.sum(tl.where((own // GROUP)[None, :] == g[:, None], bit[None, :], 0), 1)
    return tl.reshape(((bits[:, None] >> tl.arange(0, GROUP)[None, :]) & 1) == 0, (GROUPS * GROUP,))


@triton.jit
def _store_list(key, c, top, left_out, q, ids, scores, certain, k, CERTIFY: tl.constexpr):
    """Store the ids and scores of a query, and whether no group left out can hold a better item."""
    score = _score_of(key)
    tl.store(scores + q * k + c, score, mask=c < k)
    tl.store(ids + q * k + c, tl.where(score > -float("inf"), _number_of(key), -1), mask=c < k)
    if CERTIFY:
        kth = tl.min(tl.where(c < k, score, float("inf")), 0)
        tl.store(certain + q, (left_out < kth) & (top < float("inf")))  # infinite: a factor is not finite
    else:
        tl.store(certain + q, True)


@triton.jit
def _key(score, number):
    """Pack as `best.encode` does: a higher score, or a lower number at equal score, is a higher key."""
    bits = tl.where(score == score, score + 0.0, float("inf")).to(tl.int32, bitcast=True)  # NaN like infinity
    bits ^= (bits >> 31) & 0x7FFFFFFF
    return (bits.to(tl.int64) << 32) | (0x7FFFFFFF - number).to(tl.int64)


@triton.jit
def _score_of(key):
    bits = (key >> 32).to(tl.int32)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def _number_of(key):
    return 0x7FFFFFFF - (key & 0xFFFFFFFF)


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
