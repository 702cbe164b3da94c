"""Answers of a shop from a model's arrays and the events since its fit: NumPy and SciPy only, no network."""

import json
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.files import atomic_path, load_tensors, save_tensors
from recsys_lib.online.stores import KINDS, Past

POINTER, KEPT = "current.json", 2  # the file that names the version in use, and how many versions stay
REASONS, DAY = 3, 86_400.0
_PARTS, _WORD = ("data", "indices", "indptr"), re.compile(r"[a-z0-9%.]+")


class Model(NamedTuple):
    """Scores ``log(1 + x) (I + a S) + b t`` of a history x: a matrix, a vector, and what households had."""

    users: np.ndarray
    items: np.ndarray
    history: csr_array  # shape (n_users, n_items): sums of values, faded to `newest`
    effects: csr_array  # shape (n_items, n_items): I + a S
    trend: np.ndarray  # shape (n_items,): b t
    newest: float  # seconds since 1970
    half_life: float  # days


def publish(model: Model, names: Sequence[str], folder: str | Path, after: int = 0) -> str:
    """Store a version of the model and let services take it: they see the old one or the whole new one.

    `names` are what people read, one per item; `after` is the number of the last event that the fit knows.
    """
    folder, version = Path(folder), f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
    pointer = folder / POINTER
    known = json.loads(pointer.read_text("utf-8")) if pointer.is_file() else {}
    arrays = {"users": model.users, "items": model.items, "trend": model.trend}
    for name in ("history", "effects"):
        arrays |= {f"{name}.{part}": getattr(getattr(model, name), part) for part in _PARTS}
    stamp = {"names": list(names), "newest": model.newest, "half_life": model.half_life}
    stored = folder / f"{version}.safetensors"
    save_tensors(stored, arrays, stamp)
    offset = known.get("offset", model.newest - time.time())  # the shop's clock goes on where the data end
    with atomic_path(pointer) as path:
        path.write_text(json.dumps({"version": version, "after": after, "offset": offset}), "utf-8")
    for old in sorted({*folder.glob("[0-9]*.safetensors")} - {stored})[: 1 - KEPT]:  # a clock may step back
        old.unlink(missing_ok=True)
    return version


class Shop:
    """Answers about households and items, from the version of the model that is published in a folder."""

    def __init__(self, folder: str | Path) -> None:
        now = json.loads((Path(folder) / POINTER).read_text("utf-8"))
        self.version, self.after, self.offset = now["version"], now["after"], now["offset"]
        stored, stamp = load_tensors(Path(folder) / f"{self.version}.safetensors")
        self.names, n = stamp.pop("names"), len(stored["items"])
        for name, rows in (("history", len(stored["users"])), ("effects", n)):
            stored[name] = csr_array(tuple(stored.pop(f"{name}.{part}") for part in _PARTS), shape=(rows, n))
        self.model = Model(**stored, **stamp)
        self._into = self.model.effects.T.tocsr()  # for reasons: what acts on an item
        self.users = {user: row for row, user in enumerate(self.model.users.tolist())}
        self.items = {item: column for column, item in enumerate(self.model.items.tolist())}
        self._words = defaultdict(list)
        for column, name in enumerate(self.names):
            for word in set(_WORD.findall(name.lower())):
                self._words[word].append(column)

    def now(self) -> float:
        """Return the time on the shop's clock, in seconds since 1970."""
        return time.time() + self.offset

    def history(self, household: int, past: Past, moment: float, basket: Sequence[int] = ()) -> np.ndarray:
        """Return what a household has, faded to a moment: what a fit then would see; shape (n_items,)."""
        model, values = self.model, np.zeros(len(self.items))
        row = self.users.get(household)
        if row is not None and not past.forgotten:
            own = slice(*model.history.indptr[row : row + 2])
            fade = 0.5 ** ((moment - model.newest) / DAY / model.half_life)
            values[model.history.indices[own]] = model.history.data[own] * fade
        for _, item, kind, when in past.events:
            if (column := self.items.get(item)) is not None and when <= moment:
                added = KINDS[kind] * 0.5 ** ((moment - when) / DAY / model.half_life)
                values[column] = values[column] + added if kind != "removal" else 0.0
        for item in basket:
            values[self.items[item]] += 1.0
        return values

    def score(self, values: np.ndarray) -> np.ndarray:
        """Score every item for a history; shapes (n_items,). Of the matrix, only the history's rows count."""
        columns = np.flatnonzero(values)
        return self.model.effects[columns].T @ np.log1p(values[columns]) + self.model.trend

    def recommend(
        self, values: np.ndarray, k: int, seen: bool = True, basket: Sequence[int] = (), why: bool = False
    ) -> list[dict[str, Any]]:
        """List the k best items for a history, the best first; what is in the basket is left out."""
        scores = self.score(values)
        scores[[self.items[item] for item in basket] if seen else np.flatnonzero(values)] = -np.inf
        found = self._best(scores, k)
        for entry in found:
            entry["seen"] = bool(values[self.items[entry["item"]]])
            if why:
                entry["because"] = self.explain(values, entry["item"])[:REASONS]
        return found

    def explain(self, values: np.ndarray, item: int) -> list[dict[str, Any]]:
        """List what adds to an item's score, the largest first; item None is what many take of late."""
        into = self.items[item]
        shares = self._into[[into]].toarray()[0] * np.log1p(values)
        pairs = [(int(column), float(shares[column])) for column in np.flatnonzero(shares > 0)]
        trend = {"item": None, "name": "taken by many of late", "score": float(self.model.trend[into])}
        every = [self._entry(*pair) for pair in pairs] + ([trend] if trend["score"] > 0 else [])
        return sorted(every, key=lambda entry: -entry["score"])

    def similar(self, item: int, k: int) -> list[dict[str, Any]]:
        """List the items most similar to one."""
        effects = self.model.effects[[self.items[item]]].toarray()[0]
        effects[self.items[item]] = 0
        return self._best(np.where(effects > 0, effects, -np.inf), k)

    def search(self, words: str, k: int) -> list[dict[str, Any]]:
        """List the items whose names have words that begin so; whole, rare words come first."""
        scores, n = np.zeros(len(self.names)), len(self.names)
        for part in _WORD.findall(words.lower()):
            for word in filter(lambda word: word.startswith(part), self._words):
                columns = self._words[word]
                scores[columns] += np.log(1 + n / len(columns)) * (4 if word == part else 1)
        scores /= 1 + np.array([len(name) for name in self.names])
        return self._best(np.where(scores > 0, scores, -np.inf), k)

    def _best(self, scores: np.ndarray, k: int) -> list[dict[str, Any]]:
        """List the k best; equals in the order of their places, and none that is minus infinity."""
        least = np.partition(scores, -k)[-k] if k < len(scores) else -np.inf
        places = np.flatnonzero((scores >= least) & (scores > -np.inf))
        places = places[np.argsort(-scores[places], kind="stable")][:k]
        return [self._entry(*pair) for pair in zip(places.tolist(), scores[places].tolist(), strict=True)]

    def _entry(self, column: int, score: float) -> dict[str, Any]:
        return {"item": int(self.model.items[column]), "name": self.names[column], "score": round(score, 6)}
