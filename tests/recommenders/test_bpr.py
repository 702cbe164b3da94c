"""BPR: its gradients against autograd, its draws against the histories, its answers on small data."""

import numpy as np
import pytest
import torch
from builders import as_interactions, two_tastes
from torch._subclasses.fake_tensor import FakeTensorMode

from recsys_lib.recommenders import bpr
from recsys_lib.recommenders.bpr import (
    BPR,
    Triples,
    batches,
    bpr_gradients,
    draw_triples,
    hardest,
    pair_lookup,
    sample_by_weight,
    step,
)

SETTINGS = {"factors": 6, "progress": False}
HOST = torch.device("cpu")


def tensors(n=7, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, width)] * 3 + [(n,)] * 2
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("regularization", [0.0, 0.3])
def test_gradients_are_those_of_autograd(regularization):
    parts = [part.requires_grad_() for part in tensors()]
    weight = torch.tensor([1.0, 1, 0, 1, 2, 1, 1], dtype=torch.float64)
    p, q_i, q_j, b_i, b_j = parts
    x = (p * q_i).sum(1) + b_i - (p * q_j).sum(1) - b_j
    loss = -(weight * torch.log(torch.sigmoid(x))).sum()
    loss = loss + regularization / 2 * sum((part**2).sum() for part in parts)
    wanted = torch.autograd.grad(loss, parts)
    found = bpr_gradients(*(part.detach() for part in parts), weight, regularization)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
        assert other.abs().max() > 0.1


def test_a_step_adds_up_the_gradients_of_repeated_rows():
    generator = torch.Generator().manual_seed(0)
    shapes = (5, 3), (6, 3), (6,)
    parts = [torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    users, i, j = torch.tensor([0, 1, 1, 4]), torch.tensor([2, 2, 3, 0]), torch.tensor([[5], [3], [5], [2]])
    ok = torch.tensor([[True], [True], [False], [True]])
    p, q, b = parts
    x = (p[users] * (q[i] - q[j[:, 0]])).sum(1) + b[i] - b[j[:, 0]]
    touched = (p[users], q[i], q[j[:, 0]], b[i], b[j[:, 0]])
    loss = -(ok[:, 0] * torch.nn.functional.logsigmoid(x)).sum()
    wanted = torch.autograd.grad(loss + 0.05 * sum((part**2).sum() for part in touched), parts)
    copies = [part.detach().clone() for part in parts]
    step(*copies, Triples(users, i, j, ok), 0.1)
    for copy, gradient in zip(copies, wanted, strict=True):
        torch.testing.assert_close(copy.grad, gradient)


def test_the_hardest_unseen_candidate_is_taken():
    items, biases = torch.eye(4), torch.tensor([0.0, 0.0, 0.0, 5.0])
    p = torch.tensor([[1.0, 3.0, 2.0, 0.0]] * 3)
    candidates = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 1, 2]])
    unseen = torch.tensor([[True, False, True], [True, True, True], [False, False, False]])
    chosen, weight = hardest(p, items, biases, Triples(None, None, candidates, unseen))
    assert chosen[:2].tolist() == [2, 3]
    assert weight.tolist() == [1, 1, 0]


@pytest.mark.parametrize("table", [0, 2**28])  # looked up in a list of keys, and in a table of all pairs
def test_negatives_are_unseen_and_spread_evenly(table, monkeypatch):
    monkeypatch.setattr(bpr, "_TABLE", table)
    dense = np.random.default_rng(0).random((30, 20)) < 0.5
    dense[3] = True  # has everything
    train = as_interactions(dense)
    users, items = np.repeat(np.arange(30), dense.sum(1)), train.matrix.indices
    times = 60
    args = np.repeat(users, times), np.repeat(items, times), pair_lookup(train.matrix), 20, 2
    triples = draw_triples(*args, np.random.default_rng(1))
    u, j, unseen = (
        triples.users[:, None].expand(-1, 2).numpy(),
        triples.negatives.numpy(),
        triples.unseen.numpy(),
    )
    np.testing.assert_array_equal(unseen, ~dense[u, j])  # the flag says what is true
    assert unseen[u != 3].mean() > 0.9  # half would be without drawing anew
    assert not unseen[u == 3].any()
    drawn = np.bincount(j[unseen & (u == 0)], minlength=20)[~dense[0]]
    expected = drawn.sum() / len(drawn)
    assert (np.abs(drawn - expected) < 5 * np.sqrt(expected)).all()
    np.testing.assert_array_equal(triples.positives, args[1])


