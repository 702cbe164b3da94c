"""The public functions: rank items by factors, or by scores that a model computes."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from recsys_lib.scoring import accelerator, checks, host
from recsys_lib.scoring.checks import Array


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
    k = _check_counts(k, max_bytes)
    checks.check_factors(queries, items)
    place = checks.device_of(queries, device)
    seen = checks.check_exclude(exclude, (queries.shape[0], items.shape[0]))
    given = isinstance(queries, np.ndarray)
    if place.type == "cpu":
        factors = (queries, items) if given else (_as_numpy(queries), _as_numpy(items))
        if check_finite:
            checks.check_values(*factors)
        found = host.rank_factors(*factors, k, seen, max_bytes)
        return TopK(*found) if given else _as_tensors(found)
    with torch.no_grad():
        factors = (torch.as_tensor(part).to(place) for part in (queries, items))
        found = accelerator.rank_factors(*factors, k, seen, max_bytes, check_finite)
        return TopK(*(part.cpu().numpy() for part in found)) if given else TopK(*found)


def top_k_blocks(
    score_block: Callable[[slice], Array],
    n_queries: int,
    n_items: int,
    k: int,
    *,
    exclude: object | None = None,
    max_bytes: int | None = None,
    check_finite: bool = True,
) -> TopK:
    """Find the k best items per query for a model that computes scores instead of factors.

    The same selection as `top_k`, with the same order of ties and the same padding.

    Parameters
    ----------
    score_block : callable
        Called with a slice of queries; returns their scores for all items, shape (slice length, n_items), as
        NumPy array or tensor of floating-point numbers. It is not changed. A score of -inf means that the
        item is no candidate.
    n_queries, n_items : int
        Size of the whole score matrix.
    k, exclude, check_finite
        As in `top_k`; `check_finite` looks for NaN only.
    max_bytes : int, optional
        Bound on the size of a score block and its working copies. Default: 256 MiB.

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
    k = _check_counts(k, max_bytes)
    seen = checks.check_exclude(exclude, (n_queries, n_items))
    results = []
    for rows in accelerator.blocks_of(n_queries, n_items, max_bytes):
        block = score_block(rows)
        name = f"score_block({rows.start}:{rows.stop})"
        checks.check_floats(name, block)
        if tuple(block.shape) != (rows.stop - rows.start, n_items):
            raise ValueError(
                f"{name} has shape {tuple(block.shape)}, expected {(rows.stop - rows.start, n_items)}"
            )
        if check_finite:
            checks.check_scores("scores", block, rows.start)
        results.append(_rank_block(block, k, seen, rows.start))
    if not results:
        return TopK(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
    join = torch.cat if isinstance(results[0].ids, torch.Tensor) else np.concatenate
    return TopK(*(join(parts) for parts in zip(*results, strict=True)))


def _check_counts(k: int, max_bytes: int | None) -> int:
    checks.check_count(k=k)
    if max_bytes is not None:
        checks.check_count(max_bytes=max_bytes)
    return int(k)  # NumPy's small integers would overflow in what is computed from it


def _rank_block(block: Array, k: int, seen: object | None, first_query: int) -> TopK:
    if isinstance(block, np.ndarray):
        return TopK(*host.rank_scores(block, k, seen, first_query))
    with torch.no_grad():
        if block.device.type == "cpu":
            return _as_tensors(host.rank_scores(_as_numpy(block), k, seen, first_query))
        return TopK(*accelerator.rank_scores(block, k, seen, first_query))


def _as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return the tensor's own memory as an array; NumPy has no bfloat16, which is therefore widened."""
    return (tensor.detach().float() if tensor.dtype == torch.bfloat16 else tensor.detach()).numpy()


def _as_tensors(result: tuple[np.ndarray, np.ndarray]) -> TopK:
    return TopK(*(torch.from_numpy(part) for part in result))
