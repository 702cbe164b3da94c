"""Shown at the end of every test run: how much of what the notebooks print nbval does not compare."""

from notebook_form import exempt_numbers

from recsys_lib.course.notebooks import read_notebook
from recsys_lib.files import project_root


def pytest_terminal_summary(terminalreporter: object) -> None:
    """Print, for each notebook, the share of its printed numbers that are left out of nbval's comparison."""
    shares = []
    for path in sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        exempt, printed = exempt_numbers(read_notebook(path))
        shares.append(f"{path.name[:2]} {exempt / max(1, printed):.0%} of {printed:,}")
    terminalreporter.write_line(f"Printed numbers that nbval does not compare: {', '.join(shares)}")
