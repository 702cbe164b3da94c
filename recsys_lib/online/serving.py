"""The shop behind an address: endpoints, checked input, errors as problem+json, metrics."""

import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from pydantic import Field, create_model
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from recsys_lib.online.gate import Gate, Problem, problem
from recsys_lib.online.shop import POINTER, Shop
from recsys_lib.online.stores import EventStore, MemoryCache, Past, RedisCache

MOST_EVENTS, FRESH = 1_000, 60.0  # events, seconds that an answer is kept
BUCKETS, LARGEST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5), 2**31 - 1
Id = Annotated[int, InPath(ge=0, le=LARGEST)]
Count = Annotated[int, Query(ge=1, le=100)]
Number = Annotated[int, Field(ge=0, le=LARGEST)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]  # the same id sent again changes nothing
Kind, Moment = Literal["purchase", "view", "removal"], Annotated[float, Field(ge=0, le=1e11)] | None
_OPTIONAL = {"kind": (Kind, "purchase"), "time": (Moment, None)}
Event = create_model("Event", id=Name, household=Number, item=Number, **_OPTIONAL)
Stored = create_model("Stored", stored=int, repeated=int)
Reason = create_model("Reason", item=int | None, name=str, score=float)
Entry = create_model("Entry", __base__=Reason, seen=(bool, False), because=(list[Reason], []))
_OF = {"household": (int | None, None), "known": (bool | None, None)}  # known: not what every new one gets
Asked, Said = create_model("Asked", text=str), create_model("Said", action=str, text=str, entry=str)
Answer = create_model("Answer", items=list[Entry], version=str, **_OF)
PROBLEM = {"model": Problem, "content": {"application/problem+json": {}}}
PROBLEMS = dict.fromkeys((400, 401, 404, 405, 409, 413, 422, 429, 500, 503), PROBLEM)


class Service:
    """What the endpoints share: the shop in use, the stores, the numbers that are watched."""

    def __init__(self, folder: str | Path, store: str, cache: str | None) -> None:
        self.folder, self.store_url, self.shop = Path(folder), store, None
        self.store: EventStore | None = None
        self.cache = RedisCache(cache) if cache else MemoryCache()
        self.registry, self.why, self.stop = CollectorRegistry(), "starting", threading.Event()
        shared = {"registry": self.registry}
        self.requests = Counter("shop_requests", "Answers by status", ["status"], **shared)
        self.seconds = Histogram("shop_seconds", "Time to an answer", buckets=BUCKETS, **shared)
        self.events = Counter("shop_events", "Events received, repeated ones too", ["kind"], **shared)
        self.cached = Counter("shop_cache", "Asked of the cache", ["result"], **shared)

    def watch(self) -> None:
        """Open the store, load the model, and load again whenever another version is published."""
        seen = ""
        while not self.stop.is_set():
            try:
                self.store = self.store or EventStore(self.store_url)
                text = (self.folder / POINTER).read_text("utf-8")
                if text != seen:
                    self.shop, seen, self.why = Shop(self.folder), text, ""
            except Exception as error:  # whatever it is: without this thread no later version is seen
                self.why = f"{type(error).__name__}: {error}"  # the shop that is there goes on
            self.stop.wait(0.5)

    def open(self, *items: int) -> Shop:
        """Return the shop in use, 503 while there is none, 404 where it does not have an item."""
        if self.shop is None or self.store is None:
            raise HTTPException(503, "the model is not ready yet")
        for item in items:
            if item not in self.shop.items:
                raise HTTPException(404, f"there is no item {item}")
        return self.shop

    def past(self, shop: Shop, household: int) -> tuple[Past, bool]:
        """Return what a household did since the fit, and whether anything is known of it."""
        past = self.store.of(household, shop.after)
        return past, bool(past.events) or (household in shop.users and not past.forgotten)

    def remember(self, key: str, make: Callable[[], Response]) -> Response:
        """Return what the cache has under a key, else make it and keep it there."""
        found = self.cache.get(key)
        result = "error" if self.cache.state != "ok" else "miss" if found is None else "hit"
        self.cached.labels(result).inc()
        if found is not None:
            return Response(found, media_type="application/json")
        made = make()
        self.cache.set(key, made.body, FRESH)
        return made


async def _on_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    if isinstance(error, SQLAlchemyError):  # nothing was acknowledged
        reason = str(getattr(error, "orig", error)).splitlines()[0][:100]
        return problem(503, f"the event store does not answer: {reason}")
    return problem(500, f"an error of the service: {type(error).__name__}")


def application() -> FastAPI:
    """Make the application from the environment: every worker process calls this."""

    def desk(service: Service) -> Any:
        from recsys_lib.online.desk import open_desk  # needs torch, which others do without

        return open_desk(service)

    given = [os.environ.get(f"SHOP_{name}") for name in ("FOLDER", "STORE", "CACHE", "KEY")]
    return make_app(*given, desk=desk)


