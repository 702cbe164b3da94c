"""Executing one notebook in a kernel of its own, with its time, its peak memory and what went wrong."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import papermill
import psutil
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from traitlets import default

from recsys_lib.course.notebooks import ADDED_TAGS, code_cells, read_notebook, tags, write_notebook
from recsys_lib.judging.memory import MEBIBYTE, highest

MEMORY_SAMPLE_SECONDS = 0.1


class Failure(NamedTuple):
    """What stopped a notebook: the cell (1-based, over all cells as stored; 0 if none ran) and the error."""

    cell: int
    source: str
    message: str


class Execution(NamedTuple):
    """One notebook's line of the final table; `cells` are its code cells, `cells_run` those that ended."""

    notebook: str
    cells: int
    cells_run: int
    seconds: float
    peak_mib: float
    failure: Failure | None
    results: str | None = None  # checksum of the results that it wrote

    @property
    def status(self) -> str:
        """How it ended, in one word."""
        return "failed" if self.failure else "ok"


class _OwnKernelSpecs(KernelSpecManager):
    """Knows one kernel: the interpreter that runs now, whatever `python3` kernels a user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        # ipykernel's launcher takes the current folder off the path, even where PYTHONPATH has put it there.
        spec.argv = [word.replace("ipykernel_launcher", "ipykernel") for word in spec.argv]
        return spec


class _OwnKernelManager(AsyncKernelManager):
    # A kernel busy in a long computation does not answer; after Ctrl-C nobody wants to wait 5 s for it.
    shutdown_wait_time = 2.0

    @default("kernel_spec_manager")
    def _own_kernel_specs(self) -> KernelSpecManager:
        return _OwnKernelSpecs()


class _SavingOnce(NBClientEngine):
    # papermill writes the whole file before and after every cell, which takes seconds in a long notebook.
    # After the last cell, or the one that failed, is enough: the file replaces the old one only then.
    @classmethod
    def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, *args: Any, **kwargs: Any) -> None:
        nb_man.save = lambda **_: None
        try:
            super().execute_managed_notebook(nb_man, *args, **kwargs)
        finally:
            del nb_man.save  # the method of the class is back; papermill calls it when all is over


papermill_engines.register("saving_once", _SavingOnce)


def execute_notebook(
    source: Path, target: Path, parameters: dict[str, Any], folder: Path, progress: dict[str, Any] | bool
) -> Execution:
    """Execute a notebook and put the result in its place, even if a cell fails; Ctrl-C changes nothing.

    papermill injects the parameters after the cell so tagged; empty for the stored ones. `folder` is the
    kernel's working directory; `progress` holds settings of the bar over the cells, or False for none.
    Seconds run from starting the kernel to stopping it.
    """
    error: Exception | None = None
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:  # papermill saves with a plain open()
        saved = Path(scratch) / target.name
        with peak_memory() as peak_mib:
            try:
                papermill.execute_notebook(
                    str(source.resolve()),
                    str(saved),
                    parameters=parameters,
                    engine_name="saving_once",
                    kernel_name="python3",
                    language="python",
                    cwd=str(folder),
                    progress_bar=progress,
                    kernel_manager_class=_OwnKernelManager,
                    extra_arguments=["--log-level=50"],  # the kernel's own remarks are not the reader's
                )
            except Exception as problem:
                error = problem
        seconds = time.perf_counter() - start
        if error and not saved.is_file():  # papermill refused it before starting a kernel
            raise error
        executed = read_notebook(saved)
    executed.metadata.setdefault("papermill", {}).update(input_path=source.name, output_path=target.name)
    write_notebook(executed, target)
    cells = [cell for cell in code_cells(executed) if not ADDED_TAGS & set(tags(cell))]
    failure = _failure(executed, error) if error else None
    started = [cell for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    cells_run = len(cells) if failure is None else max(len(started) - 1, 0)
    return Execution(source.stem, len(cells), cells_run, seconds, peak_mib(), failure)


@contextmanager
def peak_memory(interval: float = MEMORY_SAMPLE_SECONDS) -> Iterator[Callable[[], float]]:
    """Watch the memory of the processes started inside the block; yield what returns the peak so far, in MiB.

    Every `interval` seconds a thread adds up the resident memory of all child processes (the kernel and
    whatever it starts) that did not exist before. Memory shared between them counts once per process, and
    a peak shorter than the interval can be missed.
    """
    runner = psutil.Process()
    before = {child.pid for child in runner.children(recursive=True)}
    with highest(lambda: _resident_bytes(runner, before), interval) as peak:
        yield lambda: peak() / MEBIBYTE


def _resident_bytes(runner: psutil.Process, before: set[int]) -> int:
    own_command, total = runner.cmdline(), 0
    for child in runner.children(recursive=True):
        try:
            # Between fork and exec a child is a copy of the runner: its memory is not the notebook's. The
            # command is read first, so that what follows belongs to the new program.
            if child.pid not in before and child.cmdline() != own_command:
                total += child.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _failure(executed: NotebookNode, error: Exception) -> Failure:
    # The number counts the cells as they are stored, without those that papermill put between them.
    number, last = 0, Failure(0, "", "")
    for cell in executed.cells:
        number += not ADDED_TAGS & set(tags(cell))
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                return Failure(number, cell.source, "\n".join(output.traceback))
        if cell.metadata.get("papermill", {}).get("start_time"):
            last = Failure(number, cell.source, "")
    # No cell holds an error: the kernel died in the last cell that began, or never started.
    return last._replace(message=f"{type(error).__name__}: {error}")
