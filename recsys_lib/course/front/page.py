"""README's tables and the glossary's page, made from kept results, benchmarks and data/glossary.csv.

`make results` and `make readme` call this. A generated part of a page stands between
`<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by hand.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from recsys_lib.course.front import charts, counts, questions, tables
from recsys_lib.course.notebooks import find_notebooks, read_notebook
from recsys_lib.files import atomic_path, project_root, read_rows, sha256
from recsys_lib.judging.results import validate_results

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MEBIBYTE = 2**20
PAGES = {  # page → name of each generated part, and the function that makes it
    "README.md": {
        "notebooks": tables.notebooks_table,
        "leaderboard_shop": tables.shop_leaderboard,
        "leaderboard_films": tables.films_leaderboard,
        "findings": questions.findings,
        "chart": tables.leaderboard_chart,
        "answers": questions.answers_table,
        "speed": tables.speed_table,
        "sizes": tables.sizes_table,
        "tested": itemgetter("tested"),
    },
    "data/GLOSSARY.md": {"glossary": tables.glossary_table},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, or 1 if there is nothing fit to be kept."""
    parser = argparse.ArgumentParser(prog="python -m recsys_lib.course.front.page", description=__doc__)
    parser.add_argument("command", choices=("keep", "write"), help="copy build/ to results/, or write pages")
    options = parser.parse_args(arguments)
    root = project_root()
    try:
        keep_results(root) if options.command == "keep" else write_front_page(root)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def keep_results(root: Path, prefix: str | Path = sys.prefix) -> None:
    """Copy the results of a whole default run from build/ to results/, and note sizes.

    Raises FileNotFoundError if nothing has been run, ValueError if the last run was not a complete one in the
    default profile, or a result is not of that run.
    """
    build, names = root / "build", [path.stem for path in find_notebooks(root / "notebooks")]
    if not (build / "course.json").is_file():
        raise FileNotFoundError("nothing has been run yet; first: make run")
    run = json.loads((build / "course.json").read_text(encoding="utf-8"))
    done = {row["notebook"]: row for row in run["notebooks"] if row["status"] == "ok"}
    missing = [name for name in names if name not in done]
    if run["profile"] != "default" or run["parameters"] or missing:
        why = f"profile {run['profile']}, parameters {run['parameters']}, without {missing}"
        raise ValueError(f"only a whole default run is kept, but the last one had: {why}; first: make run")
    payloads = {name: _checked(build / "results" / f"{name}.json", done[name], root) for name in names}
    for name, payload in payloads.items():
        _write(root / "results" / f"{name}.json", payload)
    _write(root / "results" / "course.json", _neutral(done, names, root, Path(prefix)))


def _checked(path: Path, row: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Read a result, if it is what the run wrote: anything else that runs a notebook may have replaced it."""
    if not path.is_file() or sha256(path) != row.get("results"):
        name = path.relative_to(root)
        raise ValueError(f"{name} is not what the last run wrote; something else has, since. First: make run")
    payload = json.loads(path.read_text("utf-8"))
    validate_results(payload)
    if (payload["notebook"], payload["profile"], payload["seed"]) != (path.stem, "default", 0):
        found = f"notebook {payload['notebook']}, profile {payload['profile']}, seed {payload['seed']}"
        raise ValueError(f"{path.relative_to(root)} is of {found}, not of {path.stem}, default, 0")
    return payload


def _neutral(done: Mapping[str, Any], names: Sequence[str], root: Path, prefix: Path) -> dict[str, Any]:
    """Round timings and sizes to the digits that another run would repeat."""
    rows = [
        {
            "notebook": name,
            "cells": done[name]["cells"],
            "seconds": round(done[name]["seconds"]),
            "peak_mib": 10 * round(done[name]["peak_mib"] / 10),
        }
        for name in names
    ]
    sizes = {
        "environment_mib": 100 * round(_size(prefix) / 100),
        "data_mib": 10 * round(_size(root / "data") / 10),
    }
    return {"profile": "default", "notebooks": rows, **sizes}


def _size(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / MEBIBYTE


def _write(path: Path, payload: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(payload, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_kept(root: Path) -> dict[str, Any]:
    """Read what the front page is made of, by name.

    "results": notebook name → rows; "course": timings, None if not kept yet; "benchmarks": name → payload;
    "titles": notebook name → its title; "learn": its number → what it teaches; "glossary": rows as dicts;
    "tested": in words.
    """
    results: dict[str, list] = {}
    for path in sorted((root / "results").glob("[0-9][0-9]_*.json")) + sorted(
        (root / "results" / "full").glob("[0-9][0-9]_*.json")
    ):
        payload = json.loads(path.read_text(encoding="utf-8"))
        validate_results(payload)
        # Some models need more than a default run: the tasks of a full run that is kept take its place.
        new = {row["task"] for row in payload["rows"]}
        others = [row for row in results.get(payload["notebook"], []) if row["task"] not in new]
        results[payload["notebook"]] = others + payload["rows"]
    course = root / "results" / "course.json"
    benchmarks = sorted((root / "benchmarks" / "results").glob("*.json"))
    notebooks = {path.stem: read_notebook(path) for path in find_notebooks(root / "notebooks")}
    heads = {name: notebook.cells[0].source.splitlines()[0] for name, notebook in notebooks.items()}
    told = [row for row in read_rows(root / "data" / "course_map.csv") if row["learn"]]
    return {
        "results": results,
        "course": json.loads(course.read_text(encoding="utf-8")) if course.is_file() else None,
        "benchmarks": {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in benchmarks},
        "titles": {name: head.partition("· ")[2] for name, head in heads.items()},
        "learn": {row["name"][:2]: row["learn"] for row in told},
        "glossary": read_rows(root / "data" / "glossary.csv"),
        "tested": counts.how_tested(notebooks.values(), root / "tests"),
    }


def generated_pages(root: Path, kept: Mapping[str, Any]) -> dict[Path, str]:
    """Return the text of every page, its generated parts made from what was kept."""
    texts = {}
    for name, makers in PAGES.items():
        path = root / name
        texts[path] = fill(path, {part: make(kept) for part, make in makers.items()})
    return texts


def fill(page: Path, parts: Mapping[str, str]) -> str:
    """Return the text of a page with every part between its marks, which must be exactly the parts' names."""
    text = page.read_text(encoding="utf-8")
    found = [name for _, name, _ in PART.findall(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"{page.name} marks {found}, but its generated parts are {list(parts)}")
    return PART.sub(lambda match: f"{match[1]}{parts[match[2]]}\n{match[3]}", text)


def write_front_page(root: Path) -> None:
    """Write the generated parts of README.md and data/GLOSSARY.md, and the charts in results/charts."""
    kept = load_kept(root)
    texts = generated_pages(root, kept)
    charts.draw_charts(kept, root / "results" / "charts")
    for path, text in texts.items():
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
