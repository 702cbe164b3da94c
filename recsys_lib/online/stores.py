"""What a service must not lose, and what it may: events in a database, answers in a cache."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import redis
from sqlalchemy import Column, Connection, Float, Integer, MetaData, String, Table, create_engine, event, text
from sqlalchemy.engine import make_url

KINDS = {"purchase": 1.0, "view": 0.1, "removal": 0.0}  # what an event adds to the history
FORGET = "forget"  # the kind of the row that is left of a deleted household: later fits know it
_TABLES = MetaData()
_EVENTS = Table(
    "events",
    _TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(64), unique=True, nullable=False),
    Column("household", Integer, index=True, nullable=False),
    Column("item", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("time", Float(53), nullable=False),
    sqlite_autoincrement=True,  # numbers of deleted rows are not given out again
)
# One statement for SQLite and PostgreSQL alike: what is known already is left as it is.
_ADD = text(
    "INSERT INTO events (id, household, item, kind, time) VALUES (:id, :household, :item, :kind, :time) "
    "ON CONFLICT DO NOTHING"
)
_OF = text(
    "SELECT number, item, kind, time FROM events WHERE household = :household AND number > :after "
    "ORDER BY time, number"
)


class Past(NamedTuple):
    """What the store knows of a household: its events, oldest first, and whether to ignore the fit."""

    events: list[tuple[int, int, str, float]]  # number, item, kind, time
    forgotten: bool


class EventStore:
    """Events in SQLite (``sqlite:///file``) or PostgreSQL; what `add` has returned from is on disk."""

    def __init__(self, url: str) -> None:
        self._local = local = make_url(url).get_backend_name() == "sqlite"
        waits = {"timeout": 10} if local else {"connect_timeout": 5}
        pool = {"pool_size": 20, "max_overflow": 20, "pool_timeout": 5, "pool_pre_ping": not local}
        self._engine = create_engine(url, connect_args=waits, **pool)
        if local:
            event.listen(self._engine, "connect", _set_up_sqlite)
        _TABLES.create_all(self._engine)

    def add(self, events: Sequence[dict[str, Any]]) -> int:
        """Store events all or none; return how many were new. An id that is known changes nothing."""
        with self._writing() as connection:
            return sum(connection.execute(_ADD, one).rowcount for one in events)

    def of(self, household: int, after: int = 0) -> Past:
        """Return the events of a household whose number is above `after`, the last that the fit knows."""
        with self._engine.connect() as connection:
            found = connection.execute(_OF, {"household": household, "after": after}).fetchall()
        events = [tuple(row) for row in found if row[2] != FORGET]
        return Past(events, len(events) < len(found))

    def forget(self, household: int) -> None:
        """Delete the events of a household; one row is left: fits leave out what came before."""
        row = {"id": uuid.uuid4().hex, "household": household, "item": 0, "kind": FORGET, "time": 0.0}
        with self._writing() as connection:
            connection.execute(_EVENTS.delete().where(_EVENTS.c.household == household))
            connection.execute(_ADD, row)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One writer at a time, as in SQLite: who sees a number sees all lower ones; no fit skips a row."""
        with self._engine.begin() as connection:
            if not self._local:
                connection.execute(text("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE"))
            yield connection

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows in the order of their numbers."""
        with self._engine.connect() as connection:
            return list(map(dict, connection.execute(_EVENTS.select().order_by(_EVENTS.c.number)).mappings()))

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


# WAL: readers do not wait for the writer. FULL: a commit is on disk before it is acknowledged.
def _set_up_sqlite(connection: Any, _: Any) -> None:
    for setting in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {setting}").close()


class MemoryCache:
    """A cache in the process: the oldest entry goes first. `state` says what is wrong."""

    state = "ok"

    def __init__(self, entries: int = 10_000) -> None:
        self._entries, self._kept, self._lock = entries, {}, threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key and not too old."""
        value, until = self._kept.get(key, (None, 0.0))
        return value if time.monotonic() <= until else None

    def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for some seconds."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = value, time.monotonic() + seconds
            if len(self._kept) > self._entries:
                del self._kept[next(iter(self._kept))]


class RedisCache:
    """A cache on a Redis server; while that is silent, nothing is kept, and it is asked once a second."""

    def __init__(self, url: str) -> None:
        waits = {"socket_timeout": 0.1, "socket_connect_timeout": 0.1}
        self._server, self.state, self._again = redis.Redis.from_url(url, retry=None, **waits), "ok", 0.0

    def get(self, key: str) -> bytes | None:
        """Return what is kept under a key; None if the server does not answer."""
        return self._ask(lambda: self._server.get(key))

    def set(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a value for some seconds, if the server answers."""
        self._ask(lambda: self._server.set(key, value, px=max(1, int(1000 * seconds))))

    def _ask(self, question: Any) -> Any:
        if time.monotonic() < self._again:
            return None
        try:
            answer, self.state = question(), "ok"
            return answer
        except redis.RedisError as error:
            self.state, self._again = type(error).__name__, time.monotonic() + 1.0
            return None
