"""The runner, on tiny notebooks: what it executes, what it keeps, what it says, how it ends."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from recsys_lib.course.__main__ import main, parse_parameter, timing_table
from recsys_lib.course.kernels import Execution, Failure, peak_memory
from recsys_lib.course.notebooks import (
    KERNEL_METADATA,
    SOLUTION_PLACEHOLDER,
    clean_notebook,
    code_cells,
    read_notebook,
    select_notebooks,
    without_solutions,
    write_notebook,
)
from recsys_lib.files import project_root

Outcome = tuple[Path, subprocess.CompletedProcess]  # the folder, and what the command did

PARAMETERS = 'profile = "default"\nseed = 1'
REPORT = "import os, sys, json\nprint(json.dumps([profile, seed, os.getcwd(), sys.executable]))"
ALLOCATE = "held = b'x' * 200_000_000\nimport time\ntime.sleep(0.5)"
FAIL = "def ratio(a, b):\n    return a / b\nratio(1, 0)"


def write(path: Path, *sources: str, parameters: str | None = PARAMETERS) -> Path:
    cells = [new_markdown_cell("# Title")]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    write_notebook(new_notebook(cells=cells, metadata={"kernelspec": dict(KERNEL_METADATA)}), path)
    return path


def run(tmp_path: Path, *options: str, command: str = "run") -> int:
    return main([command, "--folder", str(tmp_path / "nb"), "--output", str(tmp_path / "build"), *options])


def printed(path: Path) -> list[Any]:
    """What REPORT printed in an executed notebook."""
    outputs = [output for cell in code_cells(read_notebook(path)) for output in cell.outputs]
    return json.loads(outputs[0].text)


def timings(tmp_path: Path) -> dict[str, dict[str, Any]]:
    course = json.loads((tmp_path / "build" / "course.json").read_text())
    return {row["notebook"]: row for row in course["notebooks"]}


def command_line(folder: Path) -> list[str]:
    where = ["--folder", str(folder / "nb"), "--output", str(folder / "build")]
    return [sys.executable, "-m", "recsys_lib.course", "run", *where]


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
        [*command_line(folder), *options],
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
    assert printed(executed) == ["smoke", 7, str(folder / "nb"), sys.executable]


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
    assert "Resume: make run PROFILE=smoke FROM=03" in outcome[1].stderr


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
    [(signal.SIGINT, 130, "Interrupted in 01_sleeps. Resume: make run FROM=01"), (signal.SIGTERM, 143, "")],
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
        command_line(tmp_path),
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


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear in {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--notebooks", "01 07"], "no notebook '07'; there are:\n  01_first\n  02_second"),
        (["--from", "third"], "no notebook 'third'"),
        (["--notebooks", "01", "--from", "02"], "none of the chosen notebooks (01) comes at or after 02"),
        (
            ["--parameter", "sed=3"],
            "no chosen notebook has a parameter 'sed'; they have: ['profile', 'seed']",
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
    assert "no notebooks (*.ipynb) in" in capsys.readouterr().err
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


def test_parameters_get_their_types() -> None:
    texts = ["a=3", "a=1e-3", "a=true", "a=True", "a=null", "a=[1, 2]", "a=x=y", "a=", "a='3'"]
    values = [3, 0.001, True, True, None, [1, 2], "x=y", "", "3"]
    assert [parse_parameter(text) for text in texts] == [("a", value) for value in values]
    with pytest.raises(argparse.ArgumentTypeError):
        parse_parameter("seed")


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
    code = f"import sys, recsys_lib.course.__main__; print(sorted({heavy} & set(sys.modules)))"
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


def exercise_notebook() -> NotebookNode:
    def cell(source: str, tag: str) -> NotebookNode:
        return new_code_cell(source, metadata={"tags": [tag]}, execution_count=1)

    cells = [
        new_markdown_cell("# Title"),
        cell(PARAMETERS, "parameters"),
        new_markdown_cell("### Exercise 1"),
    ]
    cells += [cell("answer = None", "exercise"), cell("answer = 42\nassert answer == 42", "solution")]
    return new_notebook(cells=[*cells, new_code_cell(REPORT, execution_count=4)])


def test_the_students_copy_has_no_solution_and_still_runs(tmp_path: Path) -> None:
    original = exercise_notebook()
    write_notebook(original, tmp_path / "nb" / "01_good.ipynb")
    assert run(tmp_path, command="student") == 0
    folder = tmp_path / "build" / "student"
    copy = read_notebook(folder / "notebooks" / "01_good.ipynb")
    solution = copy.cells[4]
    assert (solution.source, solution.outputs, solution.execution_count) == (SOLUTION_PLACEHOLDER, [], None)
    assert "== 42" not in (folder / "notebooks" / "01_good.ipynb").read_text()  # ids of cells are random
    assert [c.source for c in copy.cells if c is not solution] == [
        c.source for c in original.cells if "solution" not in c.metadata.get("tags", [])
    ]
    assert main(["run", "--folder", str(folder / "notebooks"), "--output", str(folder)]) == 0


def test_taking_out_solutions_leaves_the_original_alone() -> None:
    original = exercise_notebook()
    without_solutions(original)
    assert "assert answer == 42" in original.cells[4].source


def test_make_explains_itself_and_passes_its_variables_on() -> None:
    # Without the variables that a surrounding `make test` hands down.
    environment = {"PATH": os.environ["PATH"]}

    def make(*words: str) -> str:
        command = ["make", "--dry-run", *words]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, cwd=project_root(), env=environment
        )
        return done.stdout

    assert "make run " in make()
    line = make("run", "PROFILE=smoke", "NOTEBOOKS=01 03", "FROM=03", "ARGS=--keep-going").splitlines()[-1]
    assert line.endswith('recsys_lib.course run --profile smoke --notebooks "01 03" --from "03" --keep-going')
