"""A service in a process of its own, and an open-loop client: requests leave when they are due."""

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


def start_service(folder: str | Path, *arguments: str) -> tuple[subprocess.Popen, int, float]:
    """Start `python -m recsys_lib.online` on a free port; return process, port, seconds until it was ready.

    It ends when its standard input closes: with the process that started it, whatever ends that.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder), "--with-parent"]
    quiet = {
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
        "stdin": subprocess.PIPE,
        "stdout": subprocess.DEVNULL,
    }
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--port", str(port), *arguments], **quiet)
    while process.poll() is None and time.perf_counter() < started + 120:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
            return process, port, time.perf_counter() - started
        except OSError:  # not there yet, or 503
            time.sleep(0.02)
    process.kill()
    raise RuntimeError("the service did not start")


async def open_loop(port: int, paths: Sequence[str], rate: float, most: int = 64) -> dict[str, np.ndarray]:
    """Ask a service on this machine for paths, `rate` a second; at most so many are under way.

    Returns "due", "sent" and "done", seconds from the start, and "status" (0: no answer), shape (n,).
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
                status[number] = await asyncio.wait_for(_ask(*pipe, paths[number]), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                pipe = None
            done[number] = time.perf_counter() - begun
        if pipe:
            pipe[1].close()

    workers = [asyncio.create_task(work()) for _ in range(most)]
    for number in range(n):
        await asyncio.sleep(max(0.0, due[number] - (time.perf_counter() - begun)))
        waiting.put_nowait(number)
    for _ in workers:
        waiting.put_nowait(None)
    await asyncio.gather(*workers)
    return {"due": due, "sent": sent, "done": done, "status": status}


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    return int(head.split()[1])
