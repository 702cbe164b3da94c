"""SASRec against loops: attention, masks, gradients, windows and the sampled softmax."""

import numpy as np
import pandas as pd
import pytest
import torch

from recsys_lib.data import Interactions
from recsys_lib.recommenders.sequence import SASRec, SequenceReader, padded, sampled_loss, windows

N_ITEMS, PLACES = 7, 5


def reader(layers=1, heads=2, dropout=0.0):
    torch.manual_seed(3)
    return SequenceReader(N_ITEMS, 8, PLACES, layers, heads, dropout).double().eval()


def by_loop(model, sequence):
    """The states of one layer, place by place and head by head."""
    block, width = model.blocks[0], model.items.embedding_dim // model.blocks[0].heads
    x = [model.items.weight[item] + model.places.weight[place] for place, item in enumerate(sequence)]
    parts = [block.projections(block.before(vector)).view(3, block.heads, width) for vector in x]
    states = []
    for place in range(len(x)):
        seen = [other for other in range(place + 1) if sequence[other] < N_ITEMS or other == place]
        heads = []
        for head in range(block.heads):
            scores = [parts[place][0, head] @ parts[other][1, head] / width**0.5 for other in seen]
            shares = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
            heads.append(sum(s * parts[other][2, head] for s, other in zip(shares, seen, strict=True)))
        vector = x[place] + block.out(torch.cat(heads))
        states.append(model.last(vector + block.network(block.between(vector))))
    return torch.stack(states)


@pytest.mark.parametrize("sequence", [[0, 3, 3, 6, 1], [7, 7, 2, 0, 5]])
def test_states_are_those_of_the_loop_and_so_are_the_gradients(sequence):
    model = reader()
    rows = torch.tensor([sequence])
    expected = by_loop(model, sequence)
    torch.testing.assert_close(model(rows)[0], expected)
    weights = list(model.parameters())
    direction = torch.randn(PLACES, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad((model(rows)[0] * direction).sum(), weights)
    theirs = torch.autograd.grad((expected * direction).sum(), weights)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_state_never_depends_on_later_places_nor_on_padding():
    model = reader(layers=3)
    before = model(torch.tensor([[7, 2, 0, 5, 1]]))
    later = model(torch.tensor([[7, 2, 0, 6, 4]]))
    torch.testing.assert_close(before[:, :3], later[:, :3])
    assert not torch.allclose(before[:, 3], later[:, 3])
    with torch.no_grad():
        model.items.weight[N_ITEMS] += 100
    torch.testing.assert_close(model(torch.tensor([[7, 2, 0, 5, 1]]))[:, 1:], before[:, 1:])


def test_gradients_agree_with_finite_differences():
    model = reader()
    rows, targets = torch.tensor([[7, 2, 0, 5, 1]]), torch.tensor([0, 5, 1, 3])
    drawn, log_q = torch.tensor([6, 6, 2, 0]), torch.full((N_ITEMS,), 1 / N_ITEMS).log().double()

    def loss():
        return sampled_loss(model(rows)[0, 1:], targets, model.items.weight[:-1], drawn, log_q)

    model.zero_grad()
    loss().backward()
    for weight in (model.items.weight, model.places.weight, model.blocks[0].projections.weight):
        flat, found = weight.data.view(-1), weight.grad.view(-1)
        for place in range(0, len(flat), 17):
            flat[place] += 1e-5
            up = loss().item()
            flat[place] -= 2e-5
            slope = (up - loss().item()) / 2e-5
            flat[place] += 1e-5
            assert found[place].item() == pytest.approx(slope, abs=1e-7)


def test_the_sampled_softmax_aims_at_the_whole_one():
    generator = torch.Generator().manual_seed(0)
    states, vectors = (torch.randn(n, 4, generator=generator) for n in (3, 9))
    chance = torch.arange(1, 10) / 45
    targets, log_q = torch.tensor([0, 4, 8]), chance.log()
    exact = torch.nn.functional.cross_entropy(states @ vectors.T, targets)
    drawn = torch.multinomial(chance, 200_000, replacement=True, generator=generator)
    assert sampled_loss(states, targets, vectors, drawn, log_q).item() == pytest.approx(
        exact.item(), abs=0.01
    )
    uncorrected = sampled_loss(states, targets, vectors, drawn, torch.zeros(9) - np.log(9))
    assert abs(uncorrected.item() - exact.item()) > 0.05


def test_windows_ask_for_every_place_but_the_first_once():
    sizes = np.array([0, 1, 2, 3, 9, 17])
    stops = np.cumsum(sizes)
    starts = stops - sizes
    for seed in range(20):
        first, end = windows(starts, stops, 4, np.random.default_rng(seed))
        assert ((end - first >= 2) & (end - first <= 5)).all()
        asked = np.concatenate([np.arange(a + 1, b) for a, b in zip(first, end, strict=True)])
        wanted = np.concatenate([np.arange(a + 1, b) for a, b in zip(starts, stops, strict=True)])
        assert sorted(asked) == wanted.tolist()


def test_rows_end_with_the_newest_item():
    items = np.arange(10, 16)
    found = padded(items, np.array([0, 2, 6]), np.array([2, 6, 6]), 3, 99)
    assert found.tolist() == [[99, 10, 11], [13, 14, 15], [99, 99, 99]]


def chain(n_users=60, length=8):
    """Everybody walks round a circle of 12 items, from a start of his own."""
    users, steps = np.repeat(np.arange(n_users), length), np.tile(np.arange(length), n_users)
    frame = pd.DataFrame({"user": users, "item": (users * 5 + steps) % 12, "time": 10**9 + steps * 60})
    return Interactions.from_frame(frame, "user", "item", time="time")


def test_the_next_step_of_a_walk_is_found_and_its_seed_decides():
    train = chain()
    model = SASRec(factors=16, length=8, epochs=60, negatives=64).fit(train)
    last = (np.arange(60) * 5 + 7) % 12
    assert (model.recommend(k=1).ids[:, 0] == (last + 1) % 12).mean() > 0.95
    again = SASRec(factors=16, length=8, epochs=2).fit(train).score()
    np.testing.assert_array_equal(again, SASRec(factors=16, length=8, epochs=2).fit(train).score())
    assert not np.allclose(again, SASRec(factors=16, length=8, epochs=2, seed=1).fit(train).score())


def test_fitting_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    SASRec(factors=8, epochs=1).fit(chain())
    torch.testing.assert_close(torch.rand(3), expected)


def test_histories_of_one_item_are_read():
    frame = pd.DataFrame({"user": [1, 2, 2], "item": [5, 5, 6], "time": [10**9, 10**9, 10**9 + 1]})
    train = Interactions.from_frame(frame, "user", "item", time="time")
    assert np.isfinite(SASRec(factors=4, epochs=1).fit(train).score()).all()
    assert np.isfinite(
        SASRec(factors=4, epochs=1)
        .fit(Interactions.from_frame(frame[:1], "user", "item", time="time"))
        .score()
    ).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="factors must be a multiple of heads, got 9 and 2"):
        SASRec(factors=9)
    frame = pd.DataFrame({"user": [1, 2], "item": [5, 6]})
    with pytest.raises(ValueError, match="needs the times of events"):
        SASRec().fit(Interactions.from_frame(frame, "user", "item"))
