"""The course's runner: execute the notebooks in order, store their outputs, make copies for students.

Used through `make`; `python -m recsys_lib.course --help` explains the options.
"""

import argparse
import ast
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from recsys_lib.files import atomic_path, project_root
from recsys_lib.judging.results import PROFILES

if TYPE_CHECKING:  # loading Jupyter takes seconds; `--help` and a mistyped option should not wait for it
    from recsys_lib.course.kernels import Execution, Failure

FAILED, MISUSED, INTERRUPTED, TERMINATED = 1, 2, 130, 143
ANSI_CODES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Returns
    -------
    int
        0 if all went well, 1 if a notebook failed, 2 for a wrong argument, 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    # Sets and dicts of strings in the same order in every kernel: stored outputs stay comparable.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    try:
        return options.command(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or 'Interrupted.'}", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--notebooks", default="", metavar='"01 03"', help="only these (empty: all)")
    common.add_argument(
        "--from", dest="first", default="", metavar="NN", help="begin here (empty: the first)"
    )
    common.add_argument("--folder", type=Path, help="where the notebooks are (default: notebooks/)")
    common.add_argument("--output", type=Path, help="where results go (default: build/)")
    going = argparse.ArgumentParser(add_help=False)
    going.add_argument("--keep-going", action="store_true", help="run the others after a failure")

    parser = argparse.ArgumentParser(prog="python -m recsys_lib.course", description="Run the course.")
    commands = parser.add_subparsers(required=True, metavar="run | refresh | student")
    run = commands.add_parser("run", parents=[common, going], help="execute into build/notebooks/")
    run.add_argument("--profile", choices=PROFILES, default="default")
    run.add_argument(
        "--parameter",
        action="append",
        default=[],
        type=parse_parameter,
        metavar="NAME=VALUE",
        help="another parameter; may be repeated; 3, 1e-3, true, null and [1, 2] get their types",
    )
    run.set_defaults(command=_run)
    refresh = commands.add_parser("refresh", parents=[common, going], help="execute and store the outputs")
    refresh.set_defaults(command=_refresh)
    student = commands.add_parser("student", parents=[common], help="copies without solutions")
    student.set_defaults(command=_student)
    return parser


def parse_parameter(text: str) -> tuple[str, Any]:
    """Split "name=value" and give the value the type it has in JSON or Python; else it is a string.

    Examples
    --------
    >>> parse_parameter("alpha=1e-3"), parse_parameter("device=cpu"), parse_parameter("fast=True")
    (('alpha', 0.001), ('device', 'cpu'), ('fast', True))
    """
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    for read in (json.loads, ast.literal_eval):
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
    return name, value


def _run(options: argparse.Namespace) -> int:
    paths = _selected(options)
    extra = dict(options.parameter)
    parameters = _parameters_per_notebook(paths, {"profile": options.profile, **extra}, required=extra)
    notebooks_folder = _output(options) / "notebooks"
    jobs = [
        (path, notebooks_folder / path.name, given) for path, given in zip(paths, parameters, strict=True)
    ]
    command = "make run" if options.profile == "default" else f"make run PROFILE={options.profile}"
    executions = _execute_all(jobs, _folder(options), options.keep_going, command)
    _write_timings(_output(options) / "course.json", options.profile, extra, executions)
    return _finish(executions, paths, command)


def _refresh(options: argparse.Namespace) -> int:
    from recsys_lib.course import notebooks

    paths, scratch = _selected(options), _output(options) / "refresh"
    _parameters_per_notebook(paths, {}, required={})
    for path in paths:  # what papermill sees has its ids, and nothing left of an earlier run
        notebooks.write_notebook(notebooks.clean_notebook(notebooks.read_notebook(path)), scratch / path.name)
    jobs = [(scratch / path.name, scratch / path.name, {}) for path in paths]
    executions = _execute_all(jobs, _folder(options), options.keep_going, "make refresh", store=True)
    return _finish(executions, paths, "make refresh")


def _student(options: argparse.Namespace) -> int:
    from recsys_lib.course import notebooks

    target = _output(options) / "student" / "notebooks"
    for path in _selected(options):
        notebooks.write_notebook(
            notebooks.without_solutions(notebooks.read_notebook(path)), target / path.name
        )
        print(_short(target / path.name))
    return 0


