"""The contract of the service, on a shop of 40 households and 30 items."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from shops import DAY, START, lines, publish_tiny

from recsys_lib.data import Interactions
from recsys_lib.online.gate import LARGEST_BODY
from recsys_lib.online.nightly import training_lines
from recsys_lib.online.serving import make_app
from recsys_lib.online.shop import Shop
from recsys_lib.online.stores import EventStore
from recsys_lib.recommenders import ItemKNN, Trending
from recsys_lib.recommenders.shared.weighting import seconds, weigh


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    publish_tiny(folder)
    return folder


@pytest.fixture
def client(folder, tmp_path):
    with open_client(folder, tmp_path) as client:
        yield client


@contextmanager
def open_client(folder, tmp_path, **settings):
    app = make_app(folder, f"sqlite:///{tmp_path / 'events.sqlite'}", **settings)
    with TestClient(app) as client:
        wait_for(lambda: app.state.service.shop is not None)
        yield client


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def items_of(answer):
    assert answer.status_code == 200, answer.text
    return [entry["item"] for entry in answer.json()["items"]]


def buy(client, household, item, number, **more):
    return client.post("/events", json={"id": f"e{number}", "household": household, "item": item, **more})


def check_problem(answer, status, words):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["title"] != "") == (status, True)
    assert words in body["detail"]


def test_lists_are_those_of_the_models(client):
    """What the arrays say is what the recommenders say that they were made of."""
    data = Interactions.from_frame(lines(), "household", "item", "value", "time")
    near = ItemKNN(neighbors=100, include_self=False, half_life=90.0).fit(data)
    habit, similar = near.weights_.toarray(), near.score()
    late = Trending(window=14.0, floor=1.0).fit(data).score()
    scores = habit + 0.001 * similar / similar.mean() + 0.06 * late
    scores[data.matrix.toarray() > 0] = -np.inf
    for household in (7, 8):
        row = scores[data.users.get_loc(household)]
        best = [int(data.items[i]) for i in np.argsort(-row, kind="stable")[:10] if row[i] > -np.inf]
        assert items_of(client.get(f"/households/{household}/recommendations?seen=false")) == best
    answer = client.get("/households/7/recommendations?k=5").json()
    assert answer["known"]
    assert answer["household"] == 7
    assert len(answer["items"]) == 5
    scores = [entry["score"] for entry in answer["items"]]
    assert scores == sorted(scores, reverse=True)


def test_the_next_answer_knows_an_event(client):
    before = client.get("/households/900/recommendations").json()
    assert before["known"] is False
    other = client.get("/households/901/recommendations").json()
    assert (other["items"], other["household"]) == (before["items"], 901)  # not the answer kept for 900
    assert buy(client, 900, 1_021, 1).json() == {"stored": 1, "repeated": 0}
    after = client.get("/households/900/recommendations?why=true").json()
    assert after["known"]
    assert after["items"][0]["item"] == 1_021
    assert after["items"][0]["seen"]
    assert after["items"][0]["because"][0]["item"] == 1_021
    assert 1_021 not in items_of(client.get("/households/900/recommendations?seen=false&k=30"))
    buy(client, 900, 1_021, 2, kind="removal")
    again = client.get("/households/900/recommendations").json()
    assert [e["item"] for e in again["items"]] == [e["item"] for e in before["items"]]


def test_an_event_counts_once(client):
    first = buy(client, 901, 1_003, 7)
    score = client.get("/households/901/recommendations?k=1").json()["items"][0]["score"]
    assert buy(client, 901, 1_003, 7).json() == {"stored": 0, "repeated": 1}
    many = [{"id": "e7", "household": 901, "item": 1_003}, {"id": "e8", "household": 901, "item": 1_003}]
    assert first.status_code == 201
    assert client.post("/events", json=many).json() == {"stored": 1, "repeated": 1}
    assert client.get("/households/901/recommendations?k=1").json()["items"][0]["score"] > score + 0.3


def test_a_basket_counts_and_is_not_offered(client):
    plain = items_of(client.get("/households/902/recommendations?k=5"))
    with_basket = items_of(client.get("/households/902/recommendations?k=5&basket=1001&basket=1003"))
    assert plain != with_basket
    assert not {1001, 1003} & set(with_basket)
    assert client.get("/households/902/recommendations").json()["known"] is False  # a basket is not stored


def test_reasons_add_up_to_the_score(client):
    score = {e["item"]: e["score"] for e in client.get("/households/3/recommendations?k=30").json()["items"]}
    for item in list(score)[:5]:
        reasons = client.get(f"/households/3/explanations/{item}").json()["items"]
        assert sum(entry["score"] for entry in reasons) == pytest.approx(score[item], abs=1e-4)


def test_similar_items_and_search(client):
    parity = [item % 2 for item in items_of(client.get("/items/1004/similar?k=5"))]
    assert parity.count(0) >= 4
    assert items_of(client.get("/items?words=THING 1007"))[0] == 1_007
    assert len(items_of(client.get("/items?words=sor&k=30"))) == 30  # begins so
    assert items_of(client.get("/items?words=nothing-like-that")) == []


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/households/1/recommendations?k=0", 422, "k"),
        ("/households/1/recommendations?k=101", 422, "less than or equal to 100"),
        ("/households/-1/recommendations", 422, "household"),
        ("/households/99999999999999999999/recommendations", 422, "household"),
        ("/households/1/recommendations?basket=5", 404, "no item 5"),
        ("/households/1/explanations/5", 404, "no item 5"),
        ("/items/5/similar", 404, "no item 5"),
        ("/items?words=", 422, "words"),
        ("/nowhere", 404, "Not Found"),
    ],
)
def test_errors_are_problems(client, path, status, words):
    check_problem(client.get(path), status, words)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"item": 5}, 404),
        ({"kind": "theft"}, 422),
        ({"id": ""}, 422),
        ({"id": "a\x00b"}, 422),
        ({"id": "a" * 65}, 422),
        ({"household": 2**31}, 422),
        ({"time": 1e10}, 409),
        ({"time": float("nan")}, 422),
    ],
)
def test_bad_events_are_refused_whole(client, folder, change, status):
    good = {"id": "good", "household": 903, "item": 1_002}
    body = json.dumps([good, {**good, "id": "bad", **change}])
    answer = client.post("/events", content=body, headers={"content-type": "application/json"})
    check_problem(answer, status, "")
    assert client.get("/households/903/recommendations").json()["known"] is False


def test_bodies_are_bounded(client):
    check_problem(client.post("/events", content=b"x" * (LARGEST_BODY + 1)), 413, "larger")
    pieces = iter([b"x" * 100_000] * 5)  # without a length
    check_problem(client.post("/events", content=pieces), 413, "larger")
    broken = client.post("/events", content=b"{", headers={"content-type": "application/json"})
    check_problem(broken, 422, "JSON")


def test_a_deleted_household_is_new(client):
    known = client.get("/households/5/recommendations").json()
    buy(client, 5, 1_003, 50)
    assert client.delete("/households/5").status_code == 204
    answer = client.get("/households/5/recommendations").json()
    assert known["known"]
    assert not answer["known"]
    assert answer["items"] == client.get("/households/999/recommendations").json()["items"]
    buy(client, 5, 1_003, 51)
    reasons = client.get("/households/5/explanations/1003").json()["items"]
    assert [entry["item"] for entry in reasons] == [1_003, None]  # what came after counts, nothing before


def test_nothing_before_the_model_is_there(tmp_path):
    app = make_app(tmp_path / "empty", f"sqlite:///{tmp_path / 'events.sqlite'}")
    with TestClient(app) as client:
        assert client.get("/health").json() == {"status": "alive"}
        for path in ("/ready", "/households/1/recommendations", "/items?words=a"):
            check_problem(client.get(path), 503, "not ready")
        publish_tiny(tmp_path / "empty")
        wait_for(lambda: client.get("/ready").status_code == 200)


def test_a_key_is_asked_for(folder, tmp_path):
    with open_client(folder, tmp_path, key="open sesame") as client:
        check_problem(client.get("/items?words=thing"), 401, "key")
        check_problem(client.get("/items?words=thing", headers={"Authorization": "Bearer open"}), 401, "key")
        right = {"Authorization": "Bearer open sesame"}
        assert client.get("/items?words=thing", headers=right).status_code == 200


def test_too_many_at_once_are_refused(folder, tmp_path):
    with open_client(folder, tmp_path, at_once=0) as client:
        answer = client.get("/items?words=thing")
        check_problem(answer, 429, "too many")
        assert answer.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200


def test_metrics_count_and_the_cache_is_asked(client):
    for _ in range(3):
        client.get("/households/8/recommendations")
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'shop_cache_total{result="hit"} 2.0' in text
    assert 'shop_requests_total{status="404"} 1.0' in text
    buy(client, 8, 1_004, 77)
    client.get("/households/8/recommendations")  # another last event, another key
    assert 'shop_cache_total{result="hit"} 2.0' in client.get("/metrics").text


def test_online_rows_are_those_of_a_fit(folder, tmp_path):
    """The same features in training and serving, for every household."""
    shop, store = Shop(folder), EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}")
    rng, end = np.random.default_rng(1), START + 130 * DAY
    new = pd.DataFrame({"household": rng.integers(1, 45, 200), "item": 1_000 + rng.integers(0, 30, 200)})
    new["time"] = START + (100 + 30 * rng.random(200)) * DAY
    new.loc[199, "time"] = end
    events = new.assign(id=[f"n{i}" for i in range(200)], kind="purchase").to_dict("records")
    assert store.add(events) == 200
    frame, after = training_lines(lines(), store)
    assert after == 200
    assert len(frame) == 1_700
    every = Interactions.from_frame(
        frame, "household", "item", "value", "time", items=pd.Index(shop.model.items)
    )
    batch, newest = weigh(every, "count", shop.model.half_life), float(seconds(every.events["time"]).max())
    for household in every.users:
        live = shop.history(int(household), store.of(int(household)), newest)
        fitted = batch[[every.users.get_loc(household)]].toarray()[0]
        assert abs(live - fitted).max() < 1e-6
    skewed = shop.history(1, store.of(1), newest + DAY)  # a clock that is a day off is caught
    assert abs(skewed - batch[[every.users.get_loc(1)]].toarray()[0]).max() > 1e-3
    store.close()


def test_what_was_removed_or_forgotten_is_not_trained_on(tmp_path):
    store, old = EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}"), lines()
    moment = float(old["time"].max())
    store.add([{"id": "r", "household": 1, "item": 1_001, "kind": "removal", "time": moment + 1}])
    store.add([{"id": "p", "household": 1, "item": 1_001, "kind": "purchase", "time": moment + 2}])
    store.forget(2)
    store.add([{"id": "q", "household": 2, "item": 1_002, "kind": "purchase", "time": moment + 3}])
    frame, after = training_lines(old, store)
    assert len(frame[(frame["household"] == 1) & (frame["item"] == 1_001)]) == 1
    assert len(frame[frame["household"] == 2]) == 1
    assert after == 4  # three events, and the household to forget
    store.close()


@pytest.mark.parametrize(("kinds", "left"), [(("removal", "purchase"), 1), (("purchase", "removal"), 0)])
def test_of_one_moment_the_last_event_counts_now_and_after_the_next_fit(folder, tmp_path, kinds, left):
    store, shop = EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}"), Shop(folder)
    same = {"household": 500, "item": 1_001, "time": shop.model.newest}
    store.add([same | {"id": kind, "kind": kind} for kind in kinds])
    assert np.count_nonzero(shop.history(500, store.of(500), shop.model.newest)) == left
    assert (training_lines(lines(), store)[0]["household"] == 500).sum() == left
    store.close()


@pytest.mark.parametrize("damage", ["[]", "null", "7", '{"version": "1"}'])
def test_a_damaged_pointer_does_not_end_the_watch(tmp_path, damage):
    (tmp_path / "current.json").write_text(damage)
    app = make_app(tmp_path, f"sqlite:///{tmp_path / 'events.sqlite'}")
    with TestClient(app) as client:
        wait_for(lambda: app.state.service.why != "starting")
        (tmp_path / "current.json").unlink()
        publish_tiny(tmp_path)
        wait_for(lambda: client.get("/ready").status_code == 200)


def test_a_clock_that_steps_back_deletes_no_new_version(tmp_path, monkeypatch):
    _, before = publish_tiny(tmp_path), publish_tiny(tmp_path)
    monkeypatch.setattr(time, "time_ns", lambda: 10**9)
    version = publish_tiny(tmp_path)
    assert Shop(tmp_path).version == version
    assert {path.stem for path in tmp_path.glob("*.safetensors")} == {before, version}


def test_what_a_deleted_household_bought_later_survives_the_next_fit(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}")
    moment = float(lines()["time"].max())
    bought = {"household": 5, "item": 1_003, "kind": "purchase", "time": moment}

    def has():
        shop = Shop(tmp_path)
        history = shop.history(5, store.of(5, shop.after), moment)
        return {int(shop.model.items[column]) for column in np.flatnonzero(history)}

    publish_tiny(tmp_path)
    assert len(has()) > 5
    store.add([bought | {"id": "before", "item": 1_001}])
    store.forget(5)
    assert has() == set()
    store.forget(6)  # nothing is left in the store then
    assert store.of(6, Shop(tmp_path).after).forgotten
    store.add([bought | {"id": "later"}])
    assert has() == {1_003}
    publish_tiny(tmp_path, *training_lines(lines(), store))
    assert has() == {1_003}
    store.forget(5)
    assert has() == set()  # though the model in use has its row
    store.close()


def test_a_fit_before_the_first_event(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path / 'events.sqlite'}")
    frame, after = training_lines(lines(), store)
    assert after == 0
    assert [frame[name].dtype.kind for name in ("household", "item", "time", "value")] == list("iiff")
    publish_tiny(tmp_path, frame)
    store.close()


def test_another_address_needs_a_key(folder):
    command = [sys.executable, "-m", "recsys_lib.online", "--folder", str(folder), "--host", "0.0.0.0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment())
    assert ended.returncode == 1
    assert "set SHOP_KEY" in ended.stderr


def clean_environment():
    return {name: value for name, value in os.environ.items() if name != "SHOP_KEY"}


def test_the_service_needs_neither_torch_nor_pandas():
    """What a fit needs, the service would carry along: hundreds of MiB."""
    code = "import sys, recsys_lib.online.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "fastapi" in loaded
    assert not {"torch", "pandas"} & set(loaded)
