"""Ids as text: those that stand for a missing one, and one id that is written in two ways."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys_lib.data.values import Refuse

# As databases, spreadsheets, logs and languages write a missing value, after spaces are stripped.
_MISSING = (
    r"(?i)^(?:[-+]?[<(\[{]?(?:na|n/a|nan|nat|null|none|nil|undefined|)[>)\]}]?"
    r"|[<(\[{](?:not set|not provided|blank|empty|missing|unknown)[>)\]}]|\\n|--|\?|\."
    r"|[-+]?1?[.,]#(?:qnan|snan|ind|inf).*|#(?:n/a.*|na|nv)|#[\pL/0-9]+[!?]|##+"
    r"|0{8}(?:-0{4}){3}-0{12})$"
)
_CUT = r"(?i)^[-+]?[0-9](?:[.,][0-9]+)?e\+[0-9]{2,}$"


def _replaced(pattern: str, by: str) -> Callable[[pa.Array], pa.Array]:
    return lambda ids: pc.replace_substring_regex(ids, pattern, by)


_CLEANED = _replaced("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]", "")
_NUMBER = "by a .0, a + or another sign that changes no number: write them in one way"
# What readers and programs add to an id without meaning it; each step works on what the one before left.
_STEPS = (
    (lambda ids: pc.utf8_normalize(ids, "NFC"), "by how signs like é are coded: normalize them (NFC)"),
    (_CLEANED, "by signs that cannot be seen (of zero width): remove them"),
    (pc.utf8_trim_whitespace, "by spaces around them: strip them"),
    (_replaced("(?s)^(?:['\"`‘“](.*)['\"`’”]|'([0-9].*))$", r"\1\2"), "by quotes around them: remove them"),
    (pc.utf8_trim_whitespace, "by quotes and spaces around them: strip them"),
    (_replaced(r"^\+?(-?[0-9]+)(?:\.0*|,0{1,2})?$", r"\1"), _NUMBER),
    (_replaced("^-(0+)$", r"\1"), _NUMBER),
)


def check_ids(column: pd.Series, refuse: Refuse) -> None:
    """Refuse ids of text that read as missing, that Excel has cut, or that are one id in two spellings.

    Only text is looked at, and each spelling once. Empty cells are no text.
    """
    if pd.api.types.infer_dtype(column) != "string":
        return
    ids = pa.array(column, from_pandas=True)
    distinct = pc.unique(ids).drop_null().cast(pa.string())

    def refuse_all(bad: pa.Array, expected: str) -> None:
        if pc.any(bad).as_py():
            refuse(pc.is_in(ids, distinct.filter(bad).cast(ids.type)).to_numpy(False).astype(bool), expected)

    bare = pc.utf8_trim_whitespace(_CLEANED(distinct))
    refuse_all(
        pc.match_substring_regex(bare, _MISSING),
        "expected an id, and this reads as a missing one: rename it if it is one",
    )
    refuse_all(
        pc.match_substring_regex(bare, _CUT),
        "expected an id; Excel, or a column of floats, has cut this one: write it again, as text",
    )
    first, second, what = _twins(distinct)
    if what:
        words = f"the ids {first!r} and {second!r} differ only {what}"
        refuse_all(pc.equal(distinct, second), words)


def _twins(distinct: pa.Array) -> tuple[str, str, str]:
    """Return the first two ids that are one id, and how they differ; three times "" if there are none."""
    form = distinct
    for change, what in _STEPS:
        before, form = form, change(form)
        if form.equals(before) or len(pc.unique(form)) == len(form):
            continue
        codes = pc.dictionary_encode(form).indices.to_numpy()
        second = int(np.argmax(pd.Series(codes).duplicated()))
        return distinct[int(np.argmax(codes == codes[second]))].as_py(), distinct[second].as_py(), what
    return "", "", ""
