"""Text ids: what dumps write for a missing one, and one id in two spellings."""

import numpy as np
import pandas as pd
import pytest

from recsys_lib.data import load_interactions
from recsys_lib.data.ids import check_ids

MISSING = [
    "",
    "NA",
    "n/a",
    "#N/A",
    "<NA>",
    "NaN",
    "NAN",
    "-nan",
    "null",
    "Null",
    "NONE",
    "none",
    "NaT",
    "Nil",
]
MISSING += [
    "\\N",
    "(null)",
    "<null>",
    "[NULL]",
    "undefined",
    "1.#QNAN",
    "-1.#IND",
    "#REF!",
    "#NULL!",
    "#NAME?",
]
MISSING += ["#VALUE!", "#WERT!", "########", " null ", "\u200bnull", "(not set)", "-", "?"]  # fmt: skip


def told(ids, dtype=None):
    """What is said of a column of ids, and of which row; "" if nothing."""
    try:
        check_ids(pd.Series(ids, dtype=dtype), lambda bad, words: bad.any() and _raise(bad, words))
    except ValueError as error:
        return str(error)
    return ""


def _raise(bad, words):
    raise ValueError(f"row {int(np.argmax(bad))}: {words}")


@pytest.mark.parametrize("missing", MISSING)
def test_an_id_that_reads_as_missing_is_refused(missing, tmp_path):
    for dtype in (None, object, pd.StringDtype("pyarrow")):
        assert told(["a", "b", missing, "a"], dtype).startswith("row 2: expected an id, and this reads as a ")
    (tmp_path / "mine.csv").write_text(f'user,item\na,x\n"{missing}",y\n')
    with pytest.raises(ValueError, match=r"data row 2: .*expected an id"):
        load_interactions(tmp_path / "mine.csv", "user", "item")


@pytest.mark.parametrize("cut", ["1.23457E+12", "1,23457E+12", "1E+15", "4.5e+18"])
def test_an_id_that_excel_has_cut_is_refused(cut):
    assert told(["a", cut]).startswith("row 1: expected an id; Excel")


TWINS = [("é", "e\u0301", "NFC"), ("a", "a\u200b", "cannot be seen"), ("a", "\ufeffa", "cannot be seen")]
TWINS += [
    ("a", " a", "only by spaces"),
    ("a", " 'a'", "only by quotes around"),
    ("a", "'a'", "quotes"),
    ("17", "'17", "quotes"),
    ("1", "' 1.0 '", "a .0"),
]
TWINS += [("1", "1.0 ", "a .0"), ("1", "1.", "a .0"), ("1", "1,0", "a .0"), ("+1", "1", r"a \+")]
TWINS += [("-0", "0", "a .0"), ("-0.0", "0", "a .0"), ("a\u200b", " a", "spaces")]


@pytest.mark.parametrize(("first", "second", "what"), TWINS)
def test_one_id_in_two_spellings_is_refused(first, second, what):
    said = told(["b", first, "b", second, first])
    assert said.startswith(f"row 3: the ids {first!r} and {second!r} differ only by ")
    assert what.replace("\\", "") in said


def test_other_ids_pass():
    assert not told(
        ["007", "7", "70", "1,000", "1", "-1", "a", "A", "5'", "5", "12E05", "nano", "#1", "x.0", "x"]
    )
    assert not told([1, 2, 3])
    assert not told(["a", None, "b"])
    assert not told([])
