"""ALS against the normal equations row by row, against autograd, and against the loss over all pairs."""

import numpy as np
import pytest
import torch
from builders import as_interactions, faded_values, random_counts, random_events
from scipy.sparse import csr_array
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.recommenders import least_squares
from recsys_lib.recommenders.als import ALS
from recsys_lib.recommenders.least_squares import Batch, batches, conjugate_gradient, solve


def interactions(n_users=30, n_items=25):
    return random_counts(n_users, n_items, density=0.25)


def confidences_of(train, alpha):
    """c = 1 + alpha · count."""
    confidences = train.matrix.copy()
    confidences.data = 1 + np.float32(alpha) * confidences.data
    return confidences


def normal_equations(weights, items, alpha, regularization, offset=1.0):
    """One user after the other, straight from the paper: ``(Yᵀ C_u Y + λ I) x = Yᵀ C_u p``."""
    users = []
    for w in weights:
        confidence = np.diag(np.where(w > 0, offset + alpha * w, 1))
        system = items.T @ confidence @ items + regularization * np.eye(items.shape[1])
        users.append(np.linalg.solve(system, items.T @ confidence @ (w > 0)))
    return np.array(users)


def parts_of(model):
    """Weights, user factors and item factors, dense and in float64."""
    parts = model.weights_.toarray(), model.user_factors_.numpy(), model.item_factors_.numpy()
    return (part.astype(float) for part in parts)


def loss_of(model):
    """What the fit minimises, summed over all pairs."""
    weights, users, items = parts_of(model)
    confidences = np.where(weights > 0, model.offset + model.alpha * weights, 1)
    penalty = model.regularization * (np.sum(users**2) + np.sum(items**2))
    return np.sum(confidences * ((weights > 0) - users @ items.T) ** 2) + penalty


@pytest.mark.parametrize("factors", [3, 6, 40])  # below, among and above the lengths of histories
@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
@pytest.mark.parametrize(("alpha", "offset"), [(4.0, 1.0), (0.4, 0.0)])
def test_users_solve_the_normal_equations(factors, weighting, alpha, offset):
    """Also where some interactions count less than their absence: 0.4 · 1 < 1."""
    train = interactions()
    model = ALS(
        factors=factors, regularization=0.5, alpha=alpha, offset=offset, iterations=2, weighting=weighting
    ).fit(train)
    weights, _, items = parts_of(model)
    expected = normal_equations(weights, items, alpha, 0.5, offset)
    np.testing.assert_allclose(model.user_factors_, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.score(), expected @ items.T, rtol=1e-3, atol=1e-3)
    assert np.abs(model.score()).max() > 0.2


def test_items_solve_the_normal_equations():
    train = interactions()
    users = np.random.default_rng(1).normal(size=(30, 6)).astype(np.float32)
    confidences = confidences_of(train, 2).T.tocsr()
    rows = list(batches(confidences, 6, torch.device("cpu")))
    expected = normal_equations(train.matrix.toarray().T.astype(float), users.astype(float), 2.0, 0.5)
    np.testing.assert_allclose(solve(rows, 25, users, 0.5), expected, rtol=1e-3, atol=1e-4)


def test_conjugate_gradients_approach_the_solution():
    """As many steps as factors are exact but for rounding; each step before comes closer."""
    train = interactions()
    rng = np.random.default_rng(1)
    users, items = (rng.normal(size=(n, 8)).astype(np.float32) for n in (30, 25))
    rows = list(batches(confidences_of(train, 3), 8, torch.device("cpu")))
    expected = normal_equations(train.matrix.toarray().astype(float), items.astype(float), 3.0, 0.5)
    errors = [
        np.abs(conjugate_gradient(rows, users, items, 0.5, steps) - expected).max()
        for steps in (1, 2, 3, 5, 8)
    ]
    assert np.all(np.diff(errors) < 0)
    assert errors[0] > 0.1
    assert errors[-1] < 2e-4
    np.testing.assert_allclose(
        conjugate_gradient(rows, expected.astype(np.float32), items, 0.5, 2), expected, atol=1e-4
    )


@pytest.mark.parametrize("alpha", [1.0, 20.0])
def test_three_steps_end_as_low_as_exact_solutions(alpha):
    train = interactions(60, 50)
    losses = [
        loss_of(
            ALS(factors=8, regularization=0.5, alpha=alpha, weighting="binary", cg_steps=steps).fit(train)
        )
        for steps in (3, None)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.005)


