"""An open-loop client: requests leave when they are due, whatever became of the ones before."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np


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
            if pipe and pipe[0].at_eof():  # closed by the service, which was kept waiting
                pipe = None
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
