"""How the course is tested, in numbers counted in the notebooks and the tests as they are."""

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

from nbformat import NotebookNode

from recsys_lib.course.notebooks import code_cells

PRINTED = re.compile(r"^> \*\*(?:A widely read tutorial|Widely read tutorials)", re.MULTILINE)
TEST = re.compile(r"^ *(?:async )?def test_", re.MULTILINE)


def how_tested(notebooks: Iterable[NotebookNode], tests: Path) -> str:
    """Say what `make test` does with the notebooks and a folder of tests."""
    notebooks = list(notebooks)
    cells = [cell.source for notebook in notebooks for cell in code_cells(notebook)]
    printed = sum(len(PRINTED.findall(cell.source)) for notebook in notebooks for cell in notebook.cells)
    asserts = sum(isinstance(node, ast.Assert) for cell in cells for node in ast.walk(ast.parse(cell)))
    sources = {path.stem: path.read_text("utf-8") for path in tests.rglob("test_*.py")}
    functions = {name: len(TEST.findall(text)) for name, text in sources.items()}
    refusals = sum(text.count("pytest.raises(") for text in sources.values())
    faults = sum(count for name, count in functions.items() if "faults" in name)
    answers = [tomllib.loads(path.read_text("utf-8")) for path in tests.rglob("wrong_answers/*.toml")]
    wrong = [len(exercise["wrong"]) for answer in answers for exercise in answer["exercise"]]
    return (
        f"`make test` runs {len(cells):,} code cells again and compares what they print with what is stored; "
        f"{asserts:,} assertions in them hold; {printed} times they test what a widely read tutorial prints. "
        f"It tries {sum(wrong):,} wrong answers on the checks of {len(wrong)} exercises. "
        f"{sum(functions.values()):,} test functions, many of them for several cases, test the library and "
        f"the tools. {refusals:,} times they want bad input refused; most of these read the message. "
        f"{faults} functions break the running service, from a killed process to a full disk."
    )
