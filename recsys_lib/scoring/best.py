"""The k best of a stream of score blocks, on the host: exact, ties to the lower id, one pass per block."""

import numpy as np

GROUP = 16  # most items per group maximum; block heights are multiples of it


def encode(scores: np.ndarray, ids: np.ndarray | int) -> np.ndarray:
    """Turn score and id into one sortable key: a higher score, or a lower id at equal score, is a higher key.

    No two keys are equal, so that any sort or partition gives the one right order. float32 scores share an
    int64 with the id; float64 scores go into a complex number: NumPy sorts by real part, then imaginary.
    Scores are no NaN; ids lie below 2³¹. Empty places hold -inf and -1.
    """
    if scores.dtype == np.float64:
        keys = np.empty(scores.shape, np.complex128)
        keys.real, keys.imag = scores, np.negative(ids)
        return keys
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0: they are equal scores
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)  # as integers, negative floats run backwards: turn them round
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= 0x7FFFFFFF - ids
    return keys


def decode(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of keys, as int64, and the scores, in the type they had."""
    if keys.dtype == np.complex128:
        return -keys.imag.astype(np.int64), keys.real.copy()
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & np.int32(0x7FFFFFFF)
    return 0x7FFFFFFF - (keys & 0xFFFFFFFF), bits.view(np.float32)


def empty_keys(n_queries: int, k: int, dtype: np.dtype) -> np.ndarray:
    """Return the keys of empty places, shape (n_queries, k)."""
    return np.full((n_queries, k), encode(np.array([-np.inf], dtype), -1))


def just_below(scores: np.ndarray) -> np.ndarray:
    """Return bounds that the scores themselves exceed, so that `>` means "at least as good"."""
    tiny = np.finfo(scores.dtype).tiny
    below = np.nextafter(scores, scores.dtype.type(-np.inf))
    # Around zero the neighbour is subnormal, which a processor told to flush subnormals takes for zero.
    return np.where(np.abs(scores) < tiny, -tiny, below)


class RunningBest:
    """The k best items seen so far, for one block of at most 65,535 queries.

    A block of scores is read once, to take the maximum of every group of items. Only groups whose maximum
    beats a query's k-th best are looked into; the few entries found wait until it is worth merging them.
    A query's k-th best rises quickly, so after some blocks selection costs little more than that one pass.

    Where blocks come in `ascending` order of ids, a later item loses every tie and need not be looked at
    unless its score is strictly higher.
    """

    def __init__(self, n_queries: int, k: int, dtype: np.dtype, *, ascending: bool = True) -> None:
        self.k, self.ascending, self.dtype = k, ascending, np.dtype(dtype)
        self.keys = empty_keys(n_queries, k, self.dtype)
        self._pending, self._n_pending = [], 0  # queries and keys
        self._rarity = 100.0  # scores per candidate in the last block
        self._patience = max(k, GROUP) / 2  # entries per query that wait for a merge
        self._update_bounds()

    def offer(self, scores: np.ndarray, ids: int | np.ndarray) -> None:
        """Take in a block of scores, shape (height, n_queries), C-contiguous.

        Items run down, queries across; the height is a multiple of GROUP, unused rows hold -inf. `ids` is the
        id of the first item, where they are consecutive, or the id of every row.
        """
        height, n_queries = scores.shape
        n_groups = height // self._group(height)
        groups = scores.reshape(-1, n_groups, n_queries)  # every n_groups-th row belongs to one group
        peaks = self._peaks(groups)
        bounds = self.bounds
        if not self.bounded and n_groups >= self.k:  # k items at least exceed the k-th highest maximum
            place = n_groups - self.k
            kth = np.partition(np.ascontiguousarray(peaks.T), place, axis=1)[:, place]
            bounds = np.maximum(bounds, just_below(kth))
        hits = np.flatnonzero(peaks > bounds)
        if len(hits) == 0:
            self._rarity = float(scores.size)
            return
        hit_groups = hits // n_queries  # NumPy divides by one number fast, but not in divmod
        queries = hits - hit_groups * n_queries
        values = groups.reshape(len(groups), -1).take(hits, axis=1)  # all members of the hit groups
        chosen = np.flatnonzero(values > bounds[queries])
        members = chosen // len(hits)
        hits = chosen - members * len(hits)
        rows = members * n_groups + hit_groups.take(hits)
        found = rows + ids if isinstance(ids, int) else ids.take(rows)
        queries = queries.astype(np.uint16).take(hits)
        self._pending.append((queries, encode(values.ravel().take(chosen), found)))
        self._n_pending += len(chosen)
        self._rarity = scores.size / max(1, len(chosen))
        if not self.bounded or self._n_pending >= self._patience * n_queries:
            self.merge()

    def merge(self) -> None:
        """Sort the waiting entries into the lists and raise the bounds."""
        if not self._pending:
            return
        queries, keys = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending, self._n_pending = [], 0
        n_queries = len(self.keys)
        order = np.argsort(queries, kind="stable")  # a radix sort, for 16 bits
        counts = np.bincount(queries, minlength=n_queries)
        width = self.k + int(counts.max())
        # Where the entries of a query go: behind its list, in a row of its own.
        places = np.repeat(np.arange(n_queries) * width + self.k - (np.cumsum(counts) - counts), counts)
        places += np.arange(len(order))
        table = empty_keys(n_queries, width, self.dtype)
        table[:, : self.k] = self.keys
        table.ravel()[places] = keys[order]
        table.partition(width - self.k, axis=1)
        self.keys = table[:, width - self.k :].copy()
        self._update_bounds()

    def keep(self, queries: np.ndarray) -> None:
        """Keep some of the queries only (positions, ascending)."""
        self.merge()
        self.keys = self.keys[queries]
        self._update_bounds()

    def result(self) -> np.ndarray:
        """Return the keys, shape (n_queries, k), best first."""
        self.merge()
        return np.sort(self.keys, axis=1)[:, ::-1]

    def _peaks(self, groups: np.ndarray) -> np.ndarray:
        """Return every group's maximum per query, or some number below the bound where it is below it."""
        if self._positive and groups.dtype == np.float32:
            # Read as integers, positive floats keep their order, negative ones stay negative, and the maximum
            # needs no thought for NaN: a third faster.
            return np.maximum.reduce(groups.view(np.int32), axis=0).view(np.float32)
        return np.maximum.reduce(groups, axis=0) if len(groups) > 1 else groups[0]

    def _group(self, height: int) -> int:
        """Choose the items per group: few while many groups are hit and searched, more as hits get rare.

        The first bounds come from the group maxima: there, k groups are needed, and more is tighter.
        """
        group, least = GROUP, 2 if self.bounded else 1
        while group > least and (group**2 > self._rarity if self.bounded else height // group < 2 * self.k):
            group //= 2
        return group

    def _update_bounds(self) -> None:
        self.worst = decode(self.keys.min(axis=1))[1]  # the k-th best so far
        self.bounds = self.worst if self.ascending else just_below(self.worst)
        self.bounded = bool((self.worst > -np.inf).all())
        self._positive = self.bounded and bool((self.bounds > 0).all())
