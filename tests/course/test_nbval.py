"""nbval, as `make test` runs it, fails on a changed number and passes on what must vary.

Every stored output below belongs to the cell `print(<fresh>)`; it is what a notebook would hold if its
author had changed the code, or the machine, since.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from recsys_lib.course.notebooks import KERNEL_METADATA, write_notebook
from recsys_lib.files import project_root

SANITIZE = project_root() / "tests" / "nbval_sanitize.cfg"
# stored output, fresh output
SAME = {
    "equal": ("NDCG@10 0.475 of 943 users", "NDCG@10 0.475 of 943 users"),
    "about": ("NDCG@10  ≈0.475 [≈0.470, ≈0.480]", "NDCG@10 ≈0.481 [≈0.475, ≈0.486]"),
    "about, signed and spaced": ("uplift ≈ -1.5e-3, ≈ 9 %", "uplift ≈ 2.0, ≈ 11 %"),
    "seconds": ("trained in  9.87 s", "trained in 10.02 s"),
    "milliseconds": ("query: 12 ms, then 900 µs", "query: 7.5 ms, then 1,100 µs"),
    "memory": ("matrix of 12 MB, peak 1.5 GiB", "matrix of 13.1 MB, peak 1 GiB"),
    "address": ("<object at 0x7f12ab34cd56>", "<object at 0x55d0ab34cd56>"),
    "progress bar": ("100%|█████| 5/5 [00:01<00:00,  4.9it/s]", "100%|█████| 5/5 [00:02<00:00,  2.1it/s]"),
}
DIFFERENT = {
    "changed digit": ("NDCG@10 0.475", "NDCG@10 0.476"),
    "changed count": ("2,448 households", "2,449 households"),
    "changed percentage": ("12 % kept", "13 % kept"),
    "number beside an approximate one": ("≈0.475 of 943 users", "≈0.475 of 944 users"),
    "lost mark": ("NDCG@10 ≈0.475", "NDCG@10 0.475"),
    "number before a word with s": ("12 sales", "13 sales"),
    "number before a word with m": ("12 months", "13 months"),
    "number before MB-like word": ("12 MBA graduates", "13 MBA graduates"),
    "small hexadecimal": ("0x1f", "0x2f"),
    "share without a bar": ("50% of users", "51% of users"),
    "dates": ("2017-12-01", "2017-12-02"),
    "year": ("in 2017.", "in 2018."),
    "cutoff": ("ndcg@10", "ndcg@20"),
    "extra line": ("one", "one\ntwo"),
}


def executed(source: str, *outputs: NotebookNode) -> NotebookNode:
    return new_code_cell(source, execution_count=1, outputs=list(outputs))


def write(path: Path, *cells: NotebookNode) -> None:
    write_notebook(new_notebook(cells=list(cells), metadata={"kernelspec": dict(KERNEL_METADATA)}), path)


def printing(stored: str, fresh: str) -> NotebookNode:
    return executed(f"print({fresh!r})", new_output("stream", name="stdout", text=stored + "\n"))


def showing(picture: str, text: str) -> NotebookNode:
    data = {"image/png": picture, "text/plain": text}
    return executed(
        f"display({data!r}, raw=True)", new_output("display_data", {**data, "image/png": "c3RvcmVk"})
    )


def in_folder_and_environment(folder: Path) -> NotebookNode:
    source = "import os, sys\nprint(os.getcwd(), sys.executable, sep='\\n')"
    return executed(source, new_output("stream", name="stdout", text=f"{folder}\n{sys.executable}\n"))


def nbval_options() -> list[str]:
    makefile = (project_root() / "Makefile").read_text(encoding="utf-8")
    return re.search(r"^NBVAL := (.*)$", makefile, re.MULTILINE)[1].split()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Passed or failed for each cell of three notebooks, from one run of nbval."""
    folder = tmp_path_factory.mktemp("notebooks").resolve()
    write(folder / "same.ipynb", *(printing(*pair) for pair in SAME.values()))
    write(folder / "different.ipynb", *(printing(*pair) for pair in DIFFERENT.values()))
    broken = executed("1 / 0", new_output("error", ename="ZeroDivisionError", evalue="", traceback=[]))
    figures = [showing("ZnJlc2g=", "<Figure 1>"), in_folder_and_environment(folder), broken]
    write(folder / "others.ipynb", *figures)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "--rootdir",
        folder,
    ]
    # A user's own kernel of the same name must not be taken.
    impostor = folder / "jupyter" / "kernels" / "python3"
    impostor.mkdir(parents=True)
    (impostor / "kernel.json").write_text(
        '{"argv": ["false", "{connection_file}"], "language": "python", "display_name": "impostor"}'
    )
    environment = {**os.environ, "JUPYTER_PATH": str(folder / "jupyter"), "PYTHONIOENCODING": "utf-8"}
    run = subprocess.run(
        [*command, *nbval_options(), folder],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        cwd=project_root(),
    )
    assert run.returncode == 1, run.stdout + run.stderr
    lines = re.findall(r"(\w+)::ipynb::Cell \d+ (PASSED|FAILED)", run.stdout, re.MULTILINE)
    return {name: [result for found, result in lines if found == name] for name, _ in lines}


