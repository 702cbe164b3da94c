"""Columns of CSV and Parquet files, exactly as they stand: where a row might be lost, the file is refused."""

import csv
import io
import os
import re
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recsys_lib.data.schemas import first_line

_SNIFFED_BYTES = 1_000_000
_ROWS = 100_000  # of a file with quotes, turned into columns at a time

# How files begin that are often taken for CSV.
_KINDS = {
    rb"(?s)PK\x03\x04.{,2000}?(?:\[Content_Types\]|xl/|vnd\.oasis)|\xd0\xcf\x11\xe0": "it is a workbook, as "
    "of Excel: save it as CSV in UTF-8",
    rb"PK\x03\x04|\x1f\x8b|BZh[1-9]1AY|\xfd7zXZ|7z\xbc\xaf|\(\xb5/\xfd": "it is compressed: unpack it",
    rb"ARROW1\0|FEA1|ORC[\0-\x1f]": "it is a Feather, Arrow or ORC file: save it as Parquet",
    rb"SQLite format 3\0": "it is an SQLite database: export the table as CSV",
}


def file_path(path: object) -> Path:
    """Return the absolute path of a file that is there, `~` expanded.

    Raises FileNotFoundError if it is not there, ValueError if it is no path at all, or a folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"expected the path of a CSV or Parquet file, got {path!r}")
    if re.match(r"[A-Za-z][\w+.-]+:/", str(path)):  # two letters at least: C:/ is a folder
        raise ValueError(f"{path} is an address; expected the path of a file: download it first")
    found = Path(os.path.abspath(os.path.expanduser(path)))
    if found.is_dir():
        raise ValueError(f"{found} is a folder; expected a CSV or Parquet file")
    if not found.is_file():
        raise FileNotFoundError(f"{found} does not exist or is no file")
    return found


def read_columns(path: Path, names: list[str], delimiter: str | None) -> pa.Table:
    """Read two or more columns of a file that is there; those of a CSV file as text.

    The delimiter of a CSV file is by default a tab for `.tsv` and `.tab`, else a comma. One larger than
    the memory that is free is refused; of Parquet, only the columns asked for are read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_SNIFFED_BYTES)
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise ValueError(f"{path} is empty; expected a header line and one interaction per row")
    is_parquet = head.startswith(b"PAR1")
    if not is_parquet:
        _check_is_text(path, head)
    if not is_parquet and size > (free := psutil.virtual_memory().available):
        raise ValueError(
            f"{path} has {size:,} bytes, and {free:,} of memory are free; expected a file that fits into "
            "memory: keep the needed columns only"
        )
    if is_parquet:
        return _read_parquet(path, names)
    return _read_csv(path, names, _check_delimiter(path, delimiter), head)


def _check_delimiter(path: Path, delimiter: str | None) -> str:
    if delimiter is None:
        return "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    if delimiter == "\\t":  # as a shell passes it on
        return "\t"
    single = isinstance(delimiter, str) and len(delimiter) == 1 and delimiter.isascii()
    if not single or delimiter in '"\r\n\0':
        raise ValueError(
            f"delimiter must be one character that separates columns, such as ',', ';', '|' or a tab "
            f"('\\t'), got {delimiter!r}"
        )
    return delimiter


def _check_is_text(path: Path, head: bytes) -> None:
    # Judged by the first megabyte, so that a huge file which is no CSV costs nothing.
    cut = len(head) == _SNIFFED_BYTES
    problem = next((words for magic, words in _KINDS.items() if re.match(magic, head)), None)
    start = head[:400]
    if problem:
        pass
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")) or 0.25 < start.count(0) / len(start) < 0.75:
        problem = "it looks like UTF-16: save it again as UTF-8"
    elif b"\0" in head:
        problem = f"byte {head.index(0)} is zero"
    elif cut and not set(b"\r\n") & set(head):
        problem = "its first line does not end within a megabyte"
    else:
        try:
            # The sniffed length may cut the last character in pieces (4 bytes at most).
            (head[: max(head.rfind(b"\n"), head.rfind(b"\r"))] if cut else head).decode()
        except UnicodeDecodeError as error:
            problem = f"byte {error.start} is not UTF-8"
    if problem:
        raise ValueError(
            f"{path} is neither Parquet nor text ({problem}); expected CSV in UTF-8 with a header line"
        )


def _read_parquet(path: Path, names: list[str]) -> pa.Table:
    try:
        _check_columns(path, names, pq.read_schema(path).names, None)
        return pq.read_table(path, columns=names)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} begins like Parquet but cannot be read: {first_line(error)}") from error


