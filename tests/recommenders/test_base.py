"""What all recommenders stand on: weighting, storage, and the two baselines."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from builders import DAY, START, as_interactions
from safetensors.numpy import save_file
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib import files
from recsys_lib.data import Interactions
from recsys_lib.files import load_tensors, save_tensors, tensors_sha256
from recsys_lib.recommenders import ALS, PersonalFrequency, Popularity, weigh
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import check_positive
from recsys_lib.recommenders.shared.products import user_counts
from recsys_lib.recommenders.shared.storage import MODEL_FILE
from recsys_lib.recommenders.shared.weighting import decay, seconds


def events(rows):
    """Interactions from (user, item, value, day)."""
    frame = pd.DataFrame(rows, columns=["user", "item", "value", "day"])
    return Interactions.from_frame(
        frame.assign(time=START + frame["day"] * DAY), "user", "item", "value", "time"
    )


OLD = [("a", 1, 2, 0), ("a", 2, 1, 10), ("b", 1, 1, 4), ("a", 1, 1, 20)]


def test_what_was_returned_does_not_come_back_faded():
    """5 taken long ago and 5 returned now would be −4.8 by decay, if a return were an event of its own."""
    with pytest.warns(UserWarning, match="returns"):
        train = events(
            [("a", 1, 5, 0), ("a", 1, -5, 300), ("a", 2, 1, 300), ("b", 1, 1, 290), ("b", 2, 1, 290)]
        )
    for weighting in ("count", "log", "binary"):
        weights = weigh(train, weighting, 60.0).toarray()
        assert (weights >= 0).all()
        assert weights[0, 0] == 0 < weights[0, 1]


NEW = [("c", 1, 1, 25), ("a", 3, 4, 30), ("a", 2, 2, 40)]


def weight_by_loop(rows, user, item, weighting, half_life):
    newest = max(day for *_, day in rows)
    fades = [
        (value, 1 if half_life is None else 0.5 ** ((newest - day) / half_life))
        for u, i, value, day in rows
        if (u, i) == (user, item)
    ]
    if not fades:
        return 0.0
    if weighting == "binary":
        return max(fade for _, fade in fades)
    total = sum(value * fade for value, fade in fades)
    return math.log(1 + total) if weighting == "log" else total


@pytest.mark.parametrize("weighting", ["count", "log", "binary"])
@pytest.mark.parametrize("half_life", [None, 7.0])
def test_weights_are_the_loop(weighting, half_life):
    train = events(OLD)
    before = train.matrix.data.copy()
    weights = weigh(train, weighting, half_life)
    assert weights.dtype == np.float32
    for u, user in enumerate(train.users):
        for i, item in enumerate(train.items):
            expected = weight_by_loop(OLD, user, item, weighting, half_life)
            assert weights[u, i] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(weights.indices, train.matrix.indices)
    assert not np.shares_memory(weights.data, train.matrix.data)
    np.testing.assert_array_equal(train.matrix.data, before)


def test_times_may_be_dates_or_seconds():
    dates = pd.Series(pd.to_datetime(["2017-01-01", "2017-01-15"]))
    np.testing.assert_allclose(decay(dates, 14), [0.5, 1])
    np.testing.assert_allclose(decay(np.array([0, 14 * DAY]), 14), [0.5, 1])
    assert seconds(dates)[1] - seconds(dates)[0] == 14 * DAY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ones",), "weighting must be one of"),
        (("count", 0), "half_life must be"),
        (("count", -3.0), "half_life must be"),
        (("count", math.nan), "half_life must be"),
    ],
)
def test_bad_weighting(arguments, message):
    with pytest.raises(ValueError, match=message):
        weigh(events(OLD), *arguments)


def test_a_half_life_needs_times():
    train = events(OLD)
    with pytest.raises(ValueError, match="times of events"):
        weigh(Interactions(train.matrix, train.users, train.items), "count", 3.0)


def test_user_counts():
    np.testing.assert_array_equal(user_counts(events(OLD).matrix), [2, 1])


def test_popularity_counts_users_not_purchases():
    rows = [("a", 1, 9, 0), ("a", 2, 1, 0), ("b", 2, 1, 0), ("b", 3, 1, 1)]
    best = Popularity().fit(events(rows)).recommend(np.array([0]), k=3, exclude_seen=False)
    assert best.ids.tolist() == [[1, 0, 2]]
    assert best.scores.tolist() == [[2, 1, 1]]


@pytest.mark.parametrize("half_life", [None, 7.0])
@pytest.mark.parametrize("prior", [0, 0.01])
def test_personal_frequency_is_the_loop(half_life, prior):
    train = events(OLD)
    scores = PersonalFrequency(half_life=half_life, prior=prior).fit(train).score()
    for u, user in enumerate(train.users):
        for i, item in enumerate(train.items):
            share = sum((v, item) in {(a, b) for a, b, *_ in OLD} for v in train.users) / 2
            expected = weight_by_loop(OLD, user, item, "count", half_life) + prior * share
            assert scores[u, i] == pytest.approx(expected, rel=1e-5)


def test_explanation_of_personal_frequency():
    model = PersonalFrequency().fit(events(OLD))
    reasons = model.explain(0, 0).set_index("reason")["contribution"]
    assert reasons.to_dict() == {"own purchases": 3.0, "popularity": pytest.approx(0.01)}


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, [1, 2]])
def test_check_positive(value):
    check_positive(one=1e-9)
    with pytest.raises(ValueError, match="factors must be a number above 0"):
        check_positive(one=1, factors=value)


KINDS = {
    "sparse_": csr_array(np.array([[0, 1.5], [2, 0]], np.float32)),
    "tensor_": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "array_": np.arange(6.0).reshape(2, 3).T,
    "flags_": np.array([True, False]),
    "scalar_": np.array(2.5),
    "empty_": np.empty((0, 3), np.float32),
    "number_": 0.1,
    "nothing_": None,
    "words_": ["ä", "b"],
}


@dataclass(kw_only=True, eq=False)
class AllKinds(Recommender):
    """Knows one of everything that can be stored."""

    k: int = 3

    _stored: ClassVar[tuple[str, ...]] = tuple(KINDS)

    def _fit(self, train):
        vars(self).update(KINDS)


def stored(folder, users=("ä", "b"), items=(7, 9)):
    train = as_interactions(np.eye(2), pd.Index(users, name="user"), pd.Index(items, name="item"))
    AllKinds(k=4).fit(train).save(folder)
    return folder / MODEL_FILE


def rewritten(path, change):
    """Store a model again after `change` has seen its tensors and its stamp."""
    tensors, stamp = load_tensors(path)
    change(tensors, stamp)
    save_tensors(path, tensors, stamp)


def assert_same(found, value):
    assert type(found) is type(value)
    if isinstance(value, csr_array | np.ndarray | torch.Tensor):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        found, value = (part.toarray() if isinstance(part, csr_array) else part for part in (found, value))
        np.testing.assert_array_equal(np.asarray(found), np.asarray(value))
    else:
        assert found == value


def test_storage_gives_back_what_it_got(tmp_path):
    stored(tmp_path / "a" / "b")
    found = AllKinds.load(tmp_path / "a" / "b")
    assert found.k == 4
    for name, value in KINDS.items():
        assert_same(getattr(found, name), value)
    np.testing.assert_array_equal(found.matrix_.toarray(), np.eye(2))
    pd.testing.assert_index_equal(found.users_, pd.Index(["ä", "b"], name="user"), exact=True)
    pd.testing.assert_index_equal(found.items_, pd.Index([7, 9], name="item"), exact=True)


def test_what_cannot_be_stored_is_refused(tmp_path):
    model = AllKinds().fit(as_interactions(np.eye(2)))
    model.words_ = {"a", "b"}
    with pytest.raises(TypeError, match="cannot store a set"):
        model.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_saving_again_leaves_one_model(tmp_path):
    stored(tmp_path)
    AllKinds().fit(as_interactions(np.eye(3))).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]
    assert AllKinds.load(tmp_path).users_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("moment", ["save_file", "replace"])  # before and after writing
def test_a_crash_while_saving_leaves_the_old_model(tmp_path, monkeypatch, moment):
    stored(tmp_path)

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os if moment == "replace" else files, moment, crash)
        with pytest.raises(KeyboardInterrupt):
            AllKinds().fit(as_interactions(np.eye(3))).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]
    assert AllKinds.load(tmp_path).users_.tolist() == ["ä", "b"]


@pytest.mark.parametrize("missing", ["format", "version", "class", "settings", "state", "users", "items"])
def test_a_stamp_without_a_key_is_refused(tmp_path, missing):
    rewritten(stored(tmp_path), lambda _, stamp: stamp.pop(missing))
    with pytest.raises(ValueError, match="damaged"):
        AllKinds.load(tmp_path)


@pytest.mark.parametrize("missing", ["matrix_.indptr", "tensor_"])
def test_a_model_without_a_tensor_is_refused(tmp_path, missing):
    rewritten(stored(tmp_path), lambda tensors, _: tensors.pop(missing))
    with pytest.raises(ValueError, match="damaged"):
        AllKinds.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"model"', "{}", "{", ""])
def test_json_of_another_kind_is_refused(tmp_path, text):
    save_file({}, stored(tmp_path), metadata={"stamp": text, "sha256": tensors_sha256({}, text)})
    with pytest.raises(ValueError, match="damaged"):
        AllKinds.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"half_life": None, "prior": 0.01, "spell": "abracadabra"}},
        {"settings": [1, 2]},
        {"settings": {"half_life": None, "prior": -5}},
        {"users": {"dtype": "int64", "name": None, "values": [1]}},
        {"items": {"dtype": "int64", "name": None, "values": [1, 2, 3, 4]}},
        {"state": {}},
        {"state": [1, 2]},
    ],
    ids=[
        "unknown setting",
        "list of settings",
        "impossible setting",
        "a user less",
        "items more",
        "no state",
        "list of state",
    ],
)
def test_a_stamp_that_does_not_fit_the_model_is_refused(tmp_path, change):
    PersonalFrequency().fit(events(OLD)).save(tmp_path)
    rewritten(tmp_path / MODEL_FILE, lambda _, stamp: stamp.update(change))
    with pytest.raises(ValueError):  # noqa: PT011
        PersonalFrequency.load(tmp_path)


def test_ids_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="integers or strings"):
        stored(tmp_path, users=(1.5, 2.5))


def test_models_on_another_device_are_stored_without_it(tmp_path):
    Popularity(device="auto").fit(events(OLD)).save(tmp_path)
    _, stamp = load_tensors(tmp_path / MODEL_FILE)
    assert "device" not in stamp["settings"]
    assert Popularity.load(tmp_path).device == "cpu"


def test_a_device_that_is_not_here_is_named_by_load(tmp_path):
    Popularity().fit(events(OLD)).save(tmp_path)
    with pytest.raises(ValueError, match=r"^device must be 'auto', .* got 'gpu'$"):
        Popularity.load(tmp_path, device="gpu")


def test_lists_on_a_device_stay_there(monkeypatch):
    """Where scores are computed on the host, they are moved; `meta` stands in for an accelerator."""
    model = Popularity().fit(events(OLD))
    monkeypatch.setattr("recsys_lib.recommenders.shared.base.resolve_device", lambda _: torch.device("meta"))
    assert model._place(np.ones((2, 2), np.float32)).device.type == "meta"


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    train, other = events(OLD), events(OLD[:-1])
    model = ALS(factors=2)
    with pytest.raises(ValueError, match="item_factors must have shape"):
        model.fit(train, item_factors=np.ones((1, 1)))
    with pytest.raises(NotFittedError):
        model.score()
    before = model.fit(train).score()
    with pytest.raises(ValueError, match="item_factors must have shape"):
        model.fit(other, item_factors=np.ones((1, 1)))
    np.testing.assert_array_equal(model.score(), before)
    assert model.matrix_ is train.matrix
