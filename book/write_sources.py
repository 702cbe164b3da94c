"""Write the book's sources into a folder: the stored notebooks, and pages made of what is stored.

Nothing is executed and nothing is fetched.
"""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from notebook_pages import as_page, exercises, link_notebooks, needs, prose_words, solution_lines

from recsys_lib.course.front.tables import markdown_table
from recsys_lib.course.notebooks import find_notebooks, read_notebook
from recsys_lib.files import read_rows

TEXT = Path(__file__).with_name("text")
# Files of the project that are pages of the book; what else a text links to is only named.
PAGES = {"data/README.md": "data_card.md", "data/GLOSSARY.md": "glossary.md", "GLOSSARY.md": "glossary.md"}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)(#[\w-]+)?\)")
WORDS_A_MINUTE = 200


def write_sources(root: Path, folder: Path, repository: str = "") -> None:
    """Write all sources of the book into a folder that is not there yet."""
    shutil.copytree(root / "results" / "charts", folder / "results" / "charts")
    notebooks = {path.stem: read_notebook(path) for path in find_notebooks(root / "notebooks")}
    write_notebooks(root, folder, notebooks, repository)
    readme = (root / "README.md").read_text("utf-8")
    colab = (TEXT / ("colab.md" if repository else "no_colab.md")).read_text("utf-8")
    owner, _, name = repository.partition("/")
    texts = {
        "index.md": fill("index.md", **{part: generated(readme, part) for part in ("notebooks", "tested")}),
        "start.md": fill("start.md", colab=colab.replace("OWNER", owner).replace("NAME", name)),
        "results.md": results_page(readme),
        "teachers.md": teachers_page(root, notebooks),
        "glossary.md": glossary_page(root, list(notebooks)),
        "data_card.md": (root / "data" / "README.md").read_text("utf-8"),
        **library_pages(root),
    }
    pages = {*texts, *(f"notebooks/{name}.ipynb" for name in notebooks)}
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(relink(text, pages, root), "utf-8")


def fill(name: str, **parts: str) -> str:
    """Return a text of ours with each mark `@part@` replaced."""
    text = (TEXT / name).read_text("utf-8")
    for part, value in parts.items():
        if f"@{part}@" not in text:
            raise ValueError(f"book/text/{name} has no mark @{part}@")
        text = text.replace(f"@{part}@", value)
    return text


def results_page(readme: str) -> str:
    """Return what README says of results and speed."""
    found = {"results": section(readme, "## What comes out"), "speed": section(readme, "### Speed")}
    return fill("results.md", **found)


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above."""
    mark = heading.split()[0]
    found = re.search(rf"^{heading}\n(.*?)(?=^#{{1,{len(mark)}}} |\Z)", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise ValueError(f"README.md has no heading '{heading}'")
    return found[1]


def generated(text: str, part: str) -> str:
    """Return a generated part of README."""
    found = re.search(rf"<!-- generated: {part} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if not found:
        raise ValueError(f"README.md has no generated part '{part}'")
    return found[1]


def relink(text: str, pages: set[str], root: Path) -> str:
    """Let links lead to pages of the book; of a file that is no page only the name stays."""

    def linked(match: re.Match[str]) -> str:
        notebook = match[2].removeprefix("../") if match[2].endswith(".ipynb") else match[2]
        target = PAGES.get(match[2], notebook)
        if target not in pages and any((root / folder / match[2]).exists() for folder in ("", "data")):
            return match[1]
        return f"[{match[1]}]({target}{match[3] or ''})"  # Sphinx complains if there is nothing

    return LINK.sub(linked, text)


def write_notebooks(root: Path, folder: Path, notebooks: Mapping[str, NotebookNode], repository: str) -> None:
    """Write the page of each notebook, and beside it the file to download, as it is stored."""
    shutil.copytree(
        root / "notebooks",
        folder / "files",
        ignore=lambda _, names: {n for n in names if n[:-6] not in notebooks},
    )
    (folder / "notebooks").mkdir()
    rows = read_rows(root / "data" / "glossary.csv")
    words = {row["english"].lower() + ending: row["english"] for row in rows for ending in ("s", "")}
    names = {name[:2]: name for name in notebooks}
    for name, notebook in notebooks.items():
        page = as_page(notebook, name, words, names, bar(name, repository))
        nbformat.write(page, folder / "notebooks" / f"{name}.ipynb")


def bar(name: str, repository: str) -> str:
    """Return the line below a notebook's title: download, Colab, and how to run it at home."""
    colab = "[Open in Colab](#in-colab)"
    if repository:
        address = f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}.ipynb"
        colab = f"[Open in Colab]({address})"
    local = f'[Run locally](#on-your-machine): `make run NOTEBOOKS="{name[:2]}"`'
    return f"{{download}}`Download notebook <../files/{name}.ipynb>` · {colab} · {local}\n"


