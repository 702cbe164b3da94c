"""Top k on an accelerator: everything is enqueued, nothing is read back, so the host never waits.

No shape here depends on the data: a skip of items or a compaction of candidates would need the host to look
at results. Works on any torch device; the tests run it on `meta` tensors, which refuse to be looked at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.scoring import checks
from recsys_lib.scoring.host import excluded_pairs

GROUP = 32  # items per group maximum
DEFAULT_BYTES = 2**30


@torch.no_grad()
def rank_factors(
    queries: torch.Tensor, items: torch.Tensor, k: int, seen: csr_array | None,
    max_bytes: int | None, check: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Rank factors that live on one device; see `recsys_lib.scoring.top_k`.

    With `check` the host waits once, at the end: for the queries that the fused way could not certify, among
    them all of those whose factors, or whose items' factors, are not finite.
    """
    max_bytes = max_bytes or DEFAULT_BYTES
    if not _can_fuse(queries, items, k):
        if check:
            checks.check_values(queries, items)
        return _rank_by_scores(queries, items, k, seen, max_bytes)
    from recsys_lib.scoring import fused

    if seen is not None and not seen.has_canonical_format:
        seen = seen.copy()
        seen.sum_duplicates()  # sorts, too
    ids, scores, certified = fused.rank_factors(queries, items, k, seen, max_bytes, certify=check)
    left = np.flatnonzero(~certified.cpu().numpy()) if check else ()
    if len(left):
        checks.check_values(queries, items)
        some = None if seen is None else seen[left]
        ids[left], scores[left], _ = fused.rank_factors(queries[left], items, k, some, max_bytes, False)
    return ids, scores


def _can_fuse(queries: torch.Tensor, items: torch.Tensor, k: int) -> bool:
    """Say whether the kernels of `fused` can run, and would pay."""
    single = torch.float64 not in (queries.dtype, items.dtype)
    if not (queries.device.type == "cuda" and len(queries) and single and _has_triton()):
        return False
    from recsys_lib.scoring import fused

    return fused.group_of(len(items), k)[1] > 0


@cache
def _has_triton() -> bool:
    compiler = os.environ.get("CC") or any(map(shutil.which, ("cc", "gcc", "clang")))  # Triton calls it
    return bool(torch.version.cuda and find_spec("triton") and compiler)


def _rank_by_scores(
    queries: torch.Tensor, items: torch.Tensor, k: int, seen: csr_array | None, max_bytes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank on any device: write the scores of a block, read them once for the maxima of groups."""
    dtype = torch.promote_types(torch.promote_types(queries.dtype, items.dtype), torch.float32)
    # A candidate costs its score, its id, its key and its place: about 40 bytes, for k groups per query.
    n_block = max(1, min(len(queries), 4096, max_bytes // 2 // (40 * GROUP * k)))
    height = max_bytes // 2 // (2 * dtype.itemsize * n_block)  # the product, and the keys of its maxima
    height = max(GROUP, min(height, len(items) + GROUP) // GROUP * GROUP)

    def score(rows: slice, columns: slice) -> torch.Tensor:
        return queries[rows].to(dtype) @ items[columns].to(dtype).T

    like = queries.new_empty(0, dtype=dtype)
    return _rank(score, like, (len(queries), len(items)), (n_block, height), k, seen)


@torch.no_grad()
def rank_scores(scores: torch.Tensor, k: int, seen: csr_array | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank given scores, shape (n_queries, n_items), which are not changed."""
    dtype = torch.promote_types(scores.dtype, torch.float32)
    if seen is not None or scores.dtype != dtype:
        # A transposed block keeps its strides in a plain copy, and `_rank` needs rows that lie in a row.
        scores = scores.to(dtype, copy=True, memory_format=torch.contiguous_format)
    return _rank(lambda *_: scores, scores, scores.shape, scores.shape, k, seen)


def _rank(
    score: Callable[[slice, slice], torch.Tensor], like: torch.Tensor, shape: tuple[int, int],
    block: tuple[int, int], k: int, seen: csr_array | None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Rank blocks of scores, of the type and on the device of `like`; those with exclusions are written to.

    The host holds the excluded pairs in order of items, so it knows without asking the device which of them
    fall into which block. Places without a candidate hold id -1.
    """
    (n_queries, n_items), (n_block, height), results = shape, (max(1, side) for side in block), []
    for first in range(0, max(1, n_queries), n_block):
        queries = slice(first, min(first + n_block, n_queries))
        rows, items = excluded_pairs(seen, queries)
        if len(items):
            pairs = torch.from_numpy(np.stack([rows, items])).to(like.device, non_blocking=True)
        best = like.new_full((queries.stop - first, k), -torch.inf)
        ids = like.new_full(best.shape, -1, dtype=torch.int64)
        for start in range(0, n_items, height):
            scores = score(queries, slice(start, start + height))
            width = scores.shape[1]
            low, high = np.searchsorted(items, (start, start + width)).tolist()
            if low < high:
                places = pairs[0, low:high] * width + (pairs[1, low:high] - start)
                scores.view(-1).index_fill_(0, places, -torch.inf)
            best, ids = merge(best, ids, scores, start, k)
        results.append((ids.masked_fill(best == -torch.inf, -1), best))
    return tuple(torch.cat(parts) for parts in zip(*results, strict=True))


def merge(
    best: torch.Tensor, ids: torch.Tensor, scores: torch.Tensor, start: int, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the scores of items start, start + 1, … into the lists of the best so far.

    Only the k groups with the highest maxima are searched. That is exact, ties included, because groups are
    runs of consecutive ids: where an item's group is left out, each of k groups holds an item that is better,
    or equal and of a lower id.
    """
    n_groups = scores.shape[1] // GROUP
    rest = scores[:, n_groups * GROUP :]  # too few for a group: candidates all
    groups = scores[:, : n_groups * GROUP].unflatten(1, (n_groups, GROUP))
    chosen = torch.arange(n_groups, device=scores.device).expand(scores.shape[0], -1)
    if n_groups > k:
        chosen = top_positions(groups.amax(2), k).sort(dim=1).values  # ascending: candidates in order of ids
        groups = groups.gather(1, chosen[:, :, None].expand(-1, -1, GROUP))
    members = start + chosen[:, :, None] * GROUP + torch.arange(GROUP, device=scores.device)
    last = torch.arange(start + n_groups * GROUP, start + scores.shape[1], device=scores.device)
    # The lists hold lower ids than the block and come first, so position decides ties as the id would.
    all_scores = torch.cat([best, groups.flatten(1), rest], 1)
    all_ids = torch.cat([ids, members.flatten(1), last.expand(scores.shape[0], -1)], 1)
    places = top_positions(all_scores, k)
    return all_scores.gather(1, places), all_ids.gather(1, places)


def top_positions(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Find the positions of the k highest scores of every row, best first, lower position first among equals.

    `torch.topk` promises no order among equal scores. In float32 score and position are packed into one
    integer, so that no two are equal; other types take a stable sort.
    """
    if scores.dtype != torch.float32:
        return scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    bits = (scores + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0: they are equal scores
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as integers, negative floats run backwards
    positions = torch.arange(scores.shape[1], device=scores.device)
    return ((bits.long() << 32) | (0x7FFFFFFF - positions)).topk(k, dim=1).indices
