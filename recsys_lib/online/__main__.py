"""`make serve`: fit or load, start on an address, print it."""

from __future__ import annotations

import argparse
import ipaddress
import os
import secrets
import signal
import sys
import tempfile
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from recsys_lib.data import load_table, prepared_lines, product_texts
from recsys_lib.data.cache import data_folder
from recsys_lib.online.serving import make_app
from recsys_lib.online.shop import POINTER, fit_shop, publish, training_lines
from recsys_lib.online.stores import EventStore
from recsys_lib.recommenders.shared.weighting import seconds


def fit_and_publish(folder: Path, store: str) -> None:
    """Fit on the purchases of the whole year and the events of a store, and publish."""
    lines = prepared_lines()
    frame = lines.rename(columns={"household_id": "household", "product_id": "item"})
    frame = frame.assign(time=seconds(frame["transaction_timestamp"]))
    joined, after = training_lines(frame[["household", "item", "time"]], EventStore(store))
    model = fit_shop(joined)
    products = load_table("products").set_index("product_id").reindex(model.items_)
    publish(model, product_texts(products), folder, after)


def application() -> FastAPI:
    """Make the application from the environment: every worker process calls this."""
    values = {name: os.environ.get(f"SHOP_{name.upper()}") for name in ("folder", "store", "cache", "key")}
    return make_app(**values)


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Serve until Ctrl-C."""
    given = argparse.ArgumentParser(prog="make serve", description=__doc__)
    given.add_argument("--folder", type=Path, default=data_folder() / "processed" / "shop")
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
    if settings.refit or not (settings.folder / POINTER).is_file():
        print("Fitting the model; this takes half a minute, once.", flush=True)
        fit_and_publish(settings.folder, store)
    key, inside = os.environ.get("SHOP_KEY"), ipaddress.ip_address(settings.host).is_loopback
    if not inside and not key:
        raise SystemExit(
            f"{settings.host} can be reached by others: set SHOP_KEY, for example to {secrets.token_hex(16)}"
        )
    os.environ |= {"SHOP_FOLDER": str(settings.folder), "SHOP_STORE": store}
    os.environ |= {"SHOP_CACHE": settings.cache} if settings.cache else {}
    if settings.with_parent:
        threading.Thread(target=_end_with_input, daemon=True).start()
    print(f"http://{settings.host}:{settings.port}/", flush=True)
    with tempfile.TemporaryDirectory() as counters:
        if settings.workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
        where = {"host": settings.host, "port": settings.port, "workers": settings.workers}
        name, quiet = f"recsys_lib.online.__main__:{application.__name__}", {"access_log": False}
        uvicorn.run(name, factory=True, log_level="warning", **where, **quiet)


if __name__ == "__main__":
    main()
