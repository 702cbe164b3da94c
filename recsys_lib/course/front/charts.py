"""The charts of the front page, as SVG: the map of the course, and the leaderboards."""

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from recsys_lib.course.front import tables
from recsys_lib.course.plots import COLORS, draw_boxes, use_course_style
from recsys_lib.files import atomic_path, project_root, read_rows

_MAP = read_rows(project_root() / "data" / "course_map.csv")
# Box → place, small print, notebooks that it goes into; the first and the last of the library are used by
# all: their lines would hide the others.
DATA, LIBRARY = (
    {row["name"]: (float(row["x"]), row["small"], row["notebooks"]) for row in _MAP if row["level"] == level}
    for level in ("data", "recsys_lib")
)
NOTEBOOKS = {row["name"]: (float(row["x"]), row["small"]) for row in _MAP if row["level"] == "notebooks"}


def draw_charts(kept: Mapping[str, Any], folder: Path) -> None:
    """Draw every chart that has figures, and remove those that have none any more."""
    use_course_style()
    for name, (made_from, draw) in charts(kept).items():
        path = folder / f"{name}.svg"
        if made_from:
            _save(draw(made_from), path, digest(made_from))
        else:
            path.unlink(missing_ok=True)


def charts(kept: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return name → (what the chart is made from, the function that draws it)."""
    boards = {task: tables.task_rows(kept, task) for task in tables.LEADERBOARDS}
    return {
        "map": ([DATA, NOTEBOOKS, LIBRARY], lambda _: draw_map()),
        "leaderboard": ({task: rows for task, rows in boards.items() if rows}, draw_leaderboards),
    }


def digest(made_from: Any) -> str:
    """Return the checksum of what a chart shows, which is written into its file: a test finds a stale one."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def draw_map() -> Figure:
    """Draw data above, notebooks in two rows in the middle, the library below, and what goes where."""
    boxes = {name: (x, 6.2, small, "green") for name, (x, small, _) in DATA.items()}
    rows = [4.0 if int(name[:2]) <= 7 else 2.0 for name in NOTEBOOKS]
    boxes |= {
        name: (x, y, small, "blue") for (name, (x, small)), y in zip(NOTEBOOKS.items(), rows, strict=True)
    }
    boxes |= {name: (x, -0.2, small, "orange") for name, (x, small, _) in LIBRARY.items()}
    links = [
        (name, notebook, "")
        for name, (_, _, numbers) in (DATA | LIBRARY).items()
        for notebook in NOTEBOOKS
        if notebook[:2] in numbers.split()
    ]
    figure, ax = plt.subplots(figsize=(14.5, 5.6))
    draw_boxes(ax, boxes, links, size=(2.8, 0.95))
    for line in ax.lines:
        line.set(lw=0.8, alpha=0.6)
    for (start, y), (end, next_y) in pairwise(boxes[name][:2] for name in NOTEBOOKS):
        if y == next_y:
            arrow = {"arrowstyle": "-|>", "color": COLORS["blue"], "lw": 2}
            ax.annotate("", (end - 1.4, y), (start + 1.4, y), arrowprops=arrow)
    levels = ((6.2, "data", "green"), (3.0, "notebooks", "blue"), (-0.2, "recsys_lib", "orange"))
    for y, name, color in levels:
        ax.text(-1.7, y, name, ha="right", va="center", weight="bold", color=COLORS[color])
    ax.set(xlim=(-4.2, 20.2), ylim=(-0.9, 6.9))
    return figure


def draw_leaderboards(boards: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw NDCG@10 of every model in every task, with intervals; baselines red, published figures hollow."""
    longest = max(len(rows) for rows in boards.values())
    figure, axes = plt.subplots(
        1, len(boards), figsize=(4.1 * len(boards), 1 + 0.24 * longest), squeeze=False
    )
    for ax, (task, rows) in zip(axes[0], boards.items(), strict=True):
        for place, (model, metrics) in enumerate(rows.items()):
            row, published = metrics["ndcg@10"], model.startswith("published: ")
            color = COLORS["red" if model in tables.BASELINES else "grey" if published else "blue"]
            if row["low"] is not None:
                ax.plot([row["low"], row["high"]], [place, place], color=color, lw=2)
            ax.plot(row["value"], place, "o", color=color, mfc="white" if published else color, ms=5)
        ax.set(yticks=range(len(rows)), ylim=(longest - 0.5, -0.5), xlim=0, xlabel="NDCG@10, 95 % interval")
        ax.set_yticklabels(list(rows), fontsize=8)
        ax.set_title(tables.LEADERBOARDS[task])
        ax.grid(axis="x")
    return figure


def _save(figure: Figure, path: Path, checksum: str) -> None:
    # The same input gives the same file: no date, and ids that do not come from the clock.
    with plt.rc_context({"svg.hashsalt": "recsys", "svg.fonttype": "path"}), atomic_path(path) as temporary:
        metadata = {"Date": None, "Description": f"made from {checksum}"}
        figure.savefig(temporary, format="svg", metadata=metadata, facecolor="white")
    plt.close(figure)
