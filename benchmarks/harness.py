"""Run contenders side by side: each in a process of its own, in turn, medians over rounds.

A benchmark script is both the driver and, started again with `--worker NAME`, one contender::

    def make(name, cell):                 # in the worker: build the input, return the call to time
        data = build(cell)                # not timed
        return lambda: CONTENDERS[name](data, cell)

    if __name__ == "__main__":
        if not harness.is_worker():       # in a worker, serve() never returns
            main()                        # calls harness.compare(__file__, cell, names)
        harness.serve(make)

Every worker stays alive for one cell and waits while the others run, so slow drifts of the machine
(heat, neighbours) hit all contenders alike; compare ratios, not seconds of different runs. The first
call of each worker is a warm-up and is not counted.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from recsys_lib.files import atomic_path

RESULTS = Path(__file__).parent / "results"


def is_worker() -> bool:
    """Say whether this process was started by `compare` to run one contender."""
    return len(sys.argv) == 3 and sys.argv[1] == "--worker"


def serve(make: Callable[[str, dict], Callable[[], object]]) -> None:
    """Answer the driver's requests on stdin until it closes the pipe, then exit.

    Parameters
    ----------
    make : callable (name, cell) -> callable ()
        Builds the contender's input and returns the call to time.
    """
    name, answers = sys.argv[2], os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    call: Callable[[], object] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "cell" in request:
            call = make(name, request["cell"])
            answer = {"ready": True}
        elif request.get("memory"):
            answer = {"extra_bytes": peak_growth(call)}
        else:
            gc.collect()
            start = time.perf_counter()
            call()
            # A call that does only a part of the work may say so: call.scale = whole / part.
            scale = getattr(call, "scale", 1)
            answer = {"seconds": (time.perf_counter() - start) * scale, "scale": scale}
        print(json.dumps(answer), file=answers, flush=True)
    sys.exit(0)


def compare(
    script: str | Path,
    cell: dict,
    names: Iterable[str],
    *,
    rounds: int = 5,
    memory: bool = False,
    parallel_setup: bool = False,
    environment: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, dict]:
    """Time every contender on one cell, round-robin.

    Parameters
    ----------
    script : path
        The benchmark script; it is started again as `script --worker NAME` per contender.
    cell : dict
        Anything JSON can carry; handed to the script's `make`.
    names : iterable of str
        Contenders, in the order they take turns.
    rounds : int
        Timed calls per contender, after one warm-up call.
    memory : bool
        Also measure the peak memory that the first call adds to the worker's resident set.
    parallel_setup : bool
        Let all workers build their input at the same time: quicker, if `make` measures nothing itself.
    environment : mapping of name to mapping of variable to value
        Extra environment variables of single contenders (their documented thread settings, say).

    Returns
    -------
    dict
        Per name: "seconds" (all rounds), "median", "low" and "high" (fastest and slowest round), and
        "extra_bytes" if `memory`; "scale" where a contender timed a part of the work (see `serve`).
    """
    workers = {name: _start(script, name, (environment or {}).get(name, {})) for name in names}
    try:
        _set_up(workers, cell, parallel_setup)
        results = _take_turns(workers, rounds, memory)
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait(timeout=60)
    for result in results.values():
        seconds = result["seconds"]
        result.update(median=statistics.median(seconds), low=min(seconds), high=max(seconds))
    return results


def _set_up(workers: Mapping[str, subprocess.Popen], cell: dict, parallel: bool) -> None:
    for name, worker in workers.items():
        _send(worker, {"cell": cell})
        if not parallel:
            _receive(worker, name)
    if parallel:
        for name, worker in workers.items():
            _receive(worker, name)


def _take_turns(workers: Mapping[str, subprocess.Popen], rounds: int, memory: bool) -> dict[str, dict]:
    results: dict[str, dict] = {name: {"seconds": []} for name in workers}
    for name, worker in workers.items():  # the warm-up
        answer = _ask(worker, name, {"memory": memory})
        if memory:
            results[name]["extra_bytes"] = answer["extra_bytes"]
    for _ in range(rounds):
        for name, worker in workers.items():
            answer = _ask(worker, name, {})
            results[name]["seconds"].append(answer["seconds"])
            if answer["scale"] != 1:
                results[name]["scale"] = answer["scale"]
    return results


def peak_growth(call: Callable[[], object]) -> int | None:
    """Return how many bytes a call adds to this process's resident set at its peak; None off Linux.

    The kernel keeps the high-water mark itself: nothing is sampled, and no thread runs beside the call.
    """
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    gc.collect()
    try:
        clear.write_text("5")  # sets the high-water mark back to what is resident now
    except OSError:
        call()
        return None
    before = _status_bytes(status, "VmRSS")
    result = call()
    peak = _status_bytes(status, "VmHWM")
    del result
    return max(0, peak - before)


def machine(packages: Iterable[str] = ()) -> dict:
    """Describe where the numbers come from: processor, cores, system, versions, thread settings."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "threads": {key: value for key, value in sorted(os.environ.items()) if key.endswith("_NUM_THREADS")},
    }


def save(name: str, payload: dict) -> Path:
    """Write `payload` to benchmarks/results/NAME.json and return the path."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(payload, indent=1) + "\n")
    return path


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Lay rows out under a head, numbers to the right, as plain text."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _start(script: str | Path, name: str, variables: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(script), "--worker", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )


def _ask(worker: subprocess.Popen, name: str, request: dict) -> dict:
    _send(worker, request)
    return _receive(worker, name)


def _send(worker: subprocess.Popen, request: dict) -> None:
    with contextlib.suppress(BrokenPipeError):  # _receive says whose it was
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()


def _receive(worker: subprocess.Popen, name: str) -> dict:
    try:
        return json.loads(worker.stdout.readline())
    except json.JSONDecodeError as error:
        raise RuntimeError(f"contender {name!r} died; its message is above") from error


def _status_bytes(status: Path, field: str) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
