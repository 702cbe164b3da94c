"""EASE against one ridge regression per item, and its two ways against each other."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array, random_array, vstack
from sklearn.linear_model import Ridge
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE, invert


def interactions(n_users=12, n_items=20, density=0.3, seed=0):
    """Counts of 1 to 5; every user has something."""
    rng = np.random.default_rng(seed)
    matrix = random_array((n_users, n_items), density=density, rng=rng, format="csr", dtype=np.float32)
    matrix = matrix.toarray()
    matrix[np.arange(n_users), rng.integers(n_items, size=n_users)] = 1
    return as_interactions(csr_array(np.ceil(5 * matrix).astype(np.float32)))


def as_interactions(matrix):
    return Interactions(matrix, pd.RangeIndex(matrix.shape[0]), pd.RangeIndex(matrix.shape[1]))


def brute_force_weights(dense, regularization):
    """Column i by scikit-learn's ridge regression of item i on all the others."""
    n_items = dense.shape[1]
    weights = np.zeros((n_items, n_items))
    for item in range(n_items):
        others = np.arange(n_items) != item
        ridge = Ridge(alpha=regularization, fit_intercept=False, solver="cholesky")
        weights[others, item] = ridge.fit(dense[:, others], dense[:, item]).coef_
    return weights


WAYS = pytest.mark.parametrize("shape", [(12, 20), (40, 20)], ids=["users", "items"])


@WAYS
@pytest.mark.parametrize("scheme", ["binary", "log", "count"])
def test_scores_equal_one_ridge_regression_per_item(shape, scheme):
    train = interactions(*shape)
    model = EASE(3.0, scheme).fit(train)
    assert (model.weights_.numel() > 0) == (shape[0] >= shape[1])
    dense = train.matrix.toarray().astype(float)
    dense = {"binary": (dense > 0).astype(float), "log": np.log1p(dense), "count": dense}[scheme]
    weights = brute_force_weights(dense, 3.0)
    np.testing.assert_allclose(model.score(), dense @ weights, rtol=1e-4, atol=1e-5)
    assert np.abs(dense @ weights).max() > 0.5


def test_both_ways_give_the_same_weights():
    """More items than users takes the users' way; the same data below empty users the items' way."""
    train = interactions(12, 20)
    padded = vstack([train.matrix, csr_array((20, 20), dtype=np.float32)]).tocsr()
    by_users, by_items = EASE(2.0, "binary").fit(train), EASE(2.0, "binary").fit(as_interactions(padded))
    assert by_users.inverse_.numel()
    assert by_items.weights_.numel()
    np.testing.assert_allclose(by_users.score(), by_items.score(np.arange(12)), rtol=1e-4, atol=1e-5)
    alone = csr_array(np.eye(20, dtype=np.float32))
    np.testing.assert_allclose(by_users.fold_in(alone), by_items.weights_.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(by_items.weights_.numpy().diagonal(), 0)


@WAYS
def test_a_history_alone_does_not_score_itself(shape):
    model = EASE(2.0, "binary").fit(interactions(*shape))
    own = model.fold_in(csr_array(np.eye(20, dtype=np.float32))).diagonal()
    np.testing.assert_allclose(own, 0, atol=1e-5)


@WAYS
def test_fold_in_of_known_histories_equals_their_scores(shape):
    train = interactions(*shape)
    model = EASE(2.0, "log").fit(train)
    np.testing.assert_allclose(
        model.fold_in(model._histories(np.arange(shape[0]))), model.score(), rtol=1e-4, atol=1e-5
    )


@WAYS
def test_side_information_is_stacked_below_the_users(shape):
    train = interactions(*shape)
    side = interactions(5, 20, seed=1).matrix
    model = EASE(3.0, "count", side_weight=0.5).fit(train, side)
    dense = np.vstack([train.matrix.toarray(), 0.5 * side.toarray()])
    weights = brute_force_weights(dense.astype(float), 3.0)
    expected = train.matrix.toarray() @ weights
    np.testing.assert_allclose(model.score(), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - EASE(3.0, "count").fit(train).score()).max() > 0.1


@WAYS
def test_contributions_add_up_to_the_score(shape):
    train = interactions(*shape)
    model = EASE(2.0, "log").fit(train)
    weights = brute_force_weights(np.log1p(train.matrix.toarray().astype(float)), 2.0)
    scores = model.score()
    for user, item in ((0, 3), (5, int(train.matrix[[5], :].indices[0]))):
        table = model.explain(user, item)
        assert sorted(table["item"]) == sorted(train.matrix[[user], :].indices)
        expected = (
            np.log1p(train.matrix[[user], :].toarray()[0, table["item"]]) * weights[table["item"], item]
        )
        np.testing.assert_allclose(table["contribution"], expected, rtol=1e-3, atol=1e-5)
        assert table["contribution"].sum() == pytest.approx(scores[user, item], abs=1e-5)
        assert table["contribution"].is_monotonic_decreasing
        pd.testing.assert_frame_equal(model.explain(user, item, n=2), table[:2])


@WAYS
def test_similar_items_have_the_largest_weights(shape):
    train = interactions(*shape)
    model = EASE(2.0, "binary").fit(train)
    weights = brute_force_weights((train.matrix.toarray() > 0).astype(float), 2.0)
    np.fill_diagonal(weights, -np.inf)
    best = model.similar(np.array([4, 7]), k=3)
    np.testing.assert_array_equal(best.ids, np.argsort(-weights[[4, 7]], axis=1)[:, :3])


@WAYS
def test_new_interactions_change_histories_and_not_weights(shape):
    train = interactions(*shape)
    model = EASE(2.0, "count").fit(train)
    weights = brute_force_weights(train.matrix.toarray().astype(float), 2.0)
    new = Interactions(
        csr_array(np.array([[2, 0, 1], [1, 1, 0], [0, 0, 3]], np.float32)),
        users=pd.Index([3, 1000, 1001]),  # the last two are new
        items=pd.Index([5, 6, 2000]),  # the last one is new
    )
    before = model.score()
    model.partial_fit(new)
    expected = np.zeros((shape[0] + 2, 21))
    expected[: shape[0], :20] = train.matrix.toarray()
    expected[3, [5, 20]] += [2, 1]
    expected[shape[0], [5, 6]] = 1
    expected[shape[0] + 1, 20] = 3
    np.testing.assert_array_equal(model.history_.toarray(), expected)
    scores = model.score()
    np.testing.assert_allclose(scores[:, :20], expected[:, :20] @ weights, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(scores[:, 20], 0, atol=1e-5)
    assert np.abs(scores[3, :20] - before[3]).max() > 0.01
    np.testing.assert_array_equal(np.delete(scores[: shape[0], :20], 3, 0), np.delete(before, 3, 0))
    assert model.explain(3, 20)["contribution"].sum() == pytest.approx(0, abs=1e-6)
    other = Interactions(csr_array(np.ones((1, 1), np.float32)), pd.Index([4]), pd.Index([5]))
    expected[4, 5] += 1
    now = model.partial_fit(other).score()
    np.testing.assert_allclose(now[:, :20], expected[:, :20] @ weights, rtol=1e-3, atol=1e-4)


@WAYS
def test_stored_and_loaded_it_scores_the_same(shape, tmp_path):
    model = EASE(2.0, "log").fit(interactions(*shape))
    model.save(tmp_path)
    np.testing.assert_array_equal(EASE.load(tmp_path).score(), model.score())
    assert np.abs(model.score()).max() > 0.1


def test_half_life_weighs_recent_purchases_more():
    rows = {"user": [0, 0, 1, 1, 2], "item": [0, 1, 1, 2, 3], "time": [0, 86_400 * 10, 0, 86_400 * 20, 5]}
    train = Interactions.from_frame(pd.DataFrame(rows), "user", "item", time="time")
    model = EASE(1.0, "count", half_life=10).fit(train)
    weights = brute_force_weights(model.history_.toarray().astype(float), 1.0)
    assert model.history_.toarray()[0, :2] == pytest.approx([0.25, 0.5])
    np.testing.assert_allclose(model.score(), model.history_.toarray() @ weights, atol=1e-6)


@WAYS
def test_with_a_half_life_old_weights_fade_as_new_ones_come(shape):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "user": rng.integers(shape[0], size=300),
            "item": rng.integers(shape[1], size=300),
            "time": np.sort(rng.integers(50 * 86_400, size=300)),
        }
    )
    ids = {"users": pd.RangeIndex(shape[0]), "items": pd.RangeIndex(shape[1])}
    old, new, whole = (
        Interactions.from_frame(part, "user", "item", time="time", **ids)
        for part in (frame[:250], frame[250:], frame)
    )
    model = EASE(1.0, "log", half_life=10).fit(old)
    weights = model.fold_in(csr_array(np.eye(shape[1], dtype=np.float32)))
    model.partial_fit(new)
    expected = EASE(1.0, "log", half_life=10).fit(whole)._histories(np.arange(shape[0]))
    np.testing.assert_allclose(model.score(), expected @ weights, rtol=1e-3, atol=1e-5)
    assert np.abs(model.score()).max() > 0.1
    with pytest.raises(ValueError, match="end before the ones already known"):
        model.partial_fit(old)


