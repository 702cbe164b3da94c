"""The course's runner: execute the notebooks in order, store their outputs, make copies for students.

Used through `make`; `python -m recsys_lib.course --help` explains the options.
"""

import argparse
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from recsys_lib.course.report import failure_text, resume_hint, short, timing_table, write_timings
from recsys_lib.files import atomic_path, project_root, remove_leftovers, sha256
from recsys_lib.judging.results import PROFILES

if TYPE_CHECKING:  # loading Jupyter takes seconds; `--help` and a mistyped option should not wait for it
    from recsys_lib.course.kernels import Execution

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0 if all went well, 1 if a notebook failed, 2 for a wrong argument, 130 after Ctrl-C.
    """
    parser = _parser()
    options, options.rest = parser.parse_known_args(arguments)
    if options.rest and options.name != "lab":
        parser.error(f"unrecognized arguments: {' '.join(options.rest)}")
    try:
        return options.command(options)
    except (ValueError, OSError) as error:
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
    common.add_argument("--output", type=Path, help="where all goes that a run writes (default: build/)")
    going = argparse.ArgumentParser(add_help=False)
    going.add_argument("--keep-going", action="store_true", help="run the others after a failure")
    going.add_argument("--jobs", type=int, default=1, metavar="N", help="notebooks at a time, sharing cores")

    parser = argparse.ArgumentParser(prog="python -m recsys_lib.course", description="Run the course.")
    commands = parser.add_subparsers(required=True, dest="name", metavar="run | refresh | student | lab")
    run = commands.add_parser("run", parents=[common, going], help="execute into build/notebooks/")
    run.add_argument("--profile", default="", metavar="|".join(PROFILES))
    run.add_argument(
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another parameter; may be repeated; VALUE has the type of the notebook's own value, and a path "
        "means what it means in the current folder",
    )
    run.set_defaults(command=_run)
    refresh = commands.add_parser("refresh", parents=[common, going], help="execute and store the outputs")
    refresh.set_defaults(command=_refresh)
    student = commands.add_parser("student", parents=[common], help="copies without solutions")
    student.set_defaults(command=_student)
    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab, which gets all other options")
    lab.add_argument("--student", action="store_true", help="open the students' copies; make them first")
    lab.set_defaults(command=_lab, notebooks="", first="", folder=None, output=None)
    return parser


def _run(options: argparse.Namespace) -> int:
    from recsys_lib.course.parameters import parameters_per_notebook, split_parameters

    paths, given = _selected(options), split_parameters(options.parameter)
    profile = given.setdefault("profile", options.profile or "default")
    if options.profile not in ("", profile):
        raise ValueError(f"the profile is both {options.profile} and {profile}: say it once")
    parameters = parameters_per_notebook(paths, given)
    output = _output(options)
    _prepare_environment(options, results=output, lists=output)
    jobs = [
        (path, output / "notebooks" / path.name, values)
        for path, values in zip(paths, parameters, strict=True)
    ]
    executions = _execute_all(jobs, Path.cwd(), options)
    extra = {name: value for values in parameters for name, value in values.items() if name != "profile"}
    write_timings(output / "course.json", profile, extra, executions)
    return _finish(executions, paths, options)


def _refresh(options: argparse.Namespace) -> int:
    from recsys_lib.course import notebooks

    paths, output = _selected(options), _output(options)
    scratch = output / "refresh"
    for path in paths:  # what papermill sees has its ids, and nothing left of an earlier run
        notebook = notebooks.read_notebook(path)
        notebooks.parameter_types(notebook, path.name)
        notebooks.write_notebook(notebooks.clean_notebook(notebook), scratch / path.name)
    jobs = [(scratch / path.name, scratch / path.name, {}) for path in paths]
    # The outputs are those that nbval will see: in the notebooks' folder, and beside the results of a run.
    _prepare_environment(options, results=scratch, lists=output)
    executions = _execute_all(jobs, _folder(options), options)
    return _finish(executions, paths, options)


def _student(options: argparse.Namespace) -> int:
    from recsys_lib.course import notebooks
    from recsys_lib.course.session import COPIES

    target = _output(options) / "student" / "notebooks"
    record = target / COPIES
    handed_out = json.loads(record.read_text()) if record.is_file() else {}
    for path in _selected(options):
        copy = target / path.name
        if copy.exists() and sha256(copy) != handed_out.get(path.name):
            print(f"{short(copy)} stays as it is: it was edited (move it away to get a new one)")
            continue
        notebooks.write_notebook(notebooks.without_solutions(notebooks.read_notebook(path)), copy)
        handed_out[path.name] = sha256(copy)
        with atomic_path(record) as temporary:
            temporary.write_text(json.dumps(handed_out, indent=1) + "\n")
        print(short(copy))
    return 0


def _lab(options: argparse.Namespace) -> int:
    from recsys_lib.course.notebooks import clean_on_save

    folder = project_root() / ("build/student/notebooks" if options.student else "notebooks")
    if options.student:
        _student(options)
    settings = {
        "ContentsManager.pre_save_hook": f"{clean_on_save.__module__}.{clean_on_save.__name__}",
        "KernelManager.transport_encryption": "auto",  # else each kernel warns that somebody may listen
    }
    words = [f"--{name}={value}" for name, value in settings.items()]
    # Unlike in a run, a notebook may import what lies beside it.
    environment = {**os.environ, "PYTHONPATH": _search_path(), "PYTHONSAFEPATH": ""}
    command = [sys.executable, "-P", "-m", "jupyterlab", str(folder), *words, *options.rest]
    return subprocess.call(command, env=environment)


def _folder(options: argparse.Namespace) -> Path:
    return (options.folder or project_root() / "notebooks").expanduser().resolve()


def _output(options: argparse.Namespace) -> Path:
    """Return the folder of all that is written, made and swept."""
    from recsys_lib.course.session import COPIES

    folder = _folder(options)
    copies = (folder / COPIES).is_file()  # a student's results are not the teacher's
    usual = folder.parent / "run" if copies else project_root() / "build"
    output = (options.output or usual).expanduser().resolve()
    if output / "notebooks" == folder:
        raise ValueError(f"--output {output} would replace the notebooks in {folder}: choose another")
    output.mkdir(parents=True, exist_ok=True)
    for swept in (output, Path(os.environ.get("RECSYS_DATA") or project_root() / "data") / "processed"):
        remove_leftovers(swept)
    return output


def _prepare_environment(options: argparse.Namespace, results: Path, lists: Path) -> None:
    """Set what all kernels inherit: where to write, and what to import."""
    for name, folder in {"RECSYS_RESULTS": results / "results", "RECSYS_LISTS": lists / "lists"}.items():
        given = "" if options.output else os.environ.get(name)
        os.environ[name] = os.path.abspath(given or folder)
    # Sets and dicts of strings in the same order in every kernel: stored outputs stay comparable.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    # glibc comes to keep freed arrays of up to 32 MiB for itself: a tenth of notebook 03's memory.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(16 << 20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(256 << 20))
    # Nothing from the caller's folder; and this clone's library, which a notebook can check.
    os.environ.update(PYTHONSAFEPATH="1", RECSYS_PROJECT=str(project_root()), PYTHONPATH=_search_path())


def _search_path() -> str:
    """Return a PYTHONPATH with this clone before whatever was installed."""
    return os.pathsep.join(filter(None, [str(project_root()), os.environ.get("PYTHONPATH")]))


def _selected(options: argparse.Namespace) -> list[Path]:
    from recsys_lib.course.notebooks import find_notebooks, select_notebooks

    return select_notebooks(find_notebooks(_folder(options)), options.notebooks, options.first)


def _execute_all(
    jobs: Sequence[tuple[Path, Path, dict[str, Any]]], folder: Path, options: argparse.Namespace
) -> "list[Execution]":
    """Execute notebooks in a folder; each job is a source, where the result goes, and its parameters."""
    if options.jobs < 1:
        raise ValueError(f"--jobs takes a whole number of at least 1, not {options.jobs}")
    if options.jobs > 1:
        return _side_by_side(jobs, folder, options)
    terminal = sys.stderr.isatty()
    executions: list[Execution] = []
    with tqdm(total=len(jobs), unit="notebook", disable=not terminal) as bar:
        for number, job in enumerate(jobs, start=1):
            name = job[0].stem
            bar.set_description(name)
            if not terminal:
                print(f"[{number}/{len(jobs)}] {name}", file=sys.stderr, flush=True)
            try:
                executions.append(_execute(*job, folder, options))
            except KeyboardInterrupt:
                # That the kernel died is no news now, though its watcher may still want to tell.
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)
                hint = _resume(executions, [job[0] for job in jobs], options)
                raise KeyboardInterrupt(f"Interrupted in {name}. {hint}") from None
            bar.update()
            if executions[-1].failure and not options.keep_going:
                break
    return executions


def _side_by_side(
    jobs: Sequence[tuple[Path, Path, dict[str, Any]]], folder: Path, options: argparse.Namespace
) -> "list[Execution]":
    """Execute several notebooks at a time, each in a process that watches its own kernel's memory."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // options.jobs)))
    executions, waiting, pending = [], list(jobs), set()
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        try:
            while waiting or pending:
                while waiting and len(pending) < options.jobs:
                    place = f"[{len(jobs) - len(waiting) + 1}/{len(jobs)}]"
                    print(place, waiting[0][0].stem, file=sys.stderr, flush=True)
                    pending.add(pool.submit(_execute, *waiting.pop(0), folder, options))
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                executions += [future.result() for future in done]
                if any(execution.failure for execution in executions) and not options.keep_going:
                    waiting.clear()
        except (KeyboardInterrupt, SystemExit) as end:
            for worker in multiprocessing.active_children():  # each takes its kernel along
                os.kill(worker.pid, signal.SIGINT)
            if isinstance(end, SystemExit):
                raise
            hint = _resume(executions, [job[0] for job in jobs], options)
            raise KeyboardInterrupt(f"Interrupted. {hint}") from None
    return sorted(executions, key=lambda execution: execution.notebook)


