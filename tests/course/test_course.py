"""The runner, on tiny notebooks: what it executes, what it keeps, what it says, how it ends."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tiny_course import REPORT, bare_environment, command_line, printed, run, timings, write

from recsys_lib.course import MEND
from recsys_lib.course.kernels import Execution, Failure, peak_memory
from recsys_lib.course.notebooks import (
    KERNEL_METADATA,
    clean_notebook,
    code_cells,
    find_notebooks,
    read_notebook,
    select_notebooks,
    write_notebook,
)
from recsys_lib.course.report import resume_hint, timing_table
from recsys_lib.course.runner import main
from recsys_lib.files import project_root, sha256

Outcome = tuple[Path, subprocess.CompletedProcess]  # the folder, and what the command did

ALLOCATE = "held = b'x' * 200_000_000\nimport time\ntime.sleep(2)"
FAIL = "def ratio(a, b):\n    return a / b\nratio(1, 0)"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One run with --keep-going over a good, a large, a failing and a dying notebook."""
    folder = tmp_path_factory.mktemp("course").resolve()
    write(folder / "nb" / "01_report.ipynb", REPORT)
    write(folder / "nb" / "02_large.ipynb", ALLOCATE)
    write(folder / "nb" / "03_fails.ipynb", "before = 1", FAIL, "after = 1")
    write(folder / "nb" / "04_dies.ipynb", "import os\nos._exit(9)", "after = 1", parameters="seed = 1")
    # A user's own kernel of the same name must not be taken.
    impostor = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    impostor.parent.mkdir(parents=True)
    impostor.write_text(
        '{"argv": ["false", "{connection_file}"], "language": "python", "display_name": "impostor"}'
    )
    options = "--profile smoke --keep-going --parameter seed=7".split()
    options += ["--notebooks", "", "--from", ""]  # as `make` passes what was not given
    done = subprocess.run(
        command_line(folder, *options),
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env={**os.environ, "JUPYTER_PATH": str(folder / "jupyter")},
    )
    return folder, done


def test_the_exit_status_is_1(outcome: Outcome) -> None:
    assert outcome[1].returncode == 1, outcome[1].stderr


def test_parameters_folder_and_interpreter_reach_the_notebook(outcome: Outcome) -> None:
    folder, _ = outcome
    executed = folder / "build" / "notebooks" / "01_report.ipynb"
    assert printed(executed) == ["smoke", 7, str(folder), sys.executable]


def test_the_sources_are_untouched(outcome: Outcome) -> None:
    source = read_notebook(outcome[0] / "nb" / "01_report.ipynb")
    assert [cell.execution_count for cell in code_cells(source)] == [None, None]


def test_the_failing_cell_is_shown_with_number_source_and_error(outcome: Outcome) -> None:
    error = outcome[1].stderr
    assert "03_fails.ipynb failed in cell 4:" in error
    assert "        return a / b\n    ratio(1, 0)\n" in error
    assert "ZeroDivisionError: division by zero" in error
    assert "The partly executed notebook: build/notebooks/03_fails.ipynb" in error
    assert "\x1b" not in error


def test_a_dead_kernel_is_shown_with_the_cell_it_died_in(outcome: Outcome) -> None:
    assert "04_dies.ipynb failed in cell 3:\n\n    import os\n    os._exit(9)" in outcome[1].stderr
    assert "DeadKernelError" in outcome[1].stderr


def test_a_notebook_gets_only_the_parameters_it_has(outcome: Outcome) -> None:
    assert "04_dies" in outcome[1].stderr  # it has no `profile`
    assert "unknown parameter" not in outcome[1].stderr


def test_the_partly_executed_notebook_is_kept(outcome: Outcome) -> None:
    cells = code_cells(read_notebook(outcome[0] / "build" / "notebooks" / "03_fails.ipynb"))
    assert [cell.execution_count for cell in cells[-3:]] == [3, 4, None]
    assert cells[-2].outputs[0].ename == "ZeroDivisionError"


def test_no_other_file_is_left(outcome: Outcome) -> None:
    kept = sorted(path.name for path in (outcome[0] / "build").rglob("*"))
    names = ["01_report", "02_large", "03_fails", "04_dies"]
    assert kept == [*(f"{name}.ipynb" for name in names), "course.json", "notebooks"]


