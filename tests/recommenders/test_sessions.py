"""SessionEASE against loops, ridge regression's closed form and EASE; Trending against a loop."""

import numpy as np
import pytest
from builders import timed_interactions

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.popularity import Trending
from recsys_lib.recommenders.sessions import SessionEASE, TrendEASE, close_pairs

N_USERS, N_ITEMS = 30, 12


def sittings(seed=0):
    """Users take items in any order; times lie within an hour."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(
        (rng.random((N_USERS, N_ITEMS)) < 0.4) | (np.arange(N_USERS)[:, None] % N_ITEMS == np.arange(N_ITEMS))
    )
    rows = np.column_stack([users, items, rng.integers(0, 3600, len(users))])
    return timed_interactions(rows, N_USERS, N_ITEMS)


def gram_by_loops(train, share, scale):
    sums = np.zeros((N_ITEMS, N_ITEMS))
    for _, mine in train.events.groupby("user"):
        for one in mine.itertuples():
            for other in mine.itertuples():
                closeness = np.exp(-abs(one.time - other.time) / scale)
                sums[one.item, other.item] += 1 - share + share * closeness
    return sums


@pytest.mark.parametrize("scale", [300.0, 5.0])  # with 5 s the hour has pauses that are too long to count
def test_close_pairs_by_loops(scale):
    train = sittings()
    found = close_pairs(train, train.matrix, scale)
    np.testing.assert_allclose(found, gram_by_loops(train, 1, scale), atol=1e-15)


def weights_by_formula(train, share):
    inverse = np.linalg.inv(gram_by_loops(train, share, 300.0) + 3 * np.eye(N_ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_scores_by_the_formula(share):
    train = sittings()
    weights = weights_by_formula(train, share)
    model = SessionEASE(regularization=3.0, share=share, scale=300.0).fit(train)
    np.testing.assert_allclose(model.score(), train.matrix.toarray() @ weights, rtol=1e-4, atol=1e-5)
    assert np.abs(model.score() - EASE(regularization=3.0, weighting="binary").fit(train).score()).max() > 0.1


def test_similar_items_have_the_largest_weights():
    train = sittings()
    weights = weights_by_formula(train, 0.5)
    np.fill_diagonal(weights, -np.inf)
    best = SessionEASE(regularization=3.0).fit(train).similar(np.array([4, 7]), k=3)
    np.testing.assert_array_equal(best.ids, np.argsort(-weights[[4, 7]], axis=1)[:, :3])
    np.testing.assert_allclose(best.scores, -np.sort(-weights[[4, 7]], axis=1)[:, :3], rtol=1e-4)


def test_without_a_share_it_is_ease():
    train = sittings()
    np.testing.assert_allclose(
        SessionEASE(regularization=3.0, share=0.0).fit(train).score(),
        EASE(regularization=3.0, weighting="binary").fit(train).score(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_session_explanation_adds_up_and_model_is_stored(tmp_path):
    model = SessionEASE(regularization=3.0).fit(sittings())
    assert model.explain(2, 5)["contribution"].sum() == pytest.approx(model.score()[2, 5], rel=1e-4)
    model.save(tmp_path)
    np.testing.assert_array_equal(SessionEASE.load(tmp_path).score(), model.score())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.5}, "share must lie between 0 and 1"),
        ({"scale": 0.0}, "scale must be a number above 0"),
        ({"weighting": "cube"}, "weighting must be one of"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        SessionEASE(**settings)


def test_times_are_needed():
    train = sittings()
    with pytest.raises(ValueError, match="sessions need the times"):
        SessionEASE().fit(Interactions(train.matrix, train.users, train.items))


def test_trending_by_loops():
    train = sittings()
    events, newest = train.events, train.events["time"].max()
    expected = np.zeros(N_ITEMS)
    for item in range(N_ITEMS):
        for time in events.loc[events["item"] == item].groupby("user")["time"].max():
            expected[item] += 0.5 ** ((newest - time) / 86_400 / 0.01)
    found = Trending(half_life=0.01, floor=0.05).fit(train).score()
    np.testing.assert_allclose(found, np.tile(np.log(expected + 0.05), (N_USERS, 1)), rtol=1e-4, atol=1e-5)
    assert np.ptp(found[0]) > 0.5


def test_trending_with_a_window_counts_the_users_of_the_last_days():
    train = sittings()
    events, days = train.events, 0.01
    late = events[events["time"] > events["time"].max() - days * 86_400]
    counts = late.groupby("item")["user"].nunique().reindex(range(N_ITEMS), fill_value=0).to_numpy()
    found = Trending(window=days, floor=0.05).fit(train).score()
    np.testing.assert_allclose(found, np.tile(np.log(counts + 0.05), (N_USERS, 1)), rtol=1e-4)
    assert 0 < counts.sum() < len(events)


def test_trend_ease_multiplies_ease_by_the_trend():
    train, days = sittings(), 0.01
    events = train.events
    late = events[events["time"] > events["time"].max() - days * 86_400]
    recent, ever = (
        part.groupby("item")["user"].nunique().reindex(range(N_ITEMS), fill_value=0).to_numpy()
        for part in (late, events)
    )
    span = np.ptp(events["time"]) / 86_400
    trend = ((recent + 1) / (ever * days / span + 1)) ** 0.5
    model = TrendEASE(regularization=3.0, days=days).fit(train)
    plain = EASE(regularization=3.0).fit(train)
    np.testing.assert_allclose(model.score(), plain.score() * trend, rtol=1e-4, atol=1e-5)
    assert np.ptp(trend) > 0.2
    assert model.explain(2, 5)["contribution"].sum() == pytest.approx(model.score()[2, 5], rel=1e-4)