def test_many_small_batches_give_the_same(monkeypatch):
    train = interactions()
    whole = ALS(factors=6, iterations=3).fit(train)
    n_whole = len(whole._batches(whole.matrix_))
    monkeypatch.setattr(least_squares, "HOST_BYTES", 400)
    cut = ALS(factors=6, iterations=3).fit(train)
    assert n_whole < 6 < 15 <= len(cut._batches(cut.matrix_))
    np.testing.assert_allclose(cut.score(), whole.score(), rtol=1e-3, atol=1e-5)


def test_the_gradient_is_zero_at_the_users():
    """Autograd's gradient of the loss, summed over all pairs."""
    model = ALS(factors=6, regularization=0.5, alpha=3.0, iterations=4, weighting="log").fit(interactions())
    weights = torch.from_numpy(model.weights_.toarray()).double()
    users, items = (f.double().requires_grad_() for f in (model.user_factors_, model.item_factors_))
    errors = (1 + 3.0 * weights) * ((weights > 0).double() - users @ items.T) ** 2
    (errors.sum() + 0.5 * (users.square().sum() + items.square().sum())).backward()
    assert users.grad.abs().max() < 1e-3
    assert items.grad.abs().max() > 0.01  # the users moved last


def test_the_loss_never_rises():
    train = interactions(60, 50)
    losses, start = [], None
    for _ in range(12):
        model = ALS(factors=8, regularization=0.5, alpha=5.0, iterations=1, cg_steps=None)
        losses.append(loss_of(model.fit(train, item_factors=start)))
        start = model.item_factors_
    assert np.all(np.diff(losses) <= 1e-6 * losses[0])
    assert losses[-1] < 0.98 * losses[0]


def test_a_warm_start_goes_on_where_the_fit_stopped():
    train = interactions()
    whole = ALS(factors=6, iterations=5, cg_steps=None).fit(train)
    part = ALS(factors=6, iterations=3, cg_steps=None).fit(train)
    on = ALS(factors=6, iterations=2, cg_steps=None).fit(train, item_factors=part.item_factors_)
    np.testing.assert_allclose(on.score(), whole.score(), rtol=1e-3, atol=1e-5)
    assert np.abs(part.score() - whole.score()).max() > 1e-3


