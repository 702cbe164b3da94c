"""What every recommender promises, checked on every recommender.

The known answer is a checkerboard: users and items of the same parity belong together, and each user's own
diagonal item is withheld. It is then the only item of his colour that he has not seen.
"""

import importlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib.data import Interactions
from recsys_lib.recommenders.neighbours import ItemKNN
from recsys_lib.recommenders.popularity import Popularity
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.storage import MODEL_FILE
from recsys_lib.scoring import TopK

SIZE = 12  # of the checkerboard
DAY = 86_400


class Model(NamedTuple):
    """How a model is made and fitted here, and which checks cannot apply to it."""

    module: str
    name: str
    settings: Mapping = MappingProxyType({})
    # "answer": finds no checkerboard; "zeros": refuses values of 0; why is said in the table
    exempt: tuple[str, ...] = ()
    extra: str | None = None  # what fit needs besides the interactions

    def make(self, **settings):
        module = pytest.importorskip(f"recsys_lib.recommenders.{self.module}")
        return getattr(module, self.name)(**{**self.settings, **settings})

    def fit(self, train, **settings):
        model = self.make(**settings)
        extra = {} if self.extra is None else {self.extra: texts_of(train.items)}
        return model.fit(train, **extra)


MODELS = {
    # counts everybody's items: even and odd ones are equally popular
    "Popularity": Model("popularity", "Popularity", exempt=("answer",)),
    # knows only what a user has; the withheld item is what he lacks
    "PersonalFrequency": Model("popularity", "PersonalFrequency", exempt=("answer",)),
    "ItemKNN": Model("neighbours", "ItemKNN"),
    "ItemKNN, 8 tfidf neighbours": Model("neighbours", "ItemKNN", {"neighbours": 8, "similarity": "tfidf"}),
    "ItemKNN, not itself": Model("neighbours", "ItemKNN", {"similarity": "cosine", "include_self": False}),
    "UserKNN": Model("neighbours", "UserKNN"),
    "UserKNN, all neighbours": Model("neighbours", "UserKNN", {"neighbours": None}),
    # predicts ratings, and here everybody gives the same one
    "UserKNN, ratings": Model("neighbours", "UserKNN", {"centred": True}, exempt=("answer",)),
    "ContentBased": Model("content", "ContentBased", extra="texts"),
    "EASE": Model("ease", "EASE", {"regularization": 1.0}),
    "ALS": Model("als", "ALS", {"factors": 4, "regularization": 0.1, "progress": False}),
    "BPR": Model("bpr", "BPR", {"factors": 8, "learning_rate": 0.05, "epochs": 10, "progress": False}),
    # predicts ratings, and here everybody gives the same one; refuses 0, which a sparse matrix need not store
    "BiasedMF": Model("biased_mf", "BiasedMF", {"progress": False}, exempt=("answer", "zeros")),
    "TwoTower": Model("two_tower", "TwoTower", {"factors": 8, "epochs": 4, "progress": False}),
    "Hybrid": Model("hybrid", "Hybrid", {"parts": (ItemKNN(), Popularity())}),
    "BoostedRanker": Model(
        "ranker",
        "BoostedRanker",
        {"parts": (ItemKNN(), Popularity()), "candidates": (10, 10), "trees": 5, "min_rows": 2},
    ),
    "SessionEASE": Model("sessions", "SessionEASE"),
    # knows only what everybody has had of late
    "Trending": Model("popularity", "Trending", exempt=("answer",)),
    # knows nothing at all
    "Random": Model("popularity", "Random", exempt=("answer",)),
}