def _folder(options: argparse.Namespace) -> Path:
    return (options.folder or project_root() / "notebooks").resolve()


def _output(options: argparse.Namespace) -> Path:
    return (options.output or project_root() / "build").resolve()


def _selected(options: argparse.Namespace) -> list[Path]:
    from recsys_lib.course.notebooks import find_notebooks, select_notebooks

    return select_notebooks(find_notebooks(_folder(options)), options.notebooks, options.first)


def _parameters_per_notebook(
    paths: Sequence[Path], given: dict[str, Any], required: dict[str, Any]
) -> list[dict[str, Any]]:
    # papermill only warns about a name that the notebook does not have. Each notebook gets what it knows;
    # a name that none of them knows is a typing error.
    from recsys_lib.course.notebooks import parameter_names, read_notebook

    known = [parameter_names(read_notebook(path), path.name) for path in paths]
    for name in required:
        if not any(name in names for names in known):
            raise ValueError(
                f"no chosen notebook has a parameter '{name}'; they have: {sorted(set().union(*known))}"
            )
    return [{name: value for name, value in given.items() if name in names} for names in known]


def _execute_all(
    jobs: Sequence[tuple[Path, Path, dict[str, Any]]],
    folder: Path,
    keep_going: bool,
    command: str,
    store: bool = False,
) -> "list[Execution]":
    from recsys_lib.course.kernels import execute_notebook

    terminal = sys.stderr.isatty()
    executions: list[Execution] = []
    with tqdm(total=len(jobs), unit="notebook", disable=not terminal) as bar:
        for number, (source, target, parameters) in enumerate(jobs, start=1):
            bar.set_description(source.stem)
            if not terminal:
                print(f"[{number}/{len(jobs)}] {source.stem}", file=sys.stderr, flush=True)
            progress = {"desc": "cells", "position": 1, "leave": False} if terminal else False
            try:
                execution = execute_notebook(source, target, parameters, folder, progress)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"Interrupted in {source.stem}. {_resume(command, source)}") from None
            executions.append(execution)
            bar.update()
            if execution.failure:
                _report(execution.failure, source.name, target)
                if not keep_going:
                    break
            elif store:
                _store(source, target, folder / source.name)
    return executions


def _store(source: Path, executed: Path, stored: Path) -> None:
    from recsys_lib.course import notebooks

    notebook = notebooks.read_notebook(stored)
    notebooks.write_notebook(notebooks.store_outputs(notebook, notebooks.read_notebook(executed)), stored)


def _report(failure: "Failure", name: str, target: Path) -> None:
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    message = failure.message if colors else ANSI_CODES.sub("", failure.message)
    where = f"in cell {failure.cell}" if failure.cell else "before its first cell"
    source = "".join(f"    {line}\n" for line in failure.source.splitlines())
    text = (
        f"\n{name} failed {where}:\n\n{source}\n{message}\n\nThe partly executed notebook: {_short(target)}\n"
    )
    tqdm.write(text, file=sys.stderr)


def _finish(executions: "Sequence[Execution]", paths: Sequence[Path], command: str) -> int:
    print(timing_table(executions, [path.stem for path in paths]))
    failed = [path for path in paths for e in executions if e.failure and e.notebook == path.stem]
    if failed:
        print(_resume(command, failed[0]), file=sys.stderr)
    return FAILED if failed else 0


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


def _write_timings(
    path: Path, profile: str, extra: dict[str, Any], executions: "Sequence[Execution]"
) -> None:
    rows = [
        {**e._asdict(), "seconds": round(e.seconds, 2), "peak_mib": round(e.peak_mib, 1), "status": e.status}
        for e in executions
    ]
    for row in rows:
        del row["failure"]  # its message is for the terminal
    content = {"profile": profile, "parameters": extra, "notebooks": rows}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def _resume(command: str, path: Path) -> str:
    return f"Resume: {command} FROM={path.stem.split('_')[0]}"


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _terminate(number: int, frame: object) -> None:
    sys.exit(TERMINATED)  # an exception, unlike the default: temporary files and the kernel are cleaned up


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main())
