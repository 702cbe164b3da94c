"""The assistant behind the shop's address: answers in sentences, whatever is asked."""

from types import SimpleNamespace

import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer
from test_serving import open_client, publish_tiny

from recsys_lib.files import project_root
from recsys_lib.online import desk
from recsys_lib.text import assistant
from recsys_lib.text.assistant import UNREADABLE

LINES = pd.DataFrame(
    {
        "household_id": [7, 7, 7, 8],
        "product_id": [1001, 1001, 1003, 1001],
        "transaction_timestamp": pd.to_datetime(["2017-01-02", "2017-03-04", "2017-02-03", "2017-05-06"]),
        "kind": ["MILK / MILK", "MILK / MILK", "BREAD / RYE", "MILK / MILK"],
        "name": ["milk", "milk", "rye", "milk"],
        "words": ["milk, milk", "milk, milk", "rye, bread", "milk, milk"],
        "price": [1.0, 3.0, 2.0, 2.0],
    }
)


@pytest.fixture
def client(tmp_path, monkeypatch):
    words = HashingVectorizer(n_features=512, alternate_sign=False)
    monkeypatch.setattr(assistant, "encode", lambda _, texts: words.transform(texts).toarray())
    monkeypatch.setattr(desk, "load_text_model", SimpleNamespace)
    monkeypatch.setattr(desk, "lines_by_kind", lambda: pd.concat([LINES] * 60, ignore_index=True))
    publish_tiny(tmp_path)
    with open_client(tmp_path, tmp_path, desk=desk.open_desk) as client:
        yield client


def ask(client, text, household=7):
    answer = client.post(f"/households/{household}/questions", json={"text": text})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("name", desk.SIGNED)
def test_a_changed_table_opens_no_desk(tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    for file in desk.SIGNED:
        text = (project_root() / "data" / file).read_text(encoding="utf-8")
        (tmp_path / "data" / file).write_text(text, encoding="utf-8", newline="\r\n")
    monkeypatch.setattr(desk, "project_root", lambda: tmp_path)
    assert len(desk.signed_table(name)) > 50  # other ends of lines are no change
    planted = (tmp_path / "data" / name).read_text(encoding="utf-8").replace("milk", "beer")
    planted = planted.replace("$4.95", "$0.95")
    (tmp_path / "data" / name).write_text(planted, encoding="utf-8")
    with pytest.raises(RuntimeError, match=f"{name} is not as it was signed"):
        desk.open_desk(None)


def test_purchases_are_the_last_ones():
    mine = desk.purchases_of(LINES, 7)
    assert mine.loc["MILK / MILK"].tolist() == [pd.Timestamp("2017-03-04"), 3.0, 2]
    assert desk.purchases_of(LINES, 99).empty


def test_kinds_that_are_bought_seldom_are_left_out():
    kinds = desk.kinds_sold(pd.concat([LINES] * 20, ignore_index=True))
    assert kinds.index.tolist() == ["MILK / MILK"]
    assert (kinds["lines"].item(), kinds["price"].item(), kinds["name"].item()) == (60, 2.0, "milk")


def test_a_household_hears_of_its_own_purchases_until_it_is_forgotten(client):
    question = "when did I last buy milk"
    assert "2017-03-04" in ask(client, question)["text"]
    assert "2017-03-04" not in ask(client, question, household=8)["text"]
    assert client.delete("/households/7").status_code == 204
    assert "2017" not in ask(client, question)["text"]


def test_a_rule_is_quoted_and_a_list_is_the_shops(client):
    said = ask(client, "What does home delivery cost?")
    assert (said["action"], said["entry"][0]) == ("answer", "R")
    said = ask(client, "recommend me something")
    assert said["text"].startswith(("You may like", "There is nothing new", "Did you mean"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n",
        "milk " * 10_000,
        "?!? 123 …",
        "我的订单在哪里",
        "wo ist meine Bestellung",
        "mi\x07lk\x00",
        "🍌",
        "x",
    ],
)
def test_whatever_is_typed_gets_a_sentence(client, text):
    said = ask(client, text)
    assert said["action"] in ("answer", "ask", "person", "decline")
    assert said["text"]
    if not any("a" <= letter <= "z" for letter in text):
        assert said["text"] == UNREADABLE


@pytest.mark.parametrize("body", [{}, {"text": None}, {"text": ["milk"]}, "milk"])
def test_a_question_that_is_none_is_refused(client, body):
    answer = client.post("/households/7/questions", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_without_the_text_model_the_service_says_so(tmp_path):
    def no_model(_):
        raise RuntimeError("the wheel could not be fetched")

    publish_tiny(tmp_path)
    with open_client(tmp_path, tmp_path, desk=no_model) as client:
        answer = client.post("/households/7/questions", json={"text": "milk"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == "there is no assistant: the wheel could not be fetched"
        assert client.get("/ready").status_code == 200