def test_draws_are_in_proportion_to_weights():
    weights = np.random.default_rng(0).random(500) ** 3
    generator = np.random.default_rng(1)
    counts = sum(np.bincount(sample_by_weight(weights, generator), minlength=500) for _ in range(200)) / 200
    np.testing.assert_allclose(counts, 500 * weights / weights.sum(), atol=0.15)
    assert counts.max() > 2
    np.testing.assert_array_equal(sample_by_weight(np.full(7, 0.3), generator), np.arange(7))
    assert len(sample_by_weight(weights, generator)) == 500


def test_batches_are_all_triples_once():
    n = 50
    triples = Triples(
        torch.arange(n), torch.arange(n), torch.arange(n)[:, None], torch.ones(n, 1, dtype=bool)
    )
    parts = list(batches(triples, 7, np.random.default_rng(0), HOST))
    assert len(parts) == 7
    together = torch.cat([part.users for part in parts])
    assert together.tolist() != list(range(n))
    assert sorted(together.tolist()) == list(range(n))
    for part in parts:
        assert torch.equal(part.users, part.negatives[:, 0])


@pytest.mark.parametrize("candidates", [1, 4])
def test_the_withheld_item_comes_first(candidates):
    best = BPR(candidates=candidates, **SETTINGS).fit(two_tastes()).recommend(k=2)
    np.testing.assert_array_equal(best.ids[:, 0], np.arange(12))


def test_training_lowers_the_loss():
    """The area under the ROC curve, which the loss stands for, rises from chance."""
    train = two_tastes()
    seen = train.matrix.toarray() > 0

    def area(model):
        scores = model.score()
        return np.mean([(s[o][:, None] > s[~o][None]).mean() for s, o in zip(scores, seen, strict=True)])

    few, many = (area(BPR(epochs=n, learning_rate=0.01, **SETTINGS).fit(train)) for n in (1, 30))
    assert few < 0.8
    assert many > 0.85  # the withheld items are counted as misses: 1 is out of reach


def test_popular_items_get_a_bias():
    dense = np.zeros((40, 8), np.float32)
    dense[:, 0], dense[np.arange(40), 1 + np.arange(40) % 7] = 1, 1
    biases = BPR(epochs=10, **SETTINGS).fit(as_interactions(dense)).item_biases_
    assert biases[0] > biases[1:].max() + 0.1


def test_weights_say_how_often_a_pair_counts():
    """Everybody bought item 0 once and item 1 nine times: counted, item 1 comes first."""
    dense = np.zeros((30, 6), np.float32)
    dense[:, 0], dense[:, 1] = 1, 9
    model = BPR(weighting="count", **SETTINGS).fit(as_interactions(dense))
    assert (model.score()[:, 1] > model.score()[:, 0] + 0.05).all()


def test_seeds_decide():
    one, same, other = (BPR(seed=seed, **SETTINGS).fit(two_tastes()).user_factors_ for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1e-3)


def test_stored_and_loaded(tmp_path):
    model = BPR(**SETTINGS).fit(two_tastes())
    model.save(tmp_path)
    loaded = BPR.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(), model.score())
    assert torch.equal(loaded.item_biases_, model.item_biases_)


def test_similar_items_share_their_taste():
    similar = BPR(**SETTINGS, epochs=30).fit(two_tastes()).similar(np.array([0, 1]), 5).ids
    assert (similar[0] % 2 == 0).all()
    assert (similar[1] % 2 == 1).all()


def test_a_step_stays_on_its_device():
    with FakeTensorMode():
        floats = [torch.empty(shape, device="meta") for shape in ((5, 3), (6, 3), (6,))]
        rows = [torch.empty(shape, dtype=torch.int64, device="meta") for shape in ((4,), (4,), (4, 2))]
        step(*floats, Triples(*rows, torch.empty((4, 2), dtype=torch.bool, device="meta")), 0.1)
        for part in floats:
            assert part.grad.device.type == "meta"
            assert part.grad.shape == part.shape


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["factors", "epochs", "candidates", "batch_size"], "whole number of at least 1"),
        (["learning_rate"], "number above 0"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, np.nan])
def test_settings_that_mean_nothing(names, what, value):
    for name in names:
        with pytest.raises(ValueError, match=f"{name} must be a {what}"):
            BPR(**{name: value})


def test_more_that_means_nothing():
    with pytest.raises(ValueError, match="regularization must be a finite number of at least 0"):
        BPR(regularization=-0.1)
    with pytest.raises(ValueError, match="weighting must be one of"):
        BPR(weighting="often")
