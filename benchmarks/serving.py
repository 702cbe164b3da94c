"""The service under load: open loop, percentiles from the moment a request was due, a naive rival beside it.

    python benchmarks/serving.py                 # the whole table, into results/serving.json
    python benchmarks/serving.py --seconds 10    # a quick look; the file says how long was measured

Load is sent to this machine's loopback only, for a bounded time, by a client on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import harness
import numpy as np
import psutil

from recsys_lib.online.load import open_loop
from recsys_lib.online.nightly import fit_and_publish

RATE, SECONDS, SATURATION = 200, 60, 600  # requests a second, and the rate that two workers should bear
NAIVE_RATE = 5  # a rate that the rival can bear
HOUSEHOLDS = 2_469
PERCENTILES = {"50": 50, "90": 90, "99": 99, "999": 99.9}


def naive_app():
    """Make the rival: what a first attempt looks like, pandas and argsort for each request."""
    import pandas as pd
    from fastapi import FastAPI

    from recsys_lib.data import complete_journey_december

    train = complete_journey_december().train
    frame = train.events.assign(
        user=train.users[train.events["user"]], item=train.items[train.events["item"]]
    )
    app = FastAPI()

    @app.get("/ready")
    def ready() -> dict:
        return {}

    @app.get("/households/{household}/recommendations")
    def recommendations(household: int, k: int = 10) -> list[dict]:
        own = frame[frame["user"] == household]
        age = (frame["time"].max() - own["time"]).dt.total_seconds() / 86_400
        habit = (0.5 ** (age / 90)).groupby(own["item"]).sum()
        late = frame[frame["time"] > frame["time"].max() - pd.Timedelta(days=14)]
        trend = np.log1p(late.groupby("item")["user"].nunique())
        scores = np.log1p(habit).add(0.06 * trend, fill_value=0)
        order = np.argsort(-scores.to_numpy(), kind="stable")[:k]
        return [{"item": int(scores.index[i]), "score": float(scores.iloc[i])} for i in order]

    return app


@contextlib.contextmanager
def running(command: Sequence[str], port: int) -> Iterator[tuple[subprocess.Popen, float]]:
    """Run a service in a process group of its own; yields it and the seconds until it was ready."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
                break
            if process.poll() is not None or time.perf_counter() > started + 120:
                raise RuntimeError("the service did not start")
            time.sleep(0.02)
        yield process, time.perf_counter() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def memory_mib(process: subprocess.Popen) -> float:
    """Return the memory of a service and its workers, pages that they share counted once."""
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    return sum(one.memory_full_info().pss for one in family) / 2**20


def paths(n: int, seed: int = 0) -> list[str]:
    """Return addresses of lists of households, drawn evenly: the cache helps little."""
    households = np.random.default_rng(seed).integers(1, HOUSEHOLDS + 1, n)
    return [f"/households/{household}/recommendations" for household in households]


def percentiles(load: dict[str, np.ndarray]) -> dict[str, float]:
    """Summarise a load: counts, answers a second, and milliseconds from due to done."""
    seconds = load["done"] - load["due"]
    found = {f"p{name}": 1_000 * float(np.percentile(seconds, q)) for name, q in PERCENTILES.items()}
    errors = int((load["status"] != 200).sum())
    return {"sent": len(seconds), "errors": errors, "per_second": len(seconds) / load["done"].max(), **found}


def seconds_to_effect(port: int, n: int = 50) -> list[float]:
    """Measure from sending an event until an answer that knows it has arrived, in seconds."""
    found = []
    for number in range(n):
        started, household = time.perf_counter(), 3_000_000 + number
        body = {"id": f"b{time.time_ns()}", "household": household, "item": 1_082_185}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/events", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).read()
        url = f"http://127.0.0.1:{port}/households/{household}/recommendations?k=1"
        answer = json.loads(urllib.request.urlopen(url, timeout=10).read())
        if answer["items"][0]["item"] == 1_082_185:
            found.append(time.perf_counter() - started)
    return found


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def measure(seconds: int, folder: Path) -> dict:
    """Run all loads, one after the other."""
    found: dict[str, dict] = {}
    serve = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder)]
    port = free_port()
    with running([*serve, "--port", str(port)], port) as (process, ready):
        asyncio.run(open_loop(port, paths(200, 1), 50))  # a warm-up
        found["ours"] = percentiles(asyncio.run(open_loop(port, paths(RATE * seconds), RATE)))
        found["ours"] |= {"ready_seconds": ready, "memory_mib": memory_mib(process)}
        effect = seconds_to_effect(port)
        found["ours"] |= {"effect_ms": 1_000 * float(np.median(effect)), "effects": len(effect)}
        # The same rate as the rival's, for the ratio.
        slow = open_loop(port, paths(NAIVE_RATE * min(seconds, 20), 2), NAIVE_RATE)
        found["ours, slowly"] = percentiles(asyncio.run(slow))
    port = free_port()
    with running([*serve, "--port", str(port), "--workers", "2"], port) as (process, ready):
        asyncio.run(open_loop(port, paths(400, 1), 50))
        for rate in (SATURATION, 2 * SATURATION):
            load = open_loop(port, paths(rate * min(seconds, 20), 3), rate)
            found[f"ours, 2 workers, {rate}/s"] = percentiles(asyncio.run(load))
        found[f"ours, 2 workers, {rate}/s"]["memory_mib"] = memory_mib(process)
    port = free_port()
    command = [sys.executable, __file__, "--naive", str(port)]
    with running(command, port) as (process, ready):
        asyncio.run(open_loop(port, paths(5, 1), 2))
        load = open_loop(port, paths(NAIVE_RATE * min(seconds, 20), 2), NAIVE_RATE)
        found["naive, slowly"] = percentiles(asyncio.run(load))
        found["naive, slowly"] |= {"ready_seconds": ready, "memory_mib": memory_mib(process)}
    return found


def print_table(found: dict) -> None:
    """Print the percentiles of every load."""
    names = ("sent", "errors", "per_second", "p50", "p99", "p999", "ready_seconds", "memory_mib", "effect_ms")
    rows = [
        [load, *(f"{values[name]:,.1f}" if name in values else "" for name in names)]
        for load, values in found.items()
    ]
    print(harness.table(["load", *names], rows))
    ratio = found["naive, slowly"]["p50"] / found["ours, slowly"]["p50"]
    print(f"naive : ours at {NAIVE_RATE}/s, median: {ratio:.1f}")


def main() -> None:
    """Measure, print, keep."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seconds", type=int, default=SECONDS)
    given.add_argument("--naive", type=int, help="serve the rival on this port")
    settings = given.parse_args()
    if settings.naive:
        import uvicorn

        uvicorn.run(naive_app(), port=settings.naive, log_level="warning", access_log=False)
        return
    with tempfile.TemporaryDirectory() as folder:
        fit_and_publish(Path(folder), f"sqlite:///{Path(folder) / 'events.sqlite'}")
        found = measure(settings.seconds, Path(folder))
    print_table(found)
    about = {"machine": harness.machine(["fastapi", "uvicorn", "numpy"]), "seconds": settings.seconds}
    harness.save("serving", about | {"loads": found})


if __name__ == "__main__":
    main()
