"""`make serve`: fit where nothing is published yet, start on an address, print it."""

import argparse
import ipaddress
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn

from recsys_lib.files import project_root
from recsys_lib.online import serving
from recsys_lib.online.shop import POINTER

APPLICATION = f"{serving.__name__}:{serving.application.__name__}"  # every worker imports it


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until Ctrl-C."""
    data = Path(os.environ.get("RECSYS_DATA") or project_root() / "data")
    given = argparse.ArgumentParser(prog="make serve", description=__doc__)
    given.add_argument("--folder", type=Path, default=data / "processed" / "shop")
    given.add_argument("--store", help="sqlite:///… or postgresql+psycopg://…; else a file in the folder")
    given.add_argument("--cache", help="redis://…; default: in the process")
    given.add_argument("--host", default="127.0.0.1")
    given.add_argument("--port", type=int, default=8000)
    given.add_argument("--workers", type=int, default=1)
    given.add_argument("--refit", action="store_true", help="fit again, on what was bought here, too")
    given.add_argument("--with-parent", action="store_true", help="end when standard input closes")
    settings = given.parse_args()
    settings.folder.mkdir(parents=True, exist_ok=True)
    store = settings.store or f"sqlite:///{settings.folder / 'events.sqlite'}"
    if not ipaddress.ip_address(settings.host).is_loopback and not os.environ.get("SHOP_KEY"):
        proposed = secrets.token_hex(16)
        raise SystemExit(f"{settings.host} can be reached by others: set SHOP_KEY, for example to {proposed}")
    if settings.refit or not (settings.folder / POINTER).is_file():
        print("Fitting the model; this takes half a minute, once.", flush=True)
        # In a process of its own: what the fit needs, the service would carry along.
        command = [sys.executable, "-m", "recsys_lib.online.nightly", str(settings.folder), store]
        subprocess.run(command, check=True)
    given_on = {"SHOP_FOLDER": str(settings.folder), "SHOP_STORE": store, "SHOP_CACHE": settings.cache}
    os.environ |= {name: value for name, value in given_on.items() if value}
    if settings.with_parent:
        threading.Thread(target=_end_with_input, daemon=True).start()
    print(f"http://{settings.host}:{settings.port}/", flush=True)
    with tempfile.TemporaryDirectory() as counters:
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
        where = {"host": settings.host, "port": settings.port, "workers": settings.workers}
        uvicorn.run(APPLICATION, factory=True, log_level="warning", access_log=False, **where)


if __name__ == "__main__":
    main()
