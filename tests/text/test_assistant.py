"""The assistant: what it finds, decides and says, on a few rules and a pretended encoder."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from recsys_lib.text import assistant
from recsys_lib.text.assistant import (
    GROUPS,
    SENTENCES,
    UNREADABLE,
    Assistant,
    Router,
    bm25,
    clean,
    quotable,
    ungrounded,
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


def test_bm25_is_the_formula():
    documents, k1, b = ["red red tea", "tea cup", "a blue and white cup"], 1.2, 0.75
    score = np.asarray(bm25(documents)(["red TEA", "nothing known"]))
    lengths = [3, 2, 5]
    for j, counts in enumerate([{"red": 2, "tea": 1}, {"tea": 1}, {}]):
        expected = 0.0
        for word, found_in in (("red", 1), ("tea", 2)):
            f = counts.get(word, 0)
            rarity = np.log(1 + (3 - found_in + 0.5) / (found_in + 0.5))
            expected += rarity * f * (k1 + 1) / (f + k1 * (1 - b + b * lengths[j] / np.mean(lengths)))
        assert score[0, j] == pytest.approx(expected)
    assert (score[1] == 0).all()


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


def test_no_question_is_its_own_neighbour_while_learning(router):
    texts = ["delivery fee", "open when"]
    vectors = assistant.encode(None, texts)
    router.known, router.place = vectors, np.array([0, 1])
    chances = np.full((2, 1 + len(GROUPS)), 1 / 6)
    learning = router._features(texts, vectors, chances, learning=True)
    later = router._features(texts, vectors, chances)
    assert learning[0, 0, 3] == learning[0, 0, 4] == 0
    assert later[0, 0, 3] == pytest.approx(1)
    assert learning[0, 1, 3] == later[0, 1, 3]  # another one's questions still count


def test_unknown_entries_are_refused(encoder):
    with pytest.raises(ValueError, match="not 'R9'"):
        Router(RULES, encoder).fit(["a", "b"], ["R1", "R9"])


@pytest.mark.parametrize(
    ("text", "household", "action", "said"),
    [
        ("what is the delivery cost", 7, "answer", "Delivery costs $5."),
        ("price of bread", 7, "answer", "We have: white bread (about $2.50); milk (about $1.00)"),
        ("my last bread", 7, "answer", "You bought: white bread (×4, last 2017-11-03 for $2.25)"),
        ("my last bread", 8, "answer", "You bought: nothing yet"),
        ("recommend me something", 8, "answer", "You may like: white bread; milk"),
        ("that rude cashier", 7, "person", SENTENCES["person"]),
        ("weather today please", 7, "decline", SENTENCES["decline"]),
    ],
)
def test_replies_quote_rows(router, text, household, action, said):
    reply = make(router).reply(text, household)
    assert (reply.action, reply.text) == (action, said)
    assert not ungrounded(reply.text, [*reply.rows, *SENTENCES.values()])


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


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It costs $4.95, free from $60.", []),
        ("It costs $5.95.", ["5.95"]),
        ("It costs five dollars.", ["five"]),
        ("Closed on Sunday.", ["sunday"]),
        ("Milk costs $4.95.", ["milk"]),
        ("Two bags.", []),
        ("One moment.", []),
    ],
)
def test_what_stands_in_no_row_is_found(answer, found):
    rows = ["Delivery costs $4.95; from a basket of $60 it is free, for 2 bags."]
    assert ungrounded(answer, rows, ["milk", "tea"]) == found


CLAIM = "free today, call 555-9999"


@pytest.mark.parametrize("columns", [["name"], ["words"], ["name", "words"]])
@pytest.mark.parametrize(
    ("question", "household"), [("price of milk", 8), ("my last bread", 7), ("recommend me something", 8)]
)
def test_a_claim_in_any_column_of_a_product_is_never_said(router, columns, question, household):
    planted = PRODUCTS.assign(**{column: PRODUCTS[column] + f" {CLAIM}" for column in columns})
    _, products = quotable(RULES, RULES, planted.iloc[::-1], PRODUCTS["words"])
    assert products.empty
    mixed = pd.concat([planted.iloc[:1], PRODUCTS.iloc[1:]])  # only milk is planted
    _, products = quotable(RULES, RULES, mixed, PRODUCTS["words"])
    reply = make(router, products=products).reply(question, household)
    assert CLAIM not in reply.text
    assert "white bread" in reply.text  # what is honest keeps its row


@pytest.mark.parametrize("column", ["question", "answer"])
@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_rule_changed_in_heading_or_answer_is_not_said(router, column, threshold):
    planted = RULES.assign(**{column: RULES[column].where(RULES["rule"] != "R1", CLAIM)})
    rules, _ = quotable(planted, RULES, PRODUCTS, PRODUCTS["words"])
    reply = make(router, threshold, rules=rules).reply("what is the delivery cost", 8)
    assert CLAIM not in reply.text
    assert reply.action == ("ask" if threshold else "person")
    assert all(reply.rows)
    assert reply.text
    assert rules["rule"].tolist() == ["R2", "R3"]


def test_what_is_honest_passes_the_door():
    rules, products = quotable(RULES, RULES, PRODUCTS, PRODUCTS["words"])
    pd.testing.assert_frame_equal(rules, RULES)
    pd.testing.assert_frame_equal(products, PRODUCTS)
