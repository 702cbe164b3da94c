"""Recommenders made of recommenders: how parts are checked, fitted, put on one scale and stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared import storage
from recsys_lib.recommenders.shared.arrays import Array, on_host
from recsys_lib.recommenders.shared.base import Recommender

TASKS = ("all", "discovery")
BLOCK = 256  # users whose dense scores exist at the same time


def check_parts(parts: Sequence[Recommender], task: str) -> None:
    """Raise a ValueError unless there are parts, all of them simple recommenders, and the task is known."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {TASKS}, got {task!r}")
    if isinstance(parts, Recommender) or not len(parts):
        raise ValueError("parts must be a sequence of at least one recommender")
    for place, part in enumerate(parts):
        if not isinstance(part, Recommender):
            raise ValueError(f"parts[{place}] must be a recommender, got {type(part).__name__}")
        if hasattr(part, "parts"):
            raise ValueError(f"parts[{place}] is a {type(part).__name__}, made of parts itself: give those")


def fit_parts(parts: Sequence[Recommender], train: Interactions, device: str) -> list[Recommender]:
    """Fitted copies of recommenders; `replace` copies hyper-parameters and nothing that was fitted."""
    return [replace(part, device=device).fit(train) for part in parts]


def standardise(scores: Array) -> Array:
    """Bring each row to mean 0 and standard deviation 1; a constant row becomes 0."""
    centred = scores - scores.mean(1)[:, None]
    spread = (centred * centred).mean(1)[:, None] ** 0.5
    return centred / (spread + (spread == 0))


def score_blocks(
    parts: Sequence[Recommender], users: np.ndarray
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Standardised scores of all parts on the host, for one block of users after the other."""
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        yield block, [on_host(standardise(part.score(block))) for part in parts]


def best_columns(scores: np.ndarray, count: int, excluded: np.ndarray | None = None) -> np.ndarray:
    """Columns of the `count` highest scores of each row, in any order."""
    if excluded is not None:
        scores = np.where(excluded, np.float32(-np.inf), scores)
    count = min(count, scores.shape[1])
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]


def save_with_parts(model: Recommender, folder: str | Path) -> None:
    """Store a model and its fitted `parts_` in one pair of files; users, items and matrix are shared."""
    model._check_fitted()
    arrays = {name: getattr(model, name) for name in ("matrix_", *model._arrays)}
    parts = []
    for number, part in enumerate(model.parts_):
        parts.append({"class": type(part).__name__, "settings": storage.settings_of(part)})
        arrays |= {f"part{number}.{name}": getattr(part, name) for name in part._arrays}
    settings = storage.settings_of(model) | {"parts": parts}
    storage.save_model(folder, type(model).__name__, settings, arrays, model.users_, model.items_)


def load_with_parts(kind: type, folder: str | Path, device: str) -> Any:
    """Read what `save_with_parts` stored.

    Raises
    ------
    FileNotFoundError, ValueError
        As `storage.load_model`; a ValueError, too, if a part's class has not been imported.
    """
    stored = storage.load_model(folder, kind.__name__)
    classes = {below.__name__: below for below in _subclasses(Recommender)}
    fitted = []
    for number, entry in enumerate(stored.settings["parts"]):
        if entry["class"] not in classes:
            raise ValueError(f"part {number} is of class {entry['class']}: import it before loading")
        part = classes[entry["class"]](**entry["settings"], device=device)
        part.matrix_, part.users_, part.items_ = stored.arrays["matrix_"], stored.users, stored.items
        for name in part._arrays:
            value = stored.arrays[f"part{number}.{name}"]
            setattr(part, name, value.to(part._device()) if isinstance(value, torch.Tensor) else value)
        fitted.append(part)
    model = kind._restored(stored, stored.settings | {"parts": [replace(part) for part in fitted]}, device)
    model.parts_ = fitted
    return model


def _subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)
