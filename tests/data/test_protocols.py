import hashlib

import numpy as np
import pytest

from recsys_lib.data import (
    complete_journey_december,
    discovery,
    load_table,
    movielens_100k_stratified,
)


@pytest.fixture(scope="module")
def december():
    return complete_journey_december()


def test_december_has_the_agreed_size(december):
    train, test = december
    assert train.matrix.shape == test.matrix.shape == (2_448, 16_152)
    assert (train.matrix.nnz, test.matrix.nnz) == (672_198, 92_880)
    assert discovery(december).nnz == 49_529
    assert train.users.equals(test.users)
    assert train.items.equals(test.items)


def test_december_parts_do_not_overlap_in_time(december):
    assert december.train.events["time"].max() < np.datetime64("2017-12-01")
    assert december.test.events["time"].min() >= np.datetime64("2017-12-01")


def test_every_item_has_ten_households_in_train(december):
    assert np.bincount(december.train.matrix.indices).min() == 10


def test_values_count_purchase_lines(december):
    train = december.train
    lines = load_table(
        "transactions", ["household_id", "product_id", "quantity", "sales_value", "transaction_timestamp"]
    )
    first = train.matrix[[0]]
    item = train.items[first.indices[first.data.argmax()]]
    mask = (lines["household_id"] == train.users[0]) & (lines["product_id"] == item)
    mask &= (
        (lines["transaction_timestamp"] < "2017-12-01") & (lines["quantity"] > 0) & (lines["sales_value"] > 0)
    )
    assert first.data.max() == mask.sum()


def test_validation_is_one_month_earlier_and_never_sees_december():
    train, test = complete_journey_december(validation=True)
    assert train.events["time"].max() < np.datetime64("2017-11-01")
    assert test.events["time"].min() >= np.datetime64("2017-11-01")
    assert test.events["time"].max() < np.datetime64("2017-12-01")
    assert np.bincount(train.matrix.indices).min() == 10


def _pairs(interactions):
    pairs = interactions.matrix.tocoo()
    rows = np.column_stack([interactions.users[pairs.row], interactions.items[pairs.col]]).astype(np.int64)
    return rows[np.lexsort((rows[:, 1], rows[:, 0]))]


def test_movielens_split_has_the_published_size_and_hash():
    train, test = movielens_100k_stratified()
    assert (train.matrix.nnz, test.matrix.nnz) == (75_066, 24_934)
    assert train.matrix.shape == (943, 1_682)
    digest = hashlib.sha256(_pairs(test).tobytes()).hexdigest()
    assert digest.startswith("75897582da31b10a")


def test_movielens_validation_lies_inside_train():
    train, _ = movielens_100k_stratified()
    inner = movielens_100k_stratified(validation=True)
    both = np.vstack([_pairs(inner.train), _pairs(inner.test)])
    assert {tuple(pair) for pair in both} == {tuple(pair) for pair in _pairs(train)}
