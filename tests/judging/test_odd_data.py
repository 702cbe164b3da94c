"""Your data in odd shapes: every contender fits, lists and is judged, or the loader says what is missing."""

import warnings

import numpy as np
import pandas as pd
import pytest

from recsys_lib.judging.benchmark import open_benchmark, open_benchmarks
from recsys_lib.judging.contenders import contenders
from recsys_lib.judging.leaderboard import Ranked, fit_and_rank, judge
from recsys_lib.judging.results import results_table

DAY = pd.Timedelta(days=1)
BEGIN = pd.Timestamp("2023-01-01")

pytestmark = pytest.mark.filterwarnings("ignore:.*(their values were summed|rows of 0|returns)")


def table(rows, names=("user", "item", "value", "when")):
    frame = pd.DataFrame(rows, columns=names[: len(rows[0])])
    if "when" in frame:
        frame["when"] = BEGIN + pd.to_timedelta(frame["when"], unit="D")
    return frame


def random_rows(n_users, n_items, n, seed=0, days=100):
    rng = np.random.default_rng(seed)
    return [
        (f"u{rng.integers(n_users)}", f"i{int(n_items * rng.random() ** 2)}", 1, int(rng.integers(days)))
        for _ in range(n)
    ]


def long_tail():
    once = [(f"once{u}", f"i{u % 30}", 1, u % 100) for u in range(60)]
    return once + random_rows(40, 30, 600)


def refunds():
    bought = random_rows(30, 20, 600, days=60)
    returned = [(user, item, -1, day + 35) for user, item, _, day in bought[::3]]
    return bought + returned


def habits(days):
    return [
        (f"u{u}", f"i{(u + j) % 15}", 1, 10 * j + day) for u in range(30) for j in range(5) for day in days
    ]


def impressions():
    return [
        (user, item, int(k % 7 == 0), day) for k, (user, item, _, day) in enumerate(random_rows(20, 20, 2000))
    ]


def one_day():
    return [(*row[:3], 0 if k % 12 else 5 + k % 5) for k, row in enumerate(random_rows(30, 20, 600))]


ODD = {
    "long tail": long_tail,
    "habits only": lambda: habits((0, 50)),
    "8 items": lambda: random_rows(30, 8, 300),
    "2 users": lambda: [(f"u{u}", f"i{i}", 1, (7 * i + 40 * u) % 100) for u in (0, 1) for i in range(20)],
    "refunds": refunds,
    "everybody has everything": lambda: [
        (f"u{u}", f"i{i}", 1, i + d) for u in range(8) for i in range(6) for d in (0, 50)
    ],
    "all users equal": lambda: [
        (f"u{u}", f"i{i}", 1, (5 * i + 37 * u) % 100) for u in range(10) for i in range(20)
    ],
    "1 item": lambda: [(f"u{u}", "bread", 1, u + day) for u in range(5) for day in (0, 50)],
    "impressions": impressions,
    "one day holds nearly all": one_day,
    "ids in Chinese": lambda: [
        (f"用户{row[0]}", f"商品 {row[1]}", *row[2:]) for row in random_rows(30, 20, 400)
    ],
}


def opened(tmp_path, rows, *, time="when", value="value", **options):
    table(rows).to_csv(tmp_path / "odd.csv", index=False)
    return open_benchmark(tmp_path / "odd.csv", value=value, time=time, **options)


