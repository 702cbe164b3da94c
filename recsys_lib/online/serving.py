"""The shop behind an address: endpoints, checked input, errors as problem+json, metrics."""

from __future__ import annotations

import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from recsys_lib.online.contract import PROBLEMS, Answer, Count, Event, Id, Number, Problem, Stored
from recsys_lib.online.shop import POINTER, Shop, load_published
from recsys_lib.online.stores import EventStore, MemoryCache, RedisCache
from recsys_lib.recommenders.shared.history import history_weights

LARGEST_BODY, MOST_EVENTS, FRESH = 262_144, 1_000, 60.0  # bytes, events, seconds that an answer is kept
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)


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
        self.events = Counter("shop_events", "Events stored", ["kind"], **shared)
        self.cached = Counter("shop_cache", "Asked of the cache", ["result"], **shared)
        self.unknown = Counter("shop_unknown_households", "Lists for households without history", **shared)

    def watch(self) -> None:
        """Open the store, load the model, and load again whenever another version is published."""
        seen = ""
        while True:
            try:
                self.store = self.store or EventStore(self.store_url)
                text = (self.folder / POINTER).read_text("utf-8")
                if text != seen:
                    self.shop, seen, self.why = Shop(load_published(self.folder)), text, ""
            except (OSError, ValueError, KeyError, SQLAlchemyError) as error:
                self.why = f"{type(error).__name__}: {error}"  # the shop that is there goes on
            if self.stop.wait(0.5):
                return

    def open(self) -> Shop:
        """Return the shop in use; 503 while there is none."""
        if self.shop is None or self.store is None:
            raise HTTPException(503, "the model is not ready yet")
        return self.shop

    @contextmanager
    def storing(self) -> Iterator[EventStore]:
        """Give the store; what goes wrong with it is a 503, and nothing was acknowledged."""
        try:
            yield self.store
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error)).splitlines()[0][:100]
            raise HTTPException(503, f"the event store does not answer: {reason}") from error

    def remember(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return what the cache has under a key, else make it and keep it there."""
        found = self.cache.get(key)
        result = "error" if self.cache.state != "ok" else "miss" if found is None else "hit"
        self.cached.labels(result).inc()
        if found is None:
            found = make()
            self.cache.set(key, found, FRESH)
        return found


class Gate:
    """Around all endpoints: a key where one is needed, bounds on bodies and on requests at once, metrics."""

    def __init__(self, app: Any, service: Service, key: str | None, at_once: int) -> None:
        self.app, self.service, self.key, self.at_once, self.inside = app, service, key, at_once, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status, size = time.perf_counter(), 500, 0

        async def counted() -> Any:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > LARGEST_BODY:
                raise HTTPException(413, f"the body is larger than {LARGEST_BODY:,} bytes")
            return message

        async def watched(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        refused = self._refuse(scope)
        self.inside += 1
        try:
            await (self.app if refused is None else refused)(scope, counted, watched)
        finally:
            self.inside -= 1
            self.service.requests.labels(str(status)).inc()
            self.service.seconds.observe(time.perf_counter() - started)

    def _refuse(self, scope: Any) -> Response | None:
        headers, free = dict(scope["headers"]), ("/", "/health", "/ready")
        if self.key and scope["path"] not in free:
            given = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not hmac.compare_digest(given, self.key.encode()):
                return problem(401, "send the key as Authorization: Bearer …")
        if self.inside >= self.at_once and scope["path"] != "/health":
            return problem(429, "too many requests at once", {"Retry-After": "1"})
        size = headers.get(b"content-length", b"0")
        if size.isdigit() and int(size) > LARGEST_BODY:
            return problem(413, f"the body is larger than {LARGEST_BODY:,} bytes")
        return None


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return an error as problem+json (RFC 9457)."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail).model_dump_json()
    return Response(body, status, headers, "application/problem+json")


def make_app(
    folder: str | Path, store: str, cache: str | None = None, key: str | None = None, at_once: int = 256
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    folder : str or Path
        Where `shop.publish` puts models; what is published later is taken up within a second.
    store : str
        URL of the database of events, for `EventStore`.
    cache : str, optional
        URL of a Redis server. Without it, answers are kept in the process.
    key : str, optional
        What callers must send.
    at_once : int
        Requests that may be inside at the same time; further ones get 429.
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
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_bad_input)
    app.add_exception_handler(Exception, _on_error)
    _add_households(app, service)
    _add_items(app, service)
    _add_state(app, service)
    return app


async def _on_http_error(_: Request, error: HTTPException) -> Response:
    return problem(error.status_code, str(error.detail), dict(error.headers or {}))


async def _on_bad_input(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    return problem(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


async def _on_error(_: Request, error: Exception) -> Response:
    return problem(500, f"an error of the service: {type(error).__name__}")


def _answer(shop: Shop, items: Sequence[dict], **more: Any) -> bytes:
    return json.dumps({"items": items, **more, "version": shop.version}).encode()


def _sent(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _check_items(shop: Shop, *items: int) -> None:
    for item in items:
        if item not in shop.items:
            raise HTTPException(404, f"there is no item {item}")


def _add_households(app: FastAPI, service: Service) -> None:
    def past_of(shop: Shop, household: int) -> tuple[Any, bool]:
        with service.storing() as store:
            past = store.of(household, shop.after)
        return past, bool(past.events) or (household in shop.users and not past.forgotten)

    @app.get("/households/{household}/recommendations", response_model=Answer)
    def recommendations(
        household: Id,
        k: Count = 10,
        seen: bool = True,
        why: bool = False,
        basket: Annotated[list[Number], Query(max_length=50)] = [],  # noqa: B006
    ) -> Response:
        """List the best items for a household, with what is in its basket now."""
        shop = service.open()
        _check_items(shop, *basket)
        past, known = past_of(shop, household)
        if not known:
            service.unknown.inc()
        last = past.events[-1][0] if past.events else 0  # in the key: no answer outlives the next event
        parts = (household if known else "new", last, len(past.events), past.forgotten, k, seen, why, *basket)

        def make() -> bytes:
            row = shop.history(household, past, shop.now(), basket)
            items = shop.recommend(row, k, seen, basket, why)
            return _answer(shop, items, household=household, known=known)

        return _sent(service.remember(f"{shop.version}/{parts}", make))

    @app.get("/households/{household}/explanations/{item}", response_model=Answer)
    def explanation(household: Id, item: Id) -> Response:
        """Split the score of an item for a household into what adds to it."""
        shop = service.open()
        _check_items(shop, item)
        past, known = past_of(shop, household)
        row = shop.history(household, past, shop.now())
        reasons = shop.explain(history_weights(row, shop.model.weighting), item)
        return _sent(_answer(shop, reasons, household=household, known=known))

    @app.delete("/households/{household}", status_code=204)
    def forget(household: Id) -> Response:
        """Delete a household's events now, and leave it out of every fit from now on."""
        service.open()
        with service.storing() as store:
            store.forget(household)
        return Response(status_code=204)

    @app.post("/events", response_model=Stored, status_code=201)
    def events(
        body: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)] | Event,
    ) -> Stored:
        """Store one event or many, all or none; what is answered is on disk."""
        shop, sent = service.open(), body if isinstance(body, list) else [body]
        _check_items(shop, *(one.item for one in sent))
        now = shop.now()
        late = [one.id for one in sent if one.time is not None and one.time > now + 60]
        if late:
            raise HTTPException(422, f"event {late[0]} is in the future of the shop's clock")
        rows = [one.model_dump() | {"time": now if one.time is None else one.time} for one in sent]
        with service.storing() as store:
            new = store.add(rows)
        for one in sent:
            service.events.labels(one.kind).inc()
        return Stored(stored=new, repeated=len(sent) - new)


def _add_items(app: FastAPI, service: Service) -> None:
    @app.get("/items/{item}/similar", response_model=Answer)
    def similar(item: Id, k: Count = 10) -> Response:
        """List the items most similar to one."""
        shop = service.open()
        _check_items(shop, item)
        return _sent(_answer(shop, shop.similar(item, k)))

    @app.get("/items", response_model=Answer)
    def search(words: Annotated[str, Query(min_length=1, max_length=100)], k: Count = 10) -> Response:
        """Find items by words of their names, or by how the words begin."""
        shop = service.open()
        return _sent(_answer(shop, shop.search(words, k)))


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that the process is alive, whatever else is wrong."""
        return {"status": "alive"}

    @app.get("/ready")
    def ready() -> dict[str, str]:
        """Say whether requests can be answered: a model is loaded and the store answers."""
        shop = service.open()
        with service.storing() as store:
            store.ping()
        return {
            "status": "ready",
            "version": shop.version,
            "cache": service.cache.state,
            "model": service.why,
        }

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
