"""Shared by all tests: kernels that behave the same every time, and results kept apart from real ones."""

import os

from recsys_lib.files import project_root

# Sets of strings in the same order in every kernel that a test starts.
os.environ.setdefault("PYTHONHASHSEED", "0")
# nbval executes the notebooks, whose last cells write results: not over those of the last `make run`.
os.environ.setdefault("RECSYS_RESULTS", str(project_root() / "build" / "test" / "results"))
