"""ContentBased against a plain loop, and what it is for: items nobody has bought yet."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from builders import as_interactions
from scipy.sparse import csr_array

from recsys_lib.recommenders.content import ContentBased
from recsys_lib.recommenders.shared import base

TEXTS = [
    "red wine from spain",
    "white wine from france",
    "sparkling wine",
    "cat food with fish",
    "dog food with beef",
    "frozen fish",
    "bread",
]
DENSE = np.array(
    [
        [2, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 4, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 3],
        [1, 1, 0, 1, 1, 1, 1],
    ]
)


def train_of(dense=DENSE):
    n_users, n_items = dense.shape
    ids = [f"user {u}" for u in range(n_users)], [f"item {i}" for i in range(n_items)]
    return as_interactions(dense, *ids)


def vectors_by_loop(texts):
    """TF-IDF as scikit-learn documents it: tf · (1 + ln((1 + n) / (1 + df))), rows of length 1."""
    words = sorted({word for text in texts for word in text.split()})
    df = {word: sum(word in text.split() for text in texts) for word in words}
    rows = []
    for text in texts:
        row = [text.split().count(w) * (1 + math.log((1 + len(texts)) / (1 + df[w]))) for w in words]
        length = math.sqrt(sum(x * x for x in row))
        rows.append([x / length for x in row])
    return np.array(rows)


@pytest.mark.parametrize("weighting", ["log", "binary", "count"])
def test_scores_are_the_loop(weighting):
    model = ContentBased(weighting=weighting).fit(train_of(), texts=TEXTS)
    weigh = {"log": math.log1p, "binary": lambda x: float(x > 0), "count": float}[weighting]
    vectors = vectors_by_loop(TEXTS)
    for user, row in enumerate(DENSE):
        weights = [weigh(x) for x in row]
        profile = sum(w * v for w, v in zip(weights, vectors, strict=True)) / sum(weights)
        expected = [sum(a * b for a, b in zip(profile, v, strict=True)) for v in vectors]
        np.testing.assert_allclose(model.score(np.array([user]))[0], expected, rtol=1e-5, atol=1e-7)


def test_an_item_nobody_has_is_recommended():
    model = ContentBased().fit(train_of(), texts=TEXTS)
    assert DENSE[:, 2].sum() == 0
    assert model.recommend(np.array([0]), k=1).ids.tolist() == [[2]]  # sparkling wine


@pytest.mark.parametrize("form", [csr_array, np.asarray])
def test_features_are_stored_and_loaded(form, tmp_path):
    features = form(np.random.default_rng(0).normal(size=(7, 5)))
    model = ContentBased().fit(train_of(), item_features=features)
    model.save(tmp_path)
    loaded = ContentBased.load(tmp_path)
    np.testing.assert_array_equal(loaded.score(), model.score())
    pd.testing.assert_frame_equal(loaded.explain(0, 2), model.explain(0, 2))


def test_texts_are_put_into_the_order_of_the_items():
    train = train_of()
    shuffled = pd.Series(TEXTS, index=train.items)[::-1]
    one, other = (ContentBased().fit(train, texts=texts) for texts in (TEXTS, shuffled))
    np.testing.assert_array_equal(one.score(), other.score())


def test_dense_and_sparse_features_give_the_same():
    features = np.random.default_rng(0).normal(size=(7, 5))
    sparse, dense = (ContentBased().fit(train_of(), item_features=f) for f in (csr_array(features), features))
    np.testing.assert_allclose(sparse.score(), dense.score(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sparse.recommend(k=7).ids, dense.recommend(k=7).ids)
    np.testing.assert_array_equal(sparse.similar(np.arange(7), k=3).ids, dense.similar(np.arange(7), k=3).ids)


def test_explanations_add_up():
    model = ContentBased().fit(train_of(), texts=TEXTS)
    reasons = model.explain(0, 2)
    assert reasons["contribution"].sum() == pytest.approx(model.score(np.array([0]))[0, 2])
    assert set(reasons["item"]) == {0, 1}


def test_similar_items():
    model = ContentBased().fit(train_of(), texts=TEXTS)
    best = model.similar(np.array([2, 4]), k=6)
    vectors = vectors_by_loop(TEXTS)
    assert set(best.ids[0, :2]) == {0, 1}
    assert best.ids[1, 0] == 3
    cosines = vectors @ vectors.T
    np.testing.assert_allclose(best.scores, np.take_along_axis(cosines[[2, 4]], best.ids, 1), atol=1e-6)
    assert 2 not in best.ids[0]


@pytest.mark.parametrize("n_features", [3, 40])
def test_dense_features_are_used_on_the_device(n_features, monkeypatch):
    features = np.ones((7, n_features), np.float32)
    model = ContentBased().fit(train_of(), item_features=features)
    monkeypatch.setattr(base, "resolve_device", lambda _: torch.device("meta"))
    assert model._score(np.array([0, 1])).device.type == "meta"
    assert model._place(model.features_).device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs either the items' texts or their features"),
        ({"texts": TEXTS, "item_features": np.eye(7)}, "needs either"),
        ({"texts": TEXTS[:3]}, "7 items but 3 texts"),
        ({"texts": [*TEXTS[:6], None]}, r"texts\[6\] is None"),
        ({"texts": ["a"] * 7}, "no word"),
        ({"texts": pd.Series(TEXTS, index=[f"item {i}" for i in range(1, 8)])}, "none for item 'item 0'"),
        ({"item_features": np.eye(6)}, r"one row for each of 7 items, got shape \(6, 6\)"),
        ({"item_features": np.full((7, 2), np.nan)}, "finite"),
        ({"item_features": np.ones(7)}, r"one row for each of 7 items, got shape \(7,\)"),
        ({"item_features": [["red"]] * 7}, "finite numbers"),
    ],
)
def test_bad_descriptions(arguments, message):
    with pytest.raises(ValueError, match=message):
        ContentBased().fit(train_of(), **arguments)


def test_more_bad_input():
    with pytest.raises(ValueError, match="weighting must be"):
        ContentBased(weighting="ones")
