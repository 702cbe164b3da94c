"""The assistant: what it finds, decides and says, on a few rules and a pretended encoder."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from recsys_lib.text import assistant
from recsys_lib.text.assistant import (
    SENTENCES,
    UNREADABLE,
    Assistant,
    Router,
    clean,
    entry_of,
)

RULES = pd.DataFrame(
    {
        "rule": ["R1", "R2", "R3"],
        "question": ["What does delivery cost?", "When are you open?", "Can I return goods?"],
        "answer": ["Delivery costs $5.", "Open from 8 am to 9 pm.", "Return goods within 30 days."],
    }
)
KNOWN = {
    "R1": ["delivery cost please", "delivery fee", "cost of the delivery"],
    "R2": ["open when", "open on sunday", "when open"],
    "R3": ["return goods", "goods return", "can I return these goods"],
    "product": ["price of milk", "milk price", "price of bread"],
    "purchases": ["my last milk", "my last bread", "did I buy bread last"],
    "list": ["recommend something", "recommend me", "recommend food"],
    "person": ["rude cashier", "angry at the rude cashier", "rude man"],
    "decline": ["weather tomorrow", "weather today", "poem about weather"],
}
PRODUCTS = pd.DataFrame(
    {"name": ["milk", "white bread"], "words": ["milk", "white bread"], "price": [1.0, 2.5], "lines": [9, 5]}
)
MINE = pd.DataFrame({"last": pd.to_datetime(["2017-11-03"]), "price": [2.25], "times": [4]}, index=[1])


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    """Words hashed to unit vectors stand for meanings."""
    words = HashingVectorizer(n_features=256, alternate_sign=False)
    monkeypatch.setattr(assistant, "encode", lambda _, texts: words.transform(texts).toarray())
    return SimpleNamespace()


@pytest.fixture
def router(encoder):
    pairs = [(question, entry) for entry, questions in KNOWN.items() for question in questions]
    # five folds need five questions of the rarest group
    pairs += [(f"{question} now", entry) for question, entry in pairs]
    return Router(RULES, encoder).fit(*map(list, zip(*pairs, strict=True)))


def make(router, threshold=0.0, products=PRODUCTS, rules=None):
    return Assistant(
        router,
        products,
        lambda household: MINE if household == 7 else MINE.iloc[:0],
        lambda _: ["white bread", "soup", "milk"],
        threshold,
        rules,
    )


def test_the_router_finds_what_it_learned_and_its_rows_sum_to_one(router):
    chances = router.probabilities(["what is the delivery cost", "rude cashier again", "price of milk now"])
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert [router.entries[i] for i in chances.argmax(axis=1)] == ["R1", "person", "product"]


def test_vectors_that_are_known_change_nothing(router):
    questions = [question for questions in KNOWN.values() for question in questions] * 2
    entries = [entry for entry, questions in KNOWN.items() for _ in questions] * 2
    alone = Router(RULES, None).fit(questions, entries).probabilities(["delivery fee"])
    vectors = assistant.encode(None, questions)
    given = Router(RULES, None).fit(questions, entries, vectors)
    np.testing.assert_allclose(given.probabilities(["delivery fee"], vectors[1:2]), alone)


def test_what_is_left_out_is_what_a_regression_without_it_says(router, monkeypatch):
    questions = [question for questions in KNOWN.values() for question in questions]
    entries = [entry for entry, questions in KNOWN.items() for _ in questions]
    given = []
    features = Router._features
    monkeypatch.setattr(Router, "_features", lambda *all_: given.append(all_[2]) or features(*all_))
    fitted = Router(RULES, None).fit(questions, entries)
    known = fitted.known.astype(float)
    target = np.eye(len(fitted.entries))[[*map(fitted.entries.index, entries), 0, 1, 2, 0, 1, 2]]
    for i in (0, 7, 20):
        rest = np.delete(np.arange(len(known)), i)
        kernel = np.array([[np.exp(2 * (a @ b - 1)) for b in known[rest]] for a in known[rest]])
        weights = np.linalg.solve(kernel + assistant.RIDGE * np.eye(len(rest)), target[rest])
        np.testing.assert_allclose(given[0][i], np.exp(2 * (known[rest] @ known[i] - 1)) @ weights, atol=1e-6)


@pytest.mark.parametrize(
    ("answer", "kind", "entry"),
    [
        ("query:milk", "purchases", "purchases"),
        ("query:milk", "search", "product"),
        ("R03|R04", "order", "R03"),
    ],
)
def test_a_label_leads_to_its_entry(answer, kind, entry):
    assert entry_of(answer, kind) == entry


def test_unknown_entries_are_refused(encoder):
    with pytest.raises(ValueError, match="not 'R9'"):
        Router(RULES, encoder).fit(["a", "b"], ["R1", "R9"])


@pytest.mark.parametrize(
    ("text", "household", "action", "said"),
    [
        ("what is the delivery cost", 7, "answer", "Delivery costs $5."),
        ("price of bread", 7, "answer", "We have: white bread (about $2.50); milk (about $1.00)"),
        ("my last bread", 7, "answer", "You bought: white bread (×4, last 2017-11-03 for $2.25)"),
        ("my last bread", 8, "answer", "You bought nothing like it."),
        ("recommend me something", 8, "answer", "You may like: white bread; milk"),
        ("that rude cashier", 7, "person", SENTENCES["person"]),
        ("weather today please", 7, "decline", SENTENCES["decline"]),
    ],
)
def test_replies_quote_rows(router, text, household, action, said):
    reply = make(router).reply(text, household)
    assert (reply.action, reply.text) == (action, said)
    assert all(row in reply.text for row in reply.rows)


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("price of loo rolls", "toilet tissue"),
        ("LOO PAPER", "toilet tissue"),
        ("pop tarts", "toaster pastries"),
    ],
)
def test_what_customers_call_a_product_finds_the_words_of_the_catalogue(router, text, first):
    names = ["loo brushes", "rolls", "paper", "soft drinks carbonated", "toaster pastries", "toilet tissue"]
    shelf = pd.DataFrame({"name": names, "words": names, "price": 1.0, "lines": 9})
    rows = make(router, products=shelf).quote("product", text, 7)[3]
    assert rows[0] == f"{first} (about $1.00)"


def test_a_word_within_another_calls_no_product(router):
    said = make(router).said.findall("the popular crispbread of a spaniel, fizzy drinks and bin bags")
    assert said == ["fizzy drinks", "bin bags"]


def test_an_unsure_assistant_asks_back(router):
    reply = make(router, threshold=1.1).reply("price of milk", 7)
    assert reply.action == "ask"
    assert reply.rows[0] == "A product or its price"
    assert len(reply.rows) == 3


@pytest.mark.parametrize("text", ["", " \n", "12?", "我的订单", "где заказ", "🍌", "a", "\x00\x07"])
def test_what_cannot_be_read_gets_a_sentence(router, text):
    assert make(router).reply(text, 7).text == UNREADABLE


def test_cleaning():
    assert clean("mi\x07lk\n now") == "mi lk now"
    assert len(clean("word " * 10_000)) == 400


CLAIM = "free today, call 555-9999"


@pytest.mark.parametrize("column", ["question", "answer"])
@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_rule_changed_in_heading_or_answer_is_not_said(router, column, threshold):
    planted = RULES.assign(**{column: RULES[column].where(RULES["rule"] != "R1", CLAIM)})
    reply = make(router, threshold, rules=planted[planted["rule"] != "R1"]).reply(
        "what is the delivery cost", 8
    )
    assert CLAIM not in reply.text
    assert reply.action == ("ask" if threshold else "person")
    assert all(reply.rows)
    assert reply.text