def test_the_peak_memory_sees_200_megabytes(outcome: Outcome) -> None:
    rows = timings(outcome[0])
    assert 190 <= rows["02_large"]["peak_mib"] - rows["01_report"]["peak_mib"] <= 230


def test_the_peak_memory_leaves_out_the_runner_itself() -> None:
    with peak_memory(interval=0.001) as peak_mib:
        for _ in range(40):  # each is a copy of this process for a moment
            subprocess.run(["sleep", "0.01"], check=True)
    assert 0 < peak_mib() < 0.5 * psutil.Process().memory_info().rss / 2**20


def test_the_timings_are_stored(outcome: Outcome) -> None:
    rows = timings(outcome[0])
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "failed", "failed"]
    assert [row["cells"] for row in rows.values()] == [2, 2, 4, 3]
    assert [row["cells_run"] for row in rows.values()] == [2, 2, 2, 1]
    assert all(0.5 < row["seconds"] < 60 for row in rows.values())


def test_table_and_way_to_resume_are_printed(outcome: Outcome) -> None:
    lines = outcome[1].stdout.splitlines()
    assert lines[0].split() == ["notebook", "cells", "seconds", "peak", "MiB", "status"]
    assert [line.split()[0] for line in lines[2:6]] == ["01_report", "02_large", "03_fails", "04_dies"]
    assert lines[4].split()[1] == "2/4"
    hint = outcome[1].stderr.splitlines()[-1]
    assert (
        "course run --profile smoke --from 03 --keep-going --folder=" in hint
    )  # the others need not run again
    assert hint.endswith(f"--output={outcome[0]}/build --parameter=seed=7")


