"""README's examples do what they say, as printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode
from tiny_course import bare_environment

from recsys_lib.course.notebooks import code_cells, find_notebooks, read_notebook, write_notebook
from recsys_lib.files import project_root
from recsys_lib.text.encoder import bundled_folder

ROOT = project_root()
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
LATE = 10  # a parameter that is first used later does not need the cells between
RUNS = [command for command in COMMANDS if command.startswith("make run")]


def shortened(path: Path, parameter: str) -> NotebookNode:
    """Return a notebook's first code cells up to one that uses the parameter; without one its parameters."""
    notebook = read_notebook(path)
    code = code_cells(notebook)
    uses = [i for i, cell in enumerate(code) if i and re.search(rf"\b{parameter}\b", cell.source)]
    last = uses[0] if parameter and uses else 0
    notebook.cells = code[: last + 1] if last < LATE else [*code[:3], code[last]]
    return notebook


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Makefile works, and the files that README speaks of."""
    folder = tmp_path_factory.mktemp("readme").resolve()
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "requirements.lock", folder)
    rows = [f"c{customer},a{(customer * 7 + i * i) % 40}" for customer in range(60) for i in range(8)]
    (folder / "my.csv").write_text("\n".join(["customer,article", *rows, ""]))
    (folder / "my_bert").symlink_to(bundled_folder())
    return folder


def call(command: str, project: Path) -> subprocess.CompletedProcess:
    """Run what `make` would run at last, but here, in the smoke profile and on shortened notebooks."""
    dry = subprocess.run(
        f"make --dry-run {command.removeprefix('make')}",
        shell=True,
        check=True,
        cwd=project,
        env=bare_environment(PWD=str(project)),
        capture_output=True,
        encoding="utf-8",
    )
    given = re.findall(r"--parameter (\w+)=", command)
    for path in find_notebooks(ROOT / "notebooks"):
        write_notebook(shortened(path, given[0] if given else ""), project / "notebooks" / path.name)
    line = dry.stdout.splitlines()[-1].replace(f'"{project}/.venv/bin/python"', sys.executable)
    line = re.sub(r'--profile "\w*"', "--profile smoke", line)
    return subprocess.run(
        f"{line} --folder notebooks --output out",
        shell=True,
        cwd=project,
        env=bare_environment(),
        capture_output=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize("command", RUNS)
def test_a_command_of_the_readme_runs(command: str, project: Path) -> None:
    done = call(command, project)
    if "device=cuda" in command and done.returncode:
        assert "ValueError: device 'cuda' is not available here" in done.stderr
        return
    assert done.returncode == 0, done.stderr[-3000:]
    assert " ok" in done.stdout


def test_what_is_missing_is_named_where_it_was_looked_for(project: Path) -> None:
    """Which shows, too, that the commands above opened the reader's files."""
    for name, other in (("my.csv", "your.csv"), ("my_bert", "./your_bert")):
        (command,) = [command for command in RUNS if name in command]
        done = call(command.replace(name, other), project)
        assert done.returncode == 1
        assert str(project / other) in done.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in RUNS])
def test_the_other_targets_exist(command: str) -> None:
    dry = f"make --dry-run {command.removeprefix('make')}"
    done = subprocess.run(dry, shell=True, cwd=ROOT, env=bare_environment(), capture_output=True)
    assert done.returncode == 0
    assert done.stdout


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["new"].ids.shape[1] == 10
