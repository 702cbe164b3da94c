"""The settings of a notebook are checked in one place, and hold for the library."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_course import bare_environment, run, write

from recsys_lib.course import session
from recsys_lib.course.session import COPIES, check_settings, start_notebook
from recsys_lib.data.cache import data_folder
from recsys_lib.files import project_root


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        *[
            ({"profile": value}, "profile must be smoke, default or full")
            for value in ("fast", "", None, ["smoke"])
        ],
        *[
            ({"seed": value}, "seed must be a whole number")
            for value in ("abc", "1", -1, 1.0, True, None, 2**32)
        ],
        *[
            ({"device": value}, "device must be auto, cpu, cuda or mps")
            for value in ("gpu", "", None, 0, "cuda:x")
        ],
        *[({"data_dir": value}, "data_dir must be a folder or None") for value in (3, "", ["x"])],
        ({"data_dir": __file__}, f"data_dir must be a folder, but {__file__} is a file"),
        ({"device": "cuda:77"}, "device 'cuda:77' is not available here"),
    ],
)
def test_a_wrong_setting_is_one_line(wrong: dict[str, object], message: str) -> None:
    settings = {"profile": "smoke", "seed": 0, "device": "cpu", "data_dir": None, **wrong}
    with pytest.raises(ValueError, match=message) as refusal:
        start_notebook(**settings)
    # What IPython, and so papermill and the Lab, show of it.
    assert refusal.value._render_traceback_() == [f"ValueError: {refusal.value}"]
    assert "\n" not in str(refusal.value)


def test_right_settings_pass() -> None:
    check_settings("full", np.int64(7), "cuda:1", Path("new"))
    assert start_notebook("smoke", 2**32 - 1, "cpu", None) == "cpu"
    assert start_notebook("smoke", 0, "auto", None) in ("cpu", "cuda", "cuda:0", "mps", "mps:0")


def test_a_notebook_stops_with_one_line_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "from recsys_lib.course.session import start_notebook\nstart_notebook(level, 0, 'cpu', None)"
    write(tmp_path / "nb" / "01_a.ipynb", source, parameters='level = "fast"')
    assert run(tmp_path) == 1
    error = capsys.readouterr().err
    assert (
        "    start_notebook(level, 0, 'cpu', None)\n\nValueError: profile must be smoke, default or full, got"
        in error
    )
    assert "Traceback" not in error


def test_the_data_lie_where_the_notebook_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for given, folder in (
        ("here", tmp_path / "here"),
        ("~/data", tmp_path / "home/data"),
        (Path("x"), tmp_path / "x"),
    ):
        start_notebook("smoke", 0, "cpu", given)
        assert data_folder() == folder
    # Back to None in a running kernel means the usual folder again.
    monkeypatch.setattr(session, "OUTER_DATA", None)
    start_notebook("smoke", 0, "cpu", None)
    assert data_folder() == project_root() / "data"
    monkeypatch.setattr(session, "OUTER_DATA", "outer")
    start_notebook("smoke", 0, "cpu", None)
    assert data_folder() == tmp_path / "outer"


def test_a_students_results_lie_beside_the_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.delenv("RECSYS_RESULTS", raising=False)
    start_notebook("smoke", 0, "cpu", None)
    assert "RECSYS_RESULTS" not in os.environ
    Path(COPIES).write_text("{}")
    start_notebook("smoke", 0, "cpu", None)
    assert os.environ["RECSYS_RESULTS"] == str(tmp_path / "results")
    assert os.environ["RECSYS_LISTS"] == str(tmp_path / "lists")


def test_a_notebook_of_another_clone_is_refused(tmp_path: Path) -> None:
    """As in a Lab that was started from an environment that knows another clone."""
    other = tmp_path / "other"
    (other / "recsys_lib" / "course").mkdir(parents=True)
    (other / "notebooks").mkdir()
    code = "from recsys_lib.course.session import start_notebook as s; s('smoke', 0, 'cpu', None)"
    command = [sys.executable, "-P", "-c", code]
    for folder, variables, right in (
        (other / "notebooks", {}, False),
        (project_root() / "notebooks", {}, True),
        (tmp_path, {}, True),
        # The runner of this clone, called from within another one.
        (other, {"RECSYS_PROJECT": str(project_root())}, True),
        (project_root(), {"RECSYS_PROJECT": str(other)}, False),
    ):
        environment = bare_environment(**variables)
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8")
        assert (done.returncode == 0) == right, done.stderr
        assert (
            right
            or f"the notebook belongs to {other}, but recsys_lib was imported from {project_root()}"
            in done.stderr
        )