def test_without_keep_going_the_run_stops_at_the_failure_and_resumes_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_fails.ipynb", "1 / 0")
    write(tmp_path / "nb" / "02_good.ipynb", REPORT)
    assert run(tmp_path) == 1
    assert list(timings(tmp_path)) == ["01_fails"]
    assert ["02_good", "not", "run"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert run(tmp_path, "--from", "02") == 0
    assert list(timings(tmp_path)) == ["02_good"]
    assert printed(tmp_path / "build" / "notebooks" / "02_good.ipynb")[:2] == ["default", 1]


@pytest.mark.parametrize(
    ("sent", "status", "message"),
    [(signal.SIGINT, 130, "course run --notebooks 01 --from 01 --folder="), (signal.SIGTERM, 143, "")],
)
def test_ctrl_c_leaves_no_half_written_file_and_no_kernel(
    sent: signal.Signals, status: int, message: str, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    write(
        tmp_path / "nb" / "01_sleeps.ipynb",
        f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(60)",
    )
    kept = tmp_path / "build" / "notebooks" / "01_sleeps.ipynb"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier run")
    process = subprocess.Popen(
        command_line(tmp_path, "--notebooks", "01"),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # A shell that runs the tests in the background makes them ignore Ctrl-C; the runner must not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(started)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert kernels
    process.send_signal(sent)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status
    assert message in error
    assert "Traceback" not in error
    assert [path.name for path in kept.parent.iterdir()] == ["01_sleeps.ipynb"]
    assert kept.read_text() == "of an earlier run"
    assert psutil.wait_procs(kernels, timeout=10)[1] == []


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_all_notebooks_that_run_side_by_side(
    sent: signal.Signals, status: int, tmp_path: Path
) -> None:
    started = [tmp_path / "first", tmp_path / "second"]
    for number, path in enumerate(started, start=1):
        source = f"open({str(path)!r}, 'w').close()\nimport time\ntime.sleep(60)"
        write(tmp_path / "nb" / f"0{number}_sleeps.ipynb", source)
    process = subprocess.Popen(
        command_line(tmp_path, "--jobs", "2"),
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for path in started:
        wait_for(path)
    below = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sent)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status
    if sent == signal.SIGINT:
        assert "Interrupted. Resume: " in error
        assert error.rstrip().endswith("--jobs=2"), error
    assert "Traceback" not in error
    assert list((tmp_path / "build").rglob("*.ipynb")) == []
    assert psutil.wait_procs(below, timeout=10)[1] == []


def test_notebooks_side_by_side_give_the_same_table_and_share_the_cores(tmp_path: Path) -> None:
    def source(starts: str, waits_for: str, then: str) -> str:
        lines = [
            f"open({str(tmp_path / starts)!r}, 'w').close()",
            "import os, json, time",
            "for _ in range(900):",
        ]
        lines += [
            f"    if os.path.exists({str(tmp_path / waits_for)!r}):",
            "        break",
            "    time.sleep(0.1)",
        ]
        return "\n".join([*lines, "else:", "    raise RuntimeError('alone')", then])

    tell = "print(json.dumps(os.environ['OMP_NUM_THREADS']))"
    write(tmp_path / "nb" / "01_tells.ipynb", source("01", "02", tell))
    write(tmp_path / "nb" / "02_tells.ipynb", source("02", "01", tell))
    write(tmp_path / "nb" / "03_large.ipynb", ALLOCATE)
    write(tmp_path / "nb" / "04_fails.ipynb", source("04", "05", "1 / 0"))  # while 05 runs
    write(tmp_path / "nb" / "05_ends.ipynb", source("05", "04", "time.sleep(3)"))
    write(tmp_path / "nb" / "06_never.ipynb", REPORT)
    environment = bare_environment()
    done = subprocess.run(
        command_line(tmp_path, "--jobs", "2"), capture_output=True, encoding="utf-8", env=environment
    )
    assert done.returncode == 1, done.stderr
    rows = timings(tmp_path)
    assert [row["status"] for row in rows.values()] == ["ok", "ok", "ok", "failed", "ok"]
    assert "04_fails.ipynb failed in cell 3:" in done.stderr
    assert "--from 06 --folder" in done.stderr or "--notebooks '04 06'" in done.stderr
    assert rows["03_large"]["peak_mib"] - rows["01_tells"]["peak_mib"] > 190
    threads = printed(tmp_path / "build" / "notebooks" / "01_tells.ipynb")
    assert int(threads) == max(1, (os.cpu_count() or 1) // 2)


@pytest.mark.parametrize("jobs", ["0", "-1"])
def test_at_least_one_job(jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    assert run(tmp_path, "--jobs", jobs) == 2
    assert f"--jobs takes a whole number of at least 1, not {jobs}" in capsys.readouterr().err


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear in {seconds} s"
        time.sleep(0.05)


def test_a_number_of_two_notebooks_is_not_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("01_first", "01_own", "02_second"):
        write(tmp_path / "nb" / f"{name}.ipynb", REPORT)
    assert run(tmp_path, "--notebooks", "1") == 2
    assert (
        "2 notebooks have the number 1; write a whole name:\n  01_first\n  01_own" in capsys.readouterr().err
    )
    assert run(tmp_path, "--notebooks", "01_own") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--notebooks", "01 07"], "no notebook '07'; there are:\n  01_first\n  02_second"),
        (["--from", "third"], "no notebook 'third'"),
        (["--notebooks", "01", "--from", "02"], "none of the chosen notebooks (01) comes at or after 02"),
        (
            ["--parameter", "sed=3"],
            "no chosen notebook has a parameter 'sed'; they have: profile, seed",
        ),
    ],
)
def test_a_wrong_argument_is_explained(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    write(tmp_path / "nb" / "02_second.ipynb", REPORT)
    assert run(tmp_path, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "refresh"])
def test_a_notebook_without_parameters_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_bare.ipynb", "1", parameters=None)
    assert run(tmp_path, command=command) == 2
    assert "01_bare.ipynb has no code cell tagged `parameters`" in capsys.readouterr().err


def test_files_that_are_no_notebooks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nb").mkdir()
    assert run(tmp_path) == 2
    assert "no notebooks (such as 01_preprocessing.ipynb) in" in capsys.readouterr().err
    (tmp_path / "nb" / "01_text.ipynb").write_text("hello")
    assert run(tmp_path) == 2
    assert "01_text.ipynb is not a notebook" in capsys.readouterr().err


def test_selection_keeps_the_course_order() -> None:
    paths = [Path(f"{name}.ipynb") for name in ("01_a", "02_b", "03_c", "10_d")]

    def names(**choice: str) -> list[str]:
        return [path.stem for path in select_notebooks(paths, **choice)]

    assert names() == ["01_a", "02_b", "03_c", "10_d"]
    assert names(names=" 10 01,2 ") == ["01_a", "02_b", "10_d"]
    assert names(names="03_c.ipynb 01_a") == ["01_a", "03_c"]
    assert names(first="3") == ["03_c", "10_d"]
    assert names(names="01 10", first="02_b") == ["10_d"]


def test_the_table_lines_up() -> None:
    good = Execution("01_preprocessing", 34, 34, 41.23, 812.4, None)
    bad = Execution("02_network", 40, 12, 3.1, 1301.0, Failure(12, "", ""))
    assert timing_table([good, bad], ["01_preprocessing", "02_network", "03_rest"]).splitlines() == [
        "notebook          cells  seconds  peak MiB  status",
        "---------------------------------------------------",
        "01_preprocessing     34     41.2       812  ok",
        "02_network        12/40      3.1      1301  failed",
        "03_rest                                     not run",
        "---------------------------------------------------",
        "total                46     44.3      1301",
    ]


def test_the_command_starts_without_the_heavy_libraries() -> None:
    heavy = "{'torch', 'pandas', 'papermill'}"
    code = f"import sys, recsys_lib.course.runner; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_refresh_stores_outputs_and_nothing_of_the_run(tmp_path: Path) -> None:
    path = write(
        tmp_path / "nb" / "01_good.ipynb", "print(1, flush=True)\nprint(2)\ndisplay(3)\nprint(4)", "profile"
    )
    dirty = read_notebook(path)
    dirty.metadata.update(
        papermill={"duration": 3}, widgets={}, language_info={"name": "python", "version": "3.9"}
    )
    dirty.cells[2].metadata.update(papermill={"duration": 3}, execution={"iopub.status.busy": "…"})
    dirty.cells[2].execution_count = 40
    dirty.cells.insert(2, new_code_cell("profile = 'smoke'", metadata={"tags": ["injected-parameters"]}))
    ids = [cell.id for cell in dirty.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    write_notebook(dirty, path)

    assert run(tmp_path, command="refresh") == 0
    stored = read_notebook(path)
    assert stored.metadata == {"kernelspec": KERNEL_METADATA, "language_info": {"name": "python"}}
    assert [cell.id for cell in stored.cells] == ids
    assert [cell.metadata for cell in stored.cells] == [{}, {"tags": ["parameters"]}, {}, {}]
    assert [cell.execution_count for cell in code_cells(stored)] == [1, 2, 3]
    assert [output.get("text") for output in stored.cells[2].outputs] == ["1\n2\n", None, "4\n"]
    assert stored.cells[3].outputs[0].data == {"text/plain": "'default'"}

    before = path.read_bytes()
    assert run(tmp_path, command="refresh") == 0
    assert path.read_bytes() == before
    assert [found.name for found in path.parent.iterdir()] == ["01_good.ipynb"]


def test_refresh_keeps_the_stored_notebook_when_a_cell_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "nb" / "01_fails.ipynb", "1 / 0")
    before = path.read_bytes()
    assert run(tmp_path, command="refresh") == 1
    assert path.read_bytes() == before


def test_cells_without_an_id_get_one_by_position() -> None:
    old = new_notebook(cells=[new_markdown_cell("a"), new_code_cell("b"), new_code_cell("c")])
    del old.cells[0]["id"], old.cells[1]["id"]
    old.cells[2]["id"] = "cell-001"
    ids = [cell.id for cell in clean_notebook(old).cells]
    assert ids == ["cell-001", "cell-002", "cell-001-again"]


def test_the_hint_after_a_failure_runs_just_the_rest_in_the_same_way(tmp_path: Path) -> None:
    write(tmp_path / "nb" / "01_good.ipynb", REPORT)
    fails_once = f"import os\nif not os.path.exists({str(tmp_path / 'again')!r}): 1 / 0"
    write(
        tmp_path / "nb" / "02_fails.ipynb",
        fails_once,
        REPORT,
        parameters='profile = "default"\nseed = 1\nx = ""',
    )
    for name in ("03_good", "04_unwanted"):
        write(tmp_path / "nb" / f"{name}.ipynb", REPORT)
    awkward = 'x=it\'s "$HOME" & 50 % #1'
    options = [
        "--notebooks",
        "01 02 03",
        "--profile",
        "smoke",
        "--parameter",
        "seed=7",
        "--parameter",
        awkward,
    ]
    ended = subprocess.run(
        command_line(tmp_path, *options), capture_output=True, encoding="utf-8", cwd=tmp_path
    )
    hint = ended.stderr.splitlines()[-1].removeprefix("Resume: ")
    (tmp_path / "again").touch()
    subprocess.run(hint, shell=True, check=True, cwd=tmp_path, capture_output=True)
    assert list(timings(tmp_path)) == ["02_fails", "03_good"]
    assert printed(tmp_path / "build" / "notebooks" / "02_fails.ipynb")[:2] == ["smoke", 7]
    course = json.loads((tmp_path / "build" / "course.json").read_text())
    assert course["parameters"] == {"seed": 7, "x": awkward[2:]}


def options(command: str = "run", **given: object) -> argparse.Namespace:
    defaults = {"notebooks": "", "keep_going": False, "folder": None, "output": None}
    return argparse.Namespace(name=command, **{**defaults, **given})


def test_the_hint_of_make_repeats_its_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paths = [Path(f"0{number}_x.ipynb") for number in (1, 2, 3, 4)]
    monkeypatch.chdir(project_root())
    monkeypatch.setenv("MAKELEVEL", "1")
    assert resume_hint(options(), paths, paths[2:]) == "Resume: make run FROM=03"
    given = options(notebooks="02 04", profile="smoke", parameter=["x=a b", "y=$HOME"])
    args = "ARGS=" + shlex.quote("'--parameter=x=a b' '--parameter=y=$$HOME'")
    assert resume_hint(given, [paths[1], paths[3]], [paths[3]]) == (
        f"Resume: make run PROFILE=smoke NOTEBOOKS='02 04' FROM=04 {args}"
    )
    # Of those that --keep-going ran, only the ones that failed are left.
    given = options("refresh", keep_going=True)
    assert resume_hint(given, paths, [paths[1], paths[2]]) == (
        "Resume: make refresh NOTEBOOKS='02 03' ARGS=--keep-going"
    )
    monkeypatch.chdir(tmp_path)
    assert resume_hint(options(), paths, paths) == f"Resume: make -C {project_root()} run FROM=01"


def test_a_refresh_is_resumed_as_a_refresh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "nb" / "01_fails.ipynb", "1 / 0")
    write(tmp_path / "nb" / "02_good.ipynb", REPORT)
    assert run(tmp_path, "--notebooks", "01", command="refresh") == 1
    assert "recsys_lib.course refresh --notebooks 01 --from 01 --folder=" in capsys.readouterr().err


WHERE = """import os, sys, json, random, recsys_lib
print(json.dumps([os.getcwd(), recsys_lib.__file__, random.__file__, [os.environ[f"RECSYS_{name}"] for name in
                  ("RESULTS", "LISTS")], open(path).read()]))"""


def test_a_path_means_what_it_means_to_the_caller(tmp_path: Path) -> None:
    """Whatever the parameter is called; and the files beside it shadow no module."""
    write(tmp_path / "nb" / "01_where.ipynb", WHERE, parameters='path = "own"')
    caller = tmp_path / "some" / "where"
    caller.mkdir(parents=True)
    (caller / "my.csv").write_text("of the caller")
    (tmp_path / "nb" / "my.csv").write_text("not of the caller")
    for name in ("random", "torch", "json", "recsys_lib"):
        (caller / f"{name}.py").write_text("raise SystemExit('shadowed')")
    home = {"HOME": str(tmp_path / "some")}
    for text in ("my.csv", "../where/my.csv", "~/where/my.csv"):
        command = [sys.executable, "-m", "recsys_lib.course", "run", "--folder=../../nb", "--output=../out"]
        # Python itself looks for `recsys_lib` in the current folder first.
        (caller / "recsys_lib.py").unlink(missing_ok=True)
        done = subprocess.run(
            [*command, "--parameter", f"path={text}"],
            cwd=caller,
            env=bare_environment(**home),
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        folder, library, module, results, content = printed(tmp_path / "some/out/notebooks/01_where.ipynb")
        assert content == "of the caller"
        assert Path(folder) == caller
        assert Path(library).is_relative_to(project_root())
        assert not Path(module).is_relative_to(tmp_path)
        assert results == [str(tmp_path / "some" / "out" / name) for name in ("results", "lists")]


def test_refresh_runs_in_the_folder_of_the_notebooks(tmp_path: Path) -> None:
    path = write(tmp_path / "nb" / "01_where.ipynb", REPORT)
    assert run(tmp_path, command="refresh") == 0
    assert printed(path)[2] == str(tmp_path / "nb")


def test_a_value_that_cannot_be_passed_stops_before_anything_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    for text in ("seed=(1, 2)", "seed=NaN", "profile=fast", "seed=-1"):
        assert run(tmp_path, "--parameter", text) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert run(tmp_path, "--profile", "smoke", "--parameter", "profile=full") == 2
    assert "both smoke and full" in capsys.readouterr().err
    assert not (tmp_path / "build" / "notebooks").exists()
    assert run(tmp_path, "--parameter", "profile=smoke") == 0
    assert json.loads((tmp_path / "build" / "course.json").read_text())["profile"] == "smoke"


def test_where_nothing_can_be_written_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    (tmp_path / "build").write_text("a file")
    assert run(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert str(tmp_path / "build") in error


def test_what_a_reader_keeps_beside_the_notebooks_is_none_of_the_course(tmp_path: Path) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    for name in (
        "Untitled.ipynb",
        "01_first-Copy1.ipynb",
        ".01_first-abcdefgh.ipynb",
        "._01_first.ipynb",
        "1_a.ipynb",
    ):
        (tmp_path / "nb" / name).write_text("")
    assert [path.name for path in find_notebooks(tmp_path / "nb")] == ["01_first.ipynb"]


def test_the_leftovers_of_killed_runs_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path / "data"))
    left = [
        tmp_path / "data" / "processed" / ".lines-abc01234.parquet",
        tmp_path / "build" / "lists" / ".a-00000000.npz",
    ]
    kept = [
        left[0].with_name(name) for name in (".new-abc01234.parquet", ".hidden", "lines-abc01234.parquet")
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        if "new" not in path.name:
            os.utime(path, (0, 0))
    assert run(tmp_path) == 0
    assert [path for path in (*left, *kept) if path.exists()] == kept


def test_results_are_remembered_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saves = "import os, pathlib\nfolder = pathlib.Path(os.environ['RECSYS_RESULTS'])\nfolder.mkdir()\n"
    write(tmp_path / "nb" / "01_saves.ipynb", saves + "(folder / '01_saves.json').write_text('{}')")
    assert run(tmp_path) == 0
    assert timings(tmp_path)["01_saves"]["results"] == sha256(
        tmp_path / "build" / "results" / "01_saves.json"
    )
    # A refresh is not a run: its results lie elsewhere.
    (tmp_path / "build" / "results" / "01_saves.json").unlink()
    assert run(tmp_path, command="refresh") == 0
    assert [path.parent.parent.name for path in (tmp_path / "build").rglob("01_saves.json")] == ["refresh"]


@pytest.mark.parametrize("missing", ["papermill", "tqdm", "numpy"])
def test_a_missing_package_is_said_in_one_sentence(missing: str, tmp_path: Path) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", REPORT)
    (tmp_path / f"{missing}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{missing}'\")")
    environment = bare_environment(PYTHONPATH=f"{project_root()}:{tmp_path}")
    done = subprocess.run(command_line(tmp_path), env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"error: No module named '{missing}'. {MEND}"
    assert "Traceback" not in done.stderr


def test_a_package_that_a_notebook_misses_is_named_with_the_way_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "nb" / "01_first.ipynb", "import nosuchpackage")
    assert run(tmp_path) == 1
    assert MEND in capsys.readouterr().err


def test_the_lab_is_told_to_save_what_git_can_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    environments: list[dict[str, str]] = []

    def call(words: list[str], env: dict[str, str]) -> int:
        started.append(words)
        environments.append(env)
        return 0

    monkeypatch.setattr("recsys_lib.course.runner.subprocess.call", call)
    assert main(["lab", "--no-browser"]) == 0
    assert started[0][1:5] == ["-P", "-m", "jupyterlab", str(project_root() / "notebooks")]
    assert environments[0]["PYTHONPATH"].split(os.pathsep)[0] == str(project_root())
    assert not environments[0]["PYTHONSAFEPATH"]
    assert "--ContentsManager.pre_save_hook=recsys_lib.course.notebooks.clean_on_save" in started[0]
    assert started[0][-1] == "--no-browser"
    with pytest.raises(SystemExit):
        main(["run", "--no-browser"])
