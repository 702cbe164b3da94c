"""A fitted model, the events since then, and the answers that follow from both; without a network."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_lib.data import Interactions
from recsys_lib.files import atomic_path
from recsys_lib.online.stores import KINDS, EventStore, Past
from recsys_lib.recommenders import HabitKNN
from recsys_lib.recommenders.shared.history import history_weights
from recsys_lib.recommenders.shared.weighting import SECONDS_PER_DAY
from recsys_lib.scoring import top_k_blocks

POINTER, KEPT = "current.json", 2  # the file that names the version in use, and how many versions stay
REASONS = 3


class Published(NamedTuple):
    """One version of the model as it is served."""

    version: str
    model: HabitKNN
    names: list[str]  # of the items, in the order of model.items_
    after: int  # number of the last event that the fit knows
    offset: float  # seconds from the machine's clock to the shop's, which goes on where the data end


def publish(model: HabitKNN, names: Sequence[str], folder: str | Path, after: int = 0) -> str:
    """Store a version of the model and let services take it: they see the old one or the whole new one.

    Parameters
    ----------
    model : HabitKNN
        Fitted, with times and a half-life.
    names : sequence of str
        What people read, one per item.
    folder : str or Path
        The last two versions stay there.
    after : int
        Number of the last event of the store that the fit knows.
    """
    folder, version = Path(folder), f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}"
    pointer = folder / POINTER
    known = json.loads(pointer.read_text("utf-8")) if pointer.is_file() else {}
    model.save(folder / version)
    (folder / version / "names.json").write_text(json.dumps(list(names)), "utf-8")
    offset = known.get("offset", model.newest_ - time.time())
    with atomic_path(pointer) as path:
        path.write_text(json.dumps({"version": version, "after": after, "offset": offset}), "utf-8")
    for old in sorted(path.parent for path in folder.glob("*/names.json"))[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return version


def load_published(folder: str | Path) -> Published:
    """Read the version in use; FileNotFoundError if there is none."""
    now = json.loads((Path(folder) / POINTER).read_text("utf-8"))
    place = Path(folder) / now["version"]
    names = json.loads((place / "names.json").read_text("utf-8"))
    return Published(now["version"], HabitKNN.load(place), names, now["after"], now["offset"])


def training_lines(lines: pd.DataFrame, store: EventStore) -> tuple[pd.DataFrame, int]:
    """Join old purchase lines and the store's events for the nightly fit; the last number says up to where.

    `lines` has `household`, `item` and `time` (seconds since 1970); a `value` is added. What a household
    removed is left out up to that moment; of forgotten households, all that came before.
    """
    events, forgotten = store.frame()
    old = lines[~lines["household"].isin(forgotten)].assign(value=1.0, kind="purchase")
    every = pd.concat([old, events.assign(value=events["kind"].map(KINDS))], ignore_index=True)
    gone = every[every["kind"] == "removal"].groupby(["household", "item"])["time"].max().rename("gone")
    every = every.join(gone, on=["household", "item"])
    every = every[(every["kind"] != "removal") & ~(every["time"] <= every["gone"])]
    after = int(events["number"].max()) if len(events) else 0
    kinds = {"household": "int64", "item": "int64", "time": float, "value": float}  # also where one is empty
    return every[list(kinds)].astype(kinds), after


class Shop:
    """Answers about households and items from one version of the model and the store's events."""

    def __init__(self, published: Published) -> None:
        self.version, self.model, self.names, self.after, self.offset = published
        self.users = {int(user): row for row, user in enumerate(self.model.users_)}
        self.items = {int(item): column for column, item in enumerate(self.model.items_)}
        self._words = TfidfVectorizer(token_pattern=r"[a-z0-9%.]+", dtype=np.float32)
        self._texts = csr_array(self._words.fit_transform(self.names))

    def now(self) -> float:
        """Return the time on the shop's clock, in seconds since 1970."""
        return time.time() + self.offset

    def history(self, household: int, past: Past, moment: float, basket: Sequence[int] = ()) -> csr_array:
        """Return what a household has, faded to a moment: the row that a fit at that moment would see.

        Parameters
        ----------
        household : int
        past : Past
            Its events since the fit.
        moment : float
            In seconds since 1970. Later events do not count.
        basket : sequence of int
            Items in hand, as if bought at the moment.
        """
        days = self.model.half_life * SECONDS_PER_DAY
        values: dict[int, float] = {}
        row = self.users.get(household)
        if row is not None and not past.forgotten:
            own = self.model.history_[[row]]
            faded = own.data * 0.5 ** ((moment - self.model.newest_) / days)
            values = dict(zip(own.indices.tolist(), faded.tolist(), strict=True))
        for _, item, kind, when in past.events:
            column = self.items.get(item)
            if column is None or when > moment:
                continue
            added = KINDS[kind] * 0.5 ** ((moment - when) / days)
            values[column] = values.get(column, 0.0) + added if kind != "removal" else 0.0
        for item in basket:
            values[self.items[item]] = values.get(self.items[item], 0.0) + 1.0
        columns = np.array(sorted(column for column, value in values.items() if value > 0), np.int32)
        data = np.array([values[column] for column in columns.tolist()], np.float32)
        return csr_array((data, columns, np.array([0, len(columns)])), shape=(1, len(self.names)))

    def recommend(
        self, row: csr_array, k: int, seen: bool = True, basket: Sequence[int] = (), why: bool = False
    ) -> list[dict[str, Any]]:
        """List the k best items for a history, the best first; what is in the basket is left out."""
        weights = history_weights(row, self.model.weighting)
        scores = self.model.fold_in(row) if row.nnz else self.model.trend_[None, :]
        out = row.indices if not seen else [self.items[item] for item in basket]
        exclude = csr_array((np.ones(len(out)), ([0] * len(out), out)), shape=scores.shape)
        best = top_k_blocks(lambda _: scores, *scores.shape, k, exclude=exclude, check_finite=False)
        found = [
            self._entry(column, score) | {"seen": bool((row.indices == column).any())}
            for column, score in zip(best.ids[0].tolist(), best.scores[0].tolist(), strict=True)
            if column >= 0
        ]
        for entry in found if why else ():
            entry["because"] = self.explain(weights, entry["item"])[:REASONS]
        return found

    def explain(self, weights: csr_array, item: int) -> list[dict[str, Any]]:
        """List what adds to an item's score, the largest first; item None is what many take of late."""
        reasons = self.model.reasons(weights, self.items[item])
        order = np.argsort(-reasons["contribution"], kind="stable")
        pairs = ((int(reasons["item"][i]), float(reasons["contribution"][i])) for i in order)
        trend = {"item": None, "name": "taken by many of late"}
        return [
            (self._entry(column, share) if column >= 0 else trend | {"score": share})
            for column, share in pairs
            if share > 0
        ]

    def similar(self, item: int, k: int) -> list[dict[str, Any]]:
        """List the items most similar to one."""
        best = self.model.similar(np.array([self.items[item]]), min(k, len(self.names)))
        return self._entries(best)

    def search(self, words: str, k: int) -> list[dict[str, Any]]:
        """List the items whose names share most words with a text; words that begin so count, too."""
        known = self._words.vocabulary_
        parts = [part for part in words.lower().split() if part]
        meant = [word for word in known if any(word.startswith(part) for part in parts)]
        query = csr_array(self._words.transform([" ".join(meant)]))
        scores = (query @ self._texts.T).toarray()
        scores[scores <= 0] = -np.inf
        return self._entries(top_k_blocks(lambda _: scores, *scores.shape, k, check_finite=False))

    def _entries(self, best: Any) -> list[dict[str, Any]]:
        pairs = zip(best.ids[0].tolist(), best.scores[0].tolist(), strict=True)
        return [self._entry(column, score) for column, score in pairs if column >= 0]

    def _entry(self, column: int, score: float) -> dict[str, Any]:
        return {"item": int(self.model.items_[column]), "name": self.names[column], "score": score}


def fit_shop(frame: pd.DataFrame, min_users: int = 10, half_life: float = 90.0) -> HabitKNN:
    """Fit the served model on lines of `household`, `item`, `time`, `value`; rare items are left out."""
    users_of = frame.groupby("item")["household"].nunique()
    frame = frame[frame["item"].isin(users_of.index[users_of >= min_users])]
    data = Interactions.from_frame(frame, "household", "item", "value", "time")
    return HabitKNN(half_life=half_life).fit(data)
