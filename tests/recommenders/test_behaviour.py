"""What every recommender promises, checked on every recommender.

The known answer is a checkerboard: users and items of the same parity belong together, and each user's own
diagonal item is withheld. It is then the only item of his colour that he has not seen.
"""

import copy
import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

from recsys_lib.data import Interactions
from recsys_lib.files import load_tensors, save_tensors
from recsys_lib.recommenders.neighbors import ItemKNN
from recsys_lib.recommenders.popularity import PersonalFrequency, Popularity, Trending
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count
from recsys_lib.recommenders.shared.storage import MODEL_FILE
from recsys_lib.recommenders.shared.weighting import weigh
from recsys_lib.scoring import TopK

SIZE = 12  # of the checkerboard
DAY = 86_400
START = 10_000 * DAY  # in 1997: what is earlier than 1973 is no time in seconds


class Model(NamedTuple):
    """How a model is made and fitted here, and which checks cannot apply to it."""

    module: str
    name: str
    settings: Mapping = MappingProxyType({})
    # "answer": finds no checkerboard; why is said in the table
    exempt: tuple[str, ...] = ()
    cannot: str = ""  # capabilities that the model lacks
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
    "Popularity": Model("popularity", "Popularity", exempt=("answer",), cannot="similar"),
    # knows only what a user has; the withheld item is what he lacks
    "PersonalFrequency": Model("popularity", "PersonalFrequency", exempt=("answer",), cannot="similar"),
    "ItemKNN": Model("neighbors", "ItemKNN"),
    "ItemKNN, 8 tfidf neighbours": Model("neighbors", "ItemKNN", {"neighbors": 8, "similarity": "tfidf"}),
    "ItemKNN, not itself": Model("neighbors", "ItemKNN", {"similarity": "cosine", "include_self": False}),
    "UserKNN": Model("neighbors", "UserKNN", cannot="similar fold_in"),
    "UserKNN, all neighbours": Model("neighbors", "UserKNN", {"neighbors": None}, cannot="similar fold_in"),
    "ContentBased": Model("content", "ContentBased", extra="texts"),
    "EASE": Model("ease", "EASE", {"regularization": 1.0}),
    "ALS": Model("als", "ALS", {"factors": 4, "regularization": 0.1}),
    "BPR": Model(
        "bpr",
        "BPR",
        {"factors": 8, "learning_rate": 0.05, "epochs": 10},
        cannot="fold_in",
    ),
    # predicts ratings, and here everybody gives the same one
    "BiasedMF": Model(
        "biased_mf",
        "BiasedMF",
        {},
        exempt=("answer",),
        cannot="fold_in",
    ),
    "TwoTower": Model("two_tower", "TwoTower", {"factors": 8, "epochs": 4}),
    "Hybrid": Model("hybrid", "Hybrid", {"parts": (ItemKNN(), Popularity())}, cannot="similar"),
    "BoostedRanker": Model(
        "ranker",
        "BoostedRanker",
        {"parts": (ItemKNN(), Popularity()), "candidates": (10, 10), "trees": 5, "min_rows": 2},
        cannot="similar explain fold_in",
    ),
    "SessionEASE": Model("sessions", "SessionEASE"),
    "TrendEASE": Model("sessions", "TrendEASE", {"regularization": 1.0}),
    # says what follows a user's last item, and the withheld one lies before it
    "SASRec": Model(
        "sequence",
        "SASRec",
        {"factors": 8, "epochs": 2},
        exempt=("answer",),
        cannot="explain fold_in",
    ),
    "TIFUKNN": Model("baskets", "TIFUKNN", {"neighbors": 3}, cannot="similar explain fold_in"),
    "UPCF": Model("baskets", "UPCF", {"recent": 9}, cannot="similar explain fold_in"),
    # knows only what everybody has had of late
    "Trending": Model("popularity", "Trending", exempt=("answer",), cannot="similar"),
    # knows nothing at all
    "Random": Model("popularity", "Random", exempt=("answer",), cannot="similar explain fold_in"),
}
CAPABILITIES = ("similar", "explain", "fold_in")


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
            "time": START + np.arange(len(rows)) * DAY,
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
    assert [path.name for path in (tmp_path / "model").iterdir()] == [MODEL_FILE]


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
        (-1.0, r"above 0 and at most 1e\+15; user 0 and item \d+ have -1"),
        (0.0, "have 0"),
        (np.nan, "have nan"),
        (np.inf, "have inf"),
        (1e30, r"have 1e\+30"),
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
    tensors, stamp = load_tensors(tmp_path / MODEL_FILE)
    save_tensors(tmp_path / MODEL_FILE, tensors, {**stamp, "version": 999})
    with pytest.raises(ValueError, match="version 999"):
        type(fitted).load(tmp_path)


