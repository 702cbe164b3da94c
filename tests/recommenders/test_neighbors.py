"""Neighbourhood models against plain loops, and what is theirs alone."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from builders import DAY, as_interactions, faded_values, random_events
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.neighbors import ItemKNN, UserKNN
from recsys_lib.recommenders.shared import base
from recsys_lib.recommenders.similarity import nearest, similarity_vectors


def ratings(n_users=30, n_items=20, seed=0, density=0.5):
    generator = np.random.default_rng(seed)
    dense = generator.integers(1, 6, (n_users, n_items)) * (generator.random((n_users, n_items)) < density)
    dense[:, 0] = 1 + np.arange(n_users) % 5  # everybody has something
    return as_interactions(dense)


def similarity_by_loop(rows, kind):
    """Similarities of the rows of a dense matrix, from the formulas, one pair at a time."""
    n, width = rows.shape
    idf = [math.log((1 + n) / (1 + sum(row[c] > 0 for row in rows))) for c in range(width)]
    mean_length = sum(map(sum, rows)) / n
    weighted = []
    for row in rows:
        if kind == "cosine":
            weighted.append(list(row))
        elif kind == "tfidf":
            weighted.append([x * idf[c] for c, x in enumerate(row)])
        else:
            room = 1.2 * (1 - 0.75 + 0.75 * sum(row) / mean_length)
            weighted.append([x * 2.2 / (x + room) * idf[c] if x else 0 for c, x in enumerate(row)])
    result = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            dot = sum(x * y for x, y in zip(weighted[a], weighted[b], strict=True))
            lengths = [math.sqrt(sum(x * x for x in weighted[i])) for i in (a, b)]
            if kind == "bm25":
                result[a, b] = dot
            elif dot > 0:
                result[a, b] = dot / (lengths[0] * lengths[1])
    return result


def nearest_by_loop(similar, k, include_self):
    """Keep the k largest of every row, lower position first among equals; the diagonal apart."""
    kept = np.zeros_like(similar)
    for i, row in enumerate(similar):
        others = sorted((j for j in range(len(row)) if j != i), key=lambda j: (-np.float32(row[j]), j))
        for j in others[:k]:
            kept[i, j] = row[j]
        if include_self:
            kept[i, i] = row[i]
    return kept


def weights_by_loop(train, weighting, half_life):
    """Weights of all pairs, one event at a time."""
    events, weights = train.events, np.zeros(train.matrix.shape)
    for user, item, value, time in events.itertuples(index=False):
        fade = 1.0 if half_life is None else 0.5 ** ((events["time"].max() - time) / DAY / half_life)
        if weighting == "binary":
            weights[user, item] = max(weights[user, item], fade)
        else:
            weights[user, item] += value * fade
    return np.log1p(weights) if weighting == "log" else weights


@pytest.mark.parametrize("shape", [(18, 25), (25, 18)])  # the users' kernel, and the items' similarities
@pytest.mark.parametrize("kind", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("neighbors", [None, 6])
@pytest.mark.parametrize("include_self", [True, False])
def test_item_knn_is_the_loop(shape, kind, neighbors, include_self):
    train = random_events(*shape)
    model = ItemKNN(neighbors=neighbors, similarity=kind, include_self=include_self, weighting="log").fit(
        train
    )
    sums = train.matrix.toarray().astype(float)
    weights = np.log1p(sums)
    similar = similarity_by_loop((sums if kind == "bm25" else weights).T, kind)
    similar = nearest_by_loop(similar, neighbors, include_self)
    expected = np.zeros(shape)
    for u in range(shape[0]):
        for j in range(shape[1]):
            expected[u, j] = sum(weights[u, i] * similar[i, j] for i in range(shape[1]))
    known = np.arange(shape[0]) != 5
    np.testing.assert_allclose(model.score()[known], expected[known], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("neighbors", [None, 4])
@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
@pytest.mark.parametrize("half_life", [None, 30.0])
def test_user_knn_is_the_loop(kind, neighbors, weighting, half_life):
    train = random_events(seed=4)  # nobody has two users that are equally near at the cut
    settings = {"neighbors": neighbors, "similarity": kind, "weighting": weighting, "half_life": half_life}
    model = UserKNN(**settings).fit(train)
    weights = weights_by_loop(train, weighting, half_life)
    similar = nearest_by_loop(similarity_by_loop(weights, kind), neighbors, include_self=False)
    known = np.arange(train.n_users) != 5
    np.testing.assert_allclose(model.score()[known], (similar @ weights)[known], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
@pytest.mark.parametrize("half_life", [None, 20.0])
def test_half_life_weighs_the_history(weighting, half_life):
    train = random_events()
    model = ItemKNN(similarity="bm25", weighting=weighting, half_life=half_life).fit(train)
    vectors = similarity_vectors(train.matrix.T.tocsr(), "bm25").toarray().astype(float)
    weights = weights_by_loop(train, weighting, half_life)
    known = np.arange(train.n_users) != 5
    np.testing.assert_allclose(
        model.score()[known], (weights @ vectors @ vectors.T)[known], rtol=2e-5, atol=1e-6
    )


@pytest.mark.parametrize("neighbors", [None, 6])
@pytest.mark.parametrize("weighting", ["binary", "log", "count"])
def test_fold_in_of_faded_values_equals_the_scores(neighbors, weighting):
    train = random_events()
    model = ItemKNN(neighbors=neighbors, weighting=weighting, half_life=20.0).fit(train)
    folded = model.fold_in(faded_values(train, weighting, 20.0))
    np.testing.assert_allclose(folded, model.score(), rtol=1e-5, atol=1e-6)
    assert np.abs(model.fold_in(train.matrix) - folded).max() > 0.01


@pytest.mark.parametrize("neighbors", [None, 7])
def test_item_explanation_is_weight_times_similarity(neighbors):
    train = random_events()
    model = ItemKNN(neighbors=neighbors, similarity="cosine", weighting="count", include_self=False).fit(
        train
    )
    reasons = model.explain(3, 2)
    sums = train.matrix.toarray().astype(float)
    similar = nearest_by_loop(similarity_by_loop(sums.T, "cosine"), neighbors, include_self=False)
    for item, contribution in reasons.itertuples(index=False):
        assert contribution == pytest.approx(sums[3, item] * similar[item, 2], abs=1e-6)
    assert reasons["contribution"].is_monotonic_decreasing
    assert reasons["contribution"].iloc[0] > 0


@pytest.mark.parametrize("settings", [{}, {"neighbors": 3}])
def test_user_explanation_adds_up(settings):
    train = ratings()
    model = UserKNN(**settings).fit(train)
    reasons = model.explain(3, 2)
    assert reasons["contribution"].sum() == pytest.approx(model.score()[3, 2], abs=1e-5)
    assert 3 not in set(reasons["user"])


@pytest.mark.parametrize("neighbors", [None, 4])
def test_similar_items_are_in_order_and_not_the_item_itself(neighbors):
    train = random_events()
    model = ItemKNN(neighbors=neighbors, similarity="cosine", weighting="binary").fit(train)
    best = model.similar(np.array([3, 0]), k=24)
    similar = similarity_by_loop((train.matrix.toarray() > 0).astype(float).T, "cosine")
    for row, item in enumerate((3, 0)):
        listed = best.ids[row][best.ids[row] >= 0]
        assert item not in listed
        np.testing.assert_allclose(best.scores[row, : len(listed)], similar[item, listed], rtol=1e-5)
        assert len(listed) == (similar[item] > 0).sum() - 1
        np.testing.assert_array_equal(best.scores[row, len(listed) :], -np.inf)


def test_the_own_item_changes_only_seen_scores():
    train = random_events()
    with_self, without = (ItemKNN(include_self=own).fit(train) for own in (True, False))
    np.testing.assert_array_equal(with_self.recommend(k=5).ids, without.recommend(k=5).ids)
    seen = train.matrix.toarray() > 0
    difference = with_self.score() - without.score()
    assert (difference[seen] > 0.01).all()
    assert np.abs(difference[~seen]).max() < 1e-5


def test_equal_similarities_keep_the_lower_position():
    vectors = csr_array(np.ones((6, 1), np.float32))
    found = nearest(vectors, 2).toarray()
    np.testing.assert_array_equal(np.flatnonzero(found[3]), [0, 1])
    np.testing.assert_array_equal(np.flatnonzero(found[0]), [1, 2])


@pytest.mark.parametrize("model", [ItemKNN(), ItemKNN(include_self=False), UserKNN(neighbors=None)])
def test_dense_arithmetic_happens_on_the_device(model, monkeypatch):
    """`meta` stands in for an accelerator: what is not moved there cannot be multiplied with what is."""
    model.fit(random_events(12, 20))
    monkeypatch.setattr(base, "resolve_device", lambda _: torch.device("meta"))
    scores = model._score(np.array([0, 3]))
    assert scores.device.type == "meta"
    assert scores.shape == (2, 20)
    assert scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbors": 0}, "neighbors must be a whole number of at least 1"),
        ({"neighbors": 2.5}, "neighbors must be a whole number of at least 1"),
        ({"similarity": "jaccard"}, "similarity must be one of"),
        ({"weighting": "ones"}, "weighting must be one of"),
        ({"half_life": 0}, "half_life must be"),
    ],
)
@pytest.mark.parametrize("model", [ItemKNN, UserKNN])
def test_bad_settings(model, settings, message):
    with pytest.raises(ValueError, match=message):
        model(**settings)


def test_more_bad_input():
    items = ItemKNN().fit(random_events())
    with pytest.raises(ValueError, match=r"item\[0\] is 25"):
        items.explain(0, 25)
    with pytest.raises(ValueError, match="user 5 has no history"):
        items.explain(5, 0)
    with pytest.raises(ValueError, match=r"items\[0\] is -1"):
        items.similar(np.array([-1]))


def test_all_similarities_of_many_items_are_refused_with_their_bytes(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1_000_000_000))
    rng = np.random.default_rng(0)
    users, items = rng.integers(20_000, size=60_000), rng.integers(17_000, size=60_000)
    frame = pd.DataFrame({"user": [*users, *range(20_000)], "item": [*items, *range(17_000), *[0] * 3_000]})
    train = Interactions.from_frame(frame, user="user", item="item")
    refused = r"all similarities of 17,000 items, which takes 1,156,000,000 bytes, .*=200"
    with pytest.raises(MemoryError, match=refused):
        ItemKNN().fit(train)
    assert ItemKNN(neighbors=20).fit(train).recommend([0], 5).ids.shape == (1, 5)
    assert UserKNN().fit(train).recommend([0], 5).ids.shape == (1, 5)
