"""Hybrid: its weights against data whose better part is known, its scores against the sum by hand."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from builders import DAY, timed_interactions
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.hybrid import Hybrid, choose_weights
from recsys_lib.recommenders.parts import standardize
from recsys_lib.recommenders.popularity import PersonalFrequency, Popularity, Trending
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.holdout import hold_out_last, hold_out_random

N_USERS, N_ITEMS = 40, 30


@dataclass(kw_only=True, eq=False)
class Noise(Recommender):
    """Scores drawn at random: a part that deserves no weight."""

    seed: int = 0
    _stored: ClassVar[tuple[str, ...]] = ("noise_",)

    def _fit(self, train):
        self.noise_ = np.random.default_rng(self.seed).random(train.matrix.shape).astype(np.float32)

    def _score(self, users):
        return self.noise_[users]


def habits(seed=0, days=120):
    """Everybody buys his own three items again and again, and now and then what is in fashion that month."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        own = rng.choice(N_ITEMS, 3, replace=False)
        for day in np.flatnonzero(rng.random(days) < 0.3):
            fashion = (day // 30 * 7 + rng.integers(4)) % N_ITEMS
            item = own[rng.integers(3)] if rng.random() < 0.7 else fashion
            rows.append((user, item, day * DAY + rng.integers(DAY)))
    return timed_interactions(rows, N_USERS, N_ITEMS)


def test_the_better_part_gets_the_weight():
    model = Hybrid(parts=[Noise(), PersonalFrequency(), Noise(seed=1)]).fit(habits())
    assert model.weights_[1] > 0.6
    assert model.weights_.sum() == pytest.approx(1)
    alone, blend = model.held_out_ndcg_[:-1], model.held_out_ndcg_[-1]
    assert alone[1] > alone[[0, 2]].max() + 0.2
    assert blend >= alone.max()


def test_two_halves_of_the_truth_are_better_together():
    """One part knows the even items that are relevant, the other the odd ones."""
    rng = np.random.default_rng(1)
    relevant = rng.random((60, 40)) < 0.1
    noise = rng.random((2, 60, 40)).astype(np.float32)
    even = np.arange(40) % 2 == 0
    scores = np.stack([noise[0] + relevant * even, noise[1] + relevant * ~even]).astype(np.float32)
    ids = np.tile(np.arange(40), (60, 1))
    weights, ndcg = choose_weights(ids, scores, csr_array(relevant.astype(np.float32)))
    assert ndcg[2] > ndcg[:2].max() + 0.05
    assert 0.3 < weights[0] < 0.7


def test_search_finds_what_a_fine_grid_finds():
    rng = np.random.default_rng(2)
    relevant = rng.random((80, 50)) < 0.1
    scores = np.stack([relevant * size + rng.standard_normal((80, 50)) for size in (1.0, 2.0)])
    ids, relevant = np.tile(np.arange(50), (80, 1)), csr_array(relevant.astype(np.float32))
    _, ndcg = choose_weights(ids, scores.astype(np.float32), relevant)
    grid = []
    for share in np.linspace(0, 1, 101):
        order = np.argsort(-(share * scores[0] + (1 - share) * scores[1]), axis=1)[:, :10]
        grid.append(brute_force_ndcg(order, relevant.toarray()))
    assert ndcg[2] == pytest.approx(max(grid), abs=0.005)
    assert max(grid) > max(grid[0], grid[-1]) + 0.01  # or the best part alone would do


def brute_force_ndcg(lists, relevant):
    gains = []
    for items, row in zip(lists, relevant, strict=True):
        if row.any():
            ideal = sum(1 / np.log2(rank + 2) for rank in range(min(10, int((row > 0).sum()))))
            gains.append(sum(1 / np.log2(rank + 2) for rank, i in enumerate(items) if row[i]) / ideal)
    return np.mean(gains)


def test_score_is_the_weighted_sum_by_hand():
    train = habits()
    model = Hybrid(
        parts=[PersonalFrequency(half_life=30.0), EASE(regularization=5.0), Trending(half_life=7.0)]
    ).fit(train)
    model.weights_ = np.array([0.5, 0.3, 0.2])
    expected = np.zeros((N_USERS, N_ITEMS))
    for weight, part in zip(
        model.weights_,
        (PersonalFrequency(half_life=30.0), EASE(regularization=5.0), Trending(half_life=7.0)),
        strict=True,
    ):
        scores = part.fit(train).score().astype(float)
        for user in range(N_USERS):
            row = scores[user]
            expected[user] += weight * (row - row.mean()) / row.std()
    np.testing.assert_allclose(model.score(), expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected) > 1


def test_repeat_and_discovery_want_different_weights():
    parts = [PersonalFrequency(prior=1e-9), Trending(half_life=7.0)]
    everything, new = (Hybrid(parts=parts, task=task).fit(habits()) for task in ("all", "discovery"))
    assert everything.weights_[0] > 0.5
    assert new.weights_[1] > 0.5
    assert new.held_out_ndcg_[1] > new.held_out_ndcg_[0]


def test_weights_do_not_depend_on_what_follows_train():
    """The fit holds out the last month of what it is given; a later month is not looked at."""
    train = habits(days=150)
    before = hold_out_last(train, 30).train
    one = Hybrid(parts=[PersonalFrequency(), Trending()]).fit(before)
    other = habits(seed=0, days=150)
    other.events.loc[other.events["time"] > before.events["time"].max(), "item"] = 0
    two = Hybrid(parts=[PersonalFrequency(), Trending()]).fit(hold_out_last(other, 30).train)
    np.testing.assert_array_equal(one.weights_, two.weights_)
    np.testing.assert_array_equal(one.held_out_ndcg_, two.held_out_ndcg_)


def test_parts_are_judged_without_the_future():
    """The model that is fitted while weights are chosen sees nothing of the held-out days."""
    newest = []

    @dataclass(kw_only=True, eq=False)
    class Spy(PersonalFrequency):
        def _fit(self, train):
            newest.append(train.events["time"].max())
            super()._fit(train)

    train = habits()
    Hybrid(parts=[Spy()], days=20.0).fit(train)
    assert newest[0] <= train.events["time"].max() - 20 * DAY
    assert newest[1] == train.events["time"].max()


def test_hold_out_last():
    train = habits()
    before, after = hold_out_last(train, 30)
    cut = train.events["time"].max() - 30 * DAY
    assert before.events["time"].max() <= cut < after.events["time"].min()
    assert after.events["time"].min() - cut < DAY
    np.testing.assert_array_equal((before.matrix + after.matrix).toarray(), train.matrix.toarray())


def test_hold_out_random_keeps_pairs_whole():
    train = habits()
    kept, held_out = hold_out_random(train, 0.25, seed=0)
    np.testing.assert_array_equal((kept.matrix + held_out.matrix).toarray(), train.matrix.toarray())
    assert not kept.matrix.multiply(held_out.matrix).nnz
    assert len(kept.events) + len(held_out.events) == len(train.events)
    per_item = np.bincount(train.matrix.indices, minlength=N_ITEMS)
    expected = per_item - np.round(0.75 * per_item)
    np.testing.assert_array_equal(np.bincount(held_out.matrix.indices, minlength=N_ITEMS), expected)
    assert kept.matrix.nnz != hold_out_random(train, 0.25, seed=1).train.matrix.nnz or (
        (kept.matrix != hold_out_random(train, 0.25, seed=1).train.matrix).nnz > 0
    )


def test_validation_decides_instead_of_train():
    train, later = hold_out_last(habits(), 30)
    model = Hybrid(parts=[PersonalFrequency(), Noise()]).fit(train, validation=later)
    assert model.matrix_ is train.matrix
    assert model.weights_[0] > 0.6
    nonsense = Interactions(csr_array(Noise().fit(train).noise_ > 0.97, dtype=np.float32), *ids(train))
    assert Hybrid(parts=[PersonalFrequency(), Noise()]).fit(train, validation=nonsense).weights_[1] > 0.5


def test_weights_chosen_again_are_those_of_a_fit_with_that_validation():
    train, later = hold_out_last(habits(), 30)
    nonsense = Interactions(csr_array(Noise().fit(train).noise_ > 0.97, dtype=np.float32), *ids(train))
    model = Hybrid(parts=[PersonalFrequency(), Noise()]).fit(train, validation=later)
    before, again = model.weights_.copy(), model.choose_again(nonsense)
    fresh = Hybrid(parts=[PersonalFrequency(), Noise()]).fit(train, validation=nonsense)
    np.testing.assert_array_equal(again.weights_, fresh.weights_)
    np.testing.assert_array_equal(again.held_out_ndcg_, fresh.held_out_ndcg_)
    np.testing.assert_array_equal(model.weights_, before)
    assert again.parts_ is model.parts_
    others = Interactions(nonsense.matrix, train.users[::-1], train.items)
    for wrong, message in ((others, "users and items of train, in the same order"), (None, "NoneType")):
        with pytest.raises(ValueError, match=message):
            model.choose_again(wrong)


def ids(train):
    return train.users, train.items


def test_explanation_adds_up():
    model = Hybrid(parts=[PersonalFrequency(), EASE(regularization=5.0), Trending()]).fit(habits())
    reasons = model.explain(3, 4)
    by_part = {
        type(part).__name__: weight * standardize(part.score(np.array([3])))[0, 4]
        for weight, part in zip(model.weights_, model.parts_, strict=True)
    }
    assert reasons.set_index("part")["contribution"].to_dict() == pytest.approx(by_part)
    assert set(by_part) == {"PersonalFrequency", "EASE", "Trending"}
    assert reasons["contribution"].sum() == pytest.approx(model.score()[3, 4], rel=1e-5)
    assert reasons["contribution"].abs().max() > 0.01


@pytest.mark.parametrize("task", ["all", "discovery"])
def test_saved_and_loaded(tmp_path, task):
    model = Hybrid(
        parts=[PersonalFrequency(half_life=30.0), EASE(regularization=5.0)], task=task, days=25.0
    ).fit(habits())
    model.save(tmp_path / "model")
    loaded = Hybrid.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score(), model.score())
    np.testing.assert_array_equal(loaded.weights_, model.weights_)
    assert (loaded.task, loaded.days) == (task, 25.0)
    assert [type(part) for part in loaded.parts] == [PersonalFrequency, EASE]
    assert loaded.parts[0].half_life == 30.0
    again = loaded.fit(habits(seed=1))  # parts given back are unfitted models with their settings
    np.testing.assert_array_equal(
        again.score(), Hybrid(parts=model.parts, task=task, days=25.0).fit(habits(1)).score()
    )


