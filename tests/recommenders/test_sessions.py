"""SessionEASE against loops, ridge regression's closed form and EASE; Trending against a loop."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.data import Interactions
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.popularity import Trending
from recsys_lib.recommenders.sessions import SessionEASE, close_pairs

N_USERS, N_ITEMS = 30, 12


def sittings(seed=0):
    """Users take items in any order; times lie within an hour."""
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(
        (rng.random((N_USERS, N_ITEMS)) < 0.4) | (np.arange(N_USERS)[:, None] % N_ITEMS == np.arange(N_ITEMS))
    )
    frame = pd.DataFrame({"user": users, "item": items, "time": rng.integers(0, 3600, len(users))})
    ids = pd.RangeIndex(N_USERS), pd.RangeIndex(N_ITEMS)
    return Interactions.from_frame(frame, "user", "item", time="time", users=ids[0], items=ids[1])


def gram_by_loops(train, share, scale):
    sums = np.zeros((N_ITEMS, N_ITEMS))
    for _, mine in train.events.groupby("user"):
        for one in mine.itertuples():
            for other in mine.itertuples():
                closeness = np.exp(-abs(one.time - other.time) / scale)
                sums[one.item, other.item] += 1 - share + share * closeness
    return sums


def test_close_pairs_by_loops():
    train = sittings()
    np.testing.assert_allclose(close_pairs(train, train.matrix, 300.0), gram_by_loops(train, 1, 300.0))


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_scores_by_the_formula(share):
    train = sittings()
    inverse = np.linalg.inv(gram_by_loops(train, share, 300.0) + 3 * np.eye(N_ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    model = SessionEASE(3.0, share, 300.0).fit(train)
    np.testing.assert_allclose(model.score(), train.matrix.toarray() @ weights, rtol=1e-4, atol=1e-5)
    assert np.abs(model.score() - EASE(3.0, "binary").fit(train).score()).max() > 0.1


def test_without_a_share_it_is_ease():
    train = sittings()
    np.testing.assert_allclose(
        SessionEASE(3.0, 0.0).fit(train).score(), EASE(3.0, "binary").fit(train).score(), rtol=1e-4, atol=1e-5
    )


def test_session_explanation_adds_up_and_model_is_stored(tmp_path):
    model = SessionEASE(3.0).fit(sittings())
    assert model.explain(2, 5)["contribution"].sum() == pytest.approx(model.score()[2, 5], rel=1e-4)
    model.save(tmp_path)
    np.testing.assert_array_equal(SessionEASE.load(tmp_path).score(), model.score())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.5}, "share must lie between 0 and 1"),
        ({"scale": 0.0}, "scale must be a number above 0"),
        ({"scheme": "cube"}, "scheme must be one of"),
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
    found = Trending(0.01, 0.05).fit(train).score()
    np.testing.assert_allclose(found, np.tile(np.log(expected + 0.05), (N_USERS, 1)), rtol=1e-4, atol=1e-5)
    assert np.ptp(found[0]) > 0.5