def _execute(
    source: Path, target: Path, parameters: dict[str, Any], folder: Path, options: argparse.Namespace
) -> "Execution":
    from recsys_lib.course.kernels import execute_notebook

    progress = (
        {"desc": "cells", "position": 1, "leave": False}
        if sys.stderr.isatty() and options.jobs == 1
        else False
    )
    execution = execute_notebook(source, target, parameters, folder, progress)
    if execution.failure:
        tqdm.write(failure_text(execution.failure, source.name, target), file=sys.stderr)
    elif options.name == "refresh":
        _store(target, _folder(options) / source.name)
    results = Path(os.environ["RECSYS_RESULTS"]) / f"{source.stem}.json"
    return execution._replace(results=sha256(results)) if results.is_file() else execution


def _store(executed: Path, stored: Path) -> None:
    from recsys_lib.course import notebooks

    notebook = notebooks.read_notebook(stored)
    notebooks.write_notebook(notebooks.store_outputs(notebook, notebooks.read_notebook(executed)), stored)


def _finish(executions: "Sequence[Execution]", paths: Sequence[Path], options: argparse.Namespace) -> int:
    print(timing_table(executions, [path.stem for path in paths]))
    if not any(execution.failure for execution in executions):
        return 0
    print(_resume(executions, paths, options), file=sys.stderr)
    return FAILED


def _resume(executions: "Sequence[Execution]", paths: Sequence[Path], options: argparse.Namespace) -> str:
    done = {execution.notebook for execution in executions if not execution.failure}
    return resume_hint(options, paths, [path for path in paths if path.stem not in done])