@pytest.mark.parametrize("time", ["when", None])
@pytest.mark.parametrize("name", ODD)
def test_every_contender_ends_well(name, time, tmp_path):
    if time is None and name == "1 item":
        return  # see below
    benchmark = opened(tmp_path, ODD[name](), time=time)
    assert set(benchmark.tasks).isdisjoint(benchmark.unjudged)
    train, test = benchmark.split
    for matrix in (train.matrix, test.matrix, *(task.relevant for task in benchmark.tasks.values())):
        assert matrix.nnz
        assert (matrix.data > 0).all()
    for contender in contenders(benchmark, "smoke"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            _, ranked = fit_and_rank(contender, benchmark)
            rows, per_user = judge(contender.name, ranked, benchmark, resamples=50)
        assert all(row["value"] is None or np.isfinite(row["value"]) for row in rows)
        assert set(per_user) == set(contender.tasks)
        assert len(results_table(rows)) == len(contender.tasks)


def test_nothing_new_is_a_task_with_a_reason_instead_of_a_number(tmp_path):
    benchmark = opened(tmp_path, ODD["habits only"]())
    assert list(benchmark.tasks) == ["own_data_all"]
    assert list(benchmark.unjudged) == ["own_data_discovery"]
    assert "nobody took anything new" in benchmark.unjudged["own_data_discovery"]
    assert dict(opened(tmp_path, long_tail()).unjudged) == {}


def test_a_refund_is_never_a_hit_and_takes_nothing_back_from_train(tmp_path):
    rows = [(f"u{u}", f"i{i}", 1, i) for u in range(20) for i in range(12)]  # summer
    rows += [(f"u{u}", f"i{u % 12}", -1, 311) for u in range(20)]
    rows += [(f"u{u}", f"i{(u + j) % 12}", 1, 310) for u in range(20) for j in (1, 2, 3)]
    rows += [("u0", "i5", 1, 320), ("u0", "i5", -1, 330)]
    with pytest.warns(
        UserWarning, match=r"column 'value': .* of the same item before: 21, of which 20 found nothing"
    ):
        benchmark = opened(tmp_path, rows)
    train, test = benchmark.split
    assert train.matrix.nnz == 240  # what winter gives back was bought in summer all the same
    assert benchmark.tasks["own_data_all"].relevant.nnz == 60
    assert test.matrix[0, train.items.get_loc("i5")] == 0  # bought and returned in test


NOTHING = {
    "all test users are new": ([(f"u{u}", f"i{u % 5}", 1, u) for u in range(50)], "nothing can be judged"),
    "all test items are new": (
        [(f"u{u}", f"i{i}", 1, 10 * i) for u in range(9) for i in range(10)],
        "nothing can be judged",
    ),
    "one date": ([(f"u{u}", f"i{u}", 1, 3) for u in range(9)], "all interactions are of 2023-01-04"),
    "all 0": ([(f"u{u}", f"i{i}", 0, i) for u in range(9) for i in range(9)], "none of 81 values is above 0"),
    "all returned": (
        [(f"u{u}", "i", value, u) for u in range(9) for value in (2, -2)],
        "of 18 rows, all that come before those held out .* there is nothing to learn from",
    ),
    "one user": ([("ann", f"i{i}", 1, i) for i in range(9)], "all interactions are of the user 'ann'"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTHING)
def test_what_cannot_be_judged_is_said_at_once(name, tmp_path):
    rows, message = NOTHING[name]
    with pytest.raises(ValueError, match=message) as caught:
        opened(tmp_path, rows)
    assert str(tmp_path / "odd.csv") in str(caught.value)
    if message.startswith("nothing"):
        for word in (
            f"of {len(rows)} rows",
            "users",
            "items",
            "the rows from 20",
            "What would help: a longer period",
        ):
            assert word in str(caught.value)
        # A random split helps only where somebody has two items, of which one can be held out.
        assert ("leave the time out" in str(caught.value)) == (name == "all test items are new")


@pytest.mark.parametrize("name", ["one purchase each", "1 item"])
def test_without_times_users_need_two_items(name, tmp_path):
    rows = [(f"u{u}", f"i{u % 5}" if name != "1 item" else "bread", 1) for u in range(50)]
    with pytest.raises(ValueError, match=r"nothing can be judged.*users with two different items"):
        opened(tmp_path, rows, time=None)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([0] * 90 + list(range(1, 11)), 1),  # nearly all on the first day: what is later
        ([1] * 10 + [5] * 75 + [9] * 15, 9),  # the 80 % quantile is day 5, but 90 % lie from there on
        ([1] * 15 + [5] * 85, 5),
        (list(range(100)), 80),
    ],
)
def test_the_cut_holds_out_nearly_a_fifth_whatever_the_dates(days, expected, tmp_path):
    rows = [(f"u{k % 4}", f"i{k % 3}", 1, day) for k, day in enumerate(days)]
    benchmark = opened(tmp_path, rows)
    assert benchmark.split.test.events["time"].min() == BEGIN + expected * DAY


