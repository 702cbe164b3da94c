"""The ranker and what it stands on: trees against scikit-learn, habits against loops, no look ahead."""

import numpy as np
import pytest
from builders import DAY, timed_interactions
from sklearn.ensemble import HistGradientBoostingClassifier

from recsys_lib.data import Interactions
from recsys_lib.metrics import ranking_metrics
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.habits import Habits
from recsys_lib.recommenders.parts import standardize
from recsys_lib.recommenders.popularity import PersonalFrequency, Popularity, Trending
from recsys_lib.recommenders.ranker import BoostedRanker
from recsys_lib.recommenders.shared.holdout import hold_out_last

N_USERS, N_ITEMS = 60, 40
GROUPS = {"kind": np.arange(N_ITEMS) % 3}
SETTINGS = {"trees": 12, "learning_rate": 0.2, "leaves": 6, "min_rows": 200, "seed": 0}


def purchases(seed=0, days=150):
    """Even items are bought again and again, odd ones once: only who knows that ranks well."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        regular = rng.choice(np.arange(0, N_ITEMS, 2), 3, replace=False)
        for day in np.flatnonzero(rng.random(days) < 0.25):
            once = rng.choice(np.arange(1, N_ITEMS, 2))
            item = rng.choice(regular) if rng.random() < 0.4 else once
            rows += [(user, item, day * DAY + rng.integers(DAY))] * (1 if item % 2 == 0 else 2)
    return timed_interactions(rows, N_USERS, N_ITEMS)


def ranker(**settings):
    parts = [PersonalFrequency(), EASE(regularization=5.0), Trending()]
    return BoostedRanker(parts=parts, **{"candidates": [10, 5, 5], "trees": 10, "min_rows": 20, **settings})


@pytest.fixture(scope="module")
def fitted():
    return ranker(days=25.0).fit(purchases(), item_groups=GROUPS)


def table_with_gaps(seed=0):
    rng = np.random.default_rng(seed)
    columns = rng.standard_normal((3000, 5)).astype(np.float32)
    columns[rng.random(columns.shape) < 0.2] = np.nan
    labels = np.nan_to_num(columns[:, 0]) + np.isnan(columns[:, 1]) + 0.5 * rng.standard_normal(3000) > 0.5
    return columns, labels, rng.uniform(0.5, 2, 3000)


def test_trees_score_as_scikit_learn_does():
    columns, labels, weights = table_with_gaps()
    trees = ranker(**SETTINGS)._fit_trees(columns, labels, weights)
    oracle = HistGradientBoostingClassifier(
        max_iter=12,
        learning_rate=0.2,
        max_leaf_nodes=6,
        min_samples_leaf=200,
        max_bins=64,
        early_stopping=False,
        random_state=0,
    ).fit(columns, labels, sample_weight=weights)
    others, _, _ = table_with_gaps(seed=1)
    scores = trees.decision_function(others)
    np.testing.assert_allclose(scores, oracle.decision_function(others), atol=1e-5)
    assert np.ptp(scores) > 2


def test_a_column_that_nobody_knows_is_no_obstacle():
    columns, labels, weights = table_with_gaps()
    unknown = columns.copy()
    unknown[:, 4] = np.nan
    trees = ranker(**SETTINGS)._fit_trees(unknown, labels, weights)
    np.testing.assert_array_equal(trees.decision_function(unknown), trees.decision_function(columns))
    assert np.isnan(unknown[:, 4]).all()


def test_habits_of_a_pair_by_loops():
    train = purchases()
    habits = Habits(train)
    pairs = train.matrix.tocoo()
    found = habits.columns(pairs.row[::37], pairs.col[::37])
    newest = train.events["time"].max()
    for place, (user, item) in enumerate(zip(pairs.row[::37], pairs.col[::37], strict=True)):
        events = train.events[(train.events["user"] == user) & (train.events["item"] == item)]
        ages = ((newest - events["time"]) / DAY).tolist()
        days = len({int(np.floor(age)) for age in ages})
        expected = {
            "decayed_30": np.log(sum(0.5 ** (age / 30) for age in ages) + 1e-3),
            "events": np.log(len(ages)),
            "days": np.log(days),
            "last": np.log1p(min(ages)),
            "first": np.log1p(max(ages)),
            "gap": np.log((max(ages) - min(ages)) / (days - 1) + 0.5) if days > 1 else np.nan,
        }
        for name, value in expected.items():
            assert found[name][place] == pytest.approx(value, rel=1e-4, abs=1e-4, nan_ok=True), name


def test_habits_of_items_and_users_by_loops():
    train = purchases()
    found = Habits(train, GROUPS).columns(np.full(5, 7), np.arange(5))
    events, newest = train.events, train.events["time"].max()
    age = (newest - events["time"]) / DAY
    for item in range(5):
        recent, owners, again = 0.0, 0, 0
        for user in range(N_USERS):
            mine = age[(events["user"] == user) & (events["item"] == item)]
            if len(mine):
                owners += 1
                recent += 0.5 ** (mine.min() / 14)
                again += len({int(np.floor(a)) for a in mine}) > 1
        assert found["owners"][item] == pytest.approx(np.log1p(owners), rel=1e-5)
        assert found["recent_14"][item] == pytest.approx(np.log(recent + 0.1), rel=1e-4)
        assert found["came_back"][item] == pytest.approx((again + 1) / (owners + 5), rel=1e-5)
        same_kind = (events["user"] == 7) & (events["item"] % 3 == item % 3)
        owned = (0.5 ** (age[same_kind] / 90)).sum()
        assert found["kind_owned"][item] == pytest.approx(np.log(owned + 0.05), rel=1e-4)
    mine = age[events["user"] == 7]
    assert found["visits"][0] == pytest.approx(np.log1p(len({int(np.floor(a)) for a in mine})), rel=1e-5)
    assert found["user_events_60"][0] == pytest.approx(np.log1p((0.5 ** (mine / 60)).sum()), rel=1e-4)


def test_unknown_pairs_have_no_habits():
    train = timed_interactions([(0, 1, 0), (0, 1, 40 * DAY), (1, 2, 50 * DAY)], 3, 4)
    found = Habits(train).columns(np.array([0, 2]), np.array([3, 1]))
    assert np.isnan(found["last"]).all()
    assert np.isfinite(found["owners"]).all()
    assert np.isfinite(found["visits"]).all()


def test_it_learns_what_is_bought_again():
    train, test = hold_out_last(purchases(), 30)
    plain = ranking_metrics(PersonalFrequency().fit(train).recommend(exclude_seen=False).ids, test.matrix)
    model = ranker(candidates=[N_ITEMS, 0, 0], trees=20).fit(train)
    learnt = ranking_metrics(model.recommend(exclude_seen=False).ids, test.matrix)
    assert learnt["ndcg"] > plain["ndcg"] + 0.04


def test_nothing_of_the_future_is_used():
    """Candidates are described as of the cut: what follows decides the labels and nothing else."""
    seen = []

    class Spy(PersonalFrequency):
        def _fit(self, train):
            seen.append(train.events["time"].max())
            super()._fit(train)

    train = purchases()
    BoostedRanker(parts=[Spy()], candidates=[10], periods=2, trees=2).fit(train)
    newest = train.events["time"].max()
    assert seen[0] <= newest - 30 * DAY
    assert seen[1] <= seen[0] - 30 * DAY
    assert seen[2] == newest


def test_columns_before_the_cut_ignore_what_comes_after():
    train = purchases()
    before, _ = hold_out_last(train, 30)
    changed = Interactions(train.matrix, train.users, train.items, train.events.copy())
    late = changed.events["time"] > before.events["time"].max()
    changed.events.loc[late, "item"] = 0
    same = hold_out_last(changed, 30).train
    users, items = np.repeat(np.arange(N_USERS), N_ITEMS), np.tile(np.arange(N_ITEMS), N_USERS)
    one, two = (Habits(history).columns(users, items) for history in (before, same))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def test_candidates_come_first_then_the_first_part():
    model = ranker(candidates=[4, 0, 2], trees=3).fit(purchases())
    scores = model.score()
    ranked = model.candidates_.toarray() != 0
    assert 4 <= ranked.sum(1).min() <= ranked.sum(1).max() <= 6
    for user in range(N_USERS):
        rest = scores[user, ~ranked[user]]
        assert scores[user, ranked[user]].min() > rest.max()
        first = model.parts_[0].score(np.array([user]))[0, ~ranked[user]]
        np.testing.assert_array_equal(np.argsort(-rest, kind="stable"), np.argsort(-first, kind="stable"))


def test_discovery_ranks_new_items_only():
    model = ranker(task="discovery", trees=3).fit(purchases())
    assert not model.candidates_.multiply(model.matrix_).nnz
    assert model.candidates_.nnz > N_USERS


def test_candidates_are_described_by_habits_groups_and_parts(fitted):
    users, items, columns = fitted._describe(purchases(), fitted.parts_, GROUPS)
    np.testing.assert_array_equal(users * N_ITEMS + items, np.flatnonzero(fitted.candidates_.toarray()))
    habits = Habits(purchases(), GROUPS).columns(users, items)
    assert {"last", "kind_owned"} <= set(habits)
    parts = [standardize(part.score())[users, items] for part in fitted.parts_]
    np.testing.assert_allclose(columns, np.column_stack([*habits.values(), *parts]), rtol=1e-5, atol=1e-6)
    without = ranker(days=25.0).fit(purchases())
    assert np.abs(without.score() - fitted.score()).max() > 0.01


def test_saved_and_loaded(fitted, tmp_path):
    fitted.save(tmp_path)
    loaded = BoostedRanker.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(), fitted.score())
    assert loaded.days == 25.0
    assert [type(part) for part in loaded.parts] == [PersonalFrequency, EASE, Trending]


def test_same_seed_same_list():
    train = purchases()
    one, two, other = (ranker(negatives=0.5, seed=seed, trees=2).fit(train).score() for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_too_short_a_train_ranks_as_the_first_part():
    train = timed_interactions([(0, 1, 0), (0, 1, 5), (1, 2, 9), (0, 3, 9)], 2, 4)
    model = BoostedRanker(parts=[PersonalFrequency()], candidates=[2]).fit(train)
    first = PersonalFrequency().fit(train)
    np.testing.assert_array_equal(model.recommend(k=3).ids, first.recommend(k=3).ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": [5]}, "for each of 3 parts"),
        ({"candidates": [0, 0, 0]}, "one of them above 0"),
        ({"task": "both"}, "task must be one of"),
        ({"leaves": 1}, "leaves must be at least 2"),
        ({"negatives": 0.0}, "negatives must be a number above 0"),
        ({"trees": 0}, "trees must be a whole number of at least 1"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ranker(**settings)


def test_bad_data():
    train = purchases()
    with pytest.raises(ValueError, match="need the times of events"):
        ranker().fit(Interactions(train.matrix, train.users, train.items))
    with pytest.raises(ValueError, match=r"groups\['kind'\] must hold an integer"):
        ranker().fit(train, item_groups={"kind": np.arange(3)})
    with pytest.raises(ValueError, match="not fitted"):
        ranker().recommend()
    assert Popularity().fit(train).score().shape == (N_USERS, N_ITEMS)
