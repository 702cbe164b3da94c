"""What the course's tests share: an environment left as it was, and a word on what nbval does not compare."""

import os
from collections.abc import Iterator

import pytest
from notebook_form import exempt_numbers

from recsys_lib.course.notebooks import find_notebooks, read_notebook
from recsys_lib.files import project_root


@pytest.fixture(autouse=True)
def same_environment_afterwards() -> Iterator[None]:
    """Undo what the runner, which here runs inside the tests' own process, sets for its kernels."""
    before = dict(os.environ)
    os.environ.pop("MAKELEVEL", None)  # set where `make test` runs the tests
    yield
    os.environ.clear()
    os.environ.update(before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print, for each notebook, the share of its printed numbers that are left out of nbval's comparison."""
    shares = []
    for path in find_notebooks(project_root() / "notebooks"):
        exempt, printed = exempt_numbers(read_notebook(path))
        shares.append(f"{path.name[:2]} {exempt / max(1, printed):.0%} of {printed:,}")
    terminalreporter.write_line(f"Printed numbers that nbval does not compare: {', '.join(shares)}")
