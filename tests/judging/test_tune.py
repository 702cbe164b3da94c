"""What was tried on validation is stored, and its best is what competes."""

import json

import pytest

from recsys_lib.judging import tune
from recsys_lib.judging.benchmark import open_benchmark
from recsys_lib.judging.contenders import GRIDS, contenders


@pytest.fixture(scope="module")
def models():
    return {name: {entry.name: entry.model for entry in contenders(open_benchmark(name))} for name in GRIDS}


def test_each_grid_is_stored_whole():
    table = tune.tuning_table()
    for name, grids in GRIDS.items():
        for label, grid in grids.items():
            tried = table[(table["benchmark"] == name) & (table["model"] == label)]
            for setting, values in grid.items():
                assert {settings[setting] for settings in tried["settings"]} == set(values), (name, label)
            assert tried["chosen"].sum() == 1


def test_what_competes_is_the_best_of_its_grid(models):
    table = tune.tuning_table()
    assert table["chosen"].any()
    for row in table[table["chosen"]].itertuples():
        model = models[row.benchmark][row.model]
        assert {name: getattr(model, name) for name in row.settings} == row.settings, row.model


def test_an_edge_of_a_grid_is_named(monkeypatch, tmp_path):
    rows = [
        {"benchmark": "movielens", "model": "EASE", "settings": {"regularization": value}, "goal": goal}
        for value, goal in ((50.0, 0.1), (500.0, 0.3), (2_000.0, 0.2))
    ]
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(tune, "tuning_file", lambda: path)
    assert tune.tuning_table()["chosen"].tolist() == [False, True, False]
    assert tune.tuning_table()["edge"].tolist() == ["", "", ""]
    rows[0]["goal"] = 0.5
    path.write_text(json.dumps({"rows": rows}))
    assert tune.tuning_table()["edge"].tolist() == ["regularization", "", ""]
