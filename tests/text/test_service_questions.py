"""The questions and rules of the service: labels that exist, parts that do not leak."""

import re

import pandas as pd
import pytest

from recsys_lib.files import project_root

DATA = project_root() / "data"


@pytest.fixture(scope="module")
def questions():
    return pd.read_csv(DATA / "service_questions.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def rules():
    return pd.read_csv(DATA / "service_faq.csv", keep_default_na=False)


def test_every_label_exists(questions, rules):
    queries = set(pd.read_csv(DATA / "search_queries.csv")["query"])
    known = set(rules["rule"]) | {f"query:{query}" for query in queries} | {"list", "person", "decline"}
    assert not {label for answer in questions["answer"] for label in answer.split("|")} - known


def test_kinds_and_labels_agree(questions, rules):
    kind_of = dict(zip(rules["rule"], rules["kind"], strict=True))
    first = questions["answer"].str.split("|").str[0]
    of_rules = first.isin(kind_of)
    assert (first[of_rules].map(kind_of) == questions["kind"][of_rules]).all()
    expected = {
        "recommendation": "list",
        "complaint": "person",
        "out_of_scope": "decline",
        "attack": "decline",
    }
    rest = questions[questions["kind"].isin(expected)]
    assert (rest["answer"] == rest["kind"].map(expected)).all()
    assert ((questions["kind"] == "complaint") == (questions["person"] == 1)).all()


def test_every_rule_is_asked_for_in_both_parts(questions, rules):
    first = questions.assign(first=questions["answer"].str.split("|").str[0])
    for part in ("kept", "develop"):
        assert set(rules["rule"]) <= set(first.loc[first["part"] == part, "first"])


def test_nothing_stands_twice(questions, rules):
    plain = questions["question"].map(lambda text: " ".join(re.findall(r"\w+", text.lower())))
    assert plain.is_unique
    assert rules["rule"].is_unique
    assert rules["answer"].is_unique


@pytest.mark.parametrize(("part", "others"), [("added", "kept"), ("later", "kept"), ("later", "develop")])
def test_no_question_for_learning_is_nearly_one_that_judges(questions, part, others):
    words = questions["question"].map(lambda text: set(re.findall(r"\w+", text.lower())))
    judging = words[questions["part"] == others]
    shared = [max(len(a & b) / len(a | b) for b in judging) for a in words[questions["part"] == part]]
    assert max(shared) < 0.5


def test_what_customers_say_leads_to_words_of_the_catalogue():
    words = pd.read_csv(DATA / "customer_words.csv", keep_default_na=False)
    assert list(words) == ["customer", "shop"]
    assert words["customer"].is_unique
    assert (words == words.apply(lambda column: column.str.lower().str.strip())).all(axis=None)
    assert (words != "").all(axis=None)
