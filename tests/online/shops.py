"""A shop of 40 households and 30 items, and a service in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib.online.nightly import fit_shop
from recsys_lib.online.shop import publish
from recsys_lib.online.stores import EventStore

DAY = 86_400
START = 17_000 * DAY  # in 2016


def lines(seed: int = 0) -> pd.DataFrame:
    """1,500 purchases of 100 days; households and items of the same parity belong together."""
    rng = np.random.default_rng(seed)
    household, item = rng.integers(1, 41, 1_500), rng.integers(0, 15, 1_500)
    item = 2 * item + np.where(rng.random(1_500) < 0.9, household % 2, 1 - household % 2)
    times = START + np.sort(rng.random(1_500)) * 100 * DAY
    return pd.DataFrame({"household": household, "item": 1_000 + item, "time": times, "value": 1.0})


def publish_tiny(folder: Path, frame: pd.DataFrame | None = None, after: int = 0) -> str:
    model = fit_shop(lines() if frame is None else frame, min_users=3)
    return publish(model, [f"thing {item}; sort {item % 3}" for item in model.items], folder, after)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str, body=None, method=None, headers=None) -> tuple[int, dict]:
    """Send one request; status and JSON. OSError where nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    request.method = method or ("GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}")


def start(folder: Path, port: int, *arguments: str, before=None, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder), "--port", str(port)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    variables.pop("SHOP_KEY", None) if "SHOP_KEY" not in environment else None
    return subprocess.Popen(
        [*command, *arguments],
        env=variables,
        stdout=subprocess.DEVNULL,
        preexec_fn=before,
        start_new_session=True,
    )


def wait_ready(port: int, process: subprocess.Popen, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, "the service ended by itself"
        try:
            if ask(f"http://127.0.0.1:{port}/ready")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready after {seconds} s")


def end(process: subprocess.Popen, how: int = signal.SIGKILL) -> None:
    """End a service and its workers, whatever state it is in."""
    if process.poll() is None:
        os.killpg(process.pid, how)
    process.wait(timeout=20)


@contextmanager
def served(folder: Path, *arguments: str, **more):
    """Serve a folder; yields address and process, and ends the process whatever happens."""
    port = free_port()
    process = start(folder, port, *arguments, **more)
    try:
        wait_ready(port, process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        end(process)


def stored(folder: Path) -> pd.DataFrame:
    store = EventStore(f"sqlite:///{folder / 'events.sqlite'}")
    rows, _ = store.rows()
    store.close()
    return pd.DataFrame(rows)
