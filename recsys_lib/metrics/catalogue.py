"""What recommendations make of the catalogue: how much of it, how well known, how evenly."""

from typing import Any

import numpy as np

from recsys_lib.metrics.ranking import check_distinct, check_ids, check_range, relevance_pattern


def catalogue_metrics(ids: Any, train: Any) -> dict[str, float]:
    """Describe which items are recommended, over all users together.

    - ``coverage``: items recommended to anyone, divided by all items of the catalogue [1]_.
    - ``novelty = mean of log2(n_users / popularity(i))`` over all recommended slots, in bits, where
      popularity counts the users with item i in `train`. This is the self-information ``-log2 p(i)`` of
      meeting a user who knows the item [2]_ [3]_. An item nobody has would be infinitely novel; it counts
      as if one user had it.
    - ``gini = Σ_j (2j - n - 1) · f_(j) / (n · Σ_j f_j)`` with ``f_(1) ≤ … ≤ f_(n)`` the number of times
      each of the n items of the catalogue is recommended, never-recommended ones included [4]_: 0 if all
      equally often, ``1 - 1/n`` if always the same one.

    Parameters
    ----------
    ids : integer array or torch tensor, shape (n_lists, k)
        Each user's recommended items; empty slots hold -1. All columns count.
    train : scipy.sparse CSR (or an object with one as ``.matrix``), shape (n_users, n_items)
        Every stored value above 0 is an interaction; its columns are the catalogue. Its users need not be
        those of `ids`.

    Returns
    -------
    dict of str to float
        coverage, novelty, gini.

    References
    ----------
    .. [1] Herlocker et al. (2004), "Evaluating collaborative filtering recommender systems", ACM TOIS 22(1).
    .. [2] Zhou et al. (2010), "Solving the apparent diversity-accuracy dilemma of recommender systems",
       PNAS 107(10).
    .. [3] Vargas & Castells (2011), "Rank and relevance in novelty and diversity metrics for recommender
       systems", RecSys.
    .. [4] Fleder & Hosanagar (2009), "Blockbuster culture's next rise or fall", Management Science 55(5).

    Examples
    --------
    >>> from scipy import sparse
    >>> train = sparse.csr_array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0]])
    >>> catalogue_metrics(np.array([[0, 1], [1, -1]]), train)
    {'coverage': 0.5, 'novelty': 1.3333333333333333, 'gini': 0.5833333333333334}
    """
    pattern = relevance_pattern(train)
    n_users, n_items = pattern.shape
    if n_users == 0:
        raise ValueError("train has no users, so nothing is known about how popular its items are")
    lists = check_ids(ids)
    check_range(lists, n_items)
    check_distinct(np.sort(lists, axis=1))
    frequency = np.bincount(lists[lists >= 0], minlength=n_items)
    slots = frequency.sum()
    if slots == 0:
        raise ValueError("ids holds no item, so there is nothing to describe")

    popularity = np.bincount(pattern.indices, minlength=n_items)
    self_information = np.log2(n_users / np.maximum(popularity, 1))
    order_weights = 2.0 * np.arange(1, n_items + 1) - n_items - 1
    return {
        "coverage": float(np.mean(frequency > 0)),
        "novelty": float(frequency @ self_information / slots),
        "gini": float(order_weights @ np.sort(frequency) / (n_items * slots)),
    }
