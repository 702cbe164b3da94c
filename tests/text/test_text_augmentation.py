"""Augmented texts: never empty, the same for the same seed, changed only as promised."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_lib.data.abbreviations import WORDS
from recsys_lib.text import delete_words, merge_texts, swap_names, truncate_words

LISTS = [
    "white bread; butter, soft; tea",
    "tea",
    "frozen breaded stick; white bread",
    "soap; tea; soap",
    "peanut butter",
]
GROUPS = ["one", "two", "one", "two", "three"]
WAYS = {
    "delete": lambda texts, seed: delete_words(texts, 0.5, seed=seed),
    "swap": lambda texts, seed: swap_names(texts, 0.5, seed=seed),
    "truncate": lambda texts, seed: truncate_words(texts, 2),
    "merge": lambda texts, seed: merge_texts(texts, [len(text) % 2 for text in texts], seed=seed),
}
texts_of_any_kind = st.lists(st.text(min_size=1).filter(str.strip), max_size=6)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=texts_of_any_kind, seed=st.integers(0, 99))
def test_one_text_each_never_empty_the_same_again(way, texts, seed) -> None:
    before = list(texts)
    found = way(texts, seed)
    assert texts == before
    assert found is not texts
    assert len(found) == len(texts)
    assert all(isinstance(text, str) and text.strip() for text in found)
    assert way(tuple(texts), seed) == found


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_no_text_is_refused(way) -> None:
    with pytest.raises(ValueError, match=r"texts\[1\] is empty"):
        way(["tea", ""], 0)
    with pytest.raises(ValueError, match=r"texts\[0\] is 3, a"):
        way(np.array([3, 4]).tolist(), 0) if way is not WAYS["merge"] else merge_texts([3, 4], "ab")
    with pytest.raises(ValueError, match="must be a list"):
        way("tea", 0)


@pytest.mark.parametrize("name", ["delete", "swap", "merge"])
def test_another_seed_gives_other_texts(name) -> None:
    texts = [f"frozen breaded vegetables; tea {i}; milk" for i in range(9)]
    assert WAYS[name](texts, 0) != WAYS[name](texts, 1)


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


def test_names_are_swapped_both_ways() -> None:
    names = [("oj", "orange juice"), ("soda", "soft drink"), ("pop", "soft drink")]
    swap = lambda text, seed=0: swap_names([text], 1.0, names=names, seed=seed)[0]  # noqa: E731
    assert swap("OJ; oj, ojay, doj") == "orange juice; orange juice, ojay, doj"  # whole words, whatever case
    assert swap_names(["soft drink"], 1.0, names=[("soft", "sft"), ("soft drink", "soda")]) == ["soda"]
    assert swap("orange juice; juice") == "oj; juice"
    assert {swap("soft drink", seed) for seed in range(20)} == {"soda", "pop"}
    assert swap("soda pop") == "soft drink soft drink"
    assert swap("\u017foda") == "\u017foda"  # matches "soda" whatever the case, and is another word
    assert swap_names(["oj soda"], 0.0, names=names) == ["oj soda"]
    (found,) = swap_names(["oj " * 1000], 0.3, names=names)
    assert 250 < found.count("orange juice") < 350
    assert swap_names(["tea"], 1.0, names=[]) == ["tea"]


def test_the_shops_names_lead_there_and_back() -> None:
    once = [(short.lower(), plain) for short, plain in WORDS.items() if plain]
    single = [pair for pair in once if sum(pair[0] in other for other in once) == 1]
    assert len(single) > 200
    for short, plain in single[:80]:
        assert swap_names([short], 1.0) in ([plain], *([other] for other, p in once if p == short))
        (back,) = swap_names([plain], 1.0)
        assert (back, plain) in once or (plain, back) in once
    assert swap_names(["frozen dinner"], 1.0, seed=1) != ["frozen dinner"]
    assert swap_names(["dxm"], 1.0) == ["dxm"]  # an abbreviation without a meaning stays


def test_texts_of_separators_alone_stay() -> None:
    assert truncate_words([", ;", "tea ; milk"], 1) == [",", "tea"]
    assert delete_words([";"], 0.5) == [";"]
    assert merge_texts(["bread; ", "tea"], [1, 1]) == ["bread; tea", "tea; bread"]
    assert merge_texts(["; "], [1]) == ["; "]


def test_truncation_keeps_the_first_words() -> None:
    assert truncate_words(LISTS, 3) == [
        "white bread; butter",
        "tea",
        "frozen breaded stick",
        "soap; tea; soap",
        "peanut butter",
    ]


def test_lists_are_merged_within_their_group_only() -> None:
    found = merge_texts(LISTS, GROUPS)
    assert found == [
        "white bread; butter, soft; tea; frozen breaded stick",
        "tea; soap",
        "frozen breaded stick; white bread; butter, soft; tea",
        "soap; tea",
        "peanut butter",
    ]
    assert merge_texts(LISTS, np.array(GROUPS), most=2)[0] == "white bread; butter, soft"
    assert merge_texts(["a; b", "b; c"], [1, 1]) == ["a; b; c", "b; c; a"]
    many = {merge_texts(["a", "b", "c"], [0, 0, 0], seed=seed)[0] for seed in range(20)}
    assert many == {"a; b", "a; c"}  # any partner, never itself


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delete_words(LISTS, 1.5), "share must lie between 0 and 1, got 1.5"),
        (lambda: delete_words(LISTS, float("nan")), "share must lie"),
        (lambda: swap_names(LISTS, -0.1), "share must lie"),
        (lambda: swap_names(LISTS, names=[("tea", " ")]), r"a name is empty: \('tea', ' '\)"),
        (lambda: truncate_words(LISTS, 0), "most must be at least 1, got 0"),
        (lambda: merge_texts(LISTS, GROUPS[:2]), "5 texts need as many groups, got 2"),
        (lambda: merge_texts(LISTS, GROUPS, most=0), "most must be at least 1"),
    ],
)
def test_settings_without_sense_are_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()
