"""TIFU-KNN and UP-CF against loops over baskets."""

import numpy as np
import pytest
from builders import random_events

from recsys_lib.data import Interactions
from recsys_lib.recommenders.baskets import TIFUKNN, UPCF

SETTINGS = {"neighbors": 4, "group": 3, "basket_decay": 0.8, "group_decay": 0.6, "own": 0.7}


def train_and_baskets():
    """Events at twenty moments, so that baskets hold several items; each user's baskets, oldest first."""
    train = random_events()
    train.events["time"] = train.events["time"] // (86_400 * 5)
    baskets = [
        [set(part["item"]) for _, part in train.events[train.events["user"] == user].groupby("time")]
        for user in range(train.n_users)
    ]
    return train, baskets


def tifu_vector(baskets, n_items):
    groups, rest = [], baskets
    while rest:
        groups, rest = [rest[-3:], *groups], rest[:-3]
    vector = np.zeros(n_items)
    for group_place, group in enumerate(reversed(groups)):
        for place, basket in enumerate(reversed(group)):
            vector[list(basket)] += 0.6**group_place * 0.8**place / len(group) / len(groups)
    return vector


def test_tifu_by_loops():
    train, baskets = train_and_baskets()
    own = np.array([tifu_vector(of, train.n_items) for of in baskets])
    users = np.flatnonzero([len(of) > 0 for of in baskets])
    expected = []
    for user in users:
        distance = ((own - own[user]) ** 2).sum(axis=1)
        distance[user] = np.inf
        expected.append(0.7 * own[user] + 0.3 * own[np.argsort(distance, kind="stable")[:4]].mean(axis=0))
    found = TIFUKNN(**SETTINGS).fit(train).score(users)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_tifu_of_oneself_alone():
    train, baskets = train_and_baskets()
    users = np.flatnonzero([len(of) > 0 for of in baskets])
    expected = [tifu_vector(baskets[user], train.n_items) for user in users]
    found = TIFUKNN(**SETTINGS | {"own": 1.0}).fit(train).score(users)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_up_cf_by_loops():
    train, baskets = train_and_baskets()
    own = np.zeros((train.n_users, train.n_items))
    for user, of in enumerate(baskets):
        for basket in of[-3:]:
            own[user, list(basket)] += 1 / len(of[-3:])
    users = np.flatnonzero(own.sum(axis=1))
    assert max(len(of) for of in baskets) > 3
    expected = np.zeros((len(users), train.n_items))
    for place, user in enumerate(users):
        for other in users:
            lengths = (own[user] ** 2).sum() ** 0.3 * (own[other] ** 2).sum() ** 0.7
            expected[place] += (own[user] @ own[other] / lengths) ** 2 * own[other]
    found = UPCF(recent=3, alpha=0.3, locality=2.0).fit(train).score(users)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_times_are_needed():
    train, _ = train_and_baskets()
    with pytest.raises(ValueError, match="baskets need the times"):
        TIFUKNN().fit(Interactions(train.matrix, train.users, train.items))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"own": 1.5}, "own must lie between 0 and 1"),
        ({"group": 0}, "group must be"),
        ({"group_decay": -0.1}, "group_decay must lie between 0 and 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TIFUKNN(**settings)
