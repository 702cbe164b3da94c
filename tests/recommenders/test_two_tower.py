"""Two towers: the sampled softmax against the full one, the towers against loops, answers on small data."""

import numpy as np
import pandas as pd
import pytest
import torch
from builders import as_interactions, two_tastes
from scipy.sparse import csr_array
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.recommenders.two_tower import (
    Histories,
    TwoTower,
    mask_histories,
    sampled_softmax,
    sampling_frequencies,
)

SETTINGS = {"factors": 6, "epochs": 30}
HOST = torch.device("cpu")


def random_weights(n_users=9, n_items=7, seed=0):
    generator = np.random.default_rng(seed)
    dense = generator.random((n_users, n_items)) * (generator.random((n_users, n_items)) < 0.6)
    dense[:, 0] = 0.5  # nobody is without history
    return csr_array(dense.astype(np.float32))


@pytest.fixture(scope="module")
def fitted():
    return TwoTower(**SETTINGS).fit(two_tastes())


def learnt_distributions(wanted, corrected, steps=500):
    """Free scores per group of users, trained by the sampled loss on draws from the groups' distributions."""
    generator = torch.Generator().manual_seed(0)
    log_q = wanted.mean(0).log() if corrected else torch.zeros(wanted.shape[1])
    scores = torch.zeros(wanted.shape, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    group = torch.arange(64) % len(wanted)
    for rest in range(steps, 0, -1):
        asked = torch.multinomial(wanted[group], 8, replacement=True, generator=generator).ravel()
        loss = sampled_softmax(scores[group][:, asked], log_q[asked])
        optimizer.param_groups[0]["lr"] = 0.05 * rest / steps
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.softmax(scores.detach(), dim=1)


def test_with_the_correction_the_sampled_softmax_learns_what_the_full_one_learns():
    wanted = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05], [0.5, 0.05, 0.1, 0.15, 0.2]])
    # The full softmax's optimum is the distribution itself.
    torch.testing.assert_close(learnt_distributions(wanted, True), wanted, atol=0.02, rtol=0)
    without = learnt_distributions(wanted, False)
    assert (without[:, 0] < 0.3).all()  # the popular item is held down: 0.2 instead of 0.5
    ratio = wanted / wanted.mean(0)  # what is learnt instead
    torch.testing.assert_close(without, ratio / ratio.sum(1, keepdim=True), atol=0.02, rtol=0)


