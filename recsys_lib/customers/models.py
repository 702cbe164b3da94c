"""The models of notebook 05 behind one function; each is a scikit-learn classifier with `predict_proba`."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from recsys_lib.customers.encoding import as_numbers
from recsys_lib.customers.network import UserItemNetwork

# Chosen on the training campaigns, each period predicted from the time before it (notebook 05).
_BOOSTED = {"max_depth": 2, "learning_rate": 0.05, "n_estimators": 120, "min_samples_leaf": 20}
_BOOSTED |= {"max_features": 0.2, "subsample": 0.5}
_FOREST = {"n_estimators": 200, "min_samples_leaf": 25, "max_features": 0.1, "n_jobs": -1}
_RECIPES = {  # classifier, its settings, whether numbers get the logarithmic scale
    "logistic regression": (LogisticRegression, {"C": 0.01, "max_iter": 2_000}, True),
    "decision tree": (DecisionTreeClassifier, {"max_depth": 4, "min_samples_leaf": 100}, False),
    "gradient-boosted trees": (GradientBoostingClassifier, _BOOSTED, False),
    "random forest": (RandomForestClassifier, _FOREST, False),
}
MODELS = (*_RECIPES, "user ⊕ item network", "blend")


def conversion_model(name: str, *, seed: int = 0, **settings: object) -> ClassifierMixin:
    """Make an untrained classifier that takes the table of `campaign_features` as it is.

    Parameters
    ----------
    name : str
        One of `MODELS`. "blend" is the unweighted mean of the probabilities of a strongly regularised
        logistic regression, shallow gradient-boosted trees and a random forest.
    seed : int
        Seed of everything random inside.
    **settings
        Parameters of the classifier itself that replace the ones chosen here, such as ``C=0.1`` or
        ``max_depth=2``; "blend" takes none.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are {list(MODELS)}")
    if name == "blend":
        if settings:
            raise ValueError(f"the blend takes no settings, got {sorted(settings)}")
        parts = ("logistic regression", "gradient-boosted trees", "random forest")
        return VotingClassifier([(part, conversion_model(part, seed=seed)) for part in parts], voting="soft")
    if name == "user ⊕ item network":
        return UserItemNetwork(**({"seed": seed} | settings))
    classifier, chosen, log_scale = _RECIPES[name]
    chosen = {"random_state": seed} | chosen | settings
    return make_pipeline(as_numbers(log_scale=log_scale), classifier(**chosen))


def fit_model(model: ClassifierMixin, features: pd.DataFrame, y: np.ndarray) -> ClassifierMixin:
    """Train a model, after checking that there is something to learn."""
    y = np.asarray(y).astype(np.int64)
    if y.shape != (len(features),):
        raise ValueError(f"{len(features)} rows of features but labels of shape {y.shape}")
    if len(np.unique(y)) < 2:
        only = y[0] if len(y) else "nothing"
        raise ValueError(
            f"all {len(y)} training labels are {only}: a model needs both outcomes to learn from"
        )
    return model.fit(features, y)


def probability(model: ClassifierMixin, features: pd.DataFrame) -> np.ndarray:
    """Return the probability of conversion for each row, shape (n_rows,)."""
    return model.predict_proba(features)[:, 1]


def forward_predictions(
    make: Callable[[], ClassifierMixin], features: pd.DataFrame, y: np.ndarray, dates: pd.Series,
    known: pd.Series, cuts: Sequence[str | pd.Timestamp],
) -> np.ndarray:  # fmt: skip
    """Predict each period with a model trained on the rows whose answers were known by then (rolling origin).

    Parameters
    ----------
    make : function without arguments
        Returns an untrained model.
    features, y : pandas.DataFrame and array of 0 and 1, n_rows each
    dates : pandas.Series of datetime64
        Start of each row's campaign: the day it is predicted.
    known : pandas.Series of datetime64
        End of each row's campaign. A row trains only the models of cuts after that day: until then, a 0 may
        still become a 1.
    cuts : sequence of dates
        Ascending. Period i is [cuts[i], cuts[i + 1]), the last one has no end.

    Returns
    -------
    np.ndarray, shape (n_rows,)
        NaN before the first cut.
    """
    edges = [pd.Timestamp(cut) for cut in cuts]
    if not edges or any(later <= earlier for earlier, later in pairwise(edges)):
        raise ValueError(
            f"cuts must be at least one date, in ascending order, got {[str(e.date()) for e in edges]}"
        )
    predicted = np.full(len(features), np.nan)
    for begin, end in zip(edges, [*edges[1:], pd.Timestamp.max], strict=True):
        learnt = (known < begin).to_numpy()
        now = ((dates >= begin) & (dates < end)).to_numpy()
        if not learnt.any() or not now.any():
            raise ValueError(
                f"the period from {begin.date()} has {now.sum()} rows, and {learnt.sum()} known before it"
            )
        model = fit_model(make(), features[learnt], np.asarray(y)[learnt])
        predicted[now] = probability(model, features[now])
    return predicted
