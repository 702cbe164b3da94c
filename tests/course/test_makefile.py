"""The Makefile: what it passes on, what it refuses, and whose environment it touches.

An interpreter that only writes down what it is asked to do stands in for Python.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_course import bare_environment

from recsys_lib.files import project_root

FAKE_PYTHON = """#!/bin/sh
version=${0##*python}
case "$version" in ""|3) version=`cat "${0%/*}/version" 2>/dev/null || echo 3.11`;; esac
case "$*" in
  *--version*) echo "Python $version.7" ;;
  *"print(sys.version_info[:2])"*) echo "$version" ;;
  *"sys.exit(not (3"*) [ "$version" != 3.9 ] ;;
  *find_spec*) [ ! -e damaged ] ;;
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo "$version" > "$3/bin/version" ;;
  *"-m pip"*) [ ! -e no_network ] && echo "pip $*" >> calls ;;
  *) echo "$PWD: $*" >> "$CALLS" ;;
esac
"""


class Project:
    """A folder with the Makefile, the lock and stand-ins for Python."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder / "clone", folder / "calls"
        self.folder.mkdir()
        for name in ("Makefile", "requirements.lock", "requirements-bench.txt", "requirements-book.txt"):
            shutil.copy(project_root() / name, self.folder)
        (folder / "bin").mkdir()
        for name in ("python3", "python3.12", "python3.9"):
            (folder / "bin" / name).write_text(FAKE_PYTHON)
            (folder / "bin" / name).chmod(0o755)
        (folder / "bin" / "python3").rename(folder / "bin" / "python")
        (folder / "bin" / "python3").symlink_to("python")

    def make(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        path = f"{self.folder.parent / 'bin'}:{os.environ['PATH']}"
        folder = cwd or self.folder
        environment = bare_environment(PATH=path, CALLS=str(self.calls), PWD=str(folder))
        return subprocess.run(
            ["make", *words], cwd=folder, env=environment, capture_output=True, encoding="utf-8"
        )

    def said(self, *words: str) -> str:
        """What was said by a call that must fail."""
        done = self.make(*words)
        assert done.returncode, done.stdout
        return done.stdout + done.stderr

    def called(self) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return lines


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path.resolve())


@pytest.fixture
def built(project: Project) -> Project:
    assert project.make("run").returncode == 0
    project.called()
    return project


def test_the_environment_is_built_once(project: Project) -> None:
    venv = project.folder / ".venv"
    assert "Building .venv" in project.make("run").stdout
    assert [path.name[:7] for path in venv.glob(".*")] == [".ready-"]
    assert (project.folder / "calls").read_text().count("requirements.lock") == 1
    assert "Building" not in project.make("run").stdout
    assert (project.folder / "calls").read_text().count("requirements.lock") == 1


def test_variables_reach_the_runner(built: Project) -> None:
    words = ["PROFILE=smoke", "NOTEBOOKS=01 03", "FROM=03", "JOBS=3", "ARGS=--parameter 'x=a b' --keep-going"]
    built.make("run", *words)
    (line,) = built.called()
    options = "run --profile smoke --notebooks 01 03 --from 03 --jobs 3 --parameter x=a b --keep-going"
    assert line == f"{built.folder}: -m recsys_lib.course {options}"


@pytest.mark.parametrize(("cores", "jobs"), [("1", ""), ("2", "--jobs 2"), ("8", "--jobs 2")])
def test_smoke_runs_two_at_a_time_where_there_are_cores(built: Project, cores: str, jobs: str) -> None:
    nproc = built.folder.parent / "bin" / "nproc"
    nproc.write_text(f"#!/bin/sh\necho {cores}\n")
    nproc.chmod(0o755)
    for profile, expected in (("smoke", jobs), ("", ""), ("full", "")):
        built.make("run", f"PROFILE={profile}")
        assert built.called()[0].partition("--from")[2].split() == expected.split()


def test_a_path_means_what_it_means_to_the_caller(built: Project) -> None:
    caller = built.folder.parent
    for words in (["-C", "clone"], ["--no-print-directory", "-C", "clone"], ["-sC", str(built.folder)]):
        assert built.make(*words, "run", "ARGS=--output x", cwd=caller).returncode == 0
        assert built.called()[0].startswith(f"{caller}: -m recsys_lib.course run")


def test_a_folder_that_the_shell_left_behind_is_not_the_callers(built: Project) -> None:
    """A program that starts make elsewhere does not always say so in $PWD."""
    environment = bare_environment(
        PATH=f"{built.folder.parent}/bin:{os.environ['PATH']}", PWD="/", CALLS=str(built.calls)
    )
    subprocess.run(["make", "run"], cwd=built.folder, env=environment, check=True, capture_output=True)
    assert built.called()[0].startswith(f"{built.folder}: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["run", "profile=smoke"],
            "run does not know profile; it knows: PYTHON PROFILE NOTEBOOKS FROM JOBS ARGS",
        ),
        (["run", "PROFLE=smoke"], "does not know PROFLE"),
        (
            ["refresh", "PROFILE=smoke"],
            "refresh does not know PROFILE; it knows: PYTHON NOTEBOOKS FROM JOBS ARGS",
        ),
        (["test", "NOTEBOOKS=01"], "test does not know NOTEBOOKS"),
        (["clean", "ARGS=x=y z=3"], "clean does not know ARGS"),
        (["NOTEBOOKS=01"], "make does not know NOTEBOOKS"),
    ],
)
def test_a_variable_is_never_ignored(project: Project, words: list[str], message: str) -> None:
    assert message in project.said(*words)


