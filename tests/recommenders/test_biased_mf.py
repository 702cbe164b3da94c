"""Explicit ratings: against loops, finite differences and scikit-learn's idea of a ridge regression."""

import numpy as np
import pytest
import torch
from builders import as_interactions
from sklearn.exceptions import NotFittedError
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.recommenders.biased_mf import BiasedMF, ridge

SETTINGS = {"factors": 3, "regularization": 0.4, "bias_regularization": 0.2}


def ratings(n_users=14, n_items=11, seed=0):
    """Ratings 1 … 5; user 2 and item 5 have none."""
    generator = np.random.default_rng(seed)
    dense = generator.integers(1, 6, (n_users, n_items)) * (generator.random((n_users, n_items)) < 0.6)
    dense[2], dense[:, 5] = 0, 0
    return as_interactions(dense)


def parts_of(model):
    names = ("user_biases_", "item_biases_", "user_factors_", "item_factors_")
    return [getattr(model, name).numpy().astype(np.float64) for name in names]


def loss(dense, mean, parts, model):
    """The objective of the class's docstring, one rating after another."""
    b_u, b_i, p, q = parts
    total = 0.0
    for u, i in zip(*np.nonzero(dense), strict=True):
        total += (dense[u, i] - mean - b_u[u] - b_i[i] - p[u] @ q[i]) ** 2
    for bias, factors, counts in ((b_u, p, (dense > 0).sum(1)), (b_i, q, (dense > 0).sum(0))):
        for row, count in enumerate(counts):
            penalty = (
                model.bias_regularization * bias[row] ** 2
                + model.regularization * factors[row] @ factors[row]
            )
            total += np.sqrt(max(count, 1)) * penalty
    return total


def brute_force(dense, model):
    """The same alternation with loops and a general solver, in float64."""
    mean = dense[dense > 0].mean()
    n_users, n_items = dense.shape
    generator = torch.Generator().manual_seed(model.seed)
    q = 0.1 * torch.randn((n_items, model.factors), generator=generator).numpy().astype(np.float64)
    b_i, b_u, p = np.zeros(n_items), np.zeros(n_users), np.zeros((n_users, model.factors))
    penalty = np.diag([model.bias_regularization] + [model.regularization] * model.factors)

    def solve(row, others, bias, factors):
        rated = np.flatnonzero(row)
        x = np.column_stack([np.ones(len(rated)), factors[rated]])
        system = x.T @ x + np.sqrt(max(len(rated), 1)) * penalty
        return np.linalg.solve(system, x.T @ (row[rated] - mean - bias[rated]))

    for _ in range(model.iterations):
        for u in range(n_users):
            w = solve(dense[u], n_items, b_i, q)
            b_u[u], p[u] = w[0], w[1:]
        for i in range(n_items):
            w = solve(dense[:, i], n_users, b_u, p)
            b_i[i], q[i] = w[0], w[1:]
    return b_u, b_i, p, q


def test_equals_a_brute_force_alternation():
    train = ratings()
    model = BiasedMF(**SETTINGS, iterations=4).fit(train)
    for found, wanted in zip(parts_of(model), brute_force(train.matrix.toarray(), model), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-4)
        assert np.abs(wanted).max() > 0.1


def test_no_step_in_any_direction_lowers_the_loss():
    train = ratings()
    dense = train.matrix.toarray().astype(np.float64)
    model = BiasedMF(**SETTINGS, iterations=600).fit(train)
    parts, step = parts_of(model), 1e-4
    mean = dense[dense > 0].mean()

    def slopes(at):
        found = []
        for place, part in enumerate(at):
            for index in np.ndindex(part.shape):
                moved = []
                for sign in (1, -1):
                    other = [piece.copy() for piece in at]
                    other[place][index] += sign * step
                    moved.append(loss(dense, mean, other, model))
                found.append((moved[0] - moved[1]) / (2 * step))
        return np.abs(found).max()

    # Elsewhere the slope is large: the bound below says something.
    assert slopes([part + 0.05 for part in parts]) > 1
    assert slopes(parts) < 0.02


def test_every_iteration_lowers_the_loss():
    train = ratings()
    dense = train.matrix.toarray().astype(np.float64)
    mean = dense[dense > 0].mean()
    models = [BiasedMF(**SETTINGS, iterations=n).fit(train) for n in (1, 2, 4, 8)]
    losses = [loss(dense, mean, parts_of(model), model) for model in models]
    assert (np.diff(losses) < 0).all()


