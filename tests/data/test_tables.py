"""Files: what is written is read back exactly, or refused; a lost quote never swallows a row."""

import bz2
import csv
import gzip
import io
import lzma
import random
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys_lib.data import load_interactions
from recsys_lib.data.own_data import read_interactions

QUOTING = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]
SIGNS = "ab7,;|\t \"'\n\r\\é用\u2028\x0c\x85.-"
texts = st.one_of(
    st.text(st.sampled_from(SIGNS), max_size=5),
    st.text(max_size=4).map(lambda text: text.replace("\0", "").encode("utf-8", "ignore").decode()),
    st.integers(-3, 20).map(str),
    st.sampled_from(
        ["007", "1.0", "1", "NA", "None", '5" pan', "a,b", "l1\nl2", "l1\r\nl2", '"', '""', " x", "x"]
    ),
)
tables = st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=6)


def folder():
    return tempfile.TemporaryDirectory(prefix="tables-")


def read_back(content, delimiter, name="t.csv"):
    """The rows of a file as tuples of text, or None where it is refused."""
    with folder() as place:
        path = Path(place, name)
        path.write_bytes(content)
        try:
            frame = read_interactions(path, "user", "item", delimiter=delimiter)
        except ValueError:
            return None
        return [(str(user), str(item)) for user, item in frame.itertuples(index=False)]


def written(rows, delimiter, quoting, end="\r\n", header=("user", "item", "note")):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end).writerow(header)
    csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return file.getvalue().encode()


@given(tables, st.sampled_from(",;|\t"), st.sampled_from(QUOTING), st.sampled_from(["\n", "\r\n", "\r"]))
@example([("a", "x", "l1\nl2"), ("b", "y", "l1\r\nl2")], ",", csv.QUOTE_ALL, "\n")
@example([("a\r\nb", "x", "1"), ("b", "y", "2")], ";", csv.QUOTE_MINIMAL, "\r\n")
@settings(max_examples=150, deadline=None)
def test_what_the_csv_module_writes_is_read_back_or_refused(rows, delimiter, quoting, end):
    found = read_back(written(rows, delimiter, quoting, end), delimiter)
    assert found is None or found == [row[:2] for row in rows]


@given(tables, st.sampled_from(",;|\t"), st.sampled_from(QUOTING))
@settings(max_examples=60, deadline=None)
def test_what_pandas_writes_is_read_back_or_refused(rows, delimiter, quoting):
    frame = pd.DataFrame(rows, columns=["user", "item", "note"])
    content = frame.to_csv(None, sep=delimiter, quoting=quoting, index=False, lineterminator="\n").encode()
    found = read_back(content, delimiter)
    assert found is None or found == [row[:2] for row in rows]


plain = st.text(st.sampled_from('ab7,;|\t "\n\ré用.'), min_size=1, max_size=5).map(lambda text: f"z{text}z")


@given(
    st.lists(st.tuples(plain, plain, plain), min_size=2, max_size=6),
    st.sampled_from(",;|\t"),
    st.sampled_from(QUOTING),
)
@settings(max_examples=120, deadline=None)
def test_unusual_ids_are_read_back_and_not_refused(rows, delimiter, quoting):
    """Not refused but for one reason: a cell over several lines that looks like rows."""
    rows = [("ann", "i", "1"), ("bob", "i", "2"), *rows]
    found = read_back(written(rows, delimiter, quoting, "\n"), delimiter)
    if not any("\n" in cell or "\r" in cell for row in rows for cell in row):
        assert found is not None
    assert found is None or found == [row[:2] for row in rows]