def make_app(
    folder: str | Path, store: str, cache: str | None = None, key: str | None = None, at_once: int = 256,
    desk: Callable[[Service], Any] | None = None,
) -> FastAPI:  # fmt: skip
    """Make the application, for a folder of models, a database and perhaps a Redis server by their URLs.

    What is published in the folder later is taken up within a second. Callers must send the key, if there is
    one; while `at_once` requests are inside, further ones get 429. `desk` makes the assistant.
    """
    service = Service(folder, store, cache)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        watcher = threading.Thread(target=service.watch, daemon=True)
        watcher.start()
        yield
        service.stop.set()
        watcher.join(5)
        if service.store:
            service.store.close()

    app = FastAPI(title="The shop", version="1", lifespan=lifespan, responses=PROBLEMS)
    app.state.service = service
    app.add_middleware(Gate, service=service, key=key, at_once=at_once)
    for kind in (HTTPException, RequestValidationError, SQLAlchemyError, Exception):
        app.add_exception_handler(kind, _on_error)
    _add_households(app, service)
    _add_items(app, service)
    _add_state(app, service)
    if desk:
        _add_desk(app, service, desk)
    return app


def _answer(shop: Shop, items: Sequence[dict], **more: Any) -> Response:
    body = json.dumps({"items": items, **more, "version": shop.version})
    return Response(body, media_type="application/json")


def _add_households(app: FastAPI, service: Service) -> None:
    @app.get("/households/{household}/recommendations", response_model=Answer)
    def recommendations(
        household: Id,
        k: Count = 10,
        seen: bool = True,
        why: bool = False,
        basket: Annotated[list[Number], Query(max_length=50)] = [],  # noqa: B006
    ) -> Response:
        """List the best items for a household, with what is in its basket now."""
        shop = service.open(*basket)
        past, known = service.past(shop, household)
        last = past.events[-1][0] if past.events else 0  # in the key: no answer outlives the next event
        parts = (household, last, len(past.events), past.forgotten, k, seen, why, *basket)

        def make() -> Response:
            items = shop.recommend(shop.history(household, past, shop.now(), basket), k, seen, basket, why)
            return _answer(shop, items, household=household, known=known)

        return service.remember(f"{shop.version}/{parts}", make)

    @app.get("/households/{household}/explanations/{item}", response_model=Answer)
    def explanation(household: Id, item: Id) -> Response:
        """Split the score of an item for a household into what adds to it."""
        shop = service.open(item)
        past, known = service.past(shop, household)
        reasons = shop.explain(shop.history(household, past, shop.now()), item)
        return _answer(shop, reasons, household=household, known=known)

    @app.delete("/households/{household}", status_code=204)
    def forget(household: Id) -> Response:
        """Delete a household's events now, and leave it out of every fit from now on."""
        service.open()
        service.store.forget(household)
        return Response(status_code=204)

    @app.post("/events", response_model=Stored, status_code=201)
    def events(body: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)] | Event) -> Stored:
        """Store one event or many, all or none; what is answered is on disk."""
        sent = body if isinstance(body, list) else [body]
        now = service.open(*(one.item for one in sent)).now()
        rows = [one.model_dump() | {"time": now if one.time is None else one.time} for one in sent]
        late = [row["id"] for row in rows if row["time"] > now + 60]
        if late:
            raise HTTPException(409, f"event {late[0]} is in the future of the shop's clock")
        new = service.store.add(rows)
        for one in sent:
            service.events.labels(one.kind).inc()
        return Stored(stored=new, repeated=len(sent) - new)


def _add_items(app: FastAPI, service: Service) -> None:
    @app.get("/items/{item}/similar", response_model=Answer)
    def similar(item: Id, k: Count = 10) -> Response:
        """List the items most similar to one."""
        shop = service.open(item)
        return _answer(shop, shop.similar(item, k))

    @app.get("/items", response_model=Answer)
    def search(words: Annotated[str, Query(min_length=1, max_length=100)], k: Count = 10) -> Response:
        """Find items by how the words of their names begin."""
        shop = service.open()
        return _answer(shop, shop.search(words, k))


def _add_desk(app: FastAPI, service: Service, make: Callable) -> None:
    lock, made = threading.Lock(), []  # one assistant, made once

    @app.post("/households/{household}/questions", response_model=Said)
    def question(household: Id, asked: Asked) -> Said:
        """Answer a question in words; the first one waits until the assistant is made."""
        past, _ = service.past(service.open(), household)
        with lock:
            try:
                if not made:
                    made.append(make(service))
            except (OSError, RuntimeError, ValueError) as error:
                raise HTTPException(503, f"there is no assistant: {error}") from error
        reply = made[0].reply(asked.text, -1 if past.forgotten else household)
        return Said(action=reply.action, text=reply.text, entry=reply.entry)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process is alive, whatever else is wrong."""
        return {"status": "alive"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        """Say whether requests can be answered: a model is loaded and the store answers."""
        shop = service.open()
        service.past(shop, 0)
        return {"version": shop.version, "cache": service.cache.state, "model": service.why}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def metrics() -> Response:
        """Return the counters in Prometheus's format; of all workers, where there are several."""
        registry = service.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", response_class=FileResponse, include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(Path(__file__).with_name("page.html"))
