"""What all recommenders stand on: merging, weighting, storage, and the two baselines."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib.data import Interactions
from recsys_lib.recommenders import ALS, PersonalFrequency, Popularity, weigh
from recsys_lib.recommenders.shared import storage
from recsys_lib.recommenders.shared.base import check_positive, merge, resolve_device, user_counts
from recsys_lib.recommenders.shared.weighting import decay, seconds

DAY = 86_400


def events(rows):
    """Interactions from (user, item, value, day)."""
    frame = pd.DataFrame(rows, columns=["user", "item", "value", "day"])
    return Interactions.from_frame(frame.assign(time=frame["day"] * DAY), "user", "item", "value", "time")


OLD = [("a", 1, 2, 0), ("a", 2, 1, 10), ("b", 1, 1, 4), ("a", 1, 1, 20)]
NEW = [("c", 1, 1, 25), ("a", 3, 4, 30), ("a", 2, 2, 40)]


def weight_by_loop(rows, user, item, scheme, half_life):
    newest = max(day for *_, day in rows)
    fades = [
        (value, 1 if half_life is None else 0.5 ** ((newest - day) / half_life))
        for u, i, value, day in rows
        if (u, i) == (user, item)
    ]
    if not fades:
        return 0.0
    if scheme == "binary":
        return max(fade for _, fade in fades)
    total = sum(value * fade for value, fade in fades)
    return math.log(1 + total) if scheme == "log" else total


@pytest.mark.parametrize("scheme", ["count", "log", "binary"])
@pytest.mark.parametrize("half_life", [None, 7.0])
def test_weights_are_the_loop(scheme, half_life):
    train = events(OLD)
    before = train.matrix.data.copy()
    weights = weigh(train, scheme, half_life)
    assert weights.dtype == np.float32
    for u, user in enumerate(train.users):
        for i, item in enumerate(train.items):
            expected = weight_by_loop(OLD, user, item, scheme, half_life)
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
        (("ones",), "scheme must be one of"),
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


def test_merge_keeps_positions_and_adds_values():
    old, new = events(OLD), events(NEW)
    both = merge(old.matrix, old.users, old.items, new)
    assert list(both.users) == ["a", "b", "c"]
    assert list(both.items) == [1, 2, 3]
    np.testing.assert_array_equal(both.matrix.toarray(), [[3, 3, 4], [1, 0, 0], [1, 0, 0]])
    assert both.matrix.has_sorted_indices
    np.testing.assert_array_equal(old.matrix.toarray(), [[3, 1], [1, 0]])


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
    scores = PersonalFrequency(half_life, prior).fit(train).score()
    for u, user in enumerate(train.users):
        for i, item in enumerate(train.items):
            share = sum((v, item) in {(a, b) for a, b, *_ in OLD} for v in train.users) / 2
            expected = weight_by_loop(OLD, user, item, "count", half_life) + prior * share
            assert scores[u, i] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("model", [Popularity(), PersonalFrequency(), PersonalFrequency(7.0)])
def test_two_steps_learn_what_one_learns(model, tmp_path):
    model.fit(events(OLD))
    model.save(tmp_path)
    stepwise = type(model).load(tmp_path).partial_fit(events(NEW))
    scores = stepwise.score()
    at_once = model.fit(events(OLD + NEW))
    assert list(stepwise.users_) == list(at_once.users_)
    assert list(stepwise.items_) == list(at_once.items_)
    np.testing.assert_allclose(scores, at_once.score(), rtol=1e-6)


def test_old_news_are_refused():
    model = PersonalFrequency(7.0).fit(events(NEW))
    with pytest.raises(ValueError, match="end before"):
        model.partial_fit(events(OLD))


def test_explanation_of_personal_frequency():
    model = PersonalFrequency().fit(events(OLD))
    reasons = model.explain(0, 0).set_index("reason")["contribution"]
    assert reasons.to_dict() == {"own purchases": 3.0, "popularity": pytest.approx(0.01)}


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, [1, 2]])
def test_check_positive(value):
    check_positive(one=1e-9)
    with pytest.raises(ValueError, match="factors must be a number above 0"):
        check_positive(one=1, factors=value)


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    with pytest.raises(ValueError, match="device must be"):
        resolve_device("gpu")


def arrays():
    return {
        "sparse": csr_array(np.array([[0, 1.5], [2, 0]], np.float32)),
        "tensor": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
        "array": np.arange(6.0).reshape(2, 3).T,
        "flags": np.array([True, False]),
        "scalar": np.array(2.5),
        "empty": np.empty((0, 3), np.float32),
    }


def stored(folder, users=("ä", "b"), items=(7, 9), settings=None):
    storage.save_model(
        folder,
        "Kind",
        settings or {"k": 3},
        arrays(),
        pd.Index(users, name="user"),
        pd.Index(items, name="item"),
    )
    return folder


def test_storage_gives_back_what_it_got(tmp_path):
    found = storage.load_model(stored(tmp_path / "a" / "b"), "Kind")
    assert found.settings == {"k": 3}
    for name, value in arrays().items():
        other = found.arrays[name]
        assert type(other) is type(value)
        assert other.dtype == value.dtype
        assert other.shape == value.shape, name
        if name == "sparse":
            value, other = value.toarray(), other.toarray()
        np.testing.assert_array_equal(np.asarray(other), np.asarray(value))
    pd.testing.assert_index_equal(found.users, pd.Index(["ä", "b"], name="user"), exact=True)
    pd.testing.assert_index_equal(found.items, pd.Index([7, 9], name="item"), exact=True)


def test_saving_again_leaves_one_model(tmp_path):
    stored(tmp_path)
    storage.save_model(tmp_path, "Kind", {}, {"x": np.ones(2)}, pd.Index([1]), pd.Index([2]))
    assert len(list(tmp_path.iterdir())) == 2
    assert list(storage.load_model(tmp_path, "Kind").arrays) == ["x"]


def test_a_crash_while_saving_leaves_the_old_model(tmp_path, monkeypatch):
    stored(tmp_path)

    def crash(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage.json, "dumps", crash)  # after the weights, before model.json
        with pytest.raises(KeyboardInterrupt):
            storage.save_model(tmp_path, "Kind", {}, {"x": np.ones(2)}, pd.Index([1]), pd.Index([2]))
    assert set(storage.load_model(tmp_path, "Kind").arrays) == set(arrays())


@pytest.mark.parametrize("missing", ["settings", "weights", "sha256", "arrays", "users", "items", "class"])
def test_json_without_a_key_is_refused(tmp_path, missing):
    path = stored(tmp_path) / storage.MODEL_FILE
    content = json.loads(path.read_text())
    del content[missing]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="damaged"):
        storage.load_model(tmp_path, "Kind")


@pytest.mark.parametrize("text", ["[]", "3", "null", '"model"', "{}"])
def test_json_of_another_kind_is_refused(tmp_path, text):
    (stored(tmp_path) / storage.MODEL_FILE).write_text(text)
    with pytest.raises(ValueError, match="damaged"):
        storage.load_model(tmp_path, "Kind")


def test_a_path_in_the_json_leads_nowhere_else(tmp_path):
    path = stored(tmp_path / "model") / storage.MODEL_FILE
    content = json.loads(path.read_text())
    weights = next((tmp_path / "model").glob("*.safetensors"))
    weights.rename(tmp_path / weights.name)
    path.write_text(json.dumps({**content, "weights": f"../{weights.name}"}))
    with pytest.raises(ValueError, match="damaged"):
        storage.load_model(tmp_path / "model", "Kind")


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"half_life": None, "prior": 0.01, "spell": "abracadabra"}},
        {"settings": [1, 2]},
        {"settings": {"half_life": None, "prior": -5}},
        {"users": {"dtype": "int64", "name": None, "values": [1]}},
        {"items": {"dtype": "int64", "name": None, "values": [1, 2, 3, 4]}},
        {"arrays": {}},
    ],
    ids=[
        "unknown setting",
        "list of settings",
        "impossible setting",
        "a user less",
        "items more",
        "no arrays",
    ],
)
def test_json_that_does_not_fit_the_model_is_refused(tmp_path, change):
    PersonalFrequency().fit(events(OLD)).save(tmp_path)
    path = tmp_path / storage.MODEL_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError):  # noqa: PT011
        PersonalFrequency.load(tmp_path)


def test_ids_that_json_cannot_hold_are_refused(tmp_path):
    with pytest.raises(ValueError, match="integers or strings"):
        stored(tmp_path, users=(1.5, 2.5))


def test_models_on_another_device_are_stored_without_it(tmp_path):
    Popularity(device="auto").fit(events(OLD)).save(tmp_path)
    assert "device" not in json.loads((tmp_path / storage.MODEL_FILE).read_text())["settings"]
    assert Popularity.load(tmp_path).device == "cpu"


def test_lists_on_a_device_stay_there(monkeypatch):
    """Where scores are computed on the host, they are moved; `meta` stands in for an accelerator."""
    model = Popularity().fit(events(OLD))
    monkeypatch.setattr("recsys_lib.recommenders.shared.base.resolve_device", lambda _: torch.device("meta"))
    assert model._to_device(np.ones((2, 2), np.float32)).device.type == "meta"


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    train, other = events(OLD), events(OLD[:-1])
    model = ALS(2, progress=False)
    with pytest.raises(ValueError, match="item_factors must have shape"):
        model.fit(train, item_factors=np.ones((1, 1)))
    with pytest.raises(NotFittedError):
        model.score()
    before = model.fit(train).score()
    with pytest.raises(ValueError, match="item_factors must have shape"):
        model.fit(other, item_factors=np.ones((1, 1)))
    np.testing.assert_array_equal(model.score(), before)
    assert model.matrix_ is train.matrix
