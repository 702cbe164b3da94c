"""Other doors: nbclient in the place of papermill and nbval, and the cell that starts a notebook in Colab."""

import configparser
import re
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from recsys_lib.course.notebooks import code_cells, read_notebook
from recsys_lib.files import project_root

ROOT = project_root()
TYPES = ("text/plain", "text/html")
# What a notebook does in Colab after the first cell, up to its first figure.
FIRST_FIGURE = """
import sys, time
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell(open(sys.argv[1]).read()).raise_error()
import pathlib, recsys_lib
from recsys_lib.course.notebooks import code_cells, read_notebook
began = time.perf_counter()
for cell in code_cells(read_notebook(pathlib.Path("01_preprocessing.ipynb"))):
    shell.run_cell(cell.source).raise_error()
    if plt.get_fignums():
        break
print("FIGURE", len(plt.get_fignums()), round(time.perf_counter() - began), recsys_lib.__file__)
"""


def rules() -> list[tuple[str, str]]:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "tests" / "nbval_sanitize.cfg", encoding="utf-8")
    return [(parser[name]["regex"], parser[name]["replace"]) for name in parser.sections()]


def printed(notebook: NotebookNode) -> list[str]:
    """What each code cell prints and shows in words, without what may vary; pictures are left out."""
    texts = []
    for cell in code_cells(notebook):
        text = "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")
        shown = [o.data for o in cell.outputs if "data" in o]
        text += "\n".join(data[kind] for data in shown for kind in TYPES if kind in data)
        for pattern, replacement in rules():
            text = re.sub(pattern, replacement, text)
        texts.append(text)
    return texts


def test_nbclient_alone_executes_a_notebook_and_finds_a_changed_number() -> None:
    path = ROOT / "notebooks" / "07_loyalty.ipynb"
    fresh = read_notebook(path)
    for cell in code_cells(fresh):
        cell.outputs = []
    NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    stored = read_notebook(path)
    assert printed(fresh) == printed(stored)
    numbers = [cell for cell in code_cells(stored) if cell.outputs and "text" in cell.outputs[0]]
    numbers[0].outputs[0].text = re.sub(
        r"\d", lambda digit: str(9 - int(digit[0])), numbers[0].outputs[0].text
    )
    assert printed(fresh) != printed(stored)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="there is nothing to clone")
def test_the_cell_for_colab_leads_a_fresh_environment_to_the_first_figure(tmp_path: Path) -> None:
    cell = (ROOT / "book" / "text" / "colab.md").read_text("utf-8").split("```")[1]
    cell = cell.replace("https://github.com/OWNER/NAME", f"file://{ROOT} NAME").replace("NAME", "course")
    (tmp_path / "cell.py").write_text(cell, "utf-8")
    (tmp_path / ".gitconfig").write_text("[safe]\n\tdirectory = *\n")  # whoever owns the project's folder
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run(
        [python, "-c", where], capture_output=True, text=True, check=True
    ).stdout.strip()
    # The packages of the lock are installed already: pip finds them, and this library is not among them.
    (Path(packages) / "installed.pth").write_text(sysconfig.get_path("purelib"))
    done = subprocess.run(
        [python, "-c", FIRST_FIGURE, tmp_path / "cell.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures, seconds, library = done.stdout.split("FIGURE ")[1].split()
    assert int(figures) == 1
    assert int(seconds) <= 90
    assert library == str(tmp_path / "course" / "recsys_lib" / "__init__.py")
