"""What a notebook of the course must look like (CONTRIBUTING.md), as a list of what is wrong with one."""

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from recsys_lib.course.notebooks import (
    ADDED_TAGS,
    clean_notebook,
    code_cells,
    parameter_types,
    read_notebook,
    tags,
)

LARGEST_FILE = 1_500_000  # bytes
LONGEST_CELL = 45  # lines
FEWEST_EXERCISES = 3
LARGEST_EXEMPT_SHARE = 0.10  # of the printed numbers: those that nbval does not compare
PARAMETERS = {"profile", "seed", "device", "data_dir"}
PROMISES = {
    "what you will be able to do": r"you will",
    "what it needs": r"\bneeds?\b",
    "its run time": r"run[- ]?time|minute|second",
}
# A folder at the start of a path, not one inside a URL.
MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(home|root|Users|work|tmp|private|var/folders)/|[A-Za-z]:\\+(Users|Temp)\b"
)
WARNING = re.compile(r"\b[A-Za-z]{0,40}Warning: ")
KINDS = ("exercise", "check", "solution")  # the cells of an exercise, in this order
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(\.\d+)?")
EXERCISE = re.compile(r"^### Exercise (\d+)\b", re.MULTILINE)
NBVAL_MARK = re.compile(r"^\s*#\s*(NBVAL_\w+|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.MULTILINE)


def check_form(path: Path) -> list[str]:
    """Return what is wrong with the form of a notebook, one line each; empty if nothing is."""
    problems = []
    if path.stat().st_size > LARGEST_FILE:
        problems.append(f"the file has {path.stat().st_size:,} bytes, at most {LARGEST_FILE:,} are allowed")
    if not re.fullmatch(r"\d{2}_[a-z0-9_]+\.ipynb", path.name):
        problems.append("the file name is not like 03_recommenders.ipynb")
    notebook = read_notebook(path)
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        return [*problems, f"not a valid notebook: {error.message}"]
    checks = (_opening, _ending, _counts, _outputs, _bands, _sources, _exercises, _metadata)
    return problems + [problem for check in checks for problem in check(notebook)]


def _opening(notebook: NotebookNode) -> Iterator[str]:
    cells = [*notebook.cells, *[nbformat.v4.new_raw_cell()] * 2]
    first, second = cells[:2]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        yield "the first cell is not markdown that starts with a title (# …)"
    for promise, pattern in PROMISES.items():
        if not re.search(pattern, first.source, re.IGNORECASE):
            yield f"the first cell does not say {promise}"
    if second.cell_type != "code" or "parameters" not in tags(second):
        yield "the second cell is not the code cell tagged `parameters`"
    elif missing := PARAMETERS - set(parameter_types(notebook, "it")):
        yield f"the parameters cell does not set {sorted(missing)}"
    elif re.search(r"^\w+: [^=#]*\|", second.source, re.MULTILINE):
        yield "the parameters cell has an annotation with |, which papermill does not read"


def _ending(notebook: NotebookNode) -> Iterator[str]:
    last = [cell for cell in code_cells(notebook) if cell.source.strip()][-1:]
    if not any("save_results" in _called(cell) for cell in last):
        yield "the last code cell does not call save_results"


def _counts(notebook: NotebookNode) -> Iterator[str]:
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts != list(range(1, len(counts) + 1)):
        # nbval compares nothing in a cell without a count: this check keeps its promise.
        yield f"the code cells were not executed once each in order: {counts}; make refresh stores them"


def _outputs(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number} stores an error: {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {number} stores output on stderr: {output.text.strip()[:80]}"
            text = _text(output)
            if output.get("name") != "stderr" and (found := WARNING.search(text)):
                yield f"cell {number} stores a warning: {text[found.start() :][:80]}"
            if found := MACHINE_PATH.search(text):
                yield f"cell {number} stores a path of one machine: {text[found.start() :][:60]}"


def _bands(notebook: NotebookNode) -> Iterator[str]:
    for number, cell in enumerate(notebook.cells, start=1):
        if "≈" in "".join(map(_text, cell.get("outputs", []))) and not _asserts(cell):
            yield f"cell {number} prints numbers marked ≈ and asserts no band that they must lie in"
    exempt, printed = exempt_numbers(notebook)
    if exempt > LARGEST_EXEMPT_SHARE * printed:
        yield (
            f"{exempt} of {printed} printed numbers ({exempt / printed:.0%}) are left out of nbval's "
            f"comparison, at most {LARGEST_EXEMPT_SHARE:.0%} are allowed: print what is stable"
        )


def exempt_numbers(notebook: NotebookNode) -> tuple[int, int]:
    """Count the printed numbers that nbval leaves out of its comparison (≈, seconds, memory), and all."""
    patterns = configparser.RawConfigParser()
    patterns.read(Path(__file__).parents[1] / "nbval_sanitize.cfg", encoding="ascii")
    exempt = printed = 0
    for output in (output for cell in code_cells(notebook) for output in cell.outputs):
        data = output.get("data", {})
        if any(kind.startswith("image/") for kind in data):
            continue  # the text beside a picture is its size
        # pandas shows a table twice, as text and as HTML; a styled one as HTML only.
        plain = output.get("text") or data.get("text/plain", "")
        text = (
            re.sub(r"<style.*?</style>|<[^>]*>", " ", data["text/html"], flags=re.DOTALL)
            if ("Styler" in plain)
            else plain
        )
        printed += len(NUMBER.findall(text))
        for section in patterns.sections():
            regex = re.compile(patterns[section]["regex"])
            exempt += sum(len(NUMBER.findall(match[0].replace("≈", " "))) for match in regex.finditer(text))
            text = regex.sub(" ", text)
    return exempt, printed


def _sources(notebook: NotebookNode) -> Iterator[str]:
    assigned_in_solutions: set[str] = set()
    assigned_elsewhere: set[str] = set()
    for number, cell in enumerate(notebook.cells, start=1):
        if found := MACHINE_PATH.search(cell.source):
            yield f"cell {number} names a path of one machine: {cell.source[found.start() :][:60]}"
        if cell.cell_type != "code":
            continue
        if (lines := cell.source.count("\n") + 1) > LONGEST_CELL:
            yield f"cell {number} has {lines} lines, at most {LONGEST_CELL} are allowed"
        if NBVAL_MARK.search(cell.source) or any(tag.startswith("nbval-") for tag in tags(cell)):
            yield f"cell {number} is taken out of nbval; let a pattern or ≈ take out what varies"
        try:
            stored, loaded = _names(cell)
        except SyntaxError as error:
            yield f"cell {number} is not valid Python: {error}"
            continue
        (assigned_in_solutions if "solution" in tags(cell) else assigned_elsewhere).update(stored)
        if "solution" not in tags(cell) and (needed := loaded & assigned_in_solutions - assigned_elsewhere):
            yield f"cell {number} needs {sorted(needed)} from a solution: the students' copy would stop there"


def _exercises(notebook: NotebookNode) -> Iterator[str]:
    cells, numbers, inside = notebook.cells, [], set()
    starts = [
        i for i, cell in enumerate(cells) if cell.cell_type == "markdown" and EXERCISE.search(cell.source)
    ]
    for start in starts:
        name = int(EXERCISE.search(cells[start].source)[1])
        numbers.append(name)
        following = [i for i in range(start + 1, len(cells)) if cells[i].cell_type == "code"][:3]
        kinds = tuple(next((tag for tag in KINDS if tag in tags(cells[i])), "") for i in following)
        inside.update(following)
        if kinds != KINDS:
            yield f"exercise {name} is not followed by cells tagged `exercise`, `check` and `solution`"
            continue
        _, checking, solution = (cells[i] for i in following)
        if "check" not in _called(checking):
            yield f"the check of exercise {name} does not call `check`"
        if not _asserts(solution):
            yield f"the solution of exercise {name} asserts nothing"
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"the exercises are not numbered from 1: {numbers}"
    if len(numbers) < FEWEST_EXERCISES:
        yield f"{len(numbers)} exercises ('### Exercise N'), at least {FEWEST_EXERCISES} are needed"
    for i, cell in enumerate(cells):
        if set(KINDS) & set(tags(cell)) and cell.cell_type == "code" and i not in inside:
            yield f"cell {i + 1} is tagged as part of an exercise but follows no '### Exercise N'"


def _metadata(notebook: NotebookNode) -> Iterator[str]:
    if any(ADDED_TAGS & set(tags(cell)) for cell in notebook.cells):
        yield "papermill's own cells are stored; make refresh removes them"
        return
    if extra := set(notebook.metadata) - {"kernelspec", "language_info"}:
        yield f"metadata of one run or editor is stored: {sorted(extra)}; make refresh removes it"
    clean = clean_notebook(notebook).cells
    for number, (cell, wanted) in enumerate(zip(notebook.cells, clean, strict=True), start=1):
        if cell.metadata != wanted.metadata:
            yield f"cell {number}: the metadata are not what its tags say; make refresh puts it right"


def _text(output: NotebookNode) -> str:
    # Pictures are base64, in which anything can appear by chance.
    data = [value for kind, value in output.get("data", {}).items() if not kind.startswith("image/")]
    return "\n".join([output.get("text", ""), *map(str, data), *output.get("traceback", [])])


def _tree(cell: NotebookNode) -> ast.Module:
    # Lines for IPython (%matplotlib, !ls) become comments.
    return ast.parse(re.sub(r"^\s*[%!]", "# ", cell.source, flags=re.MULTILINE))


def _names(cell: NotebookNode) -> tuple[set[str], set[str]]:
    """Return the names a cell sets, and those it reads."""
    stored, loaded = set(), set()
    for node in ast.walk(_tree(cell)):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            stored.add(node.name or "")
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.alias):
            stored.add((node.asname or node.name).split(".")[0])
    return stored, loaded


def _called(cell: NotebookNode) -> set[str]:
    try:
        calls = [node.func for node in ast.walk(_tree(cell)) if isinstance(node, ast.Call)]
    except SyntaxError:
        return set()
    return {call.id if isinstance(call, ast.Name) else getattr(call, "attr", "") for call in calls}


def _asserts(cell: NotebookNode) -> bool:
    try:
        statements = any(isinstance(node, ast.Assert) for node in ast.walk(_tree(cell)))
    except SyntaxError:
        return False
    return statements or any(name.startswith("assert_") for name in _called(cell))
