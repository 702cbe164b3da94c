"""Results have one form, and nothing else can be saved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_lib.judging.results import load_results, result_row, results_table, save_results, validate_results

NAME = "03_recommenders"


def row(**changes: Any) -> dict[str, Any]:
    good = {
        "task": "search",
        "model": "TF-IDF",
        "metric": "ndcg@10",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "n": 9,
    }
    return {**good, "low": 0.4, "high": 0.6, **changes}


def test_what_is_saved_is_loaded_again_in_the_agreed_form(tmp_path: Path) -> None:
    rows = [
        result_row(
            "movielens_100k", "EASE", "ndcg@10", np.float32(0.5), np.float64(0.25), 0.75, n=np.int16(943)
        ),
        result_row("movielens_100k", "published: BiVAE", "ndcg@10", 0.475, n=943),
    ]
    path = save_results(NAME, "smoke", 42, 1.23456, rows, folder=tmp_path)
    assert path == tmp_path / "03_recommenders.json"
    assert json.loads(path.read_text()) == {
        "notebook": NAME,
        "profile": "smoke",
        "seed": 42,
        "seconds": 1.235,
        "rows": [
            {
                "task": "movielens_100k",
                "model": "EASE",
                "metric": "ndcg@10",
                "value": 0.5,
                "low": 0.25,
                "high": 0.75,
                "n": 943,
            },
            {
                "task": "movielens_100k",
                "model": "published: BiVAE",
                "metric": "ndcg@10",
                "value": 0.475,
                "low": None,
                "high": None,
                "n": 943,
            },
        ],
    }
    assert load_results(NAME, folder=tmp_path)["rows"] == rows


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_RESULTS", str(tmp_path / "elsewhere"))
    save_results(NAME, "default", 0, 0, [row()])
    assert load_results(NAME)["rows"] == [row()]
    assert (tmp_path / "elsewhere" / "03_recommenders.json").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value": float("nan")}, r"value\n.*finite number.*input_value=nan"),
        ({"value": float("inf")}, r"value\n.*finite number"),
        ({"value": "0.5"}, r"value\n.*valid number.*'0\.5'"),
        ({"value": True}, r"value\n.*valid number.*True"),
        ({"value": None}, "without a value there is no interval, and n is 0"),
        ({"low": float("nan")}, r"low\n.*finite number"),
        ({"low": None}, "both low and high or neither"),
        ({"high": None}, "both low and high or neither"),
        ({"value": 0.61}, "low ≤ value ≤ high"),
        ({"value": 0.39}, "low ≤ value ≤ high"),
        ({"low": 0.6, "high": 0.4}, "low ≤ value ≤ high"),
        ({"task": "Complete Journey"}, r"task\n.*match pattern"),
        ({"metric": "NDCG@10"}, r"metric\n.*match pattern"),
        ({"metric": "ndcg@"}, r"metric\n.*match pattern"),
        ({"model": ""}, r"model\n.*match pattern"),
        ({"model": " EASE"}, r"model\n.*match pattern"),
        ({"n": 0}, "n is 0, but there is a value"),
        ({"n": 9.0}, r"n\n.*valid integer"),
        ({"extra": 1}, r"extra\n.*not permitted"),
    ],
)
def test_a_bad_row_is_refused_and_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    rows = [row(model="good"), row(**changes)]
    with pytest.raises(ValueError, match=rf"rows\.1\b(?s:.*){message}"):
        save_results(NAME, "smoke", 0, 1.0, rows, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_row_names_its_model_when_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"task 'films', model 'EASE', metric 'rmse': (?s:.*)finite number"):
        result_row("films", "EASE", "rmse", float("nan"), n=1)


def test_an_interval_may_miss_its_value_by_rounding_only() -> None:
    third = 0.1 + 0.2  # 0.30000000000000004
    assert result_row("search", "a", "mrr", third, 0.1, 0.3, n=1)["high"] == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notebook": "recommenders"}, r"notebook\n.*match pattern"),
        ({"profile": "fast"}, r"profile\n.*'smoke', 'default' or 'full'"),
        ({"seed": None}, r"seed\n.*valid integer"),
        ({"seconds": -1}, r"seconds\n.*greater than or equal to 0"),
        ({"rows": []}, r"rows\n.*at least 1 item"),
        ({"rows": [row(), row()]}, "row 1 repeats .* of row 0"),
        ({"date": "today"}, r"date\n.*not permitted"),
    ],
)
def test_a_bad_payload_is_refused(changes: dict[str, Any], message: str) -> None:
    good = {"notebook": NAME, "profile": "smoke", "seed": 0, "seconds": 1.0, "rows": [row()]}
    validate_results(good)
    with pytest.raises(ValueError, match=message):
        validate_results({**good, **changes})


def test_missing_and_damaged_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='make run NOTEBOOKS="03"'):
        load_results(NAME, folder=tmp_path)
    (tmp_path / "03_recommenders.json").write_text('{"rows": NaN}')
    with pytest.raises(ValueError, match=r"03_recommenders\.json: (?s:.*)notebook\n.*Field required"):
        load_results(NAME, folder=tmp_path)


def test_the_table_keeps_the_order_and_shows_intervals_as_text() -> None:
    rows = [
        row(model="popularity", low=None, high=None, value=0.25),
        row(model="EASE"),
        row(model="EASE", metric="fit_seconds", value=1.5, low=None, high=None),
    ]
    table = results_table(rows, digits=2, approximate=["EASE"])
    assert list(table.index) == ["popularity", "EASE"]
    assert list(table.columns) == ["ndcg@10", "fit_seconds"]
    assert table.to_numpy().tolist() == [["0.25", "–"], ["≈0.50 [≈0.40, ≈0.60]", "1.50 s"]]


def test_what_could_not_be_judged_is_a_row_without_a_number(tmp_path: Path) -> None:
    nothing = result_row("own_data_discovery", "EASE", "ndcg@10", None)
    assert (nothing["value"], nothing["low"], nothing["high"], nothing["n"]) == (None, None, None, 0)
    path = save_results(NAME, "smoke", 0, 1.0, [nothing, row()], folder=tmp_path)
    assert '"value": null' in path.read_text()
    assert load_results(NAME, folder=tmp_path)["rows"][0] == nothing
    assert results_table([nothing], approximate=["EASE"]).loc["EASE", "ndcg@10"] == "–"
    assert results_table([{**nothing, "metric": "fit_seconds"}]).loc["EASE", "fit_seconds"] == "–"
    for wrong in ({"n": 3}, {"low": 0.1, "high": 0.2}):
        with pytest.raises(ValueError, match="without a value there is no interval, and n is 0"):
            result_row("own_data", "EASE", "ndcg@10", None, **wrong)


def test_the_table_of_several_tasks_names_them() -> None:
    table = results_table([row(), row(task="churn")])
    assert list(table.index) == [("search", "TF-IDF"), ("churn", "TF-IDF")]
