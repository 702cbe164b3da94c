"""The front page says what the kept results say; and its glossary what the notebooks teach."""

import functools
import importlib.metadata
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from recsys_lib.course.front.charts import charts, digest, draw_charts
from recsys_lib.course.front.counts import how_tested
from recsys_lib.course.front.page import (
    PAGES,
    fill,
    generated_pages,
    keep_results,
    load_kept,
    main,
    write_front_page,
)
from recsys_lib.course.front.questions import QUESTIONS, answers_table, findings
from recsys_lib.course.front.tables import NOT_YET, films_leaderboard, shop_leaderboard, speed_rows
from recsys_lib.course.notebooks import read_notebook
from recsys_lib.files import project_root, sha256
from recsys_lib.judging.results import load_results, result_row, save_results

ROOT = project_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")
KEPT = load_kept(ROOT)
STALE = "this is not what `make readme` makes of results/, benchmarks/results/ and data/glossary.csv"


@pytest.mark.parametrize(("path", "text"), generated_pages(ROOT, KEPT).items(), ids=PAGES)
def test_pages_are_what_the_results_say(path: Path, text: str) -> None:
    assert path.read_text(encoding="utf-8") == text, STALE


def test_the_front_page_is_short() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("name", charts(KEPT))
def test_charts_show_what_the_results_say(name: str) -> None:
    made_from, _ = charts(KEPT)[name]
    path = ROOT / "results" / "charts" / f"{name}.svg"
    assert path.is_file() == bool(made_from), STALE
    assert not made_from or digest(made_from) in path.read_text(encoding="utf-8"), STALE


def test_a_number_changed_by_hand_is_found(tmp_path: Path) -> None:
    number = re.search(r"\d\.\d ×", README)
    spoilt = README.replace(number[0], "99.9 ×", 1)
    (tmp_path / "README.md").write_text(spoilt, encoding="utf-8")
    parts = {name: make(KEPT) for name, make in PAGES["README.md"].items()}
    assert fill(tmp_path / "README.md", parts) == README != spoilt


def test_every_kept_result_is_one_of_the_default_profile() -> None:
    for path in (ROOT / "results").glob("[0-9]*.json"):
        payload = load_results(path.stem, ROOT / "results")
        assert payload["profile"] == "default"
        assert (ROOT / "notebooks" / f"{path.stem}.ipynb").is_file()


@pytest.mark.parametrize(
    ("name", "of_default"),
    [
        ("04_bert_fine_tuning", {"search", "new_products"}),
        ("09_bandits", {"bandit_stationary", "coverage"}),
        ("12_assistant", {"service_kept", "attacks"}),
        ("13_beyond_one_channel", {"next_film", "order"}),
    ],
)
def test_the_tasks_of_a_full_run_take_the_place_of_the_default_ones(name: str, of_default: set[str]) -> None:
    kept = load_results(name, ROOT / "results" / "full")
    assert kept["profile"] == "full"
    rows = KEPT["results"][name]
    tasks = {row["task"] for row in kept["rows"]}
    assert [row for row in rows if row["task"] in tasks] == kept["rows"]
    assert of_default <= {row["task"] for row in rows} - tasks


def test_links_of_the_hand_written_pages_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "data/README.md", "data/GLOSSARY.md"):
        page = ROOT / name
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{name}: {link}"


def test_citation_names_the_version_that_is_installed() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == importlib.metadata.version("recsys_lib")
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)


@functools.cache
def prose(number: str) -> str:
    """All markdown of the notebook with that number, in lower case, without line breaks and stars."""
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "markdown"]
    return " ".join(" ".join(cells).replace("*", "").split()).lower()


@pytest.mark.parametrize("row", KEPT["glossary"], ids=lambda row: row["english"])
def test_every_word_of_the_glossary_is_in_its_notebooks(row: dict[str, str]) -> None:
    assert all(row.values())
    for number in row["notebook"].split():
        assert row["english"].lower() in prose(number), f"{row['english']} is not in notebook {number}"


def board(task: str, **models: float) -> list[dict[str, Any]]:
    rows = []
    for name, value in models.items():
        rows.append(result_row(task, name, "ndcg@10", value, value - 0.01, value + 0.01, n=9))
        rows.append(result_row(task, name, "fit_seconds", 1.5, n=9))
    return rows


def kept(**results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"results": results, "course": None, "benchmarks": {}, "titles": {}, "glossary": []}


def test_the_last_notebook_that_timed_models_gives_the_leaderboard() -> None:
    early = board("complete_journey_all", EASE=0.4, Popularity=0.165)
    late = [*board("complete_journey_all", EASE=0.42), *board("complete_journey_discovery", EASE=0.05)]
    untimed = [result_row("complete_journey_all", "popularity", "ndcg@10", 0.165, n=9)]
    table = shop_leaderboard(kept(**{"01_a": untimed, "03_b": early}))
    assert "| **EASE** | 0.400 [0.390, 0.410] | – | 1.5 s |" in table
    assert table.index("EASE") < table.index("Popularity (baseline)")
    assert "0.420 [0.410, 0.430] | 0.050" in shop_leaderboard(kept(**{"03_b": early, "06_c": late}))
    assert shop_leaderboard(kept(**{"01_a": untimed})) == NOT_YET


