"""Pairs of household and product, and the purchases that describe a household."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.text import purchase_pairs, related_purchases

MAY = pd.Timestamp("2017-05-01")


@pytest.fixture
def events() -> pd.DataFrame:
    """40 households, 300 products of falling popularity, five months; household 39 appears in May only."""
    rng = np.random.default_rng(3)
    popularity = 1 / np.arange(1, 301)
    frame = pd.DataFrame(
        {
            "user": rng.integers(39, size=4_000),
            "item": rng.choice(300, size=4_000, p=popularity / popularity.sum()),
            "time": pd.Timestamp("2017-01-01")
            + pd.to_timedelta(rng.integers(150 * 24, size=4_000), unit="h"),
        }
    )
    late = pd.DataFrame({"user": [39], "item": [0], "time": [pd.Timestamp("2017-05-03")]})
    return pd.concat([frame, late], ignore_index=True)


def bought_in_may(events: pd.DataFrame) -> set[tuple[int, int]]:
    inside = events[(events["time"] >= MAY) & (events["time"] < pd.Timestamp("2017-06-01"))]
    return set(zip(inside["user"], inside["item"], strict=True))


@pytest.mark.parametrize("negatives", ["popularity", "uniform"])
def test_labels_say_what_was_bought(events, negatives) -> None:
    pairs = purchase_pairs(events, MAY, 300, np.random.default_rng(0), negatives=negatives)
    bought = bought_in_may(events)
    assert len(pairs) == 300
    for user, item, label in pairs.itertuples(index=False):
        assert ((user, item) in bought) == bool(label)
    assert (pairs["user"].to_numpy()[::2] == pairs["user"].to_numpy()[1::2]).all()
    assert pairs["label"].tolist() == [1, 0] * 150
    assert 39 not in set(pairs["user"])  # nothing is known of it before May


def test_a_household_that_bought_everything_has_no_negatives() -> None:
    days = pd.to_datetime(["2017-04-01", "2017-05-03", "2017-05-04"])
    events = pd.DataFrame({"user": [7, 7, 7], "item": [0, 1, 0], "time": days})
    with pytest.raises(ValueError, match="user 7 bought every product of the month from 2017-05-01"):
        purchase_pairs(events, MAY, 2, np.random.default_rng(0))


def test_positive_pairs_are_drawn_once(events) -> None:
    pairs = purchase_pairs(events, MAY, 100_000, np.random.default_rng(0))
    positive = pairs[pairs["label"] == 1]
    known = {pair for pair in bought_in_may(events) if pair[0] != 39}
    assert set(zip(positive["user"], positive["item"], strict=True)) == known
    assert len(positive) == len(known)


def test_negatives_by_popularity_look_like_positives(events) -> None:
    def popularity_of_negatives(negatives: str) -> tuple[float, float]:
        pairs = purchase_pairs(events, MAY, 100_000, np.random.default_rng(0), negatives=negatives)
        by_label = pairs.groupby("label")["item"].mean()  # popular products have low numbers
        return by_label[0], by_label[1]

    by_popularity, positive = popularity_of_negatives("popularity")
    uniform, _ = popularity_of_negatives("uniform")
    assert abs(by_popularity - positive) < 0.5 * abs(uniform - positive)


def test_the_same_seed_draws_the_same_pairs(events) -> None:
    first, again = (purchase_pairs(events, MAY, 50, np.random.default_rng(1)) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    other = purchase_pairs(events, MAY, 50, np.random.default_rng(2))
    assert not first.equals(other)


def test_pairs_of_nonsense_are_refused(events) -> None:
    with pytest.raises(ValueError, match="no household bought anything"):
        purchase_pairs(events, "2019-01-01", 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="negatives one of"):
        purchase_pairs(events, MAY, 10, np.random.default_rng(0), negatives="hard")
    with pytest.raises(ValueError, match="no column 'time'"):
        purchase_pairs(events.drop(columns="time"), MAY, 10, np.random.default_rng(0))


NAMES = ["milk", "milk", "cheese", "soap", "shampoo"]
VECTORS = np.array([[1, 0], [1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]])


@pytest.fixture
def diary() -> pd.DataFrame:
    rows = [
        (0, 0, "2017-04-01"), (0, 1, "2017-04-02"), (0, 3, "2017-04-03"), (0, 2, "2017-04-30 23:59"),
        (0, 4, "2017-05-01"), (0, 4, "2016-01-01"), (1, 3, "2017-04-09"),
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["user", "item", "time"])
    return frame.assign(time=pd.to_datetime(frame["time"], format="mixed"))


def test_related_purchases_by_hand(diary, monkeypatch) -> None:
    monkeypatch.setattr("recsys_lib.text.examples.RECENT", 2)
    pairs = pd.DataFrame({"user": [0, 0, 1, 7], "item": [2, 3, 0, 0]})
    texts = related_purchases(diary, pairs, MAY, NAMES, VECTORS)
    # Two bottles of milk of different brands are one kind; of 1 May and of last year nothing is known.
    assert texts == ["cheese once; milk 2 times", "soap once; cheese once", "soap once", "no purchases yet"]


def test_related_purchases_do_not_see_the_future(events) -> None:
    names = [f"item{i}" for i in range(300)]
    vectors = np.random.default_rng(0).normal(size=(300, 4))
    pairs = purchase_pairs(events, MAY, 60, np.random.default_rng(0))
    texts = related_purchases(events, pairs, MAY, names, vectors)
    blind = related_purchases(events[events["time"] < MAY], pairs, MAY, names, vectors)
    assert texts == blind
    assert texts != related_purchases(events, pairs, "2017-03-01", names, vectors)


def test_related_purchases_refuse_what_they_cannot_name(diary) -> None:
    pairs = pd.DataFrame({"user": [0], "item": [0]})
    with pytest.raises(ValueError, match="5 items need a name and a vector each, got 4 and 4"):
        related_purchases(diary, pairs, MAY, NAMES[:4], VECTORS[:4])
