"""A service in a process of its own, and an open-loop client: requests leave when they are due."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PERCENTILES = {"50": 50, "90": 90, "99": 99, "999": 99.9}


def start_service(folder: str | Path, *arguments: str) -> tuple[subprocess.Popen, int, float]:
    """Start `python -m recsys_lib.online` on a free port of this machine, and wait until it is ready.

    The service ends when its standard input closes: with the process that started it, whatever ends that.

    Parameters
    ----------
    folder : str or Path
        Where a model is published.
    *arguments : str
        Further ones of the command.

    Returns
    -------
    process : subprocess.Popen
    port : int
    seconds : float
        From the start until it was ready.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder), "--port", str(port)]
    started, environment = time.perf_counter(), {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--with-parent", *arguments],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    while process.poll() is None and time.perf_counter() < started + 120:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
            return process, port, time.perf_counter() - started
        except OSError:  # not there yet, or 503
            time.sleep(0.02)
    process.kill()
    raise RuntimeError("the service did not start")


async def open_loop(
    port: int, paths: Sequence[str], rate: float, connections: int = 64
) -> dict[str, np.ndarray]:
    """Ask a service on this machine at a given rate.

    Parameters
    ----------
    port : int
        On 127.0.0.1.
    paths : sequence of str
        One request each.
    rate : float
        Requests a second.
    connections : int
        At most so many requests are under way; what is due later waits, and its waiting counts.

    Returns
    -------
    dict
        "due", "sent" and "done", in seconds from the start, and "status" (0: no answer), shape (n,).

    Notes
    -----
    A client that sends the next request only after an answer (a closed loop) sends fewest while the service
    is slowest, and so hardly measures that: "coordinated omission". Seconds from *due* to *done* do.
    """
    n, waiting = len(paths), asyncio.Queue()
    due, sent, done, status = np.arange(n) / rate, np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, int)
    begun = time.perf_counter()

    async def work() -> None:
        pipe = None
        while (number := await waiting.get()) is not None:
            sent[number] = time.perf_counter() - begun
            try:
                pipe = pipe or await asyncio.open_connection("127.0.0.1", port)
                status[number] = await asyncio.wait_for(_ask(pipe, paths[number]), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                pipe = None
            done[number] = time.perf_counter() - begun
        if pipe:
            pipe[1].close()

    workers = [asyncio.create_task(work()) for _ in range(connections)]
    for number in range(n):
        pause = due[number] - (time.perf_counter() - begun)
        if pause > 0:
            await asyncio.sleep(pause)
        waiting.put_nowait(number)
    for _ in workers:
        waiting.put_nowait(None)
    await asyncio.gather(*workers)
    return {"due": due, "sent": sent, "done": done, "status": status}


async def _ask(pipe: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: str) -> int:
    reader, writer = pipe
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.split(b"content-length:")[1].split(b"\r\n")[0]
    await reader.readexactly(int(length))
    return int(head.split()[1])


def percentiles(load: dict[str, np.ndarray]) -> dict[str, float]:
    """Summarise a load: counts, answers a second, and milliseconds from due to done."""
    seconds = load["done"] - load["due"]
    found = {f"p{name}": 1_000 * float(np.percentile(seconds, q)) for name, q in PERCENTILES.items()}
    errors = int((load["status"] != 200).sum())
    return {"sent": len(seconds), "errors": errors, "per_second": len(seconds) / load["done"].max(), **found}