def test_who_may_be_as_good_as_the_leader_is_marked() -> None:
    rows = board("movielens_100k", Hybrid=0.5, EASE=0.49, ALS=0.4)
    for name, value in {"EASE": 0.2, "ALS": 0.01}.items():
        rows.append(result_row("movielens_100k", name, "p_value_against_leader", value, n=9))
    lines = films_leaderboard(kept(**{"06_x": rows})).splitlines()[2:]
    assert ["†" in line for line in lines] == [False, True, False]


def test_published_rows_are_marked_and_have_no_interval() -> None:
    published = result_row("movielens_100k", "published: BPR", "ndcg@10", 0.442, n=943)
    table = films_leaderboard(kept(**{"03_b": [*board("movielens_100k", EASE=0.48), published]}))
    assert "| *BPR (published)* | 0.442 | – | – |" in table


def test_findings_put_the_best_model_beside_what_it_has_to_beat() -> None:
    rows = board("complete_journey_all", EASE=0.4, PersonalFrequency=0.42, Popularity=0.16, Random=0.003)
    rows += board("movielens_100k", EASE=0.48, Popularity=0.25)
    rows.append(result_row("movielens_100k", "published: BPR", "ndcg@10", 0.44, n=943))
    shop, films = findings(kept(**{"06_x": rows})).splitlines()
    assert (
        shop == "- The shop, all products: EASE 0.400; beside it PersonalFrequency 0.420, Popularity 0.160."
    )
    assert films.endswith("EASE 0.480; beside it Popularity 0.250, the best published row below, BPR 0.440.")


def test_answers_show_the_chosen_model_not_the_luckiest() -> None:
    values = {"one feature": 0.7, "logistic regression": 0.8, "lucky": 0.9, "base rate": 0.5}
    rows = [result_row("campaign_conversion", name, "roc_auc", value, n=9) for name, value in values.items()]
    rows.append(result_row("churn", "visits", "roc_auc", 0.7, n=9))
    table = answers_table(kept(**{"05_x": rows}))
    assert "| one feature: 0.700 | logistic regression: 0.800 |" in table
    assert "| visits: 0.700 | – |" in table
    assert "lucky" not in table


def test_the_kept_results_hold_every_model_that_the_questions_name() -> None:
    """Where a notebook has given a model another name, QUESTIONS needs it too."""
    lines = answers_table(KEPT).splitlines()[2:]
    assert len(lines) == len(QUESTIONS)
    assert not [line for line in lines if "| – |" in line]


def test_every_benchmark_gives_its_rows() -> None:
    times = {"recsys_lib": {"median": 2.0}, "Trainer": {"median": 5.0}}
    fitted = {"ALS": {"median": 3.0}, "implicit ALS": {"median": 6.0}}
    loads = {"ours": {"p50": 4.0, "p99": 7.0}, "ours, slowly": {"p50": 5.0}, "naive, slowly": {"p50": 15.0}}
    kept = {"text": {"results": {"training": times}}, "serving": {"loads": loads}}
    rows = speed_rows(kept | {"recommenders": {"results": fitted}})
    assert ("texts, training", 2.0, {"Trainer": 5.0}) in rows
    assert ("fit and recommend, ALS", 3.0, {"implicit": 6.0}) in rows
    answer = "an answer of the service (200 a second: half in 4.0 ms, 99 % in 7.0 ms)"
    assert (answer, 0.005, {"pandas in each request": 0.015}) in rows


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """A project with one notebook that was run: profile, parameters and status as given."""

    def make(profile: str = "default", status: str = "ok", **parameters: object) -> Path:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 03 · Title")])
        (tmp_path / "notebooks").mkdir(parents=True)
        nbformat.write(notebook, tmp_path / "notebooks" / "03_models.ipynb")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "course_map.csv").write_text("name,learn\n03 models,Rank.\n", encoding="utf-8")
        (tmp_path / "data" / "glossary.csv").write_text(
            "english,chinese,meaning,notebook\nmatrix,矩阵,table,03\n"
        )
        rows = board("complete_journey_all", EASE=0.4)
        written = save_results("03_models", profile, 0, 1.0, rows, tmp_path / "build" / "results")
        row = {"notebook": "03_models", "cells": 3, "seconds": 61.234, "peak_mib": 512.7, "status": status}
        row["results"] = sha256(written)
        run = {"profile": profile, "parameters": parameters, "notebooks": [row]}
        (tmp_path / "build" / "course.json").write_text(json.dumps(run))
        for page, parts in PAGES.items():
            marks = "".join(f"<!-- generated: {name} -->\n<!-- end -->\n" for name in parts)
            (tmp_path / page).write_text(f"by hand\n{marks}also by hand\n", encoding="utf-8")
        return tmp_path

    return make


