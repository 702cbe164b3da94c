"""Augmented texts: never empty, the same for the same seed, changed only as promised."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_lib.text import delete_words

LISTS = [
    "white bread; butter, soft; tea",
    "tea",
    "frozen breaded stick; white bread",
    "soap; tea; soap",
    "peanut butter",
]
texts_of_any_kind = st.lists(st.text(min_size=1).filter(str.strip), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=texts_of_any_kind, seed=st.integers(0, 99))
def test_one_text_each_never_empty_the_same_again(texts, seed) -> None:
    before = list(texts)
    found = delete_words(texts, 0.5, seed=seed)
    assert texts == before
    assert found is not texts
    assert len(found) == len(texts)
    assert all(isinstance(text, str) and text.strip() for text in found)
    assert delete_words(tuple(texts), 0.5, seed=seed) == found


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["tea", ""], r"texts\[1\] is empty"), ([3, 4], r"texts\[0\] is 3, a"), ("tea", "must be a list")],
)
def test_what_is_no_text_is_refused(texts, message) -> None:
    with pytest.raises(ValueError, match=message):
        delete_words(texts, 0.5)


def test_another_seed_gives_other_texts() -> None:
    texts = [f"frozen breaded vegetables; tea {i}; milk" for i in range(9)]
    assert delete_words(texts, 0.5, seed=0) != delete_words(texts, 0.5, seed=1)


def test_the_promised_share_of_words_is_left_out_in_order() -> None:
    words = " ".join(map(str, range(1000)))
    (found,) = delete_words([words], 0.3)
    left = list(map(int, found.split()))
    assert left == sorted(left)
    assert 660 < len(left) < 740
    assert delete_words([words], 0) == [words]
    assert len(delete_words([words], 1)[0].split()) == 1  # one stays, whatever happens
    stayed = {delete_words(["a b c d"], 1, seed=seed)[0] for seed in range(40)}
    assert stayed == {"a", "b", "c", "d"}
    assert delete_words(["tea"] * 50, 0.9) == ["tea"] * 50


def test_lists_stay_lists_when_words_go() -> None:
    text = "frozen breaded stick; white bread, sliced; tea"
    parts = [set(part.split()) for part in re.split("[;,] ", text)]
    for seed in range(60):
        (found,) = delete_words([text], 0.4, seed=seed)
        assert found[-1] not in ";, "
        for part in re.split("[;,] ", found):  # words of two parts never become one part
            assert any(set(part.split()) <= whole for whole in parts), found


def test_texts_of_separators_alone_stay() -> None:
    assert delete_words([";"], 0.5) == [";"]


@pytest.mark.parametrize("share", [1.5, -0.1, float("nan")])
def test_settings_without_sense_are_refused(share) -> None:
    with pytest.raises(ValueError, match=f"share must lie between 0 and 1, got {share}"):
        delete_words(LISTS, share)