def test_inverse_of_more_than_one_block():
    rows = np.random.default_rng(0).normal(size=(700, 700))
    matrix = rows @ rows.T / 700 + np.eye(700)
    np.testing.assert_allclose(invert(matrix.copy(), torch.device("cpu")) @ matrix, np.eye(700), atol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularization": 0}, "regularization must be a number above 0, got 0"),
        ({"scheme": "tf"}, "scheme must be one of"),
        ({"half_life": -1}, "half_life must be None or a number of days above 0"),
        ({"side_weight": np.nan}, "side_weight must be a number above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        EASE(**settings)


def test_bad_input():
    train = interactions()
    with pytest.raises(ValueError, match="one column for each of 20 items, got csr_array of shape"):
        EASE().fit(train, csr_array((3, 19)))
    with pytest.raises(ValueError, match="side must be sparse"):
        EASE().fit(train, np.ones((3, 20)))
    with pytest.raises(ValueError, match="not finite"):
        EASE().fit(train, csr_array(np.full((1, 20), np.nan)))
    model = EASE().fit(train)
    with pytest.raises(ValueError, match="histories must be sparse"):
        model.fold_in(csr_array((3, 19)))
    with pytest.raises(ValueError, match="positions go from 0 to 11"):
        model.explain(-1, 0)
    with pytest.raises(ValueError, match=r"item\[0\] is 20; positions go from 0 to 19"):
        model.explain(0, 20)


@WAYS
def test_scores_stay_on_an_accelerator(shape):
    """Device `meta` stands in for an accelerator: mixing its tensors with the host's raises."""
    train = interactions(*shape)
    model = EASE(2.0, "binary").fit(train)
    model.partial_fit(as_interactions(train.matrix[:3]))  # the three first users now are folded in
    model.device = "meta"
    with FakeTensorMode():
        for name in ("weights_", "inverse_", "complement_"):
            shape_ = getattr(model, name).shape
            setattr(model, name, torch.empty(shape_, device="meta"))
        scores = model._score(np.array([0, 5, 7]))
        assert scores.device.type == "meta"
        assert scores.shape == (3, 20)