def glossary_page(root: Path, names: list[str]) -> str:
    """Return the glossary: a word, its meaning, its Chinese name, and the notebooks that explain it."""
    by_number = {name[:2]: name for name in names}
    entries: dict[str, list[str]] = {}
    for row in sorted(read_rows(root / "data" / "glossary.csv"), key=lambda row: row["english"].lower()):
        links = [f"[{n}](notebooks/{by_number[n]}.ipynb)" for n in row["notebook"].split() if n in by_number]
        meaning = f"{row['meaning']} · {row['chinese']} · {' '.join(links)}"
        entries.setdefault(row["english"], []).append(meaning)  # a word may have two meanings
    lines = "\n\n".join(f"{word}\n  {'; '.join(meanings)}" for word, meanings in entries.items())
    return fill("glossary.md", words=lines)


def teachers_page(root: Path, notebooks: Mapping[str, NotebookNode]) -> str:
    """Return the teacher's page: what each notebook takes and needs, and its exercises."""
    course = json.loads((root / "results" / "course.json").read_text("utf-8"))
    took = {row["notebook"]: row for row in course["notebooks"]}
    pages = {name[:2]: f"notebooks/{name}" for name in notebooks}
    costs, homework = [], []
    for name, notebook in notebooks.items():
        link = f"[{name[:2]}](notebooks/{name}.ipynb)"
        row = took.get(name)
        cost = (f"{row['seconds'] / 60:.1f}", f"{row['peak_mib'] / 1024:.1f}") if row else ("–", "–")
        needed = link_notebooks(needs(notebook), pages)
        reading = f"{prose_words(notebook) / WORDS_A_MINUTE:.0f}"
        costs.append((link, reading, *cost, str(len(exercises(notebook))), needed))
        tasks = [
            f"[{title}](#{name[:2]}-exercise-{number}) ({lines})"
            for (number, title), lines in zip(exercises(notebook), solution_lines(notebook), strict=True)
        ]
        homework.append(f"- {link}: {'; '.join(tasks)}")
    head = ("", "reading, min", "run, min", "memory, GiB", "exercises", "what it needs, in its own words")
    table = markdown_table(head, "lrrrrl", costs)
    return fill("teachers.md", costs=table, homework="\n".join(homework), pace=str(WORDS_A_MINUTE))


def library_pages(root: Path) -> dict[str, str]:
    """Return a page for each room of the library, which Sphinx fills from the docstrings."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((root / "recsys_lib").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts)
        if path.name not in ("__init__.py", "__main__.py"):
            rooms.setdefault(module.split(".")[1], []).append(module)
    pages = {}
    for room, modules in rooms.items():
        directive = "```{{eval-rst}}\n.. automodule:: {}\n   :members:\n```\n"
        parts = [f"## {module}\n\n{directive.format(module)}" for module in modules]
        title = f"recsys_lib.{room}"
        pages[f"library/{room}.md"] = "\n".join([f"# {title}\n", *parts])
    return {"library.md": fill("library.md", rooms="\n".join(f"library/{room}" for room in rooms)), **pages}
