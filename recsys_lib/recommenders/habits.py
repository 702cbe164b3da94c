"""What past behaviour says about a user and an item on a given day, as columns for a learnt ranker."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.checks import timed_events
from recsys_lib.recommenders.shared.weighting import SECONDS_PER_DAY, seconds

HALF_LIVES = (7, 14, 30, 60, 120, 365)  # days, for a user's own events
TREND_HALF_LIVES = (2, 4, 7, 14, 30, 90)  # days, for what all users do
_RECENT = 30.0  # days


class Habits:
    """Columns that describe (user, item) pairs as of the newest event; nothing later enters.

    Of the pair, NaN where the user never had the item: decayed counts with several half-lives, events, days
    with events, days since the last and the first, the usual gap, and how much of the gap has passed. Of the
    item: users, recent users with several half-lives and their trend, how many came back. Of the user:
    activity, lately and overall. Of the item's groups, if there are any: how much the user has of the group,
    and the item's share in the group. Counts and days enter as logarithms.

    Parameters
    ----------
    train : Interactions
        With `events`.
    groups : mapping of str to int array, shape (n_items,), optional
        For each kind of group (category, brand, …) the number of each item's group, from 0.
    """

    def __init__(self, train: Interactions, groups: Mapping[str, np.ndarray] | None = None) -> None:
        events = timed_events(train, "habits need")
        self.n_users, self.n_items = train.matrix.shape
        moments = seconds(events["time"])
        age = (moments.max() - moments) / SECONDS_PER_DAY
        users, items = (events[name].to_numpy(np.int64) for name in ("user", "item"))
        self._describe_pairs(users, items, age)
        self._describe_items(items)
        self._describe_users(users, age)
        self._describe_groups(users, items, age, groups or {})

    def columns(self, users: np.ndarray, items: np.ndarray) -> dict[str, np.ndarray]:
        """Describe pairs of positions, shape (n,) each: name → float32 array, shape (n,)."""
        keys = users.astype(np.int64) * self.n_items + items
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        had = self._keys[places] == keys
        found = {name: np.where(had, values[places], np.nan) for name, values in self._pair.items()}
        found |= {name: values[items] for name, values in self._item.items()}
        found |= {name: values[users] for name, values in self._user.items()}
        found["due_as_usual"] = found["last"] - found["item_gap"]
        for name, (codes, owned, share) in self._groups.items():
            found[f"{name}_owned"] = np.log(owned[users, codes[items]] + 0.05)
            found[f"{name}_share"] = share[items]
        return {name: values.astype(np.float32) for name, values in found.items()}

    def _describe_pairs(self, users: np.ndarray, items: np.ndarray, age: np.ndarray) -> None:
        keys = users * self.n_items + items
        order = np.lexsort((-age, keys))  # pair by pair, oldest first
        keys, age = keys[order], age[order]
        first = np.r_[True, keys[1:] != keys[:-1]]
        starts, pair = np.flatnonzero(first), np.cumsum(first) - 1
        self._keys = keys[first]
        self._pair_item = self._keys % self.n_items
        self._pair_user = self._keys // self.n_items
        self._oldest, self._latest = age[starts], age[np.r_[starts[1:] - 1, len(age) - 1]]
        new_day = first | np.r_[True, np.floor(age[1:]) != np.floor(age[:-1])]
        days = np.bincount(pair, new_day)
        gap = np.full(len(days), np.nan)
        self._again = days > 1
        gap[self._again] = ((self._oldest - self._latest) / np.maximum(days - 1, 1))[self._again]
        self._before = np.bincount(pair, age > _RECENT) > 0
        self._pair = {
            f"decayed_{half_life}": np.log(np.bincount(pair, 0.5 ** (age / half_life)) + 1e-3)
            for half_life in HALF_LIVES
        }
        self._pair |= {
            "events": np.log(np.bincount(pair)),
            "days": np.log(days),
            "last": np.log1p(self._latest),
            "first": np.log1p(self._oldest),
            "gap": np.log(gap + 0.5),
            "due": np.log1p(self._latest) - np.log(gap + 0.5),
            "rate": np.log(days) - np.log(self._oldest + 7),
        }

    def _describe_items(self, items: np.ndarray) -> None:
        def count(weights: np.ndarray) -> np.ndarray:
            return np.bincount(self._pair_item, weights, self.n_items)

        owners, again = count(np.ones(len(self._keys))), count(self._again)
        kept = count(self._before & (self._latest <= _RECENT))
        gaps = count(np.where(self._again, self._pair["gap"], 0))
        self._item = {
            f"recent_{half_life}": np.log(count(0.5 ** (self._latest / half_life)) + 0.1)
            for half_life in TREND_HALF_LIVES
        }
        late = self._oldest < self._oldest.max() - 2 * _RECENT  # at the beginning, everything looks new
        age = np.zeros(self.n_items)
        np.maximum.at(age, self._pair_item, self._oldest)
        self._item |= {
            "owners": np.log1p(owners),
            "came_back": (again + 1) / (owners + 5),
            "kept": (kept + 0.5) / (count(self._before) + 10),
            "item_gap": gaps / np.maximum(again, 1),
            "newcomers_7": np.log(count(late * 0.5 ** (self._oldest / 7)) + 0.1),
            "newcomers_30": np.log(count(late * 0.5 ** (self._oldest / 30)) + 0.1),
            "trend_short": self._item["recent_4"] - self._item["recent_30"],
            "trend_long": self._item["recent_14"] - self._item["recent_90"],
            "item_age": np.log1p(age),
        }

    def _describe_users(self, users: np.ndarray, age: np.ndarray) -> None:
        def count(weights: np.ndarray, of: np.ndarray = users) -> np.ndarray:
            return np.log1p(np.bincount(of, weights, self.n_users))

        visits = pd.DataFrame({"user": users, "day": np.floor(age)}).drop_duplicates()
        of, day = visits["user"].to_numpy(), visits["day"].to_numpy()
        latest = np.full(self.n_users, age.max())
        np.minimum.at(latest, users, age)
        self._user = {
            "visits": count(np.ones(len(of)), of),
            "visits_recent": count(day < _RECENT, of),
            "user_events_14": count(0.5 ** (age / 14)),
            "user_events_60": count(0.5 ** (age / 60)),
            "user_last": np.log1p(latest),
            "user_items": count(np.ones(len(self._keys)), self._pair_user),
            "user_new_items": count(self._oldest < _RECENT, self._pair_user),
        }

    def _describe_groups(
        self, users: np.ndarray, items: np.ndarray, age: np.ndarray, groups: Mapping[str, np.ndarray]
    ) -> None:
        if not isinstance(groups, Mapping):
            raise ValueError(f"item_groups must map names to arrays, got {type(groups).__name__}")
        self._groups = {}
        decayed = np.bincount(items, 0.5 ** (age / 30), self.n_items)
        for name, codes in groups.items():
            codes = np.asarray(codes)
            if codes.shape != (self.n_items,) or codes.dtype.kind not in "iu" or codes.min() < 0:
                raise ValueError(
                    f"item_groups[{name!r}] must hold an integer from 0 for each of {self.n_items} items, "
                    f"got {codes.dtype} of shape {codes.shape}"
                )
            n_groups = int(codes.max()) + 1
            cells = np.bincount(users * n_groups + codes[items], 0.5 ** (age / 90), self.n_users * n_groups)
            whole = np.bincount(codes, decayed, n_groups)
            share = np.log(decayed + 0.05) - np.log(whole + 0.5)[codes]
            self._groups[name] = codes, cells.reshape(self.n_users, n_groups).astype(np.float32), share
