"""Tiny notebooks, and ways to run them."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from recsys_lib.course.notebooks import KERNEL_METADATA, code_cells, read_notebook, write_notebook
from recsys_lib.course.runner import main
from recsys_lib.files import project_root

PARAMETERS = 'profile = "default"\nseed = 1'
REPORT = "import os, sys, json\nprint(json.dumps([profile, seed, os.getcwd(), sys.executable]))"


def write(path: Path, *sources: str, parameters: str | None = PARAMETERS) -> Path:
    cells = [new_markdown_cell("# Title")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    write_notebook(new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL_METADATA)}), path)
    return path


def run(tmp_path: Path, *options: str, command: str = "run") -> int:
    return main([command, "--folder", str(tmp_path / "nb"), "--output", str(tmp_path / "build"), *options])


def printed(path: Path) -> list[Any]:
    """What REPORT, or another cell that prints JSON, printed in an executed notebook."""
    outputs = [output for cell in code_cells(read_notebook(path)) for output in cell.outputs]
    return json.loads(outputs[0].text)


def timings(tmp_path: Path) -> dict[str, dict[str, Any]]:
    course = json.loads((tmp_path / "build" / "course.json").read_text())
    return {row["notebook"]: row for row in course["notebooks"]}


def command_line(folder: Path, *options: str) -> list[str]:
    where = ["--folder", str(folder / "nb"), "--output", str(folder / "build")]
    return [sys.executable, "-m", "recsys_lib.course", "run", *where, *options]


def bare_environment(**variables: str) -> dict[str, str]:
    """What a reader's shell has: nothing of a surrounding `make test`, and this clone's library."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(project_root()), **variables}