def test_what_nobody_took_does_not_move_the_cut(tmp_path):
    rows = [(f"u{k % 4}", f"i{k % 3}", 1, k) for k in range(50)] + [
        ("u0", "i0", 0, 60 + k) for k in range(40)
    ]
    assert opened(tmp_path, rows).split.test.events["time"].min() == BEGIN + 40 * DAY


def test_short_catalogues_and_empty_lists_are_judged_like_padded_ones(tmp_path):
    benchmark = opened(tmp_path, ODD["8 items"]())
    n_users = benchmark.split.train.n_users
    perfect = np.tile(np.arange(8, dtype=np.int32), (n_users, 1))
    tasks = dict.fromkeys(benchmark.tasks, perfect)
    rows, _ = judge("all", Ranked(tasks, 0.0, dict.fromkeys(tasks, 0.0), 0.0), benchmark, resamples=10)
    found = {row["metric"]: row["value"] for row in rows if row["task"] == "own_data_all"}
    assert found["recall@10"] == 1
    relevant = np.diff(benchmark.tasks["own_data_all"].relevant.indptr)
    assert found["precision@10"] == pytest.approx(relevant[relevant > 0].mean() / 10)
    assert found["coverage@10"] == 1
    nothing = dict.fromkeys(tasks, np.full((n_users, 8), -1, np.int32))
    rows, _ = judge("none", Ranked(nothing, 0.0, dict.fromkeys(tasks, 0.0), 0.0), benchmark, resamples=10)
    found = {row["metric"]: row["value"] for row in rows if row["task"] == "own_data_all"}
    assert found["ndcg@10"] == 0
    assert found["gini@10"] is found["novelty@10"] is None


def test_a_task_that_nobody_can_hit_is_rows_without_numbers(tmp_path):
    benchmark = opened(tmp_path, long_tail())
    name = "own_data_all"
    empty = benchmark.tasks[name]._replace(relevant=benchmark.tasks[name].relevant * 0)
    lists = np.tile(np.arange(10, dtype=np.int32), (benchmark.split.train.n_users, 1))
    ranked = Ranked({name: lists}, 0.0, {name: 0.0}, 0.0)
    rows, per_user = judge("any", ranked, benchmark._replace(tasks={name: empty}), resamples=10)
    found = {row["metric"]: row for row in rows}
    assert found["ndcg@10"]["value"] is None
    assert found["coverage@10"]["value"] > 0
    assert np.isnan(per_user[name]["ndcg"]).all()


def test_form_and_place_of_the_file_are_passed_on(tmp_path, monkeypatch):
    frame = table(random_rows(20, 15, 300))
    frame.columns = ["0", "1", "menge", "wann"]
    frame["menge"] = frame["menge"].map(lambda value: f"{value},5")
    frame.to_csv(tmp_path / "mein.csv", index=False, sep=";")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    columns = {"user": 0, "item": 1, "value": "menge", "time": "wann"}
    for path in ("~/mein.csv", "mein.csv", tmp_path / "mein.csv"):
        benchmark = open_benchmarks(path, **columns, delimiter=";", decimal=",")["own_data"]
        assert benchmark.split.train.matrix.data.min() == 1.5
    with pytest.raises(ValueError, match=r"/mein\.csv has no column '0'.*is the delimiter ';' and not ','"):
        open_benchmarks("mein.csv", **columns)
    with pytest.raises(FileNotFoundError, match=r"/movielense does not exist.*'both', 'movielens'"):
        open_benchmarks("movielense")
    for wrong in (None, 5):
        with pytest.raises(ValueError, match=f"expected the path of a CSV or Parquet file, got {wrong}"):
            open_benchmarks(wrong)
