"""Benchmarks, their contenders, and lists that are stored once and never trusted blindly."""

import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csc_array

from recsys_lib.data import Interactions, Split
from recsys_lib.files import load_tensors, save_tensors
from recsys_lib.judging import fingerprint as checksums
from recsys_lib.judging import leaderboard
from recsys_lib.judging.benchmark import event_table, open_benchmark, open_benchmarks
from recsys_lib.judging.contenders import Contender, contenders, describe
from recsys_lib.judging.fingerprint import CODE, code_version, fingerprint
from recsys_lib.judging.leaderboard import fit_and_rank, judge, published_rows, ranked_lists
from recsys_lib.judging.memory import highest, peak_growth
from recsys_lib.metrics import catalogue_metrics, ranking_metrics
from recsys_lib.recommenders import ALS, BoostedRanker, ItemKNN, PersonalFrequency, Popularity
from recsys_lib.recommenders.popularity import Random

pytestmark = pytest.mark.filterwarnings("ignore:.*their values were summed")


@pytest.fixture
def own_file(tmp_path):
    """A small shop: 40 users, 30 items, habits, 60 days."""
    rng = np.random.default_rng(0)
    user = rng.integers(0, 40, 3_000)
    item = np.where(rng.random(3_000) < 0.5, user % 30, (30 * rng.random(3_000) ** 2).astype(int))
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 60, 3_000), unit="D")
    path = tmp_path / "own.csv"
    pd.DataFrame({"who": user, "what": item, "when": day}).to_csv(path, index=False)
    return path


@pytest.fixture
def benchmark(own_file):
    return open_benchmark(own_file, user="who", item="what", time="when")


@pytest.fixture
def counted(benchmark):
    """The benchmark, a contender, and how often it was fitted."""
    calls = []

    class Counted(Popularity):
        def _fit(self, train):
            calls.append(1)

    return benchmark, Contender("Counted", Counted(), tuple(benchmark.tasks)), calls


def test_own_data_has_two_tasks_split_by_time(benchmark):
    assert list(benchmark.tasks) == ["own_data_all", "own_data_discovery"]
    assert not benchmark.tasks["own_data_all"].exclude_seen
    assert benchmark.tasks["own_data_discovery"].exclude_seen
    train, test = benchmark.split
    assert train.events["time"].max() < test.events["time"].min()
    new = benchmark.tasks["own_data_discovery"].relevant
    assert new.multiply(train.matrix).nnz == 0 < new.nnz < test.matrix.nnz


def test_own_data_without_times_is_split_at_random_into_one_task(own_file):
    opened = open_benchmarks(own_file, user="who", item="what")["own_data"]
    assert list(opened.tasks) == ["own_data"]
    assert opened.split.train.events is None
    assert opened.split.test.matrix.nnz > 100


def test_events_with_their_ids(benchmark):
    table = event_table(benchmark.split.train)
    again = Interactions.from_frame(table, "user", "item", "value", "time")
    assert (again.matrix != benchmark.split.train.matrix).nnz == 0


@pytest.mark.parametrize(("name", "tasks"), [("movielens", 1), ("complete_journey", 2)])
def test_the_courses_benchmarks(name, tasks):
    opened = open_benchmarks(name)[name]
    assert len(opened.tasks) == tasks
    assert len(opened.item_names) == opened.split.train.n_items
    listed = {profile: contenders(opened, profile) for profile in ("smoke", "default", "full")}
    names = [contender.name for contender in listed["default"]]
    assert names[:3] == ["Random", "Popularity", "PersonalFrequency"]
    assert {contender.name for contender in listed["smoke"]} <= set(names)
    rankers = [contender for contender in listed["full"] if isinstance(contender.model, BoostedRanker)]
    assert [ranker.model.periods for ranker in rankers] == [3] * (tasks if tasks == 2 else 0)
    with pytest.raises(ValueError, match="profile must be one of"):
        contenders(opened, "huge")


@pytest.mark.parametrize("name", ["movielens", "complete_journey", "own_data"])
def test_what_is_made_of_parts_works_where_the_parts_do(benchmark, name):
    opened = benchmark if name == "own_data" else open_benchmark(name)
    made = [entry.model for entry in contenders(opened, device="meta") if hasattr(entry.model, "parts")]
    assert made
    assert {model.device for model in made} == {"meta"}


def test_every_contender_of_own_data_makes_lists(benchmark, tmp_path):
    for contender in contenders(benchmark):
        lists = ranked_lists(contender, benchmark)
        assert set(lists.ids) == set(contender.tasks)
        assert all(ids.shape == (40, 30) for ids in lists.ids.values())  # no more items than there are


def test_a_description_shows_what_is_not_default():
    assert describe(Random(seed=4)) == "Random()"
    assert describe(ALS(factors=32, alpha=3.0, seed=4)).startswith("ALS(factors=32, regularization=")
    blend = BoostedRanker(parts=[ItemKNN(), Popularity()], candidates=[3, 0])
    assert describe(blend) == "BoostedRanker(parts=[ItemKNN(), Popularity()], candidates=[3, 0])"


