"""The hand-labelled search queries: every label exists, every query has an answer, nothing is there twice."""

import pandas as pd
import pytest

from recsys_lib.data import load_table
from recsys_lib.files import project_root

KINDS = {"plain", "synonym", "british", "american", "misspelling", "use_case"}
MOST_TYPES = 60  # a query that fits more types than this is no query but an aisle


@pytest.fixture(scope="module")
def queries() -> pd.DataFrame:
    return pd.read_csv(project_root() / "data" / "search_queries.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def types() -> pd.Series:
    """Count products by "CATEGORY / TYPE"."""
    products = load_table("products", ["product_category", "product_type"]).dropna()
    return (products["product_category"] + " / " + products["product_type"]).value_counts()


def test_size_and_kinds(queries) -> None:
    assert list(queries.columns) == ["query", "kind", "relevant_types", "note"]
    assert len(queries) >= 60
    assert set(queries["kind"]) == KINDS
    assert queries["kind"].value_counts().min() >= 8


def test_no_query_twice(queries) -> None:
    plain = queries["query"].str.lower().str.strip()
    assert plain.is_unique
    assert plain.str.len().between(4, 60).all()
    assert (plain == plain.str.split().str.join(" ")).all()


def test_labels_are_types_of_the_data(queries, types) -> None:
    for query, labels in zip(queries["query"], queries["relevant_types"].str.split("|"), strict=True):
        assert 1 <= len(labels) <= MOST_TYPES, query
        assert len(set(labels)) == len(labels), query
        unknown = set(labels) - set(types.index)
        assert not unknown, (query, unknown)
        # Few enough that a list drawn at random is a bad one.
        assert 5 <= types[labels].sum() <= 0.05 * types.sum(), query


def test_paired_queries_have_the_same_labels(queries) -> None:
    labels = queries.set_index("query")["relevant_types"]
    paired = queries[queries["note"].str.startswith("same labels as: ")]
    assert len(paired) >= 10
    for query, note in zip(paired["query"], paired["note"], strict=True):
        assert labels[query] == labels[note.removeprefix("same labels as: ")], query
