"""Shown at the end of every test run: how much of what the notebooks print nbval does not compare."""

import pytest
from notebook_form import exempt_numbers

from recsys_lib.course.notebooks import find_notebooks, read_notebook
from recsys_lib.files import project_root


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print, for each notebook, the share of its printed numbers that are left out of the comparison."""
    shares = []
    for path in find_notebooks(project_root() / "notebooks"):
        exempt, printed = exempt_numbers(read_notebook(path))
        shares.append(f"{path.name[:2]} {exempt / max(1, printed):.0%} of {printed:,}")
    terminalreporter.write_line(f"Printed numbers that nbval does not compare: {', '.join(shares)}")
