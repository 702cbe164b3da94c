"""The service under load: open loop, percentiles from the moment a request was due, a naive rival beside it.

    python benchmarks/serving.py                 # four minutes: the table, the bars, results/serving.json
    python benchmarks/serving.py --seconds 10    # a quick look, which keeps nothing

Load is sent to this machine's loopback only, for a bounded time, by a client on the same cores. Every path
is asked for once, so that no list comes from the cache, except under "asked again".
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
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
HOUSEHOLDS, LENGTHS = 2_469, range(8, 30)  # 54,318 paths: more than one service is asked for
# What the service promises: load, value, at most or at least, bar.
BARS = [
    ("ours", "errors", "at most", 0),
    ("ours", "p50", "at most", 5),
    ("ours", "p99", "at most", 20),
    ("ours", "memory_mib", "at most", 600),
    ("ours", "ready_seconds", "at most", 5),
    ("ours", "effects", "at least", 50),
    ("ours", "slowest_effect_ms", "at most", 50),
    ("ours, slowly", "errors", "at most", 0),
    ("naive, slowly", "errors", "at most", 0),
    ("ours, 2 workers, 600/s", "errors", "at most", 0),
    ("ours, 2 workers, 1200/s", "errors", "at most", 0),
    ("ours, 2 workers, 1200/s", "per_second", "at least", SATURATION),
    ("ours, 2 workers, 1200/s", "memory_mib", "at most", 600),
]
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


def family(process: subprocess.Popen) -> list[psutil.Process]:
    """Return a service and its workers."""
    first = psutil.Process(process.pid)
    return [first, *first.children(recursive=True)]


def memory_mib(process: subprocess.Popen) -> float:
    """Return the memory of a service and its workers, pages that they share counted once."""
    return sum(one.memory_full_info().pss for one in family(process)) / 2**20


def cpu_seconds(process: subprocess.Popen) -> float:
    """Return the processor time that a service and its workers have used."""
    return sum(sum(one.cpu_times()[:2]) for one in family(process))


def paths(seed: int = 0) -> Iterator[str]:
    """Yield addresses of lists in random order, none twice."""
    pairs = np.array(list(itertools.product(range(1, HOUSEHOLDS + 1), LENGTHS)))
    for household, k in np.random.default_rng(seed).permutation(pairs):
        yield f"/households/{household}/recommendations?k={k}"


def send(process: subprocess.Popen, port: int, asked: Sequence[str], rate: float) -> dict[str, float]:
    """Send a load and summarise it; `cpu_ms` is the service's processor time for one answer."""
    before = cpu_seconds(process)
    found = percentiles(asyncio.run(open_loop(port, asked, rate)))
    return found | {"cpu_ms": 1_000 * (cpu_seconds(process) - before) / len(asked)}


def percentiles(load: dict[str, np.ndarray]) -> dict[str, float]:
    """Summarise a load: counts, answers a second, and milliseconds from due to done."""
    seconds = load["done"] - load["due"]
    found = {f"p{name}": 1_000 * float(np.percentile(seconds, q)) for name, q in PERCENTILES.items()}
    errors = int((load["status"] != 200).sum())
    return {
        "sent": len(seconds),
        "errors": errors,
        "per_second": float((load["status"] == 200).sum() / load["done"].max()),
        **found,
    }


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
    serve, short = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder)], min(seconds, 20)
    port, new = free_port(), paths()
    take = lambda n: list(itertools.islice(new, n))  # noqa: E731
    with running([*serve, "--port", str(port)], port) as (process, ready):
        asyncio.run(open_loop(port, take(200), 50))  # a warm-up
        asked = take(RATE * seconds)
        found["ours"] = send(process, port, asked, RATE)
        found["ours"] |= {"ready_seconds": ready, "memory_mib": memory_mib(process)}
        found["ours, asked again"] = send(process, port, asked[-RATE * short :], RATE)
        effect = seconds_to_effect(port)
        found["ours"] |= {"slowest_effect_ms": 1_000 * max(effect, default=np.inf), "effects": len(effect)}
        # The same rate as the rival's, for the ratio.
        found["ours, slowly"] = send(process, port, take(NAIVE_RATE * short), NAIVE_RATE)
    port, new = free_port(), paths()
    with running([*serve, "--port", str(port), "--workers", "2"], port) as (process, ready):
        asyncio.run(open_loop(port, take(400), 50))
        for rate in (SATURATION, 2 * SATURATION):
            found[f"ours, 2 workers, {rate}/s"] = send(process, port, take(rate * short), rate)
        found[f"ours, 2 workers, {rate}/s"]["memory_mib"] = memory_mib(process)
    port, new = free_port(), paths()
    with running([sys.executable, __file__, "--naive", str(port)], port) as (process, ready):
        asyncio.run(open_loop(port, take(5), 2))
        found["naive, slowly"] = send(process, port, take(NAIVE_RATE * short), NAIVE_RATE)
        found["naive, slowly"] |= {"ready_seconds": ready, "memory_mib": memory_mib(process)}
    return found


def bars(found: dict) -> list[list[str]]:
    """Compare what was promised with what was measured: load, value, measured, bar, ok or not."""
    lines = []
    for load, name, side, bar in BARS:
        value = found[load][name]
        met = value <= bar if side == "at most" else value >= bar
        lines.append([f"{load}: {name}", f"{value:,.1f}", f"{side} {bar}", "ok" if met else "NOT OK"])
    return lines


def print_table(found: dict) -> None:
    """Print the percentiles of every load, and every bar."""
    names = ("sent", "errors", "per_second", "p50", "p99", "p999", "cpu_ms", "ready_seconds", "memory_mib")
    rows = [
        [load, *(f"{values[name]:,.1f}" if name in values else "" for name in names)]
        for load, values in found.items()
    ]
    print(harness.table(["load", *names], rows))
    ratio = {
        name: found["naive, slowly"][name] / found["ours, slowly"][name] for name in ("p50", "p99", "cpu_ms")
    }
    shown = ", ".join(f"{name} {value:.1f}" for name, value in ratio.items())
    print(f"naive : ours at {NAIVE_RATE}/s: {shown}\n")
    print(harness.table(["promised", "measured", "bar", ""], bars(found)))


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
    busy = os.getloadavg()[0]  # processes that wanted a processor, before we began
    with tempfile.TemporaryDirectory() as folder:
        fit_and_publish(Path(folder), f"sqlite:///{Path(folder) / 'events.sqlite'}")
        found = measure(settings.seconds, Path(folder))
    print_table(found)
    print(f"\nload of the machine before: {busy:.1f}")
    if busy > 0.5 or settings.seconds < SECONDS:
        print(f"nothing is kept: that takes {SECONDS} seconds on a machine with a load of at most 0.5")
        return
    about = {
        "machine": harness.machine(["fastapi", "uvicorn", "numpy"]),
        "seconds": settings.seconds,
        "load": busy,
    }
    print("kept in", harness.save("serving", about | {"loads": found, "bars": bars(found)}))


if __name__ == "__main__":
    main()