def test_given_parts_stay_unfitted():
    part = PersonalFrequency()
    Hybrid(parts=[part]).fit(habits())
    assert not hasattr(part, "matrix_")


def test_too_little_to_hold_out_gives_equal_weights():
    train = timed_interactions([(0, 1, 0), (1, 2, 5)], N_USERS, N_ITEMS)
    model = Hybrid(parts=[PersonalFrequency(), Trending()]).fit(train)
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5])
    assert np.isnan(model.held_out_ndcg_).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": []}, "at least one recommender"),
        ({"parts": Popularity()}, "must be a sequence"),
        ({"parts": [Popularity(), "EASE"]}, r"parts\[1\] must be a recommender, got str"),
        ({"parts": [Hybrid(parts=[Popularity()])]}, "made of parts itself"),
        ({"task": "repeat"}, "task must be one of"),
        ({"holdout": "future"}, "holdout must be one of"),
        ({"days": 0}, "days must be a number above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Hybrid(**{"parts": [Popularity()], **settings})


def test_bad_data():
    train = habits()
    timeless = Interactions(train.matrix, train.users, train.items)
    with pytest.raises(ValueError, match="need the times of events"):
        Hybrid(parts=[Popularity()]).fit(timeless)
    assert Hybrid(parts=[Popularity()], holdout="random").fit(timeless).weights_.tolist() == [1.0]
    other = Interactions(train.matrix, train.users + 1, train.items)
    with pytest.raises(ValueError, match="users and items of train"):
        Hybrid(parts=[Popularity()]).fit(train, validation=other)
    with pytest.raises(ValueError, match="not fitted"):
        Hybrid(parts=[Popularity()]).recommend()
