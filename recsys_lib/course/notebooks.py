"""Notebook files: finding them, reading their parameters, cleaning them, taking out the solutions."""

import ast
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from recsys_lib.files import atomic_path

# `Untitled.ipynb` and `01_preprocessing-Copy1.ipynb` are a reader's own.
NAME = re.compile(r"\d{2}_[a-z0-9_]+\.ipynb")
# Cells that papermill adds to what it executes; they have no place in a stored notebook.
ADDED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}
# What JupyterLab folds away, by tag: who scrolls past an exercise shall not read its answer.
FOLDED = {"solution": {"source_hidden": True, "outputs_hidden": True}, "check": {"source_hidden": True}}
KERNEL_METADATA = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def find_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks of a folder in course order; only files like 03_recommenders.ipynb count."""
    paths = sorted(path for path in folder.glob("*.ipynb") if NAME.fullmatch(path.name))
    if not paths:
        raise ValueError(f"no notebooks (such as 01_preprocessing.ipynb) in {folder}")
    return paths


def select_notebooks(paths: Sequence[Path], names: str = "", first: str = "") -> list[Path]:
    """Choose some of the notebooks by number or name, in the order of the course.

    `names` are separated by blanks or commas, such as "01 03"; `first` is the one to begin with; both may be
    empty.
    """
    chosen = {_find(paths, name) for name in re.split(r"[\s,]+", names) if name} or set(paths)
    begin = paths.index(_find(paths, first.strip())) if first.strip() else 0
    selected = [path for path in paths[begin:] if path in chosen]
    if not selected:
        raise ValueError(f"none of the chosen notebooks ({names.strip()}) comes at or after {first.strip()}")
    return selected


def _find(paths: Sequence[Path], name: str) -> Path:
    wanted = name.removesuffix(".ipynb")
    numbers = {path: path.stem.split("_")[0].lstrip("0") for path in paths}
    found = [path for path in paths if path.stem == wanted]
    found = found or [path for path in paths if wanted.isdigit() and numbers[path] == wanted.lstrip("0")]
    if len(found) == 1:
        return found[0]
    what = (
        f"{len(found)} notebooks have the number {name}; write a whole name:"
        if found
        else f"no notebook '{name}'; there are:"
    )
    raise ValueError("\n  ".join([what, *(path.stem for path in found or paths)]))


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook file; raise a ValueError if it is no notebook of version 4."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.get("nbformat") if isinstance(content, dict) else None
        if version != 4:
            raise ValueError(f"its version is {version}, not 4; open and save it in JupyterLab")
        notebook = nbformat.v4.to_notebook_json(content)
        # By the rules of 4.4: 4.5 gives every cell an id, which `clean_notebook` does, and not at random.
        rules = {"version": 4, "version_minor": 4, "relax_add_props": True}
        for problem in nbformat.validator.iter_validate(notebook, **rules):
            raise problem
    except (ValueError, TypeError, AttributeError, nbformat.ValidationError) as error:
        raise ValueError(f"{path} is not a notebook: {str(error).splitlines()[0]}") from error
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> Collection[str]:
    """Return the tags of a cell."""
    return cell.metadata.get("tags", [])


def parameter_types(notebook: NotebookNode, name: str) -> dict[str, set[str]]:
    """Return the types that each parameter may have, as its default or its annotation says.

    For `own_time: str = None` in the cell tagged `parameters` these are "str" and "None"; a default that is
    computed has none. `name` is the notebook's, for messages.
    """
    types: dict[str, set[str]] = {}
    for node in _parameters_cell(notebook, name):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            known = _types(node)
            types |= {target.id: known for target in targets if isinstance(target, ast.Name)}
    return types


def _parameters_cell(notebook: NotebookNode, name: str) -> list[ast.stmt]:
    for cell in code_cells(notebook):
        if "parameters" in tags(cell):
            try:
                return ast.parse(cell.source).body
            except SyntaxError as error:
                raise ValueError(
                    f"{name}: the cell tagged `parameters` is not valid Python: {error}"
                ) from error
    raise ValueError(f"{name} has no code cell tagged `parameters`; give it one as its second cell")


def _types(node: ast.Assign | ast.AnnAssign) -> set[str]:
    annotation = getattr(node, "annotation", None)
    types = {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)} if annotation else set()
    try:
        default = ast.literal_eval(node.value)
    except (ValueError, TypeError):  # it is computed, or there is none
        return types
    name = "None" if default is None else type(default).__name__
    return types | {"list" if name == "tuple" else name}  # a notebook's file, which is JSON, has no tuples


def clean_notebook(notebook: NotebookNode) -> NotebookNode:
    """Return a copy that carries nothing of the run or the editor it came from.

    Cells that papermill added and all metadata but the tags go; what is folded follows from the tags. Cells
    without an id get one by their position, so that storing a notebook twice gives the same file.
    """
    cleaned = nbformat.v4.new_notebook(
        metadata={"kernelspec": dict(KERNEL_METADATA), "language_info": {"name": "python"}}
    )
    taken: set[str] = set()
    for number, cell in enumerate((c for c in notebook.cells if not ADDED_TAGS & set(tags(c))), start=1):
        copy = nbformat.from_dict(cell)
        copy.metadata = nbformat.from_dict(_lasting_metadata(cell))
        copy["id"] = cell.get("id") or f"cell-{number:03d}"
        while copy["id"] in taken:
            copy["id"] += "-again"
        taken.add(copy["id"])
        cleaned.cells.append(copy)
    return cleaned


def _lasting_metadata(cell: NotebookNode) -> dict[str, Any]:
    lasting: dict[str, Any] = {"tags": list(tags(cell))} if tags(cell) else {}
    for tag in FOLDED.keys() & set(tags(cell)):
        hidden = FOLDED[tag] if cell.cell_type == "code" else {"source_hidden": True}
        lasting["jupyter"] = dict(hidden)
    return lasting


def clean_on_save(model: dict[str, Any], path: str, **_: Any) -> None:
    """Keep out of a saved notebook what belongs to one machine or one reader's view.

    `make lab` hands this to the server as its `pre_save_hook`. Opening a notebook of the course and saving it
    leaves the file as it was; outputs of cells that were run are saved. Others are saved as they are.
    """
    content = model.get("content")
    if model["type"] == "notebook" and NAME.fullmatch(Path(path).name) and content.get("nbformat") == 4:
        content = nbformat.from_dict(content)
        trusted = {cell.get("id") for cell in content.cells if cell.metadata.get("trusted")}
        model["content"] = clean_notebook(content)
        for cell in model["content"].cells:
            if cell.id in trusted:
                cell.metadata["trusted"] = True  # the server signs the notebook and takes it out again


def store_outputs(notebook: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Return a clean copy of `notebook` with the outputs of `executed`, which must have the same cells."""
    stored = clean_notebook(notebook)
    # Where the kernel cuts a stream depends on the clock. Text before and after a figure stays apart.
    executed, _ = CoalesceStreamsPreprocessor().preprocess(clean_notebook(executed), {})
    for cell, done in zip(stored.cells, executed.cells, strict=True):
        if cell.source != done.source:
            raise ValueError("the executed notebook is not a run of this one")
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
    return stored


def without_solutions(notebook: NotebookNode) -> NotebookNode:
    """Return a clean copy without the cells tagged `solution`, prose included.

    Starting cells and their checks (tags `exercise` and `check`) stay, without outputs, which would tell. The
    other outputs stay: they show what to expect.
    """
    copy = clean_notebook(notebook)
    copy.cells = [cell for cell in copy.cells if "solution" not in tags(cell)]
    for cell in code_cells(copy):
        if {"exercise", "check"} & set(tags(cell)):
            cell.outputs, cell.execution_count = [], None
    return copy