@pytest.mark.parametrize("field", ["settings", "users", "state", "class"])
def test_a_stamp_without_a_field_is_refused(fitted, field, tmp_path):
    fitted.save(tmp_path)
    tensors, stamp = load_tensors(tmp_path / MODEL_FILE)
    save_tensors(tmp_path / MODEL_FILE, tensors, {k: v for k, v in stamp.items() if k != field})
    with pytest.raises(ValueError, match="damaged"):
        type(fitted).load(tmp_path)


def test_damaged_weights_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    weights = tmp_path / MODEL_FILE
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        type(fitted).load(tmp_path)


def test_ids_that_stand_there_twice_are_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    tensors, stamp = load_tensors(tmp_path / MODEL_FILE)
    stamp["items"]["values"][1] = stamp["items"]["values"][0]
    save_tensors(tmp_path / MODEL_FILE, tensors, stamp)
    with pytest.raises(ValueError, match=r"damaged: .* stands there twice"):
        type(fitted).load(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_cut_file_is_refused(fitted, kept, tmp_path):
    fitted.save(tmp_path)
    content = (tmp_path / MODEL_FILE).read_bytes()
    (tmp_path / MODEL_FILE).write_bytes(content[: int(len(content) * kept)])
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


def test_one_user_and_one_item(kind):
    model = kind.fit(interactions(np.array([[2.0]])))
    best = model.recommend(k=1)
    assert best.ids.tolist() == [[-1]]
    assert model.recommend(k=1, exclude_seen=False).ids.tolist() == [[0]]


def needs(kind, capability):
    if capability in kind.cannot.split():
        pytest.skip(f"has no {capability}: see the table")


def state_of(model):
    """Everything a model knows, as something that compares equal or not."""
    known = {name: content_of(value) for name, value in vars(model).items() if name.endswith("_")}
    return known | {"parts_": [state_of(part) for part in model.parts_]}


def content_of(value):
    if isinstance(value, csr_array):
        return [value.shape, *map(content_of, (value.indptr, value.indices, value.data))]
    if isinstance(value, np.ndarray | torch.Tensor):
        return np.asarray(value).tobytes()
    if isinstance(value, pd.Index):
        return value.tolist()
    return [content_of(part) for part in value] if isinstance(value, tuple) else value


def call(model, capability):
    arguments = {
        "similar": (np.array([0]), 2),
        "explain": (0, 0),
        "fold_in": (random_train().matrix,),
    }
    return getattr(model, capability)(*arguments[capability])


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_what_a_model_cannot_do_it_says_in_one_sentence(fitted, kind, capability):
    model = copy.deepcopy(fitted)
    if capability not in kind.cannot.split():
        call(model, capability)
        return
    before = state_of(model)
    with pytest.raises(NotImplementedError, match=rf"^{kind.name} has no {capability}: .{{15,}}$"):
        call(model, capability)
    assert state_of(model) == before


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_no_capability_before_the_fit(kind, capability):
    with pytest.raises(NotFittedError, match="not fitted"):
        call(kind.make(), capability)


def test_explanations_add_up_to_the_score(fitted, kind):
    needs(kind, "explain")
    scores = fitted.score()
    for user, item in [(0, 3), (4, 2), (11, 14)]:
        reasons = fitted.explain(user, item)
        contribution = reasons["contribution"]
        assert contribution.sum() == pytest.approx(scores[user, item], rel=1e-4, abs=1e-5)
        assert contribution.is_monotonic_decreasing
        assert reasons.columns[-1] == "contribution"


def test_explanations_name_what_was_asked_for(fitted, kind):
    needs(kind, "explain")
    for pair, message in [((20, 0), "user.* 0 to 19"), ((0, 15), "item.* 0 to 14"), ((3, 0), "no history")]:
        with pytest.raises(ValueError, match=message):
            fitted.explain(*pair)


def test_similar_items_are_of_the_same_colour(kind):
    needs(kind, "similar")
    train = checkerboard()
    near = kind.fit(train).similar(np.array([0, 5, 0]), k=4)
    assert near.ids.shape == near.scores.shape == (3, 4)
    np.testing.assert_array_equal(near.ids[0], near.ids[2])
    assert (np.diff(near.scores, axis=1) <= 0).all()
    for row, item in enumerate([0, 5, 0]):
        found = near.ids[row][near.ids[row] >= 0]
        assert item not in found
        if "answer" not in kind.exempt:
            assert len(found)
            assert (found % 2 == item % 2).all()


def test_similar_checks_its_arguments(fitted, kind):
    needs(kind, "similar")
    with pytest.raises(ValueError, match="0 to 14"):
        fitted.similar(np.array([15]))
    for k in (0, 16, 2.5):
        with pytest.raises(ValueError, match="k must be between 1 and the number of items, 15"):
            fitted.similar(np.array([0]), k=k)


def test_folding_in_a_known_user_gives_his_scores(fitted, kind):
    needs(kind, "fold_in")
    folded = fitted.fold_in(fitted.matrix_)
    assert folded.dtype == np.float32
    np.testing.assert_allclose(folded, fitted.score(), rtol=1e-3, atol=1e-4)


def test_folding_in_a_new_user_finds_the_withheld_item(kind):
    needs(kind, "fold_in")
    if "answer" in kind.exempt:
        pytest.skip("cannot know the withheld item: see the table")
    train = checkerboard()
    history = csr_array(train.matrix[[0]])  # all even items but 0
    scores = kind.fit(train).fold_in(history)[0]
    unseen = np.setdiff1d(np.arange(SIZE), history.indices)
    assert unseen[scores[unseen].argmax()] == 0


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        (csr_array((2, 14), dtype=np.float32), "one column for each of 15 items"),
        (np.ones((2, 15)), "must be sparse"),
        (csr_array(np.full((1, 15), -1.0)), "not negative"),
        (csr_array(np.full((1, 15), np.nan)), "finite"),
    ],
)
def test_histories_that_are_none(fitted, kind, histories, message):
    needs(kind, "fold_in")
    with pytest.raises(ValueError, match=message):
        fitted.fold_in(histories)


