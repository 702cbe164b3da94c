"""What a run says: the failing cell, the table at the end, the way to resume; and its timings as a file."""

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.course import MEND
from recsys_lib.files import atomic_path, project_root

if TYPE_CHECKING:  # loading Jupyter takes seconds; `--help` and a mistyped option should not wait for it
    from recsys_lib.course.kernels import Execution, Failure

ANSI_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def failure_text(failure: "Failure", name: str, target: Path) -> str:
    """Say which cell failed, with its source and its error, and where the executed notebook is."""
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    message = failure.message if colors else ANSI_CODES.sub("", failure.message)
    where = f"in cell {failure.cell}" if failure.cell else "before its first cell"
    source = "".join(f"    {line}\n" for line in failure.source.splitlines())
    hint = f"\n{MEND}\n" if "ModuleNotFoundError" in message else ""
    kept = f"The partly executed notebook: {short(target)}"
    return f"\n{name} failed {where}:\n\n{source}\n{message}\n{hint}\n{kept}\n"


def timing_table(executions: "Sequence[Execution]", names: Sequence[str]) -> str:
    """Return the closing table over all notebooks that were asked for: cells, seconds, peak MiB, status."""
    done = {execution.notebook: execution for execution in executions}
    rows = [("notebook", "cells", "seconds", "peak MiB", "status")]
    for name in names:
        e = done.get(name)
        if e is None:
            rows.append((name, "", "", "", "not run"))
            continue
        cells = f"{e.cells_run}/{e.cells}" if e.failure else str(e.cells)
        rows.append((name, cells, f"{e.seconds:.1f}", f"{e.peak_mib:.0f}", e.status))
    seconds, peak = sum(e.seconds for e in executions), max((e.peak_mib for e in executions), default=0)
    rows.append(("total", str(sum(e.cells_run for e in executions)), f"{seconds:.1f}", f"{peak:.0f}", ""))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[4]]).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def write_timings(
    path: Path, profile: str, parameters: Mapping[str, Any], executions: "Sequence[Execution]"
) -> None:
    """Write what was run, how long it took, and the checksums of the results, as JSON."""
    rows = [
        {**e._asdict(), "seconds": round(e.seconds, 2), "peak_mib": round(e.peak_mib, 1), "status": e.status}
        for e in executions
    ]
    for row in rows:
        del row["failure"]  # its message is for the terminal
    content = {"profile": profile, "parameters": dict(parameters), "notebooks": rows}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def resume_hint(options: argparse.Namespace, paths: Sequence[Path], rest: Sequence[Path]) -> str:
    """Say how to run the notebooks in `rest`, which are left of `paths`, in the same way."""
    numbers = [path.stem.split("_")[0] for path in rest]
    if list(paths[len(paths) - len(rest) :]) == list(rest):
        names, first = options.notebooks.strip(), numbers[0]
    else:  # with --keep-going those that failed lie between others
        names, first = " ".join(numbers), ""
    others = ["--keep-going"] * options.keep_going
    for name in ("folder", "output"):
        others += [f"--{name}={getattr(options, name)}"] if getattr(options, name) else []
    others += [f"--jobs={options.jobs}"] if getattr(options, "jobs", 1) > 1 else []
    others += [f"--parameter={text}" for text in getattr(options, "parameter", [])]
    profile = getattr(options, "profile", None)
    if "MAKELEVEL" not in os.environ:
        given = {"--profile": profile, "--notebooks": names, "--from": first}
        words = [str(short(Path(sys.executable))), "-m", "recsys_lib.course", options.name]
        words += [word for name, value in given.items() if value for word in (name, value)]
        return f"Resume: {shlex.join(words + others)}"
    given = {"PROFILE": profile, "NOTEBOOKS": names, "FROM": first, "ARGS": shlex.join(others)}
    elsewhere = [] if Path.cwd() == project_root() else ["-C", str(project_root())]
    words = [shlex.join(["make", *elsewhere, options.name])]
    words += [f"{name}={shlex.quote(value.replace('$', '$$'))}" for name, value in given.items() if value]
    return f"Resume: {' '.join(words)}"


def short(path: Path) -> Path:
    """Return a path relative to the current folder, if it lies there."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
