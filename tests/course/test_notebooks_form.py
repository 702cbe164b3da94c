"""Every notebook has the form of CONTRIBUTING.md, and the checker sees each way of not having it."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_form import check_form, exempt_numbers

from recsys_lib.course.notebooks import FOLDED, find_notebooks, write_notebook
from recsys_lib.files import project_root

NOTEBOOKS = find_notebooks(project_root() / "notebooks")
PARAMETERS = 'profile = "default"\nseed = 42\ndevice = "cpu"\ndata_dir = None'


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    assert check_form(path) == []


def good_notebook() -> NotebookNode:
    cells = [
        new_markdown_cell("# Title\nYou will be able to count. It needs nothing. Run time: 1 second."),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell("print(1)", outputs=[new_output("stream", name="stdout", text="1\n")]),
    ]
    for number in (1, 2, 3):
        cells += [
            new_markdown_cell(f"### Exercise {number}\nCount."),
            new_code_cell("count = None", metadata={"tags": ["exercise"]}),
            new_code_cell(
                "check(globals(), 'count')", metadata={"tags": ["check"], "jupyter": dict(FOLDED["check"])}
            ),
            new_code_cell(
                "count = 1\nassert count == 1",
                metadata={"tags": ["solution"], "jupyter": dict(FOLDED["solution"])},
            ),
        ]
    cells.append(new_code_cell("save_results('01_title', profile, seed, 0.0, rows)"))
    cells.append(new_markdown_cell("Summary, and see https://example.org/home/next"))
    notebook = new_notebook(cells=cells)
    number_cells(notebook)
    return notebook


def number_cells(notebook: NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count


def test_a_good_notebook_has_no_problem(tmp_path: Path) -> None:
    write_notebook(good_notebook(), tmp_path / "01_title.ipynb")
    assert check_form(tmp_path / "01_title.ipynb") == []


def replace(number: int, **fields: object) -> Callable[[NotebookNode], None]:
    def damage(notebook: NotebookNode) -> None:
        notebook.cells[number - 1].update(nbformat.from_dict(fields))

    return damage


def delete(*numbers: int) -> Callable[[NotebookNode], None]:
    def damage(notebook: NotebookNode) -> None:
        notebook.cells = [cell for i, cell in enumerate(notebook.cells, start=1) if i not in numbers]
        number_cells(notebook)

    return damage


def outputs(*stored: NotebookNode) -> Callable[[NotebookNode], None]:
    return replace(3, outputs=list(stored))


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


BAD = {
    "no title": (replace(1, source="You will need a minute."), "starts with a title"),
    "no promise": (replace(1, source="# Title\nIt needs a minute."), "what you will be able to do"),
    "no needs": (replace(1, source="# Title\nYou will learn in a minute."), "what it needs"),
    "no run time": (replace(1, source="# Title\nYou will need nothing."), "its run time"),
    "no parameters": (replace(2, metadata={}), "second cell is not the code cell tagged"),
    "no seed": (replace(2, source='profile = "default"\ndevice, data_dir = 1, 2'), "does not set"),
    "annotation": (replace(2, source=PARAMETERS + "\nx: str | None = None"), "papermill does not read"),
    "unexecuted cell": (replace(3, execution_count=None), "not executed once each in order"),
    "executed out of order": (replace(3, execution_count=9), "not executed once each in order"),
    "error": (outputs(new_output("error", ename="ValueError", evalue="no", traceback=[])), "stores an error"),
    "stderr": (outputs(stream("careful", name="stderr")), "output on stderr"),
    "warning": (outputs(stream("FutureWarning: gone soon")), "stores a warning: FutureWarning"),
    "path in text": (outputs(stream("saved in /home/me/x")), "stores a path of one machine: /home/me"),
    "path in a result": (
        outputs(new_output("display_data", {"text/plain": "PosixPath('/tmp/x')"})),
        "stores a path of one machine: /tmp/x",
    ),
    "path in code": (replace(3, source="open('C:\\\\Users\\\\me')"), "names a path of one machine"),
    "long cell": (replace(3, source="1\n" * 45 + "1"), "has 46 lines"),
    "syntax": (replace(3, source="1 +"), "not valid Python"),
    "nbval comment": (replace(3, source="# NBVAL_IGNORE_OUTPUT\nprint(1)"), "taken out of nbval"),
    "nbval tag": (replace(3, metadata={"tags": ["nbval-skip"]}), "taken out of nbval"),
    "needs a solution": (replace(16, source="save_results(answer)"), "needs ['answer'] from a solution"),
    "two exercises": (delete(12, 13, 14, 15), "2 exercises"),
    "exercise missing": (delete(8, 9, 10, 11), "not numbered from 1: [1, 3]"),
    "no starting cell": (delete(5), "exercise 1 is not followed by"),
    "no check": (delete(6), "exercise 1 is not followed by"),
    "check that checks nothing": (replace(6, source="print(count)"), "check of exercise 1 does not call"),
    "no solution": (delete(7), "exercise 1 is not followed by"),
    "empty promise": (replace(7, source="count = 1"), "solution of exercise 1 asserts nothing"),
    "open solution": (replace(7, metadata={"tags": ["solution"]}), "cell 7: the metadata are not"),
    "hidden text": (
        replace(3, metadata={"jupyter": {"source_hidden": True}}),
        "cell 3: the metadata are not",
    ),
    "number without a band": (outputs(stream("≈0.5 of 10 20 30 40 50 60 70 80 90 95")), "asserts no band"),
    "hardly compared": (
        replace(3, source="assert x", outputs=[stream("≈0.5 and 1.2 s of 3 4 5 6 7 8 9 10 11")]),
        "2 of 11 printed numbers (18%) are left out",
    ),
    "stray solution": (replace(3, metadata={"tags": ["solution"]}), "follows no '### Exercise N'"),
    "nothing saved": (replace(16, source="print(save_results)"), "does not call save_results"),
    "papermill metadata": (replace(3, metadata={"papermill": {}}), "cell 3: the metadata are not"),
    "papermill cell": (replace(3, metadata={"tags": ["injected-parameters"]}), "papermill's own cells"),
    "large": (outputs(stream("x" * 1_500_000)), "at most 1,500,000"),
}


@pytest.mark.parametrize(("damage", "problem"), BAD.values(), ids=BAD)
def test_a_bad_notebook_is_found_out(
    damage: Callable[[NotebookNode], None], problem: str, tmp_path: Path
) -> None:
    notebook = good_notebook()
    notebook.cells[6].source = "count = answer = 1\nassert count == answer"
    damage(notebook)
    write_notebook(notebook, tmp_path / "01_title.ipynb")
    problems = check_form(tmp_path / "01_title.ipynb")
    assert any(problem in found for found in problems), problems


def test_numbers_left_out_of_the_comparison_are_counted() -> None:
    notebook = new_notebook(
        cells=[
            new_code_cell(
                "",
                outputs=[
                    stream("≈0.25 [≈0.1, ≈1,000] of 943 users, ndcg@10 0.3 in 12 ms, 1.5 GiB"),
                    new_output("display_data", {"image/png": "", "text/plain": "<Figure size 800x320>"}),
                    new_output("display_data", {"text/html": "<b>7</b>", "text/plain": "7"}),
                    new_output(
                        "display_data",
                        {"text/html": "<style>x {1px}</style><td>≈8</td>", "text/plain": "<Styler at 0x1>"},
                    ),
                ],
            )
        ]
    )
    assert exempt_numbers(notebook) == (6, 10)


def test_a_badly_named_file_is_found_out(tmp_path: Path) -> None:
    write_notebook(good_notebook(), tmp_path / "Untitled.ipynb")
    assert check_form(tmp_path / "Untitled.ipynb") == ["the file name is not like 03_recommenders.ipynb"]


def test_a_picture_may_contain_anything(tmp_path: Path) -> None:
    notebook = good_notebook()
    notebook.cells[2].outputs = [new_output("display_data", {"image/png": "iVBOR/tmp/x+/home/"})]
    write_notebook(notebook, tmp_path / "01_title.ipynb")
    assert check_form(tmp_path / "01_title.ipynb") == []