def test_an_item_that_a_history_holds_twice_counts_with_the_sum(fitted, kind):
    needs(kind, "fold_in")
    twice = csr_array((np.array([1.0, 1.0, 3.0]), np.array([2, 2, 5]), np.array([0, 3])), shape=(1, 15))
    once = csr_array((np.array([2.0, 3.0]), np.array([2, 5]), np.array([0, 2])), shape=(1, 15))
    np.testing.assert_array_equal(fitted.fold_in(twice), fitted.fold_in(once))
    assert twice.nnz == 3


def test_an_item_with_0_is_not_in_a_history(fitted, kind):
    needs(kind, "fold_in")
    twice = csr_array((np.array([0.0, 3.0, 0.0]), np.array([2, 5, 7]), np.array([0, 2, 3])), shape=(2, 15))
    once = csr_array((np.array([3.0]), np.array([5]), np.array([0, 1, 1])), shape=(2, 15))
    np.testing.assert_array_equal(fitted.fold_in(twice), fitted.fold_in(once))
    assert twice.nnz == 3


def test_a_part_of_an_unknown_class_is_named(tmp_path):
    MODELS["Hybrid"].fit(random_train()).save(tmp_path)
    tensors, stamp = load_tensors(tmp_path / MODEL_FILE)
    stamp["settings"]["parts"][1]["class"] = "Gone"
    save_tensors(tmp_path / MODEL_FILE, tensors, stamp)
    with pytest.raises(ValueError, match=r"^a part is of class Gone: import it before loading$"):
        type(MODELS["Hybrid"].make()).load(tmp_path)


@pytest.mark.parametrize("candidates", [(2.5, 1), (-1, 1), (0, 0), (1,)])
def test_candidates_are_whole_numbers(candidates):
    with pytest.raises(ValueError, match="a whole number of at least 0 for each of 2 parts"):
        MODELS["BoostedRanker"].make(candidates=candidates)


