"""The sources of the book: what is linked, folded and counted; and links that lead nowhere are found."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
from check_links import broken_links
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_pages import as_page, exercises, needs, prose_words, solution_lines
from write_sources import fill, generated, relink, section

from recsys_lib.files import project_root

WORDS = {"leak": "leak", "leaks": "leak", "two towers": "two towers"}
NAMES = {"01": "01_first", "02": "02_second"}


def notebook() -> NotebookNode:
    return new_notebook(
        cells=[
            new_markdown_cell("# 01 · First\n\n**It needs** notebook 02,\nand `x`.\n\n**Run time**: short."),
            new_markdown_cell(
                "# Part 1\n\n**Leaks** and **two\ntowers**, not **others**; $a$ of notebook 01."
            ),
            new_markdown_cell("### Exercise 1: count\nSee notebook 02, and notebook 99."),
            new_code_cell("answer = None", metadata={"tags": ["exercise"]}),
            new_code_cell("check(answer)", metadata={"tags": ["check"]}),
            new_code_cell("answer = 1", metadata={"tags": ["solution"]}),
            new_markdown_cell("It is 1.", metadata={"tags": ["solution"]}),
        ]
    )


def test_a_notebook_becomes_a_page() -> None:
    stored = notebook()
    before = copy.deepcopy(stored)
    page = as_page(stored, "01_first", WORDS, NAMES, "BAR")
    assert stored == before
    title, part, exercise, started, checked, solved, told = (cell.source for cell in page.cells)
    assert title.startswith("# 01 · First\n\nBAR\n")
    assert "[notebook 02](02_second.ipynb),\nand `x`" in title
    assert part.startswith("## Part 1")  # one title a page
    assert "{term}`Leaks <leak>` and {term}`two towers <two towers>`, not **others**" in part
    assert "notebook 01." in part
    assert exercise.startswith("(01-exercise-1)=\n#### Exercise 1: count\n")
    assert "[notebook 02](02_second.ipynb), and notebook 99." in exercise
    assert (started, checked, solved) == ("answer = None", "check(answer)", "answer = 1")
    assert "<details>" in told
    folded = [set(cell.metadata.get("tags", [])) & {"hide-cell", "hide-input"} for cell in page.cells]
    assert folded == [set(), set(), set(), set(), {"hide-input"}, {"hide-cell"}, set()]
    assert page.cells[3].metadata["mystnb"]["image"]["alt"] == "Figure: Exercise 1: count"


def test_the_teachers_columns_are_read_from_the_notebook() -> None:
    assert needs(notebook()) == "notebook 02, and `x`."
    assert exercises(notebook()) == [("1", "count")]
    assert solution_lines(notebook()) == [1]
    assert (
        prose_words(new_notebook(cells=[new_markdown_cell("It's $a b$ two `c d` words\n$$\ne f\n$$")])) == 3
    )


def test_links_to_files_that_are_no_pages_become_words(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").touch()
    text = (
        "[a](data/README.md#your-data) [b](LICENSE) [c](https://x.y) [d](../notebooks/01_a.ipynb) ![e](f.png)"
    )
    told = "[a](data_card.md#your-data) b [c](https://x.y) [d](notebooks/01_a.ipynb) ![e](f.png)"
    pages = {"data_card.md", "notebooks/01_a.ipynb"}
    assert relink(text, pages, tmp_path) == told
    assert relink("[a](nowhere.md)", pages, tmp_path) == "[a](nowhere.md)"  # Sphinx will say so


def test_parts_of_the_readme_are_found_or_missed_aloud() -> None:
    readme = "# T\n## A\none\n### B\ntwo\n## C\n<!-- generated: part -->\nthree\n<!-- end -->\n"
    assert section(readme, "## A") == "one\n### B\ntwo\n"
    assert section(readme, "### B") == "two\n"
    assert generated(readme, "part") == "three\n"
    with pytest.raises(ValueError, match="no heading '## D'"):
        section(readme, "## D")
    with pytest.raises(ValueError, match="no generated part 'other'"):
        generated(readme, "other")
    with pytest.raises(ValueError, match="no mark @nothing@"):
        fill("index.md", nothing="")


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.html").write_text(
        '<p id="top"><a href="sub/b.html#here">1</a><a href="#top">2</a><a href="https://x.y">3</a>'
        '<a href="#gone">4</a><a href="sub/b.html#gone">5</a><img src="c.png"></p>'
    )
    (tmp_path / "sub" / "b.html").write_text('<h1 id="here"><a href="../a.html">6</a></h1>')
    missed = [line.split(": ", 1)[1] for line in broken_links(tmp_path)]
    there_is_no = [f"{link}: there is no such place" for link in ("#gone", "sub/b.html#gone")]
    assert missed == [*there_is_no, "c.png: there is no such file"]
    with pytest.raises(ValueError, match="first: make book"):
        broken_links(tmp_path / "sub" / "empty")


def test_a_repository_that_is_none_is_refused() -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "book", "--repository", "https://example.org/ada/course"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert "owner/name" in done.stderr