def _read_csv(path: Path, names: list[str], delimiter: str, head: bytes) -> pa.Table:
    text = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    try:
        rows = csv.reader(text, delimiter=delimiter, strict=True)
        header = next((row for row in rows if row), [])
    except csv.Error as error:
        raise ValueError(f"{path} is no well-formed CSV: its header: {error}") from error
    _check_columns(path, names, header, delimiter)
    if len(head) < _SNIFFED_BYTES and not text.read().strip():
        return pa.table([pa.array([], pa.string())] * len(names), names)
    if _has_quotes(path):  # Arrow would take a lost quote for the beginning of a long cell
        return _read_quoted(path, names, header, delimiter)
    parse = pa.csv.ParseOptions(delimiter=delimiter, quote_char=False)
    # Everything is read as text first: only then can a bad value be shown as it stands in the file.
    convert = pa.csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
    try:
        return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pa.ArrowException:
        # Arrow names the bad row only when it reads in one thread, so a broken file is read again that way.
        try:
            one_thread = pa.csv.ReadOptions(use_threads=False)
            return pa.csv.read_csv(path, one_thread, parse, convert)
        except pa.ArrowException as error:
            raise ValueError(f"{path} is no well-formed CSV: {first_line(error)}") from error


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(_SNIFFED_BYTES), b""))


def _read_quoted(path: Path, names: list[str], header: list[str], delimiter: str) -> pa.Table:
    """Read a file record by record, where a cell may go over several lines or a quote may be lost."""
    blocks: list[list[pa.Array]] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = _records(file, len(header), [header.index(name) for name in names], delimiter)
        try:
            while block := list(islice(records, _ROWS)):
                blocks.append([pa.array(column, pa.string()) for column in zip(*block, strict=True)])
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 throughout: {error}; save it again as UTF-8") from error
        except ValueError as error:
            raise ValueError(f"{path} is no well-formed CSV: {error}") from error
    chunks = zip(*blocks, strict=True) if blocks else [[]] * len(names)
    return pa.table([pa.chunked_array(parts, pa.string()) for parts in chunks], names)


def _records(file: TextIO, width: int, places: list[int], delimiter: str) -> Iterator[tuple[str, ...]]:
    """Yield some cells of every record below the header; a ValueError where one might be lost."""
    lines: list[str] = []  # of the record that is being read

    def kept() -> Iterator[str]:
        for line in file:
            lines.append(line)
            yield line

    reader, pick, in_body = csv.reader(kept(), delimiter=delimiter, strict=True), itemgetter(*places), False
    try:
        for row in reader:
            if row:
                if len(row) != width:
                    raise ValueError(f"line {reader.line_num}: expected {width} columns, got {len(row)}")
                if len(lines) > 1 or lines[0].count('"') % 2:
                    _check_lines(lines, reader.line_num, width, places, delimiter)
                if in_body:
                    yield pick(row)
                in_body = True
            lines.clear()
    except csv.Error as error:
        begin = reader.line_num - len(lines) + 1
        raise ValueError(f"the record that begins in line {begin}: {error}; is a quote lost?") from error


def _check_lines(lines: list[str], last: int, width: int, places: list[int], delimiter: str) -> None:
    begin = last - len(lines) + 1
    if sum(line.count('"') for line in lines) % 2:
        raise ValueError(
            f"the record that begins in line {begin} has an odd number of quotes: one is lost, or one "
            'inside of a cell is not doubled (5" is written "5""")'
        )

    def is_like_a_row(line: str) -> bool:
        cells = line.split(delimiter)
        return len(cells) >= width and all(cells[place].strip() for place in places)

    if is_like_a_row(lines[0]) and any(map(is_like_a_row, lines[1:])):
        raise ValueError(
            f"a quoted cell goes from line {begin} to line {last}, and what it holds looks like rows: is a "
            "quote lost? If it is text that belongs there, leave its column out of the file"
        )


def _check_columns(path: Path, names: list[str], found: list[str], delimiter: str | None) -> None:
    for name in names:
        if name not in found:
            other = [sign for sign in ";|\t," if len(found) == 1 and sign in found[0] and sign != delimiter]
            hint = f"; is the delimiter {other[0]!r} and not {delimiter!r}?" if other and delimiter else ""
            if delimiter and found and found[0].lower().startswith("sep="):
                hint = "; its first line is Excel's sep= and no header: remove that line"
            raise ValueError(f"{path} has no column {name!r}; it has {found}{hint}")
        if found.count(name) > 1:
            raise ValueError(
                f"{path} has {found.count(name)} columns {name!r}; expected one: rename the others"
            )
