"""A notebook as a page of the book: solutions folded, words and other notebooks linked."""

import copy
import re
from collections.abc import Mapping

from nbformat import NotebookNode

from recsys_lib.course.notebooks import tags

# What MyST-NB folds, by our tags, and what it writes on the fold.
FOLDS = {"solution": ("hide-cell", "Solution"), "check": ("hide-input", "The code of the check")}
BOLD = re.compile(r"\*\*([^*`\n]+(?:\n[^*`\n]+)?)\*\*")
OTHER = re.compile(r"\b([Nn]otebook (\d\d))\b")
HEADING = re.compile(r"^(#+) (.*)$", re.MULTILINE)
EXERCISE = re.compile(r"^#+ Exercise (\d+): (.*)$", re.MULTILINE)
NEEDS = re.compile(r"\*\*It needs\*\*(.*?)(?:\n\n|\Z)", re.DOTALL)


def as_page(
    notebook: NotebookNode, name: str, words: Mapping[str, str], names: Mapping[str, str], bar: str
) -> NotebookNode:
    """Return a copy for the book.

    `words` maps what a text may say to the glossary's word, `names` a number such as "03" to the notebook's
    name. `bar` is put below the title.
    """
    page = copy.deepcopy(notebook)
    prose = [cell for cell in page.cells if cell.cell_type == "markdown"]
    deeper = sum(len(mark) == 1 for cell in prose for mark, _ in HEADING.findall(cell.source)) > 1
    for cell in prose:
        cell.source = mark_exercises(link_words(cell.source, words), name[:2])
        cell.source = link_notebooks(cell.source, {n: other for n, other in names.items() if other != name})
        if deeper and cell is not prose[0]:  # parts have the title's level; in a book there is one title
            cell.source = HEADING.sub(r"#\1 \2", cell.source)
    title, _, rest = prose[0].source.partition("\n")
    prose[0].source = f"{title}\n\n{bar}\n{rest}"
    fold(page)
    name_figures(page)
    return page


def link_words(text: str, words: Mapping[str, str]) -> str:
    """Link each word in bold, which is where it is explained, to its line in the glossary."""

    def linked(match: re.Match[str]) -> str:
        said = " ".join(match[1].split())
        word = words.get(said.lower())
        return f"{{term}}`{said} <{word}>`" if word else match[0]

    return BOLD.sub(linked, text)


def link_notebooks(text: str, names: Mapping[str, str]) -> str:
    """Link "notebook 03" to its page, but not in headings."""

    def linked(match: re.Match[str]) -> str:
        name = names.get(match[2])
        return f"[{match[1]}]({name}.ipynb)" if name else match[0]

    lines = text.split("\n")
    return "\n".join(line if line.startswith("#") else OTHER.sub(linked, line) for line in lines)


def mark_exercises(text: str, number: str) -> str:
    """Put a label above each exercise, to be linked from the teacher's page."""
    return EXERCISE.sub(lambda match: f"({number}-exercise-{match[1]})=\n{match[0]}", text)


def exercises(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Return number and title of each exercise."""
    return [found for cell in notebook.cells for found in EXERCISE.findall(cell.source)]


def solution_lines(notebook: NotebookNode) -> list[int]:
    """Return how many lines of code the solution of each exercise has, in order."""
    lines: list[int] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and EXERCISE.search(cell.source):
            lines.append(0)
        elif cell.cell_type == "code" and "solution" in tags(cell) and lines:
            lines[-1] += sum(bool(line.strip()) for line in cell.source.splitlines())
    return lines


def needs(notebook: NotebookNode) -> str:
    """Return what the first cell says that a reader needs, on one line."""
    found = NEEDS.search(notebook.cells[0].source)
    return " ".join(found[1].split()) if found else ""


def prose_words(notebook: NotebookNode) -> int:
    """Count the words of the prose; formulas and code are not counted."""
    prose = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", " ", prose, flags=re.DOTALL)
    return len(re.findall(r"[^\W\d_][\w’'-]*", prose))


def fold(page: NotebookNode) -> None:
    """Fold what has the tag of a solution or of a check."""
    for cell in page.cells:
        for tag in FOLDS.keys() & set(tags(cell)):
            hide, label = FOLDS[tag]
            if cell.cell_type == "code":
                cell.metadata["tags"] = [*tags(cell), hide]
                cell.metadata["mystnb"] = {"code_prompt_show": label, "code_prompt_hide": label}
            else:
                cell.source = f"<details><summary>{label}</summary>\n\n{cell.source}\n\n</details>"


def name_figures(page: NotebookNode) -> None:
    """Give each figure the heading above it as its description, for those who do not see it."""
    heading = ""
    for cell in page.cells:
        if cell.cell_type == "markdown":
            found = HEADING.findall(cell.source)
            heading = re.sub(r"[*`$]", "", found[-1][1]) if found else heading
        else:
            settings = cell.metadata.setdefault("mystnb", {})
            settings["image"] = {"alt": f"Figure: {heading}"}
