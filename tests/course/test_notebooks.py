"""Notebook files: what is read, what is stored, what a student gets."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tiny_course import PARAMETERS, REPORT, printed, run, write

from recsys_lib.course.notebooks import (
    clean_notebook,
    clean_on_save,
    find_notebooks,
    read_notebook,
    without_solutions,
    write_notebook,
)
from recsys_lib.course.runner import main
from recsys_lib.files import project_root


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{}",
        "[]",
        "null",
        '{"nbformat": 3, "worksheets": []}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}',
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": 3}',
    ],
)
def test_what_is_no_notebook_is_said_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nb").mkdir()
    path = tmp_path / "nb" / "01_text.ipynb"
    path.write_text(text)
    for command in ("run", "refresh", "student"):
        assert run(tmp_path, command=command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {path} is not a notebook: ")
        assert error.count("\n") == 1


def tagged(source: str, tag: str, kind: Any = new_code_cell) -> NotebookNode:
    shown = {"outputs": [new_output("stream", text=f"shown by {tag}")], "execution_count": 1}
    return kind(source, metadata={"tags": [tag]}, **(shown if kind is new_code_cell else {}))


def exercise_notebook() -> NotebookNode:
    cells = [
        new_markdown_cell("# Title"),
        tagged(PARAMETERS, "parameters"),
        new_markdown_cell("### Exercise 1"),
        tagged("answer = None", "exercise"),
        tagged("print('not yet' if answer is None else answer)", "check"),
        tagged("answer = 42\nassert answer == 42", "solution"),
        tagged("The answer is 42, as everybody knows.", "solution", new_markdown_cell),
        new_code_cell(REPORT, execution_count=4),
    ]
    return clean_notebook(new_notebook(cells=cells))


@pytest.fixture
def course(tmp_path: Path) -> Path:
    write_notebook(exercise_notebook(), tmp_path / "nb" / "01_good.ipynb")
    assert run(tmp_path, command="student") == 0
    return tmp_path


def test_a_students_copy_has_no_trace_of_the_answers(course: Path) -> None:
    copy = read_notebook(course / "build" / "student" / "notebooks" / "01_good.ipynb")
    text = (course / "build" / "student" / "notebooks" / "01_good.ipynb").read_text()
    for cell in copy.cells:
        text = text.replace(f'"id": "{cell.id}"', "")  # random digits
    for trace in ("42", "solution", "shown by exercise", "shown by check"):
        assert trace not in text
    assert [cell.source for cell in copy.cells] == [
        cell.source for cell in exercise_notebook().cells if "solution" not in cell.metadata.get("tags", [])
    ]
    assert copy.cells[1].outputs[0].text == "shown by parameters"  # it shows what to expect


def test_a_students_copy_runs_and_keeps_its_results_to_itself(
    course: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RECSYS_RESULTS")
    folder = course / "build" / "student"
    copy = (folder / "notebooks" / "01_good.ipynb").read_bytes()
    names = "['RECSYS_RESULTS', 'RECSYS_LISTS']"
    report = f"import os, json\nprint(json.dumps([os.environ[name] for name in {names}]))"
    write(folder / "notebooks" / "02_where.ipynb", report)
    assert main(["run", "--folder", str(folder / "notebooks")]) == 0
    where = [str(folder / "run" / name) for name in ("results", "lists")]
    assert printed(folder / "run" / "notebooks" / "02_where.ipynb") == where
    assert main(["run", "--folder", str(folder / "notebooks"), "--output", str(folder)]) == 2
    assert "would replace the notebooks in" in capsys.readouterr().err
    assert (folder / "notebooks" / "01_good.ipynb").read_bytes() == copy


def test_edited_work_is_never_overwritten(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = course / "build" / "student" / "notebooks" / "01_good.ipynb"
    handed_out = copy.read_bytes()
    assert run(course, command="student") == 0  # nothing was edited: a new copy
    assert copy.read_bytes() == handed_out
    copy.write_text(copy.read_text().replace("answer = None", "answer = 41"))
    capsys.readouterr()
    assert run(course, command="student") == 0
    assert "answer = 41" in copy.read_text()
    assert "01_good.ipynb stays as it is: it was edited" in capsys.readouterr().out
    copy.unlink()
    assert run(course, command="student") == 0
    assert copy.read_bytes() == handed_out


def test_a_copy_that_was_not_edited_follows_the_notebook(course: Path) -> None:
    changed = exercise_notebook()
    changed.cells[0].source = "# Another title"
    write_notebook(changed, course / "nb" / "01_good.ipynb")
    assert run(course, command="student") == 0
    copy = read_notebook(course / "build" / "student" / "notebooks" / "01_good.ipynb")
    assert copy.cells[0].source == "# Another title"


def test_a_copy_without_a_record_counts_as_edited(course: Path) -> None:
    folder = course / "build" / "student" / "notebooks"
    (folder / ".copies.json").unlink()
    (folder / "01_good.ipynb").write_text("work")
    assert run(course, command="student") == 0
    assert (folder / "01_good.ipynb").read_text() == "work"


def test_taking_out_solutions_leaves_the_original_alone() -> None:
    original = exercise_notebook()
    before = nbformat.writes(original)
    without_solutions(original)
    assert nbformat.writes(original) == before


def test_what_is_folded_follows_from_the_tags() -> None:
    """And from nothing else: neither from what a reader unfolded, nor from what one folded elsewhere."""
    notebook = exercise_notebook()
    notebook.cells[5].metadata["jupyter"] = {"source_hidden": False}
    notebook.cells[3].metadata.update(jupyter={"outputs_hidden": True}, collapsed=True, scrolled=False)
    folded = [cell.metadata.get("jupyter", {}) for cell in clean_notebook(notebook).cells]
    everything = {"source_hidden": True, "outputs_hidden": True}
    source = {"source_hidden": True}
    assert folded == [{}, {}, {}, {}, source, everything, source, {}]


def as_saved_by_the_lab(path: Path, version: str) -> dict[str, Any]:
    """What JupyterLab hands to its server after a kernel was started and one cell was unfolded."""
    content = json.loads(path.read_text())
    content["metadata"]["language_info"] = {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": version,
    }
    content["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    for cell in content["cells"]:
        cell["source"] = "".join(cell["source"])
        if "solution" in cell["metadata"].get("tags", []):
            cell["metadata"]["jupyter"] = {"source_hidden": False, "outputs_hidden": False}
        if cell["cell_type"] == "code":
            cell["metadata"]["trusted"] = True
    return {"type": "notebook", "content": nbformat.from_dict(content)}


@pytest.mark.parametrize("path", find_notebooks(project_root() / "notebooks"), ids=lambda path: path.stem)
def test_opening_and_saving_changes_nothing(path: Path, tmp_path: Path) -> None:
    stored = tmp_path / path.name
    write_notebook(clean_notebook(read_notebook(path)), stored)
    model = as_saved_by_the_lab(stored, "3.99.1")
    clean_on_save(model=model, path=f"sub/{path.name}", contents_manager=None)
    assert NotebookNotary(data_dir=str(tmp_path)).check_cells(model["content"])  # the reader's trust stays
    write_notebook(model["content"], tmp_path / "saved.ipynb")
    assert (tmp_path / "saved.ipynb").read_bytes() == stored.read_bytes()


def test_a_readers_own_files_are_saved_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "01_first.ipynb", REPORT)
    for name, kind in (
        ("Untitled.ipynb", "notebook"),
        ("01_first-Copy1.ipynb", "notebook"),
        ("notes.md", "file"),
    ):
        model = {**as_saved_by_the_lab(path, "3.12.1"), "type": kind}
        clean_on_save(model=model, path=name, contents_manager=SimpleNamespace())
        assert model["content"]["metadata"]["language_info"]["version"] == "3.12.1"
