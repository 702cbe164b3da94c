"""Right and wrong answers of every exercise of the course, and the checks that tell them apart.

`wrong_answers/NN.toml` holds, for each exercise in order, answers that a learner may give: what follows the
starting cell, and a piece of the reply.
"""

import tomllib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from recsys_lib.course.exercises import check, near
from recsys_lib.course.notebooks import code_cells, find_notebooks, read_notebook, tags
from recsys_lib.files import project_root

NOTEBOOKS = find_notebooks(project_root() / "notebooks")
NOT_YET, WRONG, RIGHT = "Not yet there: ", "Not right yet: ", "Right: "
TWO_AND_A_HALF = "Mi41"  # in base64
KINDS = {"exercise", "check", "solution"}


def attempts(
    exercise: dict[str, NotebookNode], wrong: list[dict[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Yield what runs before a check, how a line of its reply must begin, and what it must hold."""
    start, solution = exercise["exercise"].source, exercise["solution"].source
    yield start, NOT_YET, ""
    for answer in wrong:
        yield f"{start}\n{answer['code']}", answer.get("kind", WRONG), answer["reply"]
    yield solution, RIGHT, ""


def with_attempts(
    path: Path, wrong: list[list[dict[str, str]]]
) -> tuple[NotebookNode, list[tuple[str, str, str]]]:
    """Return a notebook, in the smoke profile, that checks every attempt; and the attempts in order."""
    notebook, cells, tried, exercise = read_notebook(path), [], [], {}
    remaining = iter(wrong)
    for cell in code_cells(notebook):
        kind = next(iter(KINDS & set(tags(cell))), None)
        if kind is None:
            cells.append(cell)
            if "parameters" in tags(cell):
                cells.append(new_code_cell('profile = "smoke"'))
            continue
        exercise[kind] = cell
        if kind == "solution":
            for attempt in attempts(exercise, next(remaining)):
                check_again = new_code_cell(exercise["check"].source, metadata={"tags": ["tried"]})
                cells += [new_code_cell(attempt[0]), check_again]
                tried.append(attempt)
            exercise = {}
    assert next(remaining, None) is None, "there are answers to more exercises than the notebook has"
    notebook.cells = cells
    return notebook, tried


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_check_tells_right_from_wrong(path: Path) -> None:
    answers = Path(__file__).parent / "wrong_answers" / f"{path.stem[:2]}.toml"
    wrong = tomllib.loads(answers.read_text(encoding="utf-8"))["exercise"]
    assert all(len(exercise["wrong"]) >= 2 for exercise in wrong), "try at least two wrong answers each"
    notebook, tried = with_attempts(path, [exercise["wrong"] for exercise in wrong])
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    replies = ["".join(o.text for o in c.outputs) for c in notebook.cells if "tried" in tags(c)]
    problems = []
    for (code, kind, piece), reply in zip(tried, replies, strict=True):
        lines = reply.splitlines()
        fits = all if kind in (NOT_YET, RIGHT) else any
        if not lines or not fits(line.startswith(kind) for line in lines) or piece not in reply:
            problems.append(f"after\n{code}\nthe check says {reply!r}, not {kind}… {piece}")
    assert not problems, "\n\n".join(problems)


def reply(capsys: pytest.CaptureFixture[str], answer: Any, *conditions: Any, **more: str) -> str:
    check({"x": answer}, "x", *conditions, **more)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "answer", [2.5, 2.45, np.float32(2.5), np.array(2.5), torch.tensor(2.5), np.float64(2.6), Fraction(5, 2)]
)
def test_a_number_close_enough_is_right(capsys: pytest.CaptureFixture[str], answer: Any) -> None:
    assert reply(capsys, answer, *near(TWO_AND_A_HALF, 0.11), right="So it is.") == "Right: x. So it is.\n"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (2, "It is too low. Divide."),
        (3, "It is too high. Multiply."),
        (float("nan"), "It should be a finite number."),
        ("2.5", "It should be a number."),
        (True, "It should be a number."),
        ([2.5], "It should be a number."),
        (np.array([2.5, 2.5]), "It should be a number. (Yours, of type ndarray, could not be checked: "),
    ],
)
def test_a_wrong_number_is_told_in_which_way(
    capsys: pytest.CaptureFixture[str], answer: Any, sentence: str
) -> None:
    said = reply(capsys, answer, *near(TWO_AND_A_HALF, 0.1, low="Divide.", high="Multiply."))
    assert said.startswith(f"Not right yet: x. {sentence}")


@pytest.mark.parametrize("answer", [None, ...])
def test_a_missing_answer_is_not_yet_there(capsys: pytest.CaptureFixture[str], answer: Any) -> None:
    assert reply(capsys, answer, (lambda x: True, "")).startswith(NOT_YET)


def test_the_first_failing_condition_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    conditions = [(lambda x: len(x) == 2, "Two, please."), (lambda x: x > 1, "Larger ones.")]
    assert reply(capsys, np.array([2, 1]), *conditions) == "Not right yet: x. Larger ones.\n"
    assert reply(capsys, 7, *conditions).startswith(
        "Not right yet: x. Two, please. (Yours, of type int, could not be checked: "
    )
    assert reply(capsys, np.array([2, 2]), *conditions) == "Right: x.\n"


def test_a_check_that_lacks_a_name_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    said = reply(capsys, 7, (lambda x: x == solution_of_a_cell_above, "Seven."))  # noqa: F821
    assert said.startswith("Not right yet: x. It could not be checked: name 'solution_of_a_cell_above'")
    assert "Seven" not in said
