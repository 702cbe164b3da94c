"""The public functions: rank items by factors, or by scores that a model computes."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
import torch

from recsys_lib.scoring import accelerator, checks, host
from recsys_lib.scoring.checks import Array
from recsys_lib.scoring.workers import even_slices

_BLOCK_BYTES = 2**27  # of a block of scores and two copies of it


class TopK(NamedTuple):
    """Ranked items: `ids` and `scores`, both of shape (n_queries, k), best first.

    Ids are positions of items; places without a candidate hold id -1 and score -inf. Names for them come
    from `Interactions.item_ids`, which knows empty places: as an index, -1 would be the last item.
    """

    ids: Array
    scores: Array


def top_k(
    queries: Array,
    items: Array,
    k: int,
    *,
    exclude: object | None = None,
    device: str | torch.device | None = None,
    max_bytes: int | None = None,
    check_finite: bool = True,
) -> TopK:
    """Find, for every query, the k items with the highest inner product.

    Exact: equal scores go to the lower item id. The scores of all items never exist at once; queries and
    items are processed in blocks. On the host, items whose norm is too small to enter any list are skipped
    where the norms are uneven enough for that to pay; the results are the same.

    Parameters
    ----------
    queries : np.ndarray or torch.Tensor, shape (n_queries, n_factors)
        float16, bfloat16, float32 or float64. Scores are computed and returned in float32, or in float64 if
        one of the inputs is float64; half precision is widened before the product.
    items : same kind as `queries`, shape (n_items, n_factors)
        Tensors must be on the device of `queries`.
    k : int
        Items to return per query, at least 1. May exceed n_items; the rest is padding.
    exclude : scipy.sparse matrix or array, shape (n_queries, n_items), optional
        Its stored entries (of whatever value) are pairs that must not be recommended. CSR is best; indices
        may be unsorted and repeated. It is neither changed nor densified.
    device : None, "auto", "cpu", "cuda", "mps" or torch.device
        Where to compute with NumPy arrays: None is the host, "auto" an accelerator if there is one. Tensors
        are computed where they are; naming another device is an error, not a copy.
    max_bytes : int, optional
        Bound on the working memory; results, and 32 bytes per item where items are sorted by norm, come on
        top. Default: 128 MiB on the host, 1 GiB on an accelerator. Below some kilobytes the smallest blocks
        are used all the same.
    check_finite : bool
        Whether to look for NaN and infinite factors first. On an accelerator that is the only moment at
        which the host waits; without it there is none, and results for such factors are undefined.

    Returns
    -------
    TopK
        `ids` (int64) and `scores`, of the kind and on the device of the input.

    References
    ----------
    Teflioudi, Gemulla & Mykytiuk (2015), "LEMP: Fast Retrieval of Large Entries in a Matrix Product",
    SIGMOD (skipping by norm). Johnson, Douze & Jégou (2017), "Billion-scale similarity search with GPUs",
    arXiv:1702.08734 (selection while scores are still in fast memory).

    Examples
    --------
    >>> import numpy as np
    >>> best = top_k(np.array([[1.0, 0.0]]), np.array([[1.0, 5.0], [3.0, 0.0], [1.0, 9.0]]), k=2)
    >>> best.ids.tolist(), best.scores.tolist()
    ([[1, 0]], [[3.0, 1.0]])
    """
    checks.check_count(k=k, max_bytes=1 if max_bytes is None else max_bytes)
    k = int(k)  # NumPy's small integers would overflow in what is computed from it
    checks.check_factors(queries, items)
    place = checks.device_of(queries, device)
    seen = checks.check_exclude(exclude, (queries.shape[0], items.shape[0]))
    if place.type == "cpu":
        return _on_host(host.rank_factors, [queries, items], k, seen, max_bytes, check_finite)
    if isinstance(queries, torch.Tensor):
        return TopK(*accelerator.rank_factors(queries, items, k, seen, max_bytes, check_finite))
    # Copied where need be: torch takes no array that runs backwards.
    factors = (torch.from_numpy(np.ascontiguousarray(part)).to(place) for part in (queries, items))
    found = accelerator.rank_factors(*factors, k, seen, max_bytes, check_finite)
    return TopK(*(part.cpu().numpy() for part in found))


def top_k_blocks(
    score_block: Callable[[slice], Array],
    n_queries: int,
    n_items: int,
    k: int,
    *,
    exclude: object | None = None,
) -> TopK:
    """Find the k best items per query for a model that computes scores instead of factors.

    The same selection as `top_k`, with the same order of ties and the same padding. A block of scores and its
    working copies take 128 MiB at most, or one query's.

    Parameters
    ----------
    score_block : callable
        Called with a slice of queries; returns their scores for all items, shape (slice length, n_items), as
        NumPy array or tensor of floating-point numbers. It is not changed. A score of -inf means that the
        item is no candidate; NaN is refused.
    n_queries, n_items : int
        Size of the whole score matrix.
    k, exclude
        As in `top_k`.

    Returns
    -------
    TopK
        Of the kind and on the device of the blocks; NumPy arrays if there are no queries.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.5, 2.0, 2.0], [1.0, -1.0, 0.0]])
    >>> top_k_blocks(lambda rows: scores[rows], 2, 3, k=2).ids.tolist()
    [[1, 2], [0, 2]]
    """
    checks.check_count(k=k)
    k = int(k)
    seen = checks.check_exclude(exclude, (n_queries, n_items))
    height = max(1, _BLOCK_BYTES // (12 * max(1, n_items)))
    results = []
    for rows in even_slices(n_queries, ceil(n_queries / height)):
        block = score_block(rows)
        name, shape = f"score_block({rows.start}:{rows.stop})", (rows.stop - rows.start, n_items)
        checks.check_floats(name, block)
        if tuple(block.shape) != shape:
            raise ValueError(f"{name} has shape {tuple(block.shape)}, expected {shape}")
        checks.check_scores("scores", block, rows.start)
        own = None if seen is None else seen[rows]
        if isinstance(block, np.ndarray) or block.device.type == "cpu":
            results.append(_on_host(host.rank_scores, [block], k, own))
        else:
            results.append(TopK(*accelerator.rank_scores(block, k, own)))
    if not results:
        return TopK(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    join = torch.cat if isinstance(results[0].ids, torch.Tensor) else np.concatenate
    return TopK(*(join(parts) for parts in zip(*results, strict=True)))


def _on_host(rank: Callable[..., tuple], parts: Sequence[Array], *rest: object) -> TopK:
    """Rank arrays, or the tensors' own memory; NumPy has no bfloat16, which is therefore widened."""
    if isinstance(parts[0], np.ndarray):
        return TopK(*rank(*parts, *rest))
    parts = [part.detach().float() if part.dtype == torch.bfloat16 else part.detach() for part in parts]
    return TopK(*map(torch.from_numpy, rank(*(part.numpy() for part in parts), *rest)))