@pytest.mark.parametrize(("number", "name"), list(enumerate(SAME)), ids=SAME)
def test_what_varies_passes(outcomes: dict[str, list[str]], number: int, name: str) -> None:
    assert outcomes["same"][number] == "PASSED", SAME[name]


@pytest.mark.parametrize(("number", "name"), list(enumerate(DIFFERENT)), ids=DIFFERENT)
def test_a_changed_number_fails(outcomes: dict[str, list[str]], number: int, name: str) -> None:
    assert outcomes["different"][number] == "FAILED", DIFFERENT[name]


def test_a_figure_is_not_compared_pixel_by_pixel(outcomes: dict[str, list[str]]) -> None:
    assert outcomes["others"][0] == "PASSED"


def test_the_kernel_is_this_environment_in_the_notebook_folder(outcomes: dict[str, list[str]]) -> None:
    assert outcomes["others"][1] == "PASSED"


def test_a_cell_that_raises_fails(outcomes: dict[str, list[str]]) -> None:
    assert outcomes["others"][2] == "FAILED"


def test_a_plain_call_writes_nowhere_near_the_results_and_leaves_out_a_readers_notebooks(
    tmp_path: Path,
) -> None:
    """With the root's conftest.py, as `pytest --nbval notebooks/…` without `make` finds it."""
    clone = tmp_path.resolve()
    shutil.copy(project_root() / "conftest.py", clone)
    (clone / "pyproject.toml").touch()
    shutil.copytree(
        project_root() / "recsys_lib", clone / "recsys_lib", ignore=shutil.ignore_patterns("__pycache__")
    )
    source = (
        "import os, recsys_lib\nfor name in ('RECSYS_RESULTS', 'PYTHONPATH'):\n    print(os.environ[name])"
    )
    source += "\nprint(recsys_lib.__file__)"
    stored = f"{clone}/build/test/results\n{clone}\n{clone}/recsys_lib/__init__.py\n"
    cell = executed(source, new_output("stream", name="stdout", text=stored))
    (clone / "notebooks").mkdir()
    write(clone / "notebooks" / "01_first.ipynb", cell)
    write(clone / "notebooks" / "Untitled.ipynb", executed("1 / 0"))
    write(clone / "notebooks" / "01_first-Copy1.ipynb", executed("1 / 0"))
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    for target in ("notebooks", "notebooks/01_first.ipynb"):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", target]
        run = subprocess.run(
            [*command, "--nbval", "--nbval-current-env"],
            cwd=clone,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert run.returncode == 0, run.stdout
        assert "1 passed" in run.stdout


def test_the_sanitise_file_is_short() -> None:
    text = SANITIZE.read_text(encoding="ascii")
    assert len(re.findall(r"^regex: (.*)$\n^replace: (.*)$", text, re.MULTILINE)) <= 6
