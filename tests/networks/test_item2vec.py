"""Skip-gram's written-out gradients equal torch's; the pairs are the right ones; known groups are found."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recsys_lib.networks import item2vec as module
from recsys_lib.networks.item2vec import item2vec, partners, skip_gram_gradients


def test_gradients_equal_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    v, c, drawn = (
        torch.randn(n, 5, generator=generator, dtype=torch.float64).requires_grad_() for n in (7, 7, 4)
    )
    expected = -F.logsigmoid((v * c).sum(1)).sum() - 3 * F.logsigmoid(-(v @ drawn.T)).mean(1).sum()
    gradients = torch.autograd.grad(expected, (v, c, drawn))
    loss, *ours = skip_gram_gradients(v.detach(), c.detach(), drawn.detach(), 3)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
    for mine, other in zip(ours, gradients, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_gradients_stay_finite_where_the_sigmoid_saturates() -> None:
    big = torch.full((2, 3), 30.0)
    loss, *gradients = skip_gram_gradients(big, -big, big, 5)
    assert torch.isfinite(loss)
    assert loss > 1000
    assert all(torch.isfinite(g).all() for g in gradients)


def test_a_partner_is_any_other_line_of_the_same_basket() -> None:
    sizes = np.array([2, 5, 3])
    first = torch.tensor(np.repeat(np.cumsum(sizes) - sizes, sizes))
    size = torch.tensor(np.repeat(sizes, sizes))
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([partners(first, size, generator) for _ in range(4000)]).numpy()
    counts = np.stack([np.bincount(column, minlength=10) for column in drawn.T])
    allowed = (first[:, None] == first[None, :]).numpy() & ~np.eye(10, dtype=bool)
    assert ((counts > 0) == allowed).all()
    expected = allowed / allowed.sum(axis=1, keepdims=True)
    assert np.abs(counts / 4000 - expected).max() < 0.05


def shelves() -> tuple[np.ndarray, np.ndarray]:
    """Baskets of four items from one of five groups of twelve; the group is the item's number // 12."""
    generator = np.random.default_rng(0)
    items = np.concatenate([generator.choice(12, 4, replace=False) + 12 * (i % 5) for i in range(3000)])
    return np.repeat(np.arange(3000), 4), items


def same_group(vectors: np.ndarray) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    return float((nearest // 12 == np.arange(60)[:, None] // 12).mean())


def test_items_bought_together_become_neighbours() -> None:
    baskets, items = shelves()
    found = item2vec(baskets, items, 60, width=8, epochs=5, batch_size=64)
    assert found.item.shape == found.context.shape == (60, 8)
    assert found.item.dtype == np.float32
    assert found.losses[-1] < 0.8 * found.losses[0]
    assert same_group(found.item + found.context) > 0.95 > 0.3 > 11 / 59


def test_shuffled_baskets_teach_nothing() -> None:
    baskets, items = shelves()
    found = item2vec(
        baskets, np.random.default_rng(1).permutation(items), 60, width=8, epochs=5, batch_size=64
    )
    assert same_group(found.item + found.context) < 0.35


def test_the_order_of_lines_does_not_matter_for_who_is_together() -> None:
    baskets, items = shelves()
    order = np.random.default_rng(2).permutation(len(items))
    found = item2vec(baskets[order] * 7 + 3, items[order], 60, width=8, epochs=5, batch_size=64)
    assert same_group(found.item + found.context) > 0.95


def test_the_same_seed_gives_the_same_vectors_and_touches_no_global_state() -> None:
    baskets, items = (array[:400] for array in shelves())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (item2vec(baskets, items, 60, epochs=1, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(first.item, again.item)
    assert first.losses == again.losses
    assert not np.allclose(first.item, other.item)


def test_the_rate_falls_to_zero_and_negatives_come_by_the_power_of_counts(monkeypatch) -> None:
    seen = []

    def epoch(*given) -> float:
        seen.append(given)
        return 0.0

    monkeypatch.setattr(module, "_epoch", epoch)
    item2vec(np.repeat(np.arange(8), 2), np.array([0, 1] * 7 + [0, 2]), 4, epochs=2, batch_size=4, rate=0.8)
    (*_, noise, rates, _, _), (*_, later, _, _) = seen
    np.testing.assert_allclose(noise, np.array([8, 7, 1, 0]) ** 0.75, rtol=1e-6)
    np.testing.assert_allclose(rates, 0.8 * (1 - np.arange(8) / 8))
    assert later == rates[4:]


def test_lines_alone_in_their_basket_are_left_out() -> None:
    baskets, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 2, 3])
    vectors = item2vec(baskets, items, 4, epochs=1, rate=1.0, batch_size=2).item
    untouched = item2vec(baskets, items, 4, epochs=1, rate=1e-30, batch_size=2).item
    assert np.array_equal(vectors[3], untouched[3])
    assert not np.array_equal(vectors[1], untouched[1])


@pytest.mark.parametrize(
    ("baskets", "items", "settings", "message"),
    [
        ([0, 0], [0, 1, 1], {}, r"baskets \(2,\) and items \(3,\)"),
        ([0, 0], [0, 3], {}, r"items must lie in 0\.\.2, got 0\.\.3"),
        ([0, 0], [-1, 2], {}, r"items must lie in 0\.\.2, got -1\.\.2"),
        ([0, 1], [0, 1], {}, "no basket holds two lines"),
        ([], [], {}, "no basket holds two lines"),
        ([0, 0], [0.0, 1.5], {}, "of items a whole one"),
        ([0, 0], [0, 1], {"width": 0}, "must be positive"),
        ([0, 0], [0, 1], {"rate": 0}, "must be positive"),
    ],
)
def test_impossible_input_is_refused(baskets: list, items: list, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        item2vec(np.array(baskets, int), np.array(items, None if items else int), 3, **settings)


def test_the_number_of_threads_is_given_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        item2vec(np.array([0, 0]), np.array([0, 1]), 2, epochs=1)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