def test_lists_are_those_of_the_model(counted, tmp_path):
    benchmark, contender, _ = counted
    model, lists = fit_and_rank(contender, benchmark)
    for task, ids in lists.ids.items():
        expected = model.recommend(k=10, exclude_seen=benchmark.tasks[task].exclude_seen).ids
        np.testing.assert_array_equal(ids[:, :10], expected)
    assert min(lists.fit_seconds, *lists.recommend_seconds.values(), lists.memory_mib) >= 0


@pytest.mark.parametrize("model", [ItemKNN(), PersonalFrequency(), ALS(factors=4)])
def test_scores_shared_by_two_tasks_make_the_lists_of_each(benchmark, monkeypatch, model):
    monkeypatch.setattr(leaderboard, "_USERS", 7)
    model, lists = fit_and_rank(Contender("Shared", model, tuple(benchmark.tasks)), benchmark)
    for task, ids in lists.ids.items():
        expected = model.recommend(k=ids.shape[1], exclude_seen=benchmark.tasks[task].exclude_seen).ids
        np.testing.assert_array_equal(ids, np.asarray(expected))


def test_stored_lists_are_used(counted, tmp_path):
    benchmark, contender, calls = counted
    first, second = (ranked_lists(contender, benchmark) for _ in range(2))
    assert len(calls) == 1
    assert first[1:] == second[1:]
    for task in benchmark.tasks:
        np.testing.assert_array_equal(first.ids[task], second.ids[task])


def test_other_data_settings_or_code_mean_a_fresh_fit(counted, tmp_path, monkeypatch):
    benchmark, contender, calls = counted
    ranked_lists(contender, benchmark)
    train = benchmark.split.train
    changed = train.matrix.copy()
    changed.data[0] += 1
    other = benchmark._replace(
        split=Split(Interactions(changed, train.users, train.items), benchmark.split.test)
    )
    ranked_lists(contender, other)
    assert len(calls) == 2
    ranked_lists(contender._replace(extra={}, name="Renamed"), benchmark)
    assert len(calls) == 3
    monkeypatch.setattr(leaderboard, "code_version", lambda: "another")
    ranked_lists(contender, benchmark)
    assert len(calls) == 4
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "changed"])
def test_a_damaged_file_is_rebuilt_and_said(counted, tmp_path, damage):
    benchmark, contender, calls = counted
    before = ranked_lists(contender, benchmark)
    path = next(tmp_path.glob("*.safetensors"))
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-50], "empty": b"", "changed": whole[:-1] + b"\x07"}[damage])
    with pytest.warns(UserWarning, match=r"\.safetensors is damaged: .*; its lists are rebuilt"):
        after = ranked_lists(contender, benchmark)
    assert len(calls) == 2
    np.testing.assert_array_equal(before.ids["own_data_all"], after.ids["own_data_all"])
    assert path.read_bytes() != b""
    ranked_lists(contender, benchmark)
    assert len(calls) == 2


@pytest.mark.parametrize("lost", ["task", "figure"])
def test_a_file_of_another_form_is_rebuilt_and_said(counted, tmp_path, lost):
    benchmark, contender, calls = counted
    before = ranked_lists(contender, benchmark)
    path = next(tmp_path.glob("*.safetensors"))
    ids, stamp = load_tensors(path)
    ids.pop("own_data_all") if lost == "task" else stamp.pop("fit_seconds")
    save_tensors(path, ids, stamp)
    with pytest.warns(UserWarning, match="lacks a task or a figure; its lists are rebuilt"):
        after = ranked_lists(contender, benchmark)
    assert len(calls) == 2
    np.testing.assert_array_equal(before.ids["own_data_all"], after.ids["own_data_all"])


def test_a_failing_fit_stores_nothing(benchmark, tmp_path):
    class Failing(Popularity):
        def _fit(self, train):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        ranked_lists(Contender("Failing", Failing(), tuple(benchmark.tasks)), benchmark)
    assert list(tmp_path.glob("*.safetensors")) == []


def test_lists_folder_by_environment(counted, tmp_path, monkeypatch):
    benchmark, contender, _ = counted
    monkeypatch.setenv("RECSYS_LISTS", str(tmp_path / "elsewhere"))
    ranked_lists(contender, benchmark)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_judge_measures_what_the_metrics_say(benchmark, tmp_path):
    contender = Contender("ItemKNN", ItemKNN(), tuple(benchmark.tasks))
    lists = ranked_lists(contender, benchmark)
    rows, per_user = judge("ItemKNN", lists, benchmark, resamples=100)
    found = {(row["task"], row["metric"]): row for row in rows}
    for task, (relevant, _) in benchmark.tasks.items():
        expected = ranking_metrics(lists.ids[task], relevant, k=10)
        for metric in ("ndcg", "map", "precision", "recall", "mrr"):
            row = found[task, f"{metric}@10"]
            assert row["value"] == pytest.approx(expected[metric])
            assert row["low"] <= row["value"] <= row["high"]
            assert np.nanmean(per_user[task][metric]) == pytest.approx(expected[metric])
        about = catalogue_metrics(lists.ids[task][:, :10], benchmark.split.train)
        assert found[task, "coverage@10"]["value"] == pytest.approx(about["coverage"])
        assert found[task, "fit_seconds"]["value"] == lists.fit_seconds
    assert len(rows) == 2 * (5 + 3 + 3)


