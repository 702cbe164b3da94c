"""Checksums of things in memory and of the code itself: what a stored result depends on."""

import ast
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.storage import settings_of

# A change in one of these changes what models compute, or may.
CODE = ("data", "metrics", "recommenders", "scoring")
PACKAGES = ("numpy", "scipy", "scikit-learn", "torch")


def fingerprint(*things: Any) -> str:
    """Return a checksum, 64 hexadecimal digits, that differs as soon as one of the things does.

    Numbers, strings, bytes, None, arrays, tensors, sparse matrices, Series, Index, Interactions, dataclasses
    such as recommenders (their settings and device, nothing fitted), and lists, tuples and dicts of all
    these. Anything else is refused: what is not looked into must not pass as equal.

    Examples
    --------
    >>> fingerprint([1, 2]) == fingerprint([1, 2]), fingerprint([1, 2]) == fingerprint([12])
    (True, False)
    """
    digest = hashlib.sha256()
    for thing in things:
        _absorb(digest, thing)
    return digest.hexdigest()


@functools.cache
def code_version() -> str:
    """Return a checksum of the source of models and data, with the versions of what computes for them."""
    digest = hashlib.sha256()
    for path in sorted(path for name in CODE for path in (Path(__file__).parent.parent / name).rglob("*.py")):
        # Parsed: a comment or a line break changes nothing.
        digest.update(f"{path.name}{ast.dump(ast.parse(path.read_text(encoding='utf-8')))}".encode())
    for name in PACKAGES:
        digest.update(f"{name}={version(name)}".encode())
    return digest.hexdigest()


def _absorb(digest: Any, thing: Any) -> None:
    # Type and size go first, so that what follows cannot be read in two ways.
    if thing is None or isinstance(thing, bool | int | float | str | bytes | np.generic):
        text = f"{type(thing).__name__}:{thing!r};"
        digest.update(f"{len(text)}:{text}".encode())
    elif isinstance(thing, np.ndarray) and thing.dtype != object:
        digest.update(f"array:{thing.dtype}:{thing.shape};".encode())
        digest.update(np.ascontiguousarray(thing).view(np.uint8))
    elif isinstance(thing, list | tuple):
        digest.update(f"{len(thing)} things;".encode())
        for part in thing:
            _absorb(digest, part)
    else:
        digest.update(f"{type(thing).__name__};".encode())
        _absorb(digest, _parts(thing))


def _parts(thing: Any) -> list[Any]:
    """Take a thing apart into simpler ones that tell it from any other."""
    if isinstance(thing, torch.Tensor):
        if thing.layout != torch.strided or thing.is_meta:
            raise TypeError(f"no checksum for a tensor on {thing.device} of layout {thing.layout}")
        as_bytes = thing.detach().cpu().reshape(-1).view(torch.uint8).numpy()  # NumPy has no bfloat16
        return [str(thing.dtype), tuple(thing.shape), as_bytes]
    if issparse(thing):
        rows = thing.tocsr()
        return [thing.format, rows.shape, rows.indptr, rows.indices, rows.data]
    if isinstance(thing, pd.Series | pd.Index):
        return [str(thing.name), pd.util.hash_pandas_object(thing).to_numpy()]
    if isinstance(thing, Interactions):
        events = thing.events
        columns = None if events is None else [events[name].to_numpy() for name in events]
        return [thing.matrix, thing.users, thing.items, columns]
    if is_dataclass(thing):
        return [type(thing).__name__, settings_of(thing), getattr(thing, "device", None)]
    if isinstance(thing, Mapping):
        return [[name, value] for name, value in thing.items()]
    raise TypeError(f"no checksum for a {type(thing).__name__}")
