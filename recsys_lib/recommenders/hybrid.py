"""A weighted sum of other recommenders, the weights learnt on a held-out part of train."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.data.interactions import Split, discovery
from recsys_lib.metrics import ranking_metrics
from recsys_lib.recommenders.parts import (
    Features,
    Task,
    best_columns,
    check_parts,
    fit_parts,
    score_blocks,
    standardize,
)
from recsys_lib.recommenders.popularity import Trending
from recsys_lib.recommenders.shared.arrays import Array
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Positive, Seed, check_interactions, one_of
from recsys_lib.recommenders.shared.holdout import hold_out_last, hold_out_random

SHARE = 0.25  # of each item's pairs, held out at random
CANDIDATES = 100  # best items of each part among which weights are compared
CUTOFF = 10  # the k of the NDCG that weights are chosen by
_GAIN = 5e-4  # of NDCG: what a weight brings below that is treated as noise
_STEPS = (0.0, 0.25, 0.5, 0.7, 0.85, 1.2, 1.5, 2.0, 4.0)


@dataclass(kw_only=True, eq=False)
class Hybrid(Recommender):
    """Blend recommenders: ``score(u, i) = Σ_p w_p · (s_p(u, i) − mean_u) / std_u``.

    Scores of different models have different scales. Each part's scores are therefore brought to mean 0 and
    standard deviation 1 over the items of a user before they are added. The weights are not guessed: `fit`
    holds out a part of train, fits the parts on the rest, takes the weights with the highest NDCG@10 on what
    was held out, and then fits the parts on all of train. Test data plays no role in that.

    Features of items go to the parts that learn from them. `explain` says what each part adds.

    Parameters
    ----------
    parts : sequence of Recommender
        Not fitted; they are copied, not changed.
    task : {"all", "discovery"}
        Whether weights are chosen for lists with items the user had before, or for new items only. The best
        weights of the two differ.
    holdout : {"time", "random"}
        "time" holds out the last `days`; "random" a quarter of each item's pairs, for data whose test is
        drawn in that way.
    seed : int
        Of the random holdout.
    validation : Interactions, optional
        Of `fit`: what to choose the weights by instead of a part of train, of the same users and items. The
        parts are then fitted on train once.

    Attributes
    ----------
    weights_ : np.ndarray, shape (n_parts,)
        Not negative; they add up to 1.
    held_out_ndcg_ : np.ndarray, shape (n_parts + 1,)
        NDCG@10 on the held-out part: of every part alone, and of the blend. NaN, with equal weights, where
        train is too small to hold out anything that a known user had.

    References
    ----------
    Burke (2002), "Hybrid Recommender Systems: Survey and Experiments", User Modeling and User-Adapted
    Interaction 12(4): the "weighted" hybrid.
    """

    parts: Sequence[Recommender] = ()
    task: Task = "all"
    holdout: Annotated[str, one_of("time", "random")] = "time"
    days: Positive = 30.0
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("weights_", "held_out_ndcg_")
    _cannot: ClassVar[dict[str, str]] = {"similar": "similarities of its parts have no common scale"}
    _takes_features: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_parts(self.parts)

    def _fit(
        self,
        train: Interactions,
        item_features: Features | None = None,
        validation: Interactions | None = None,
    ) -> None:
        if validation is not None:
            split = _judged_by(train, validation)
            self.parts_ = fit_parts(self.parts, train, self.device, item_features)
            self._learn(self.parts_, split)
            return
        split = self._hold_out(train)
        if split is None:
            self._take_equal_weights()
        else:
            self._learn(fit_parts(self.parts, split.train, self.device, item_features), split)
        self.parts_ = fit_parts(self.parts, train, self.device, item_features)

    def choose_again(self, validation: Interactions) -> Self:
        """Choose the weights once more, by something else held out; the parts stay as they are.

        Parameters
        ----------
        validation : Interactions
            Of the users and items of train, none of it in train.

        Returns
        -------
        Hybrid
            Another one, which shares the parts.
        """
        self._check_fitted()
        again, train = copy.copy(self), Interactions(self.matrix_, self.users_, self.items_)
        again._learn(self.parts_, _judged_by(train, validation))
        return again

    def _score(self, users: np.ndarray) -> Array:
        return self._blend([part.score(users) for part in self.parts_])

    def _fold_in(self, histories: csr_array) -> Array:
        # Trending has a half-life, but does not look at histories.
        fading = {
            (part.half_life, part.half_life is not None and getattr(part, "weighting", "") == "binary")
            for part in self.parts_
            if hasattr(part, "half_life") and not isinstance(part, Trending)
        }
        if len(fading) > 1:
            days = sorted({str(half_life) for half_life, _ in fading})
            raise NotImplementedError(
                f"Hybrid has no fold_in here: the half-lives of its parts differ ({', '.join(days)}), so no "
                "history fits them all"
            )
        return self._blend([part.fold_in(histories) for part in self.parts_])

    def _blend(self, scores: list[Array]) -> Array:
        pairs = zip(self.weights_, scores, strict=True)
        return sum(float(weight) * standardize(part) for weight, part in pairs)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        standard = np.array([float(standardize(part.score(users))[0, item]) for part in self.parts_])
        return {
            "part": [type(part).__name__ for part in self.parts_],
            "weight": self.weights_,
            "standard_score": standard,
            "contribution": self.weights_ * standard,
        }

    def _hold_out(self, train: Interactions) -> Split | None:
        """Hold out a part of train to choose by; None where train is too small for that."""
        if self.holdout == "time":
            split = hold_out_last(train, self.days)
        else:
            split = hold_out_random(train, SHARE, self.seed)
        return split if split.train.matrix.nnz and split.test.matrix.nnz else None

    def _learn(self, parts: list[Recommender], split: Split) -> None:
        relevant = split.test.matrix if self.task == "all" else discovery(split)
        users = np.flatnonzero((np.diff(relevant.indptr) > 0) & (np.diff(split.train.matrix.indptr) > 0))
        if not len(users):
            self._take_equal_weights()
            return
        seen = split.train.matrix if self.task == "discovery" else None
        ids, scores = _candidates(parts, users, seen)
        self.weights_, self.held_out_ndcg_ = choose_weights(ids, scores, relevant[users])

    def _take_equal_weights(self) -> None:
        self.weights_ = np.full(len(self.parts), 1 / len(self.parts))
        self.held_out_ndcg_ = np.full(len(self.parts) + 1, np.nan)


def _judged_by(train: Interactions, validation: Interactions) -> Split:
    check_interactions(validation, "validation")
    if not (validation.users.equals(train.users) and validation.items.equals(train.items)):
        raise ValueError("validation must have the users and items of train, in the same order")
    return Split(train, validation)


def choose_weights(ids: np.ndarray, scores: np.ndarray, relevant: Any) -> tuple[np.ndarray, np.ndarray]:
    """Search the non-negative weights with the highest NDCG@10, one coordinate at a time.

    NDCG depends on the order only and has no useful gradient. The search starts at the best part alone, tries
    for one weight after the other a few multiples and a few fresh values, keeps what is better, and stops
    when a round changes nothing: never worse on the held-out part than its best part.

    `ids`, shape (n_users, n_candidates), ascend, −1 in empty places; `scores`, shape (n_parts, n_users,
    n_candidates), are −inf there. Returns the weights, which add up to 1, and the NDCG of every part alone
    and of the blend, shape (n_parts + 1,).
    """

    def quality(weights: np.ndarray) -> float:
        blended = sum(w * part for w, part in zip(weights.astype(np.float32), scores, strict=True) if w)
        best = np.argsort(-blended, axis=1, kind="stable")[:, :CUTOFF]
        lists = np.take_along_axis(ids, best, axis=1)
        if lists.shape[1] < CUTOFF:
            lists = np.pad(lists, ((0, 0), (0, CUTOFF - lists.shape[1])), constant_values=-1)
        return ranking_metrics(lists, relevant, CUTOFF)["ndcg"]

    alone = np.array([quality(unit) for unit in np.eye(len(scores))])
    weights, best = np.eye(len(scores))[alone.argmax()], alone.max()
    for _ in range(10):
        before = best
        for part in range(len(scores)):
            tried = weights[part] * np.array(_STEPS) if weights[part] else np.array([0.03, 0.1, 0.3, 1.0])
            for value in tried:
                changed = np.where(np.arange(len(scores)) == part, value, weights)
                if not changed.any():
                    continue
                changed /= changed.sum()
                found = quality(changed)
                if found > best + _GAIN:
                    weights, best = changed, found
        if best <= before:
            break
    return weights, np.append(alone, best)


def _candidates(parts: Sequence[Recommender], users: np.ndarray, seen: Any) -> tuple[np.ndarray, np.ndarray]:
    """Collect the best items of every part, once each and ascending, and what all parts say about them."""
    ids, scores = [], []
    for block, standard in score_blocks(parts, users):
        excluded = None if seen is None else seen[block].toarray() > 0
        chosen = np.sort(np.hstack([best_columns(part, CANDIDATES, excluded) for part in standard]), axis=1)
        empty = np.zeros(chosen.shape, bool)
        empty[:, 1:] = chosen[:, 1:] == chosen[:, :-1]
        if excluded is not None:
            empty |= np.take_along_axis(excluded, chosen, axis=1)
        taken = np.stack([np.take_along_axis(part, chosen, axis=1) for part in standard])
        taken[:, empty] = -np.inf
        chosen[empty] = -1
        ids.append(chosen)
        scores.append(taken)
    return np.concatenate(ids), np.concatenate(scores, axis=1)