def test_keep_and_write(project: Callable[..., Path]) -> None:
    root = project()
    keep_results(root, prefix=root / "data")
    course = json.loads((root / "results" / "course.json").read_text())
    assert course["notebooks"] == [{"notebook": "03_models", "cells": 3, "seconds": 61, "peak_mib": 510}]
    write_front_page(root)
    text = (root / "README.md").read_text(encoding="utf-8")
    assert text.startswith("by hand\n")
    assert text.endswith("also by hand\n")
    assert "| [03](notebooks/03_models.ipynb) | **Title**<br>Rank. | 61 s | 0.5 GiB |" in text
    glossary = (root / "data" / "GLOSSARY.md").read_text(encoding="utf-8")
    assert "| matrix | 矩阵 | table | [03](../notebooks/03_models.ipynb) |" in glossary
    first = {path.name: path.read_bytes() for path in (root / "results" / "charts").iterdir()}
    assert set(first) == {"map.svg", "leaderboard.svg"}
    write_front_page(root)
    assert (root / "README.md").read_text(encoding="utf-8") == text
    assert first == {path.name: path.read_bytes() for path in (root / "results" / "charts").iterdir()}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"profile": "smoke"}, "profile smoke"),
        ({"status": "failed"}, r"without \['03_models'\]"),
        ({"seed": 7}, "'seed': 7"),
    ],
)
def test_other_runs_are_not_kept(project: Callable[..., Path], run: dict, message: str) -> None:
    root = project(**run)
    with pytest.raises(ValueError, match=message):
        keep_results(root)
    assert not (root / "results").exists()


def test_results_of_something_else_are_not_kept(project: Callable[..., Path]) -> None:
    """What the Lab, papermill or another run wrote since, whatever profile and seed it names."""
    root = project()
    path = root / "build" / "results" / "03_models.json"
    of_the_run = path.read_text()
    save_results("03_models", "default", 0, 1.5, board("complete_journey_all", EASE=0.5), path.parent)
    with pytest.raises(ValueError, match=r"build/results/03_models\.json is not what the last run wrote"):
        keep_results(root)
    path.unlink()
    with pytest.raises(ValueError, match=r"03_models\.json is not what"):
        keep_results(root)
    path.write_text(of_the_run)
    keep_results(root)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"profile": "smoke"},
            "is of notebook 03_models, profile smoke, seed 0, not of 03_models, default, 0",
        ),
        ({"seed": 7}, "seed 7"),
        ({"notebook": "03_others"}, "notebook 03_others"),
    ],
)
def test_every_result_is_one_of_a_default_run(
    project: Callable[..., Path], changed: dict[str, object], message: str
) -> None:
    root = project()
    path, course = root / "build" / "results" / "03_models.json", root / "build" / "course.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    run = json.loads(course.read_text())
    run["notebooks"][0]["results"] = sha256(path)
    course.write_text(json.dumps(run))
    with pytest.raises(ValueError, match=message):
        keep_results(root)
    assert not (root / "results").exists()


def test_nothing_run_is_said_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch, project: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    (root / "build" / "course.json").unlink()
    monkeypatch.setattr("recsys_lib.course.front.page.project_root", lambda: root)
    assert main(["keep"]) == 1
    assert "first: make run" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["no marks", "<!-- generated: other -->\n<!-- end -->"])
def test_marks_must_be_the_parts(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match=r"README\.md marks"):
        fill(tmp_path / "README.md", {"sizes": "x"})


def test_charts_without_figures_are_not_drawn(tmp_path: Path) -> None:
    draw_charts(kept(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["map.svg"]


def test_how_the_course_is_tested_is_counted(tmp_path: Path) -> None:
    (tmp_path / "wrong_answers").mkdir()
    answers = "[[exercise]]\nwrong = [{}, {}]\n[[exercise]]\nwrong = [{}]\n"
    (tmp_path / "wrong_answers" / "01.toml").write_text(answers)
    tests = (
        "def test_one():\n    with pytest.raises(ValueError):\n        pass\n\n    def test_two(self): 1\n"
    )
    (tmp_path / "test_it.py").write_text(tests)
    (tmp_path / "test_faults.py").write_text("async def test_three(): 1\ndef helper(): test_three()\n")
    cells = [
        new_code_cell("assert 1\nassert 2  # assert 3"),
        new_code_cell("x = 1"),
        new_markdown_cell("assert"),
        new_markdown_cell("> **A widely read tutorial prints** 3.\n\nNot **A widely read tutorial**."),
    ]
    said = how_tested([new_notebook(cells=cells)], tmp_path)
    assert "runs 2 code cells again" in said
    assert "2 assertions" in said
    assert "; 1 times they test what" in said
    assert "tries 3 wrong answers on the checks of 2 exercises. 3 test functions" in said
    assert ". 1 times they want bad input" in said
    assert ". 1 functions break" in said