def test_loading_keeps_every_capability(fitted, kind, tmp_path):
    fitted.save(tmp_path)
    loaded = type(fitted).load(tmp_path)
    assert state_of(loaded) == state_of(fitted)
    for capability in set(CAPABILITIES) - set(kind.cannot.split()):
        one, other = call(loaded, capability), call(fitted, capability)
        if capability == "explain":
            pd.testing.assert_frame_equal(one, other)
        elif capability == "similar":
            same(one, other)
        else:
            np.testing.assert_array_equal(one, other)


def test_settings_are_given_by_name(kind):
    with pytest.raises(TypeError, match="positional"):
        type(kind.make())(1)


def test_counts_are_whole_numbers(kind):
    model = kind.make()
    for field in fields(model):
        if Count in (field.type, *get_args(field.type)):
            for value in (2.5, 0, -1, "3"):
                with pytest.raises(ValueError, match=field.name):
                    replace(model, **{field.name: value})


def test_amounts_are_numbers(kind):
    model = kind.make()
    for field in fields(model):
        if any(getattr(kind, "__origin__", None) is float for kind in (field.type, *get_args(field.type))):
            for value in ("3", -1.0, np.nan):
                with pytest.raises(ValueError, match=field.name):
                    replace(model, **{field.name: value})


@pytest.mark.parametrize("sparse", [False, True])
def test_features_of_items_have_one_name_and_one_shape(kind, sparse):
    features = np.column_stack([np.arange(15) % 2, np.arange(15) % 3, np.ones(15)])
    given = csr_array(features) if sparse else features
    model = kind.make()
    if not type(model)._takes_features or model.__dict__.get("parts"):
        with pytest.raises(ValueError, match=r"learns (nothing )?from item_features"):
            model.fit(random_train(), item_features=given)
        return
    scores = model.fit(random_train(), item_features=given).score()
    assert scores.shape == (20, 15)
    plain = model.fit(random_train()).score() if kind.extra is None else np.zeros((20, 15))
    assert np.abs(scores - plain).max() > 1e-3  # they were not left aside
    for bad, message in [(features[1:], "one row for each of 15"), (features * np.nan, "finite")]:
        with pytest.raises(ValueError, match=message):
            model.fit(random_train(), item_features=bad)


def test_features_reach_the_parts_of_a_hybrid():
    ease, content = MODELS["EASE"].make(), MODELS["ContentBased"].make()
    features = csr_array(np.column_stack([np.arange(15) % 2, np.arange(15) % 3]).astype(float))
    model = MODELS["Hybrid"].make(parts=(ease, Popularity(), content))
    model.fit(random_train(), item_features=features)
    alone = ease.fit(random_train(), item_features=features).score()
    np.testing.assert_array_equal(model.parts_[0].score(), alone)


def test_more_items_than_users(kind):
    """The other way of EASE and of ItemKNN, where the matrix over users is the smaller one."""
    model = kind.fit(random_train(n_users=12, n_items=20))
    scores, best = model.score(), model.recommend(k=20, exclude_seen=False)
    listed = np.take_along_axis(scores, best.ids, axis=1)
    np.testing.assert_allclose(listed, best.scores, rtol=1e-4, atol=1e-5)
    if "fold_in" not in kind.cannot:
        np.testing.assert_allclose(model.fold_in(model.matrix_), scores, rtol=1e-3, atol=1e-4)
    if "explain" not in kind.cannot:
        assert model.explain(0, 3)["contribution"].sum() == pytest.approx(scores[0, 3], rel=1e-4, abs=1e-5)


def test_scores_lie_in_memory_row_by_row(fitted):
    for users in (None, np.array([0, -1])):
        assert fitted.score(users).flags.c_contiguous


def test_a_seed_is_a_whole_number(kind):
    model = kind.make()
    if not hasattr(model, "seed"):
        pytest.skip("draws nothing")
    for seed in (2.5, -1, None, True, "1"):
        with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
            replace(model, seed=seed)


