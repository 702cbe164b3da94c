"""Shared by all tests, nbval's included: kernels that behave the same, this library, results kept apart."""

import os

# Several workers share the cores. Before torch comes: it counts them once.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadFileScheduling

from recsys_lib.course.notebooks import NAME
from recsys_lib.files import project_root

# Sets of strings in the same order in every kernel that a test starts.
os.environ.setdefault("PYTHONHASHSEED", "0")
# This clone's library, whatever was installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(project_root()), os.environ.get("PYTHONPATH")]))
# nbval executes the notebooks, whose last cells write results: not over those of the last `make run`.
os.environ.setdefault("RECSYS_RESULTS", str(project_root() / "build" / "test" / "results"))
# Without a GPU, Triton's kernels run in its interpreter; what they were defined as, they stay.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.pop("MAKELEVEL", None)  # of the `make test` around us: what is tested was not called by it


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what a reader keeps beside the notebooks of the course."""
    in_course = collection_path.parent == project_root() / "notebooks"
    own = in_course and collection_path.suffix == ".ipynb" and not NAME.fullmatch(collection_path.name)
    kernels = collection_path.name == "fused.py" and find_spec("triton") is None
    return True if own or kernels else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Keep a file's tests together, but for those that execute a notebook each: any worker takes one."""

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if "test_every_check_tells" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(autouse=True)
def same_environment_afterwards() -> Iterator[None]:
    """Take back the variables that the runner sets for its kernels, where a test calls it in this process."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