def test_over_all_items_it_is_the_cross_entropy():
    logits = torch.randn((5, 5), generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.cross_entropy(logits, torch.arange(5))
    torch.testing.assert_close(sampled_softmax(logits, torch.zeros(5)), wanted)
    # Two positives a row: columns 2u and 2u + 1 belong to row u.
    logits = torch.randn((3, 6), generator=torch.Generator().manual_seed(1))
    log_q = torch.linspace(-3, -1, 6)
    rows = [torch.logsumexp(logits[u] - log_q, 0) - logits[u, [2 * u, 2 * u + 1]].mean() for u in range(3)]
    torch.testing.assert_close(sampled_softmax(logits, log_q), torch.stack(rows).mean())


def test_what_is_asked_for_is_hidden_and_drawn_by_weight():
    weights, generator = random_weights(), np.random.default_rng(0)
    dense, drawn, entries = weights.toarray(), np.zeros(weights.shape), 0
    for _ in range(1000):
        shown, asked = mask_histories(weights, 4, generator, HOST)
        starts = np.append(shown.starts.numpy(), len(shown.items))
        asked = asked.numpy().reshape(9, 4)
        entries += len(shown.items)
        for user in range(9):
            visible = shown.items[starts[user] : starts[user + 1]].numpy()
            assert not np.isin(asked[user], visible).any()
            assert (dense[user, visible] > 0).all()
            assert (dense[user, asked[user]] > 0).all()
            np.add.at(drawn[user], asked[user], 1)
    assert 0.3 < entries / (1000 * weights.nnz) < 0.5  # half is hidden, and at least one
    np.testing.assert_allclose(drawn.sum(0) / drawn.sum(), sampling_frequencies(weights), atol=0.06)
    shares = dense / dense.sum(1, keepdims=True)
    assert np.corrcoef(drawn.ravel(), shares.ravel())[0, 1] > 0.9


def test_frequencies_are_means_of_shares():
    weights = random_weights()
    dense = weights.toarray()
    np.testing.assert_allclose(
        sampling_frequencies(weights), (dense / dense.sum(1, keepdims=True)).mean(0), rtol=1e-6
    )


def test_vectors_are_what_the_formulas_say():
    generator = np.random.default_rng(0)
    train = as_interactions(generator.integers(0, 4, (10, 8)) * (generator.random((10, 8)) < 0.6))
    model = TwoTower(weighting="count", **SETTINGS).fit(train)
    vectors, biases = np.split(model.item_factors_.numpy().astype(np.float64), [-1], axis=1)
    history = train.matrix.toarray()
    for user in np.flatnonzero(history.any(1)):
        u = np.zeros(SETTINGS["factors"])
        for item in range(8):
            u += history[user, item] / history[user].sum() ** 0.75 * vectors[item]
        for item in range(8):
            wanted = u @ vectors[item] + biases[item, 0]
            np.testing.assert_allclose(model.score(np.array([user]))[0, item], wanted, rtol=1e-3, atol=1e-4)
    assert min(np.abs(part).max() for part in (vectors, biases)) > 0.01


def test_the_withheld_item_comes_first():
    best = TwoTower(**SETTINGS).fit(two_tastes()).recommend(k=2)
    np.testing.assert_array_equal(best.ids[:, 0], np.arange(12))


def test_a_new_user_needs_only_a_history():
    model = TwoTower(**SETTINGS).fit(two_tastes())
    np.testing.assert_allclose(model.fold_in(model.matrix_), model.score(), rtol=1e-5, atol=1e-6)
    odd = np.zeros((1, 12), np.float32)
    odd[0, [1, 5]] = 1
    assert set(np.argsort(-model.fold_in(csr_array(odd))[0])[:6]) == {1, 3, 5, 7, 9, 11}
    with pytest.raises(ValueError, match="one column for each of 12 items"):
        model.fold_in(csr_array((1, 11)))


def test_reasons_add_up(fitted):
    table = fitted.explain(4, 3)
    np.testing.assert_allclose(table["contribution"].sum(), fitted.score(np.array([4]))[0, 3], rtol=1e-4)
    assert set(table["item"]) == {-1, 0, 2, 6, 8, 10}


def test_similar_items_share_their_taste(fitted):
    similar = fitted.similar(np.array([0, 1]), 5).ids
    np.testing.assert_array_equal(np.sort(similar), [[2, 4, 6, 8, 10], [3, 5, 7, 9, 11]])


def test_seeds_decide():
    args = {**SETTINGS, "epochs": 2}
    one, same, other = (TwoTower(**args, seed=n).fit(two_tastes()).item_factors_ for n in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


def test_stored_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = TwoTower.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(), fitted.score())
    np.testing.assert_array_equal(loaded.fold_in(fitted.matrix_), fitted.fold_in(fitted.matrix_))
    pd.testing.assert_frame_equal(loaded.explain(4, 3), fitted.explain(4, 3))


def test_a_step_stays_on_its_device():
    model = TwoTower(factors=4)
    with FakeTensorMode():

        def on_meta(*shape, dtype=torch.float32):
            return torch.empty(shape, dtype=dtype, device="meta")

        parts = [on_meta(*shape).requires_grad_() for shape in ((9, 4), (9, 1))]
        places = [on_meta(n, dtype=torch.int64) for n in (20, 3, 6)]
        shown = Histories(places[0], places[1], on_meta(20))
        loss = model._loss(*parts, shown, places[2], on_meta(9))
        loss.backward()
        assert loss.device.type == "meta"
        assert {part.grad.device.type for part in parts} == {"meta"}


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["factors", "epochs", "positives", "batch_users"], "whole number of at least 1"),
        (["learning_rate"], "number above 0"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, np.nan])
def test_settings_that_mean_nothing(names, what, value):
    for name in names:
        with pytest.raises(ValueError, match=f"{name} must be a {what}"):
            TwoTower(**{name: value})


def test_more_that_means_nothing():
    with pytest.raises(ValueError, match="weight_decay must be"):
        TwoTower(weight_decay=-0.1)
