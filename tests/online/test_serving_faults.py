"""What must not happen: a lost event, a wrong answer, a refused request, while things break."""

import multiprocessing
import os
import resource
import signal
import subprocess
import threading
import time

import numpy as np
import pytest
from shops import ask, end, free_port, lines, publish_tiny, served, start, stored, wait_ready

from recsys_lib.online.stores import EventStore

KILLS = 100


@pytest.fixture
def folder(tmp_path):
    publish_tiny(tmp_path / "shop")
    return tmp_path / "shop"


def event(number, household=500, item=1_001):
    return {"id": f"i{number}", "household": household, "item": item}


def write_until_killed(url, first, pipe):
    """Store one event after the other, and say so after each; in a process of its own."""
    store = EventStore(url)
    for number in range(first, first + 10_000):
        store.add([event(number) | {"kind": "purchase", "time": 1.0}])
        os.write(pipe, f"{number}\n".encode())


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    url, rng, acknowledged = f"sqlite:///{tmp_path / 'events.sqlite'}", np.random.default_rng(0), []
    EventStore(url).close()
    fork = multiprocessing.get_context("fork")
    for kill in range(KILLS):
        reading, writing = os.pipe()
        writer = fork.Process(target=write_until_killed, args=(url, 10_000 * kill, writing))
        writer.start()
        os.close(writing)
        first = os.read(reading, 100)  # it writes by now
        time.sleep(rng.random() * 0.03)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        told = first
        while piece := os.read(reading, 65_536):
            told += piece
        os.close(reading)
        acknowledged += [f"i{line}" for line in told.decode().split("\n")[:-1]]
    there = stored(tmp_path)["id"]
    assert len(acknowledged) > KILLS
    assert there.is_unique
    assert set(acknowledged) <= set(there)
    assert len(there) <= len(acknowledged) + KILLS  # at most the one under way


def test_a_killed_service_has_lost_nothing(folder):
    port, acknowledged = free_port(), []
    for round_ in range(3):
        process = start(folder, port)
        try:
            wait_ready(port, process)
            killer = threading.Timer(0.3 + 0.2 * round_, os.killpg, (process.pid, signal.SIGKILL))
            killer.start()
            for number in range(10_000):
                try:
                    status, _ = ask(f"http://127.0.0.1:{port}/events", event(f"{round_}.{number}"))
                except OSError:
                    break  # killed
                assert status == 201
                acknowledged.append(f"i{round_}.{number}")
            killer.join()
        finally:
            end(process)
    there = stored(folder)["id"]
    assert len(acknowledged) > 10
    assert set(acknowledged) <= set(there)
    assert there.is_unique


def fill_and_check(address, store_folder):
    acknowledged, statuses = [], []
    for number in range(3_000):
        status, body = ask(f"{address}/events", [event(f"{number}.{i}") for i in range(50)])
        statuses.append(status)
        if status == 201:
            acknowledged += [f"i{number}.{i}" for i in range(50)]
        elif statuses[-3:] == [503] * 3:
            break
        assert status in (201, 503), body
    assert (statuses[0], statuses[-1]) == (201, 503)
    assert "event store" in body["detail"]
    assert ask(f"{address}/households/1/recommendations")[0] == 200  # reading goes on
    assert ask(f"{address}/health")[0] == 200
    there = set(stored(store_folder)["id"])
    assert set(acknowledged) == there


def test_a_full_disk_is_a_503_and_loses_nothing(folder, tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True
    ).returncode:
        pytest.skip("a small file system cannot be mounted here; the test below bounds the files instead")
    try:
        with served(folder, "--store", f"sqlite:///{place / 'events.sqlite'}") as (address, process):
            fill_and_check(address, place)
            end(process)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_file_that_may_not_grow_is_a_503_and_loses_nothing(folder):
    def bound():
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    with served(folder, before=bound) as (address, process):
        fill_and_check(address, folder)
        end(process)


def test_the_model_is_swapped_under_load(folder):
    with served(folder) as (address, _):
        answers, stop = [], threading.Event()

        def look(worker):
            while not stop.is_set():
                status, body = ask(f"{address}/households/{worker}/recommendations?k=5")
                answers.append((status, body.get("version"), len(body.get("items", []))))

        threads = [threading.Thread(target=look, args=(worker,)) for worker in range(1, 5)]
        [thread.start() for thread in threads]
        published = [publish_tiny(folder, lines(seed)) for seed in range(1, 4) if not time.sleep(1.5)]
        time.sleep(2)
        stop.set()
        [thread.join() for thread in threads]
        assert {(status, n) for status, _, n in answers} == {(200, 5)}
        versions = [version for _, version, _ in answers]
        assert published[-1] in versions
        assert len(set(versions)) >= 3
        assert len(versions) > 100


def test_32_clients_of_one_household_lose_nothing(folder):
    with served(folder) as (address, _):
        results = []

        def write(client):
            for number in range(10):
                for _ in range(2):  # sent again, as after a lost answer
                    results.append(ask(f"{address}/events", event(f"{client}.{number}"))[1])  # noqa: PERF401

        threads = [threading.Thread(target=write, args=(client,)) for client in range(32)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert sum(result["stored"] for result in results) == 320 == sum(r["repeated"] for r in results)
        assert len(stored(folder)) == 320
        known = ask(f"{address}/households/500/recommendations?k=1")[1]
        assert known["items"][0]["item"] == 1_001


def test_a_damaged_model_does_not_replace_a_good_one(folder):
    with served(folder) as (address, _):
        before = ask(f"{address}/ready")[1]["version"]
        version = publish_tiny(folder / "other")
        whole = (folder / "other" / f"{version}.safetensors").read_bytes()
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]  # one bit
        (folder / f"{version}.safetensors").write_bytes(changed)
        pointer = (folder / "other" / "current.json").read_text()
        (folder / "current.json").write_text(pointer)
        time.sleep(1.5)
        ready = ask(f"{address}/ready")[1]
        assert ready["version"] == before
        assert "damaged" in ready["model"]
        assert ask(f"{address}/households/1/recommendations")[0] == 200
