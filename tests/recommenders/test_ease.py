"""EASE against one ridge regression per item, and its two ways against each other."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import (
    DAY,
    START,
    as_interactions,
    faded_values,
    random_counts,
    random_events,
    timed_interactions,
)
from scipy.sparse import csr_array, vstack
from sklearn.linear_model import Ridge
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.sessions import SessionEASE, TrendEASE
from recsys_lib.recommenders.shared import products
from recsys_lib.recommenders.shared.products import gram


def interactions(n_users=12, n_items=20, seed=0):
    return random_counts(n_users, n_items, density=0.3, seed=seed)


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
@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
def test_scores_equal_one_ridge_regression_per_item(shape, weighting):
    train = interactions(*shape)
    model = EASE(regularization=3.0, weighting=weighting).fit(train)
    assert (model.weights_.numel() > 0) == (shape[0] >= shape[1])
    dense = train.matrix.toarray().astype(float)
    dense = {"binary": (dense > 0).astype(float), "log": np.log1p(dense), "count": dense}[weighting]
    weights = brute_force_weights(dense, 3.0)
    np.testing.assert_allclose(model.score(), dense @ weights, rtol=1e-4, atol=1e-5)
    assert np.abs(dense @ weights).max() > 0.5


def test_both_ways_give_the_same_weights():
    """More items than users takes the users' way; the same data below empty users the items' way."""
    train = interactions(12, 20)
    padded = vstack([train.matrix, csr_array((20, 20), dtype=np.float32)]).tocsr()
    by_users, by_items = (
        EASE(regularization=2.0, weighting="binary").fit(train),
        EASE(regularization=2.0, weighting="binary").fit(as_interactions(padded)),
    )
    assert by_users.inverse_.numel()
    assert by_items.weights_.numel()
    np.testing.assert_allclose(by_users.score(), by_items.score(np.arange(12)), rtol=1e-4, atol=1e-5)
    alone = csr_array(np.eye(20, dtype=np.float32))
    np.testing.assert_allclose(by_users.fold_in(alone), by_items.weights_.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(by_items.weights_.numpy().diagonal(), 0)
    new = interactions(9, 20, seed=1).matrix
    np.testing.assert_allclose(by_users.fold_in(new), by_items.fold_in(new), rtol=1e-4, atol=1e-5)


@WAYS
def test_a_history_alone_does_not_score_itself(shape):
    model = EASE(regularization=2.0, weighting="binary").fit(interactions(*shape))
    own = model.fold_in(csr_array(np.eye(20, dtype=np.float32))).diagonal()
    np.testing.assert_allclose(own, 0, atol=1e-5)


@WAYS
def test_fold_in_of_known_histories_equals_their_scores(shape):
    train = interactions(*shape)
    model = EASE(regularization=2.0, weighting="log").fit(train)
    np.testing.assert_allclose(model.fold_in(train.matrix), model.score(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
@WAYS
def test_fold_in_of_faded_values_equals_their_scores(shape, weighting):
    train = random_events(*shape)
    model = EASE(regularization=2.0, weighting=weighting, half_life=20.0).fit(train)
    assert (model.weights_.numel() > 0) == (shape[0] >= shape[1])
    folded = model.fold_in(faded_values(train, weighting, 20.0))
    np.testing.assert_allclose(folded, model.score(), rtol=1e-4, atol=1e-5)
    assert np.abs(model.fold_in(train.matrix) - folded).max() > 0.01


@pytest.mark.parametrize("form", [csr_array, np.asarray])
@WAYS
def test_features_are_stacked_below_the_users(shape, form):
    train = interactions(*shape)
    features = interactions(20, 5, seed=1).matrix.toarray()
    model = EASE(regularization=3.0, weighting="count", feature_weight=0.5)
    model.fit(train, item_features=form(features))
    dense = np.vstack([train.matrix.toarray(), 0.5 * features.T])
    weights = brute_force_weights(dense.astype(float), 3.0)
    expected = train.matrix.toarray() @ weights
    np.testing.assert_allclose(model.score(), expected, rtol=1e-4, atol=1e-4)
    assert np.abs(expected - EASE(regularization=3.0, weighting="count").fit(train).score()).max() > 0.1


@WAYS
def test_contributions_add_up_to_the_score(shape):
    train = interactions(*shape)
    model = EASE(regularization=2.0, weighting="log").fit(train)
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


@WAYS
def test_similar_items_have_the_largest_weights(shape):
    train = interactions(*shape)
    model = EASE(regularization=2.0, weighting="binary").fit(train)
    weights = brute_force_weights((train.matrix.toarray() > 0).astype(float), 2.0)
    np.fill_diagonal(weights, -np.inf)
    best = model.similar(np.array([4, 7]), k=3)
    np.testing.assert_array_equal(best.ids, np.argsort(-weights[[4, 7]], axis=1)[:, :3])


@WAYS
def test_stored_and_loaded_it_scores_the_same(shape, tmp_path):
    model = EASE(regularization=2.0, weighting="log").fit(interactions(*shape))
    model.save(tmp_path)
    np.testing.assert_array_equal(EASE.load(tmp_path).score(), model.score())
    assert np.abs(model.score()).max() > 0.1


def test_half_life_weighs_recent_purchases_more():
    rows = {
        "user": [0, 0, 1, 1, 2],
        "item": [0, 1, 1, 2, 3],
        "time": np.array([0, 10, 0, 20, 0]) * DAY + START,
    }
    train = Interactions.from_frame(pd.DataFrame(rows), "user", "item", time="time")
    model = EASE(regularization=1.0, weighting="count", half_life=10).fit(train)
    weights = brute_force_weights(model.history_.toarray().astype(float), 1.0)
    assert model.history_.toarray()[0, :2] == pytest.approx([0.25, 0.5])
    np.testing.assert_allclose(model.score(), model.history_.toarray() @ weights, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regularization": 0}, "regularization must be a number above 0, got 0"),
        ({"weighting": "tf"}, "weighting must be one of"),
        ({"half_life": -1}, "half_life must be a number above 0"),
        ({"feature_weight": np.nan}, "feature_weight must be a number above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        EASE(**settings)


def test_bad_input():
    train = interactions()
    for features in (csr_array((19, 3)), np.ones((3, 20)), np.ones(20)):
        with pytest.raises(
            ValueError, match="item_features must have one row for each of 20 items, got shape"
        ):
            EASE().fit(train, item_features=features)
    for features in (csr_array(np.full((20, 1), np.nan)), np.full((20, 1), np.inf)):
        with pytest.raises(ValueError, match="item_features must be finite"):
            EASE().fit(train, item_features=features)
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
    model = EASE(regularization=2.0, weighting="binary").fit(train)
    model.device = "meta"
    with FakeTensorMode():
        for name in ("weights_", "inverse_", "complement_"):
            shape_ = getattr(model, name).shape
            setattr(model, name, torch.empty(shape_, device="meta"))
        for scores in (model._score(np.array([0, 5, 7])), model._fold_in(train.matrix[:3])):
            assert scores.device.type == "meta"
            assert scores.shape == (3, 20)


@pytest.mark.parametrize(("regularization", "tolerance"), [(2.0, 1e-5), (1e-8, 0)])
def test_of_many_items_the_matrix_is_kept_in_float32_unless_lambda_is_tiny(
    regularization, tolerance, monkeypatch
):
    """Counts are exact in float32: what is inverted in float64 after all is equal to the last bit."""
    train = interactions(60, 20)
    model = EASE(regularization=regularization, weighting="count")
    expected = model.fit(train).weights_.numpy()
    monkeypatch.setattr(products, "_DOUBLE_ROWS", 19)
    assert gram(train.matrix.T.tocsr(), thrifty=True).dtype == np.float32
    found = model.fit(train).weights_.numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert (found != expected).any() == (tolerance > 0)  # by the last bits, where float32 was used


def test_a_matrix_that_does_not__before_it_is_taken(monkeypatch):
    wide = csr_array((np.ones(2, np.float32), ([0, 1], [0, 1])), shape=(500_000, 3))
    refused = r"500,000 × 500,000 .* takes 3,000,000,000,000 bytes, and [\d,]+ are free: leave out"
    with pytest.raises(MemoryError, match=refused):
        gram(wide)
    with pytest.raises(MemoryError, match=refused.replace("3,000", "1,000")):
        gram(wide, thrifty=True)
    monkeypatch.setattr(
        "recsys_lib.recommenders.shared.checks.psutil.virtual_memory", lambda: SimpleNamespace(available=799)
    )
    with pytest.raises(MemoryError, match="so small a λ needs float64, which takes 800 bytes"):
        products.item_weights(np.eye(10, dtype=np.float32), 1e-6, torch.device("cpu"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's addresses")
def test_the_bound_of_a_process_counts_too():
    program = (
        "import resource, numpy as np\nfrom scipy.sparse import csr_array\n"
        "from recsys_lib.recommenders.shared.products import gram\n"
        "import psutil; limit = psutil.Process().memory_info().vms + 2**28\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "gram(csr_array((6_000, 3), dtype=np.float32))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "takes 432,000,000 bytes" in done.stderr, done.stderr


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("gone", [[9, 2], [0, 13, 1], range(33)], ids=["two", "at the ends", "many"])
def test_forgetting_users_equals_a_fit_without_them(features, gone):
    n = 40 if len(gone) > 30 else 14
    train = interactions(n, n + 6)
    gone, rest = np.array(gone), np.delete(np.arange(n), gone)
    known = {"item_features": csr_array(np.eye(n + 6, dtype=np.float32)[:, :3])} if features else {}
    model = EASE(regularization=2.0, weighting="log").fit(train, **known)
    assert model.inverse_.numel()
    before = model.score()
    model.forget(gone)
    left = Interactions(train.matrix[rest], train.users[rest], train.items)
    again = EASE(regularization=2.0, weighting="log").fit(left, **known)
    np.testing.assert_allclose(model.score(), again.score(), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.fold_in(train.matrix), again.fold_in(train.matrix), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.users_, again.users_)
    np.testing.assert_array_equal(model.recommend(k=3).ids, again.recommend(k=3).ids)
    assert np.abs(before[rest] - again.score()).max() > 0.01  # they mattered


def test_forgetting_refuses_who_is_not_there():
    model = EASE(regularization=2.0).fit(interactions(12, 20))
    before = model.score()
    for users, message in (([12], "users"), ([1, 1], "differ"), (np.arange(12), "leave somebody")):
        with pytest.raises(ValueError, match=message):
            model.forget(np.asarray(users))
    np.testing.assert_array_equal(model.score(), before)
    timed = timed_interactions([(0, 0, 0), (0, 1, 60), (1, 2, 90)], 2, 9)
    for kind, train in ((EASE, interactions(40, 20)), (TrendEASE, timed), (SessionEASE, timed)):
        with pytest.raises(NotImplementedError, match="users' way"):
            kind().fit(train).forget(np.array([0]))
    with pytest.raises(ValueError, match="not fitted"):
        EASE().forget(np.array([0]))
