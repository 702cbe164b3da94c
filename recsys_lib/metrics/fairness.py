"""Who and what gets seen: popular items, groups of items, categories, and lists re-ranked for them."""

from typing import Any

import numpy as np

from recsys_lib.metrics.ranking import check_ids, check_range, relevance_pattern


def popularity_bias(ids: Any, train: Any, head: float = 0.5) -> dict[str, np.ndarray]:
    """Describe how popular the items of each list are.

    - ``arp``: average recommendation popularity, the mean share of users who have a listed item;
    - ``aplt``: average percentage of long-tail items, the share of places that hold an item outside the
      head: the most popular items that together have the share `head` of all interactions.

    Parameters
    ----------
    ids : integer array, shape (n_lists, k)
        Positions of items; −1 marks an empty place, which counts for neither. No list may be empty.
    train : scipy.sparse CSR, shape (n_users, n_items)
        Every stored value above 0 is an interaction.
    head : float
        Between 0 and 1.

    Returns
    -------
    dict of str to float64 array, shape (n_lists,)

    References
    ----------
    Abdollahpouri, Burke & Mobasher (2019), "Managing Popularity Bias in Recommender Systems with Personalized
    Re-ranking", FLAIRS.
    """
    if not 0 < head < 1:
        raise ValueError(f"head must be between 0 and 1, got {head}")
    pattern, lists = relevance_pattern(train), check_ids(ids)
    if pattern.shape[0] == 0:
        raise ValueError("train has no users, so nothing is known about how popular its items are")
    check_range(lists, pattern.shape[1])
    places = (lists >= 0).sum(axis=1)
    if (places == 0).any():
        raise ValueError(f"list {np.argmin(places)} is empty: nothing to describe")
    users_of = np.bincount(pattern.indices, minlength=pattern.shape[1])
    order = np.argsort(-users_of, kind="stable")
    before = np.cumsum(users_of[order]) - users_of[order]
    values = {"arp": users_of / pattern.shape[0], "aplt": np.empty(len(order))}
    values["aplt"][order] = before >= head * users_of.sum()
    return {name: np.where(lists >= 0, of[lists], 0).sum(axis=1) / places for name, of in values.items()}


def exposure(ids: Any, members: np.ndarray) -> np.ndarray:
    """Return the share of each list's exposure that goes to a group of items, shape (n_lists,).

    The place at rank r is seen with weight ``1 / log2(r + 1)`` (Singh & Joachims 2018, "Fairness of Exposure
    in Rankings", KDD). `members`, bool, shape (n_items,): the group; an empty place (−1) goes to nobody.
    """
    lists, members = check_ids(ids), np.asarray(members, bool)
    check_range(lists, len(members))
    weights = 1 / np.log2(np.arange(lists.shape[1]) + 2)
    return (np.where(lists >= 0, members[lists], False) * weights).sum(axis=1) / weights.sum()


def miscalibration(target: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return ``Σ_c p log(p / (0.99 q + 0.01 p))`` over the last axis: 0 where q, shown, is the target p."""
    return _terms(target, shown).sum(axis=-1)


def _terms(target: np.ndarray, shown: np.ndarray) -> np.ndarray:
    mixed = 0.99 * shown + 0.01 * target
    return target * np.log(np.where(target > 0, target, 1) / np.where(target > 0, mixed, 1))


def calibrated_lists(
    ids: np.ndarray, scores: np.ndarray, category: np.ndarray, target: np.ndarray, strength: float, k: int
) -> np.ndarray:
    """Re-rank candidates so that the categories of a list come near a target, item by item (greedily).

    Each step takes the candidate with the largest ``(1 − s) · score − s · miscalibration`` of the list.

    Parameters
    ----------
    ids, scores : arrays, shape (n_lists, m)
        Candidates and what they are worth; put the scores on one scale first.
    category : integer array, shape (n_items,)
    target : array, shape (n_lists, n_categories)
        Shares that add up to 1, of a user's history, say.
    strength : float
        s, from 0 (the old order) to 1.

    References
    ----------
    Steck (2018), "Calibrated Recommendations", RecSys.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, got {strength}")
    if not 1 <= k <= ids.shape[1] or ids.min(initial=0) < 0:
        raise ValueError(f"lists of k = {k} need k candidates or more, none of them −1, got {ids.shape[1]}")
    kinds, rows = category[ids], np.arange(len(ids))
    counts, taken, chosen = np.zeros(target.shape), np.zeros(ids.shape, bool), []
    for step in range(1, k + 1):
        # What one more of each category changes; the rest of the sum is the same for all candidates.
        change = _terms(target, (counts + 1) / step) - _terms(target, counts / step)
        gain = (1 - strength) * scores - strength * np.take_along_axis(change, kinds, axis=1)
        chosen.append(np.where(taken, -np.inf, gain).argmax(axis=1))
        taken[rows, chosen[-1]] = True
        counts[rows, kinds[rows, chosen[-1]]] += 1
    return np.take_along_axis(ids, np.stack(chosen, axis=1), axis=1)