def test_several_targets_know_what_one_of_them_knows(built: Project) -> None:
    assert built.make("run", "results", "PROFILE=smoke", "ARGS=--parameter a=b").returncode == 0


@pytest.mark.parametrize("content", ["bin/python", "lib/work.py"])
def test_somebody_elses_environment_stays(project: Project, content: str) -> None:
    kept = project.folder / ".venv" / content
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for target in ("run", "test", "lab"):
        said = project.said(target)
        assert ".venv was not made by this Makefile, so it stays as it is." in said
        assert "make fresh" in said
    assert kept.read_text() == "mine"
    assert project.make("fresh").returncode == 0
    assert (project.folder / ".venv" / "bin" / "version").is_file()


def test_another_lock_updates_what_is_there(built: Project) -> None:
    torch = built.folder / ".venv" / "torch_with_cuda"
    torch.touch()
    with (built.folder / "requirements.lock").open("a") as lock:
        lock.write("# another lock\n")
    done = built.make("run")
    assert "Installing requirements.lock into .venv" in done.stdout
    assert "Building" not in done.stdout
    assert torch.exists()
    assert len(list((built.folder / ".venv").glob(".*"))) == 1


def test_an_interrupted_build_goes_on(project: Project) -> None:
    (project.folder / "no_network").touch()
    assert project.make("run").returncode
    assert not list((project.folder / ".venv").glob(".ready-*"))
    (project.folder / "no_network").unlink()
    assert project.make("run").returncode == 0
    assert len(list((project.folder / ".venv").glob(".ready-*"))) == 1


def test_an_environment_of_ours_without_an_interpreter_is_built_again_by_fresh(built: Project) -> None:
    (built.folder / ".venv" / "bin" / "python").unlink()
    assert "The environment .venv is damaged. Build it anew: make fresh" in built.said("run")
    assert built.make("fresh").returncode == 0
    assert built.make("run").returncode == 0


@pytest.mark.parametrize("target", ["run", "test", "unit", "lab", "refresh", "student", "results", "readme"])
def test_a_missing_package_says_how_to_mend_it(built: Project, target: str) -> None:
    (built.folder / "damaged").touch()
    said = built.said(target)
    assert "The environment .venv is damaged. Build it anew: make fresh" in said
    assert "Traceback" not in said
    assert not built.called()


def test_the_wanted_python_is_not_ignored(built: Project) -> None:
    assert "There is no '/nonexistent' here." in built.said("run", "PYTHON=/nonexistent")
    assert ".venv was built with Python 3.11.7" in built.said("run", "PYTHON=python3.12")
    assert not built.called()
    assert built.make("run", "PYTHON=python3").returncode == 0
    assert built.make("fresh", "PYTHON=python3.12").returncode == 0
    assert built.make("run", "PYTHON=python3.12").returncode == 0


def test_a_wrong_python_is_said_once(project: Project) -> None:
    said = project.said("run", "PYTHON=/nonexistent")
    assert said.count("/nonexistent") == 1
    assert "not found" not in said
    said = project.said("run", "PYTHON=python3.9")
    assert "Python 3.11 to 3.14 is needed; 'python3.9' is Python 3.9.7." in said
    assert not (project.folder / ".venv").exists()


def test_clean_leaves_what_students_wrote(built: Project) -> None:
    work, results = built.folder / "build/student/notebooks/01_a.ipynb", built.folder / "build/results"
    for folder in (work.parent, results):
        folder.mkdir(parents=True)
    work.write_text("work")
    assert "build/student/ stays" in built.make("clean").stdout
    assert work.read_text() == "work"
    assert not results.exists()


def test_the_lab_opens_notebooks_or_students_copies(built: Project) -> None:
    built.make("lab")
    built.make("lab", "STUDENT=1", "ARGS=--no-browser --port 9999")
    lines = [line.partition(" -m recsys_lib.course ")[2].strip() for line in built.called()]
    assert lines == ["lab", "lab --student --no-browser --port 9999"]


def test_the_book_is_built_from_its_own_lock(built: Project) -> None:
    installed = built.folder / "calls"
    installed.unlink()
    built.make("book", "REPOSITORY=ada/course")
    built.make("book")
    builds = [line.partition(": ")[2].strip() for line in built.called()]
    assert builds == ["book --repository ada/course", "book --repository"]
    (pip,) = installed.read_text().splitlines()  # once
    assert pip.endswith("--no-deps -r requirements-book.txt")


def test_make_alone_explains_itself(project: Project) -> None:
    assert "make run " in project.make().stdout