def test_numbers_of_numpy_are_stored_too(kind, tmp_path):
    plain = kind.make()
    numbers = {
        field.name: np.dtype(type(value)).type(value)
        for field in fields(plain)
        if type(value := getattr(plain, field.name)) in (int, float) and value
    }
    model = kind.fit(random_train(), **numbers)
    model.save(tmp_path)
    assert type(model).load(tmp_path).recommend(k=3).ids.shape == (20, 3)


class Spy(Popularity):
    """Is interrupted in the middle of its second fit."""

    def _fit(self, train):
        if hasattr(self, "fitted_once_"):
            self.extra_ = 1
            raise KeyboardInterrupt
        self.fitted_once_ = True


def test_an_interrupted_fit_leaves_the_model_as_it_was():
    model = Spy().fit(random_train())
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt):
        model.fit(random_train(seed=3))
    assert state_of(model) == before
    assert not hasattr(model, "extra_")


def test_scores_and_lists_of_unknown_users_stay_on_the_device(monkeypatch):
    monkeypatch.setattr("recsys_lib.scoring.checks.check_scores", lambda *_: None)  # there are no numbers
    model = Popularity(device="meta").fit(random_train())
    assert model.score(np.array([0, -1])).device.type == "meta"
    assert model.recommend(np.array([0, -1]), k=3).ids.device.type == "meta"
    histories = csr_array(np.vstack([np.ones(15), np.zeros(15)]))
    assert model.fold_in(histories).device.type == "meta"


@pytest.mark.parametrize("half_lives", [(None, 30.0), (7.0, 30.0)])
def test_a_hybrid_folds_nothing_in_where_its_parts_fade_differently(half_lives):
    parts = [PersonalFrequency(half_life=half_lives[0]), ItemKNN(half_life=half_lives[1])]
    model = MODELS["Hybrid"].make(parts=parts).fit(random_train())
    with pytest.raises(NotImplementedError, match="half-lives of its parts differ"):
        model.fold_in(random_train().matrix)


def test_a_hybrid_folds_in_where_its_parts_fade_alike():
    parts = [PersonalFrequency(half_life=30.0), ItemKNN(half_life=30.0), Trending(half_life=5.0)]
    train = random_train()
    model = MODELS["Hybrid"].make(parts=parts).fit(train)
    folded = model.fold_in(weigh(train, "count", 30.0))
    np.testing.assert_allclose(folded, model.score(), rtol=1e-3, atol=1e-4)


def test_features_may_be_a_tensor_and_must_fit_32_bits():
    model, features = MODELS["EASE"].make(), np.column_stack([np.arange(15) % 2, np.ones(15)])
    wanted = model.fit(random_train(), item_features=features).score()
    tensor = torch.from_numpy(features).requires_grad_()
    np.testing.assert_array_equal(model.fit(random_train(), item_features=tensor).score(), wanted)
    with pytest.raises(ValueError, match="finite numbers, also in 32 bits"):
        model.fit(random_train(), item_features=features * 1e300)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Hybrid", {"parts": None}, "sequence of at least one"),
        ("Hybrid", {"parts": (part for part in [ItemKNN()])}, "sequence of at least one"),
        ("BoostedRanker", {"candidates": None}, "a whole number of at least 0"),
        ("BoostedRanker", {"candidates": 5}, "a whole number of at least 0"),
        ("EASE", {"regularization": True}, "regularization must be a number above 0"),
        ("EASE", {"regularization": 10**400}, "regularization must be a number above 0"),
        ("ItemKNN", {"half_life": "7"}, "half_life must be a number above 0"),
    ],
)
def test_settings_that_mean_nothing(name, settings, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name].make(**settings)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ContentBased", {"texts": 3}, "texts"),
        ("ALS", {"item_factors": "x"}, "item_factors must be an array"),
        ("BoostedRanker", {"item_groups": [1]}, "item_groups must map"),
    ],
)
def test_what_fit_takes_besides_is_checked(name, given, message):
    with pytest.raises(ValueError, match=message):
        MODELS[name].make().fit(random_train(), **given)


def test_every_model_of_the_package_is_here():
    package = importlib.import_module("recsys_lib.recommenders")
    exported = {
        name
        for name, value in vars(package).items()
        if isinstance(value, type) and issubclass(value, Recommender) and value is not Recommender
    }
    assert exported <= {model.name for model in MODELS.values()}