@pytest.fixture(params=MODELS, scope="module")
def kind(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")  # no test changes it
def fitted(kind):
    return kind.fit(random_train())


def texts_of(items):
    """Descriptions in which the colour of an item is one word and its number another."""
    places = range(len(items))
    return [f"{'even' if place % 2 == 0 else 'odd'} number{place}" for place in places]


def checkerboard():
    square = (np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2 == 0).astype(np.float32)
    np.fill_diagonal(square, 0)
    return interactions(square)


def interactions(dense):
    """Interactions with times: a day between one interaction and the next."""
    rows, columns = np.nonzero(dense)
    frame = pd.DataFrame(
        {
            "user": rows,
            "item": columns,
            "value": np.asarray(dense)[rows, columns],
            "time": np.arange(len(rows)) * DAY,
        }
    )
    users, items = (pd.Index(np.arange(n)) for n in np.shape(dense))
    return Interactions.from_frame(frame, "user", "item", "value", "time", users=users, items=items)


def random_train(n_users=20, n_items=15, seed=0):
    """Values 1 … 5; user 3 has no history, user 4 has all items but two, item 7 belongs to nobody."""
    generator = np.random.default_rng(seed)
    dense = generator.integers(1, 6, (n_users, n_items)) * (generator.random((n_users, n_items)) < 0.4)
    dense[4] = generator.integers(1, 6, n_items)
    dense[4, [2, 9]] = 0
    dense[3], dense[:, 7] = 0, 0
    return interactions(dense)


def same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_the_withheld_item_comes_first(kind):
    if "answer" in kind.exempt:
        pytest.skip("cannot know the withheld item: see the table")
    train = checkerboard()
    best = kind.fit(train).recommend(k=2)
    np.testing.assert_array_equal(best.ids[:, 0], np.arange(SIZE))
    assert (best.scores[:, 0] > best.scores[:, 1]).all()


def test_lists_have_a_shape_and_a_type(fitted):
    best = fitted.recommend(np.array([5, 0, 5]), k=4)
    assert isinstance(best, TopK)
    assert best.ids.shape == best.scores.shape == (3, 4)
    assert best.ids.dtype == np.int64
    assert best.scores.dtype == np.float32
    np.testing.assert_array_equal(best.ids[0], best.ids[2])
    assert fitted.recommend(k=1).ids.shape == (20, 1)
    assert fitted.recommend(np.array([], int), k=3).ids.shape == (0, 3)


def test_seen_items_are_never_returned(fitted):
    best = fitted.recommend(k=15)
    seen = fitted.matrix_.toarray() > 0
    for user in range(20):
        listed = best.ids[user][best.ids[user] >= 0]
        assert not seen[user, listed].any()
        assert len(listed) == len(set(listed)) == (~seen[user]).sum()


def test_seen_items_are_returned_if_asked_for(fitted):
    best = fitted.recommend(k=15, exclude_seen=False)
    np.testing.assert_array_equal(np.sort(best.ids, axis=1), np.tile(np.arange(15), (20, 1)))


def test_short_lists_end_in_minus_one(fitted):
    best = fitted.recommend(np.array([4]), k=5)
    assert set(best.ids[0, :3]) == {2, 7, 9}
    np.testing.assert_array_equal(best.ids[0, 3:], -1)
    np.testing.assert_array_equal(best.scores[0, 3:], -np.inf)


def test_scores_rank_as_the_list_does(fitted):
    scores, best = fitted.score(), fitted.recommend(k=15, exclude_seen=False)
    assert scores.shape == (20, 15)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    listed = np.take_along_axis(scores, best.ids, axis=1)
    np.testing.assert_allclose(listed, best.scores, rtol=1e-4, atol=1e-5)
    assert (np.diff(best.scores, axis=1) <= 0).all()
    assert np.ptp(best.scores, axis=1).max() > 0.01  # or an order of equal scores would prove nothing


def test_scores_of_some_users_are_rows_of_all(fitted):
    some = np.array([11, 3, 0])
    np.testing.assert_allclose(fitted.score(some), fitted.score()[some], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("users", [[3], [-1], [-1, 0, 3]])
def test_without_history_popularity_decides(fitted, users):
    best = fitted.recommend(np.array(users), k=4)
    counts = (fitted.matrix_.toarray() > 0).sum(0)
    popular = np.argsort(-counts, kind="stable")[:4]
    for place, user in enumerate(users):
        if user != 0:
            np.testing.assert_array_equal(best.ids[place], popular)
            np.testing.assert_array_equal(best.scores[place], counts[popular])
            np.testing.assert_array_equal(fitted.score(np.array([user]))[0], counts)
    if 0 in users:
        same(fitted.recommend(np.array([0]), k=4), TopK(best.ids[[1]], best.scores[[1]]))


def test_saving_and_loading_gives_the_same_list(fitted, kind, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = type(fitted).load(tmp_path / "model")
    same(loaded.recommend(k=6), fitted.recommend(k=6))
    np.testing.assert_array_equal(loaded.score(), fitted.score())
    for stored, wanted in [(loaded.items_, fitted.items_), (loaded.users_, fitted.users_)]:
        pd.testing.assert_index_equal(stored, wanted, exact=True)
    assert {path.suffix for path in (tmp_path / "model").iterdir()} == {".json", ".safetensors"}


def test_the_same_seed_gives_the_same_list(kind):
    settings = {"seed": 7} if hasattr(kind.make(), "seed") else {}
    one, other = (kind.fit(random_train(), **settings) for _ in range(2))
    same(one.recommend(k=6), other.recommend(k=6))


def test_no_global_generator_is_touched(kind):
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    kind.fit(random_train()).recommend(k=3)
    after = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    assert before == after


def test_fitting_and_recommending_leave_the_input_unchanged(kind):
    train = random_train()
    parts = (train.matrix.data, train.matrix.indices, train.matrix.indptr)
    before, events = [part.tobytes() for part in parts], train.events.copy()
    model = kind.fit(train)
    model.recommend(k=3)
    model.recommend(k=3, exclude_seen=False)
    model.score(np.array([0, -1]))
    assert [part.tobytes() for part in parts] == before
    pd.testing.assert_frame_equal(train.events, events)


def test_fitting_again_forgets_the_first_time(kind):
    model = kind.fit(random_train(seed=1))
    extra = {} if kind.extra is None else {kind.extra: texts_of(range(15))}
    model.fit(random_train(), **extra)
    same(model.recommend(k=6), kind.fit(random_train()).recommend(k=6))


@pytest.mark.parametrize("use", ["recommend", "score", "save"])
def test_not_fitted(kind, use, tmp_path):
    model = kind.make()
    with pytest.raises(NotFittedError, match="not fitted"):
        model.save(tmp_path) if use == "save" else getattr(model, use)(np.array([0]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "finite and not negative"),
        (np.nan, "finite and not negative"),
        (np.inf, "finite and not negative"),
    ],
)
def test_values_that_mean_nothing_are_refused(kind, value, message):
    train = random_train()
    train.matrix.data[3] = value
    with pytest.raises(ValueError, match=message):
        kind.fit(train)


def test_an_empty_matrix_is_refused(kind):
    nothing = Interactions(csr_array((4, 5), dtype=np.float32), pd.RangeIndex(4), pd.RangeIndex(5))
    with pytest.raises(ValueError, match="no interaction"):
        kind.fit(nothing)


def test_a_bare_matrix_is_refused(kind):
    with pytest.raises(ValueError, match="must be Interactions"):
        kind.make().fit(random_train().matrix)


@pytest.mark.parametrize("users", [[20], [-2], [0, 1, 99]])
@pytest.mark.parametrize("use", ["recommend", "score"])
def test_positions_out_of_range(fitted, users, use):
    with pytest.raises(ValueError, match="0 to 19"):
        getattr(fitted, use)(np.array(users))


@pytest.mark.parametrize("users", [np.array([0.5]), np.array([[0]]), np.array(["a"]), np.array([True])])
def test_positions_that_are_no_integers(fitted, users):
    with pytest.raises(ValueError, match="integers"):
        fitted.recommend(users)


@pytest.mark.parametrize("k", [0, -1, 16])
def test_k_out_of_range(fitted, k):
    with pytest.raises(ValueError, match="k must be between 1 and the number of items, 15"):
        fitted.recommend(k=k)


def test_another_class_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    other = importlib.import_module("recsys_lib.recommenders.popularity")
    other = other.PersonalFrequency if type(fitted).__name__ == "Popularity" else other.Popularity
    with pytest.raises(ValueError, match=f"class {type(fitted).__name__}, not {other.__name__}"):
        other.load(tmp_path)


def test_another_version_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    stored = json.loads((tmp_path / MODEL_FILE).read_text())
    (tmp_path / MODEL_FILE).write_text(json.dumps({**stored, "version": 999}))
    with pytest.raises(ValueError, match="version 999"):
        type(fitted).load(tmp_path)


def test_damaged_weights_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        type(fitted).load(tmp_path)


def test_missing_weights_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(ValueError, match="damaged"):
        type(fitted).load(tmp_path)


def test_cut_json_is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    text = (tmp_path / MODEL_FILE).read_text()
    (tmp_path / MODEL_FILE).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="damaged"):
        type(fitted).load(tmp_path)


def test_an_empty_folder_is_no_model(kind, tmp_path):
    kind.make()  # skips while the module is not there
    module = importlib.import_module(f"recsys_lib.recommenders.{kind.module}")
    with pytest.raises(FileNotFoundError, match="no model"):
        getattr(module, kind.name).load(tmp_path)


def test_an_unknown_device_is_refused(kind):
    with pytest.raises(ValueError, match="device must be"):
        kind.fit(random_train(), device="abacus").recommend(k=1)


def test_zeros_that_are_stored_do_no_harm(kind):
    """A stored 0 is a pair that was seen and counts nothing."""
    if "zeros" in kind.exempt:
        pytest.skip("refuses them: see the table")
    train = random_train()
    train.matrix.data[5] = 0
    best = kind.fit(train).recommend(k=3)
    assert np.isfinite(best.scores[best.ids >= 0]).all()


def test_one_user_and_one_item(kind):
    model = kind.fit(interactions(np.array([[2.0]])))
    best = model.recommend(k=1)
    assert best.ids.tolist() == [[-1]]
    assert model.recommend(k=1, exclude_seen=False).ids.tolist() == [[0]]


def test_explanations_add_up_to_the_score(fitted):
    if not hasattr(fitted, "explain"):
        pytest.skip("has no explanation")
    scores = fitted.score()
    for user, item in [(0, 3), (4, 2), (11, 14)]:
        reasons = fitted.explain(user, item)
        assert reasons["contribution"].sum() == pytest.approx(scores[user, item], rel=1e-4, abs=1e-5)


def test_every_model_of_the_package_is_here():
    package = importlib.import_module("recsys_lib.recommenders")
    exported = {
        name
        for name, value in vars(package).items()
        if isinstance(value, type) and issubclass(value, Recommender) and value is not Recommender
    }
    assert exported <= {model.name for model in MODELS.values()}
