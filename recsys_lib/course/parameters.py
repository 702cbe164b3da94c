"""Parameters on the command line: each gets the type of the notebook's own value, or is refused."""

import ast
import json
import math
from collections.abc import Mapping, Sequence
from os.path import expanduser
from pathlib import Path
from typing import Any

from recsys_lib.course.notebooks import parameter_types, read_notebook
from recsys_lib.course.session import check_settings

WANTED = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a dictionary",
}
CHECKED = ("profile", "seed", "device", "data_dir")


def split_parameters(texts: Sequence[str]) -> dict[str, str]:
    """Split texts such as "seed=7" into names and values, still text.

    Examples
    --------
    >>> split_parameters(["seed=7", "own_user=a=b"])
    {'seed': '7', 'own_user': 'a=b'}
    """
    given: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise ValueError(f"--parameter {text}: write NAME=VALUE")
        if name in given:
            raise ValueError(f"--parameter {name} is given twice: {given[name]} and {value}")
        given[name] = value
    return given


def parameters_per_notebook(paths: Sequence[Path], given: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return for each notebook those of the parameters that it has, with their types, checked.

    A name that none of the notebooks has is a typing error; but `profile` may be missing everywhere.
    """
    known = [parameter_types(read_notebook(path), path.name) for path in paths]
    for name in given.keys() - {"profile"}:
        if not any(name in types for types in known):
            names = ", ".join(sorted(set().union(*known)))
            raise ValueError(f"no chosen notebook has a parameter '{name}'; they have: {names}")
    values = [
        {name: read_value(name, text, types[name]) for name, text in given.items() if name in types}
        for types in known
    ]
    for of_one in values:
        check_settings(**{name: value for name, value in of_one.items() if name in CHECKED})
    return values


def read_value(name: str, text: str, types: set[str]) -> Any:
    """Return the value that a text stands for, given the types that it may have: see `parameter_types`.

    With "str" among them the text is taken as it is, but for a "~" at its start. Where none is known, a value
    of JSON or Python is read, else it is text.

    Examples
    --------
    >>> read_value("seed", "7", {"int"}), read_value("own_user", "7", {"str"}), read_value("x", "7.5", set())
    (7, '7', 7.5)
    """
    if "None" in types and text in ("null", "None"):
        return None
    if "str" in types:
        return expanduser(text)
    value, wanted = _literal(text), types & set(WANTED)
    if wanted == {"float"} and type(value) is int:
        value = float(value)
    if wanted and (type(value).__name__ not in wanted or not _is_storable(value)):
        needed = " or ".join(WANTED[kind] for kind in sorted(wanted))
        raise ValueError(f"--parameter {name} must be {needed}, got {text!r}")
    if not _is_storable(value):
        raise ValueError(
            f"--parameter {name}={text} cannot be passed on; text, finite numbers, true, false, null "
            f"and lists such as [1, 2] can. If it is text, put it in quotes: {name}='\"{text}\"'"
        )
    return expanduser(value) if isinstance(value, str) else value


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval, float):  # float: nan and inf, however they are written
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return text


def _is_storable(value: Any) -> bool:
    """Say whether a value comes back from a notebook's file, which is JSON, as it was."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_storable, value.values()))
    if isinstance(value, list):
        return all(map(_is_storable, value))
    return (
        value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    )
