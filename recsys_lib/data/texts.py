"""Texts that models can read: what a product is, in plain words instead of the shop's abbreviations."""

import re
from collections.abc import Sequence
from functools import cache

import pandas as pd

from recsys_lib.data.interactions import check_columns
from recsys_lib.files import project_root, read_rows

FIELDS = ("product_type", "product_category", "department", "brand", "package_size")
BRANDS = {"Private": "store brand", "National": "national brand"}
PLURALS = {"foot": "feet", "inch": "inches", "square foot": "square feet", "dozen": "dozen", "count": "count"}
NOTHING_KNOWN = "unknown product"
NOTHING_BOUGHT = "no purchases yet"

_WORD = re.compile(r"[A-Z0-9%][A-Z0-9'.%]*")
_SIZE = re.compile(r"([\d./ ]*\d)\s*([A-Z][A-Z ]*?)S?\.?$")


@cache
def plain_words(kind: str = "abbreviations") -> dict[str, str]:
    """Return what the shop's abbreviations stand for, read off its own product table; "" leaves them out.

    The kind is "abbreviations", of one word each, "units", without the S of a plural, or "name_patterns":
    regular expressions over a whole name, in the order in which they apply before its words are looked up.
    The table cuts names off after 30 characters. Only what is abbreviated, cut off or misspelt stands here: a
    language model knows synonyms.
    """
    return {row["shop"]: row["plain"] for row in read_rows(project_root() / "data" / f"{kind}.csv")}


@cache
def spell_out(name: str) -> str:
    """Write a name of the shop's product table in plain words.

    Parameters
    ----------
    name : str
        A department, category or type in the shop's capitals.

    Returns
    -------
    str
        In lower case, parts separated by commas.

    Examples
    --------
    >>> spell_out("SNKS/CKYS/CRKR/CNDY")
    'snacks, cookies, crackers, candy'
    >>> spell_out("FRZN BRD STICK/PORTON")
    'frozen breaded stick, portions'
    """
    text = name.upper()
    for pattern, plain in plain_words("name_patterns").items():
        text = re.sub(pattern, plain, text)
    text = _WORD.sub(_plain_word, text)
    text = text.replace("&", " and ").lower()
    # Whatever else the shop separates with is a pause; a lone dash is one too, a hyphen is not.
    text = re.sub(r"[/:;()+<>=,]|(?<![a-z0-9])-|-(?![a-z0-9])", " , ", text)
    parts = (" ".join(part.split()) for part in text.split(","))
    return ", ".join(part for part in parts if part)


def spell_size(size: str) -> str:
    """Write a package size in plain words; a size of another form comes back in lower case.

    Examples
    --------
    >>> spell_size("16 OZ"), spell_size("12 PK/12 OZ"), spell_size("CTN")
    ('16 ounces', '12 packs of 12 ounces', 'carton')
    """
    size = size.upper()
    parts = [_plain_size(part.strip()) for part in size.split("/")]
    # Only behind a number of pieces does the slash mean "of"; in 1/2 GAL it is a fraction.
    if len(parts) == 2 and parts[1] and ("pack" in parts[0] or "count" in parts[0]):
        return " of ".join(parts)
    return _plain_size(size)


def product_texts(products: pd.DataFrame, fields: Sequence[str] = FIELDS) -> list[str]:
    """Describe each product in plain words, the most telling field first.

    Parameters
    ----------
    products : pandas.DataFrame
        With the columns named by `fields`.
    fields : sequence of str
        Which of `FIELDS`, in which order. Missing values are left out.

    Returns
    -------
    list of str
        One text per row; "unknown product" where every field is missing.
    """
    unknown = [field for field in fields if field not in FIELDS]
    if unknown or not fields:
        raise ValueError(f"fields must be some of {FIELDS}, got {tuple(fields)}")
    check_columns(products, list(fields))
    rows = zip(*(_plain_column(products[field]) for field in fields), strict=True)
    return ["; ".join(part for part in row if part) or NOTHING_KNOWN for row in rows]


def _plain_word(match: re.Match) -> str:
    word = match.group().rstrip(".")
    return plain_words().get(word, word)


def _plain_size(size: str) -> str:
    match = _SIZE.fullmatch(size)
    unit = "" if match is None else plain_words("units").get(match.group(2).strip(), "")
    if not unit:
        # Order numbers of the shop, such as "523217 CTN", say nothing about size.
        size = re.sub(r"\d{5,}", "", size)
        return " ".join(size.replace("CTN", "carton").lower().split())
    number = match.group(1).strip()
    number = "0" + number if number.startswith(".") else number
    return f"{number} {unit if number == '1' else PLURALS.get(unit, unit + 's')}"


def _plain_column(column: pd.Series) -> list[str]:
    plain = {"brand": lambda value: BRANDS.get(value, value.lower()), "package_size": spell_size}
    write = plain.get(column.name, spell_out)
    known = {value: write(value) for value in column.dropna().unique()}
    return [known.get(value, "") for value in column]