@given(
    st.lists(st.tuples(plain, plain, plain), min_size=1, max_size=8),
    st.sampled_from(QUOTING),
    st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_a_lost_quote_is_refused_or_changes_nothing(rows, quoting, where):
    content = written([("ann", "i", 'a "word"'), *rows], ",", quoting, "\n").decode()
    quotes = [place for place, sign in enumerate(content) if sign == '"']
    lost = quotes[where % len(quotes)]
    found = read_back((content[:lost] + content[lost + 1 :]).encode(), ",")
    assert found is None or found == [("ann", "i"), *(row[:2] for row in rows)]


@given(tables.filter(lambda rows: all("\0" not in cell for row in rows for cell in row)))
@settings(max_examples=60, deadline=None)
def test_csv_and_parquet_mean_the_same(rows):
    frame = pd.DataFrame(rows, columns=["user", "item", "note"])
    from_csv = read_back(written(rows, ",", csv.QUOTE_ALL, "\n"), ",")
    file = io.BytesIO()
    frame.to_parquet(file)
    from_parquet = read_back(file.getvalue(), None, "t.parquet")
    assert from_csv == from_parquet or from_csv is None  # as text, a lone line break or NUL may be refused
    if from_parquet is None:
        assert from_csv is None


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("lines", [1_500, 250_000])
def test_long_files_keep_every_row(tmp_path, lines, quoted):
    """Blocks of readers and writers end somewhere inside; one cell goes over three lines."""
    rng = random.Random(lines)
    rows = [(f"u{rng.randrange(99)}", f"i{rng.randrange(999)}") for _ in range(lines)]
    if quoted:
        rows[lines // 2] = ("three\r\nlines\n", 'and "quotes"')
    (tmp_path / "long.csv").write_bytes(written(rows, ",", QUOTING[quoted], "\r\n", ("user", "item")))
    frame = read_interactions(tmp_path / "long.csv", "user", "item")
    assert list(frame.itertuples(index=False, name=None)) == rows


LOST = {
    "at the end of the file": 'user,item,note\na,x,ok\nb,y,"5 inch\nc,x,ok\nd,y,ok\n',
    "before a cell with quotes": 'user,item,note\na,x,ok\nb,y,"5 inch\nc,x,ok\nd,y,"ok"\n',
    "before an empty cell with quotes": 'user,item,note\na,x,ok\nb,y,"5 inch\nc,x,""\nd,y,""\n',
    "between two marks of inches": 'user,item,note\na,x,"5 inch\nb,y,ok\nc,x,5"\nd,y,ok\n',
    "between two marks in the first column": 'user,item,note\n"a,x,1\nb",y,2\nd,y,ok\n',
    "between two marks in the middle": 'user,item,note\nu,"x,1\nv,y",1\nw,x,2\n',
    "a mark of inches": 'user,item,note\na,x,5"\nb,y,ok\n',
    "only before the cell": 'user,item,note\na,x,ok"\nb,"y",ok\n',
    "in the header": '"user,item,note\na,x,ok\nb,y,ok\n',
    "two inside of a cell": 'user,item,note\na,x,"5" and 7" wide"\nb,y,ok\n',
    "before a cell that begins with a blank": 'user,item,note\na,x,"5 inch\nb, y,6"\nc,z,q\n',
    "inside of a cell": 'user,item,note\na,x,"5" inch"\nb,y,ok\n',
}


@pytest.mark.parametrize("where", LOST)
def test_no_row_is_swallowed(where, tmp_path):
    (tmp_path / "mine.csv").write_text(LOST[where])
    with pytest.raises(
        ValueError, match=r"mine\.csv is no well-formed CSV: .*line \d|mine\.csv .*its header"
    ):
        load_interactions(tmp_path / "mine.csv", "user", "item")


LEGAL = {
    "a cell over several lines": 'user,item,note\na,x,"l1\nl2, and l3"\nb,"y\r\nz","q"\n',
    "at the end of rows": 'note,user,item\nn,a,x\nn,b,"y\r\nz"\n',
    "a first cell over two lines": 'user,item\n"a",x\nb,"y\r\nz"\n',
    "blank lines everywhere": '\n\r\n\nuser,item\n\na,x\n\r\n\nb,"y\r\nz"\n\n',
    "a line break in the header": '"note\n(free, or not)",user,item\nn,a,x\nn,b,"y\r\nz"\n',
    "quotes around the header": '\ufeff"user","item"\na,x\nb,"y\r\nz"\n',
    "odd signs in the header": 'no\u2028te\x0c\x85,user,item\n,a,x\n,b,"y\r\nz"\n',
    "other columns twice": 'n,user,item,n\n1,a,x,1\n1,b,"y\r\nz",1\n',
    "two marks of inches": 'user,item,note\na,x,5" × 7"\nb,"y\r\nz",\n',
}


@pytest.mark.parametrize("form", LEGAL)
def test_legal_forms_are_read_exactly(form, tmp_path):
    (tmp_path / "mine.csv").write_bytes(LEGAL[form].encode())
    made = load_interactions(tmp_path / "mine.csv", "user", "item")
    assert made.users.tolist() == ["a", "b"]
    assert made.items.tolist() == ["x", "y\r\nz"]


def test_a_column_may_have_a_line_break_in_its_name(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b'"us\r\ner",item\r\na,x\r\nb,y\r\n')
    assert load_interactions(tmp_path / "mine.csv", "us\r\ner", "item").users.tolist() == ["a", "b"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_without_quotes_every_line_is_a_row(end, last, tmp_path):
    text = end.join(["", "no\u2028te\x0c,user,item", "", ",a,x", "", ",b,y\x85"]) + end * last
    (tmp_path / "mine.csv").write_bytes(text.encode())
    made = load_interactions(tmp_path / "mine.csv", "user", "item")
    assert made.users.tolist() == ["a", "b"]
    assert made.items.tolist() == ["x", "y\x85"]


WAYS = [("mine.tsv", None), ("mine.TSV", None), ("mine.tab", None), ("mine.csv", "\t"), ("mine.csv", "\\t")]


@pytest.mark.parametrize(("name", "delimiter"), WAYS)
def test_a_tab_is_known_by_the_suffix_or_given(name, delimiter, tmp_path):
    (tmp_path / name).write_text("user\titem\na\tx,1\nb\ty\n")
    made = load_interactions(tmp_path / name, "user", "item", delimiter=delimiter)
    assert made.items.tolist() == ["x,1", "y"]


@pytest.mark.parametrize("sign", [";", "|", "\t", ","])
def test_another_delimiter_is_guessed_in_the_message(sign, tmp_path):
    (tmp_path / "mine.csv").write_text(f"\ufeffuser{sign}item\na{sign}x\nb{sign}y\n")
    given = "," if sign != "," else ";"
    with pytest.raises(ValueError, match=r"has no column 'user'.*is the delimiter") as caught:
        load_interactions(tmp_path / "mine.csv", "user", "item", delimiter=given)
    assert f"is the delimiter {sign!r} and not {given!r}?" in str(caught.value)


@pytest.mark.parametrize("delimiter", ["::", "", '"', "\n", "\r", "\0", 5, "é", b","])
def test_what_cannot_separate_columns_is_refused_in_words(delimiter, tmp_path):
    (tmp_path / "mine.csv").write_text("user,item\na,x\nb,y\n")
    with pytest.raises(ValueError, match="delimiter must be one character that separates columns"):
        load_interactions(tmp_path / "mine.csv", "user", "item", delimiter=delimiter)


REFUSED = {
    "utf-16": ("user,item\na,x\nb,y\n".encode("utf-16"), "it looks like UTF-16: save it again as UTF-8"),
    "utf-16 without mark": ("user,item\na,x\nb,y\n".encode("utf-16-be"), "it looks like UTF-16"),
    "latin-1 far below": (b"user,item\n" + b"a,x\n" * 300_000 + b"b,\xe9\n", "invalid UTF8"),
    "latin-1 far below, quotes": (b"user,item\n" + b'"a\n",x\n' * 150_000 + b"\xe9", "not UTF-8 throughout"),
    "a column twice": (b"user,item,user\na,x,b\nb,y,c\n", "has 2 columns 'user'; expected one"),
    "a short row": (b"user,item,n\na,x\nb,y,1\n", "Expected 3 columns, got 2"),
    "a short row, quotes": (b'user,item,n\n"a\nb",x\nb,y,1\n', "line 3: expected 3 columns, got 2"),
    "only a header": (b"user,item", "has a header but no rows"),
    "only a header, quotes": (b'"user","item"', "has a header but no rows"),
    "only blank lines below": (b"user,item\n\n \n", "has a header but no rows"),
    "only blank lines": (b"\n\n", "is empty"),
    "only a mark": (b"\xef\xbb\xbf\r\n", "is empty"),
    "Excel's sep": (b"sep=;\nuser;item\na;x\nb;y\n", "first line is Excel's sep= .*remove that line"),
    "Excel's sep, comma": (b"sep=,\nuser,item\na,x\nb,y\n", "first line is Excel's sep= "),
    "gzip": (gzip.compress(b"user,item\na,x\nb,y\n"), "it is compressed: unpack it"),
    "bzip2": (bz2.compress(b"user,item\na,x\nb,y\n"), "it is compressed: unpack it"),
    "xz": (lzma.compress(b"user,item\na,x\nb,y\n"), "it is compressed: unpack it"),
    "zip": (b"PK\x03\x04\x14\0\0\0\x08\0mine.csvPK", "it is compressed: unpack it"),
    "Excel": (b"PK\x03\x04\x14\0\x06\0\x08\0[Content_Types].xml", "it is a workbook.*save it as CSV"),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is a workbook.*save it as CSV"),
    "Feather": (b"ARROW1\0\0\xff\xff", "it is a Feather, .*save it as Parquet"),
    "SQLite": (b"SQLite format 3\0", "SQLite database"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_in_words(name, tmp_path):
    content, message = REFUSED[name]
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_interactions(tmp_path / "mine.csv", "user", "item")
    assert str(tmp_path / "mine.csv") in str(caught.value)
