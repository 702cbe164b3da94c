"""The two fixed evaluation protocols: every result of the course is measured on one of them."""

import numpy as np
import pandas as pd

from recsys_lib.data.cleaning import clean_transactions
from recsys_lib.data.complete_journey import load_table
from recsys_lib.data.interactions import Split
from recsys_lib.data.movielens import load_movielens_100k
from recsys_lib.data.splits import split_by_time, split_stratified, to_matrices

MIN_HOUSEHOLDS_PER_ITEM = 10


def complete_journey_december(*, validation: bool = False) -> Split:
    """Train on eleven months of purchases, test on December 2017.

    Purchase lines as `clean_transactions` leaves them; items bought by at least 10 households in train;
    test restricted to train's households and items. Values count purchase lines.

    Parameters
    ----------
    validation : bool
        If true, the same one month earlier: train before 2017-11-01, November as target. Every choice is
        made here; December is looked at once, at the end.

    Returns
    -------
    Split
        2,448 households × 16,152 items, 672,198 train pairs, 92,880 test pairs. `events` holds the lines
        with their time.

    Notes
    -----
    Stamps are taken as they stand in the file, in UTC: "December" begins at 19:00 of 30 November on the
    shops' clocks.
    """
    columns = ["household_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
    transactions = load_table("transactions", columns)
    products = load_table("products", ["product_id", "department"])
    lines = clean_transactions(transactions, products).frame
    time = "transaction_timestamp"
    if validation:
        lines = lines[lines[time] < pd.Timestamp("2017-12-01")]
    parts = split_by_time(lines, time, "2017-11-01" if validation else "2017-12-01")
    return to_matrices(
        parts, "household_id", "product_id", time=time, min_users_per_item=MIN_HOUSEHOLDS_PER_ITEM
    )


def movielens_100k_stratified(*, validation: bool = False) -> Split:
    """Split MovieLens 100K as the best-known public comparison of recommenders does: 75 % per item.

    Parameters
    ----------
    validation : bool
        If true, train's rows are split once more in the same way, and test is left out: hyper-parameters
        are chosen here.

    Returns
    -------
    Split
        75,066 train and 24,934 test ratings of 943 users and 1,682 items; values are ratings.

    References
    ----------
    The split repeats the one of the repository `recommenders-team/recommenders`, in
    `examples/06_benchmarks/movielens.ipynb`.
    """
    ratings = load_movielens_100k().ratings
    # The published split draws from NumPy's legacy generator, seeded with 42.
    parts = split_stratified(ratings, "item", 0.75, np.random.RandomState(42))
    if validation:
        parts = split_stratified(parts.train, "item", 0.75, np.random.RandomState(42))
    return to_matrices(parts, "user", "item", "rating", "time")