def test_fold_in_equals_the_users_own_factors():
    model = ALS(factors=6, alpha=2.0, iterations=3, weighting="log").fit(interactions())
    np.testing.assert_allclose(model.fold_in(model.matrix_), model.score(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
def test_fold_in_of_faded_values_equals_the_users_own_factors(weighting):
    train = random_events()
    model = ALS(factors=6, alpha=2.0, iterations=3, weighting=weighting, half_life=20.0).fit(train)
    folded = model.fold_in(faded_values(train, weighting, 20.0))
    np.testing.assert_allclose(folded, model.score(), rtol=1e-4, atol=1e-5)
    assert np.abs(model.fold_in(train.matrix) - folded).max() > 0.01


def test_contributions_add_up_to_the_score():
    train = interactions()
    model = ALS(factors=6, regularization=0.5, alpha=2.0, iterations=3, weighting="count").fit(train)
    weights, items = train.matrix.toarray().astype(float), model.item_factors_.numpy().astype(float)
    for user, item in ((0, 3), (7, int(train.matrix[[7], :].indices[0]))):
        table = model.explain(user, item)
        system = items.T @ np.diag(1 + 2 * weights[user]) @ items + 0.5 * np.eye(6)
        expected = [
            (1 + 2 * weights[user, j]) * items[item] @ np.linalg.inv(system) @ items[j] for j in table["item"]
        ]
        np.testing.assert_allclose(table["contribution"], expected, rtol=1e-6)
        assert sorted(table["item"]) == sorted(train.matrix[[user], :].indices)
        assert table["contribution"].sum() == pytest.approx(model.score()[user, item], abs=1e-4)
        assert table["contribution"].is_monotonic_decreasing


def test_similar_items_by_cosine():
    model = ALS(factors=6, iterations=3).fit(interactions())
    items = model.item_factors_.numpy()
    cosine = items @ items.T / np.outer(*[np.linalg.norm(items, axis=1)] * 2)
    np.fill_diagonal(cosine, -np.inf)
    best = model.similar(np.array([4, 7]), k=3)
    np.testing.assert_array_equal(best.ids, np.argsort(-cosine[[4, 7]], axis=1)[:, :3])
    np.testing.assert_allclose(best.scores, -np.sort(-cosine[[4, 7]], axis=1)[:, :3], rtol=1e-4)


def test_weights_of_zero_and_rows_without_history():
    """A stored 0 is no preference; who has nothing gets factors of 0."""
    dense = interactions(12, 9).matrix.toarray()
    dense[4], dense[:, 2] = 0, 0
    with_zero = csr_array(dense)
    with_zero.data[0] = 0
    model = ALS(factors=4, regularization=0.5, iterations=2, weighting="count").fit(
        as_interactions(with_zero)
    )
    items = model.item_factors_.numpy().astype(float)
    expected = normal_equations(with_zero.toarray().astype(float), items, 1.0, 0.5)
    np.testing.assert_allclose(model.user_factors_, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(model.user_factors_[4], 0)
    np.testing.assert_array_equal(items[2], 0)


def test_the_seed_decides_the_start():
    train = interactions()
    scores = [ALS(factors=6, iterations=1, seed=seed).fit(train).score() for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert np.abs(scores[0] - scores[2]).max() > 1e-3


def test_stored_and_loaded_it_goes_on(tmp_path):
    train = interactions()
    model = ALS(factors=6, iterations=2).fit(train)
    model.save(tmp_path)
    loaded = ALS.load(tmp_path)
    np.testing.assert_array_equal(loaded.recommend(k=3).ids, model.recommend(k=3).ids)
    assert loss_of(loaded) == loss_of(model)


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    ALS(factors=3, iterations=2).fit(interactions())
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    ALS(factors=3, iterations=2).fit(interactions())
    assert "ALS: 100%" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": 0}, "factors must be a whole number of at least 1, got 0"),
        ({"regularization": -1}, "regularization must be a number above 0"),
        ({"alpha": np.inf}, "alpha must be a number above 0"),
        ({"offset": -1}, "offset must be a finite number of at least 0, got -1"),
        ({"cg_steps": 0}, "cg_steps must be a whole number of at least 1"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1"),
        ({"weighting": "tf"}, "weighting must be one of"),
        ({"half_life": 0}, "half_life must be a number above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ALS(**settings)


def test_bad_input():
    train = interactions()
    with pytest.raises(ValueError, match=r"item_factors must have shape \(25, 6\), got \(25, 5\)"):
        ALS(factors=6).fit(train, item_factors=np.ones((25, 5)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        ALS(factors=6).fit(train, item_factors=np.full((25, 6), np.nan))
    model = ALS(factors=6, iterations=1).fit(train)
    with pytest.raises(ValueError, match="histories must be sparse"):
        model.fold_in(csr_array((3, 19)))
    with pytest.raises(ValueError, match="positions go from 0 to 29"):
        model.explain(-1, 0)
    with pytest.raises(ValueError, match=r"item\[0\] is 25; positions go from 0 to 24"):
        model.explain(0, 25)


@pytest.mark.parametrize("factors", [3, 40])
@pytest.mark.parametrize("cg_steps", [3, None])
def test_the_fit_stays_on_an_accelerator(factors, cg_steps):
    """Device `meta` stands in for one: looking at its tensors or mixing them with the host's raises."""
    with FakeTensorMode():
        model = ALS(factors=factors, iterations=2, cg_steps=cg_steps, device="meta").fit(interactions())
        assert model.user_factors_.device.type == model.item_factors_.device.type == "meta"
        assert model._score(np.array([0, 5])).shape == (2, 25)


@pytest.mark.parametrize("factors", [3, 40])
def test_the_accelerators_code_gives_the_same(factors):
    """Run on the host's tensors."""
    train = interactions()
    rng = np.random.default_rng(1)
    users, items = (rng.normal(size=(n, factors)).astype(np.float32) for n in (30, 25))
    rows = list(batches(train.matrix.T.tocsr(), factors, torch.device("cpu")))
    placed = [Batch(*(torch.from_numpy(part) for part in batch)) for batch in rows]
    tensors = torch.from_numpy(items), torch.from_numpy(users)
    np.testing.assert_allclose(
        solve(placed, 25, tensors[1], 0.5), solve(rows, 25, users, 0.5), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        conjugate_gradient(placed, *tensors, 0.5, 3),
        conjugate_gradient(rows, items, users, 0.5, 3),
        rtol=1e-3,
        atol=1e-4,
    )
    assert torch.equal(tensors[0], torch.from_numpy(items))