def test_published_rows_are_marked_and_only_where_there_are_some(benchmark):
    rows = published_rows(open_benchmark("movielens"))
    assert len(rows) == 8 * 4
    assert {row["model"].split(": ")[0] for row in rows} == {"published"}
    bivae = {row["metric"]: row["value"] for row in rows if row["model"] == "published: BiVAE"}
    assert bivae == {"ndcg@10": 0.475077, "map@10": 0.146126, "precision@10": 0.411771, "recall@10": 0.219145}
    assert published_rows(benchmark) == []


def test_the_version_of_the_code_covers_every_room_that_models_are_made_of(monkeypatch):
    library = Path(checksums.__file__).parent.parent
    texts = [path.read_text("utf-8") for room in CODE for path in (library / room).rglob("*.py")]
    imported = {room for text in texts for room in re.findall(r"^from recsys_lib\.(\w+)", text, re.M)}
    assert imported - {"files"} == set(CODE)  # what reads and writes files computes nothing
    versions = {code_version()}
    for room in CODE:
        monkeypatch.setattr(checksums, "CODE", [other for other in CODE if other != room])
        versions.add(code_version.__wrapped__())
    assert len(versions) == 1 + len(CODE)


def test_fingerprint_sees_every_change(benchmark):
    train = benchmark.split.train
    things = [
        1, 1.0, True, "1", b"1", None, [1], [[1]], ["1", "2"], ["12"], {"a": 1}, {"a": 2},
        np.arange(3), np.arange(3.0), np.arange(4).reshape(2, 2), np.arange(4),
        torch.arange(4), torch.arange(4).reshape(2, 2), torch.arange(4.0), torch.tensor(3.0),
        torch.tensor([3.0], dtype=torch.bfloat16), pd.Series(["a", "b"]),
        pd.Series(["a", "c"]), pd.Series(["a", "b"], name="x"), train, train.matrix, train.matrix.tocsc(),
        csc_array((train.matrix.data, train.matrix.indices, train.matrix.indptr)),
        Popularity(), ALS(factors=8), ALS(factors=9), ALS(factors=9, device="meta"),
        BoostedRanker(parts=[Popularity()], candidates=[3]), BoostedRanker(parts=[ItemKNN()], candidates=[3]),
    ]  # fmt: skip
    assert len({fingerprint(thing) for thing in things}) == len(things)
    assert fingerprint(ALS(factors=8)) == fingerprint(ALS(factors=8))
    for thing in (object(), torch.empty(2, device="meta"), torch.eye(2).to_sparse()):
        with pytest.raises(TypeError, match="no checksum"):
            fingerprint(thing)
    table = torch.arange(6.0).reshape(2, 3)
    assert fingerprint(table.T) == fingerprint(table.T.contiguous()) != fingerprint(table)
    with pytest.raises(TypeError, match="no checksum for a object"):
        fingerprint(object())


def test_peak_growth_sees_a_large_array():
    def grown_by(mebibytes: int) -> float:
        with peak_growth() as grown:
            large = np.ones(mebibytes * 2**17)
            time.sleep(0.2)  # who watches needs a turn, on a busy machine too
            del large
        return grown()

    # Too large to come from what is reserved already; the median, for earlier tests' memory may go just now.
    assert 150 < np.median([grown_by(200) for _ in range(3)]) < 300
    assert np.median([grown_by(0) for _ in range(3)]) < 30


def test_the_highest_value_is_looked_for_inside_the_block_and_at_both_ends():
    for values, expected in (([9, 1, 1], 9), ([1, 1, 9], 9)):
        rest = iter(values)
        with highest(lambda rest=rest: next(rest), interval=60) as peak:
            next(rest)  # nothing is sampled so soon
        assert peak() == expected
    now = [0]
    with highest(lambda: now[0], interval=0.001) as peak:
        now[0] = 5
        while peak() < 5:  # the thread sees it
            time.sleep(0.001)
        now[0] = 1
    assert peak() == 5


def test_random_lists_are_uniform_and_do_not_depend_on_company(benchmark):
    model = Random(seed=3).fit(benchmark.split.train)
    np.testing.assert_array_equal(model.score(np.array([5])), model.score(np.array([1, 5]))[1:])
    assert (model.score() != Random(seed=4).fit(benchmark.split.train).score()).mean() > 0.99
    assert model.score().mean() == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(model.recommend(k=5, exclude_seen=False).ids)) == 30