def test_predictions_find_withheld_ratings():
    generator = np.random.default_rng(1)
    taste, kind = generator.normal(size=(60, 2)), generator.normal(size=(40, 2))
    true = np.clip(3 + generator.normal(size=60)[:, None] * 0.5 + taste @ kind.T, 1, 5)
    shown = generator.random(true.shape) < 0.6
    train = as_interactions(true * shown)
    model = BiasedMF(factors=4, regularization=0.3, bias_regularization=0.1, iterations=20).fit(train)
    users, items = np.nonzero(~shown)
    base = model.mean_ + (model.user_biases_[users] + model.item_biases_[items]).numpy()
    error, plain = (np.sqrt(np.mean((p - true[~shown]) ** 2)) for p in (model.predict(users, items), base))
    assert error < 0.35
    assert plain > 0.8


def test_predictions_are_scores_within_the_scale():
    model = BiasedMF(**SETTINGS).fit(ratings())
    users, items = np.indices(model.matrix_.shape).reshape(2, -1)
    known = users != 2
    scores = model.score()[users[known], items[known]]
    predicted = model.predict(users[known], items[known])
    np.testing.assert_allclose(predicted, np.clip(scores, 1, 5), rtol=1e-5)
    b_u, b_i, p, q = parts_of(model)
    wanted = model.mean_ + b_u[users] + b_i[items] + np.einsum("nf,nf->n", p[users], q[items])
    np.testing.assert_allclose(scores, wanted[known], rtol=1e-4)
    assert (np.abs(scores - np.clip(scores, 1, 5)) > 0).any()


def test_of_the_unknown_only_the_known_bias_is_left():
    model = BiasedMF(**SETTINGS).fit(ratings())
    b_u, b_i, _, _ = parts_of(model)
    mean = model.mean_
    # (−1, i), (u, −1), (−1, −1), and a user and an item without ratings.
    found = model.predict(np.array([-1, 4, -1, 2, 4]), np.array([3, -1, -1, 3, 5]))
    wanted = [mean + b_i[3], mean + b_u[4], mean, mean + b_i[3], mean + b_u[4]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert b_u[2] == b_i[5] == 0
    assert min(abs(b_u[4]), abs(b_i[3])) > 0.01


def test_reasons_add_up():
    model = BiasedMF(**SETTINGS).fit(ratings())
    table = model.explain(4, 3)
    assert set(table["reason"]) == {"mean", "user's bias", "item's bias", "match of factors"}
    np.testing.assert_allclose(table["contribution"].sum(), model.score(np.array([4]))[0, 3], rtol=1e-5)
    with pytest.raises(ValueError, match="no history"):
        model.explain(2, 3)


def test_similar_items_by_cosine():
    model = BiasedMF(**SETTINGS).fit(ratings())
    q = model.item_factors_.numpy()
    cosine = (q @ q[4]) / np.maximum(np.linalg.norm(q, axis=1) * np.linalg.norm(q[4]), 1e-12)
    cosine[4] = -np.inf
    np.testing.assert_array_equal(model.similar(np.array([4]), 3).ids[0], np.argsort(-cosine)[:3])


def test_seeds_decide():
    one, same, other = (
        BiasedMF(**SETTINGS, iterations=3, seed=seed).fit(ratings()).user_factors_ for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


def test_stored_and_loaded(tmp_path):
    model = BiasedMF(**SETTINGS).fit(ratings())
    model.save(tmp_path)
    loaded = BiasedMF.load(tmp_path)
    pairs = np.array([0, -1, 5]), np.array([3, 3, -1])
    np.testing.assert_array_equal(loaded.predict(*pairs), model.predict(*pairs))
    assert loaded.regularization == 0.4


def test_a_step_stays_on_its_device():
    with FakeTensorMode():
        columns = torch.empty(30, dtype=torch.int64, device="meta")
        starts, counts = (torch.empty(6, dtype=torch.int64, device="meta") for _ in range(2))
        left, bias, penalty = (torch.empty(n, device="meta") for n in (30, 9, 5))
        solved = ridge(columns, left, starts, counts, bias, torch.empty(9, 4, device="meta"), penalty)
    assert solved.device.type == "meta"
    assert solved.shape == (6, 5)


def test_a_rating_of_zero_is_refused():
    train = ratings()
    train.matrix.data[3] = 0
    with pytest.raises(ValueError, match=r"above 0 .*user \d+ and item \d+ have 0"):
        BiasedMF(**SETTINGS).fit(train)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["factors", "iterations"], "whole number of at least 1"),
        (["regularization", "bias_regularization"], "number above 0"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, np.nan])
def test_settings_that_mean_nothing(names, what, value):
    for name in names:
        with pytest.raises(ValueError, match=f"{name} must be a {what}"):
            BiasedMF(**{name: value})


def test_pairs_that_are_none():
    with pytest.raises(NotFittedError):
        BiasedMF().predict(np.array([0]), np.array([0]))
    model = BiasedMF(**SETTINGS).fit(ratings())
    with pytest.raises(ValueError, match="got 2 users and 1 items"):
        model.predict(np.array([0, 1]), np.array([0]))
    with pytest.raises(ValueError, match=r"items\[1\] is 11"):
        model.predict(np.array([0, 1]), np.array([0, 11]))
