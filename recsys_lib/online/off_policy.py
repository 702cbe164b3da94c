"""What would another policy have earned? Estimates and intervals from the log of the policy that ran."""

import numpy as np

from recsys_lib.metrics.significance import resample_weights


def importance_weights(actions: np.ndarray, propensities: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Divide the target policy's chance of each logged action by the logging policy's.

    Parameters
    ----------
    actions : int array, shape (n,)
        What was shown.
    propensities : np.ndarray, shape (n,) or (n, n_actions)
        The logging policy's chance of what was shown, or of every action.
    target : np.ndarray, shape (n, n_actions)
        The target policy's chance of every action in each row.

    Returns
    -------
    np.ndarray, shape (n,)
        Their mean is 1 in expectation.
    """
    actions, target, row = np.asarray(actions), np.asarray(target, float), np.arange(len(actions))
    every = np.asarray(propensities, float)
    if not len(actions):
        raise ValueError("the log is empty: there is nothing to estimate from; give at least one row")
    if target.ndim != 2 or len(target) != len(row) or every.shape not in (row.shape, target.shape):
        shapes = f"got shapes {target.shape} and {every.shape}"
        raise ValueError(f"target and propensities need a row for each of the {len(row)} logged, {shapes}")
    if len(wrong := np.flatnonzero(~np.isin(actions, np.arange(target.shape[1])))):
        where = f"row {wrong[0]} has action {actions[wrong[0]]}"
        raise ValueError(f"{where}; actions go from 0 to {target.shape[1] - 1}, as the columns of target")
    if not (target >= 0).all() or not np.allclose(target.sum(axis=1), 1):
        raise ValueError("target must hold chances of at least 0 that add up to 1 in every row")
    logged = every[row, actions] if every.ndim == 2 else every
    bad = np.flatnonzero(~((logged > 0) & (logged <= 1)))
    if len(bad):
        raise ValueError(
            f"row {bad[0]} has propensity {logged[bad[0]]}: what was shown had a chance above 0 and at most 1"
        )
    _check_support(actions, every, target)
    return target[row, actions] / logged


def value_terms(
    rewards: np.ndarray,
    weights: np.ndarray,
    model_shown: np.ndarray,
    model_target: np.ndarray,
    *,
    clip: float = 10.0,
    switch: float = 10.0,
) -> dict[str, np.ndarray]:
    """Return, by estimator, one term per row of the log; the mean of the terms is the estimate.

    With reward r, weight w, a model's guesses m for what was shown and M for the target policy: *inverse
    propensity* w r; *clipped* min(w, clip) r; *self-normalised* v + (w / mean w)(r − v) with v = Σ w r / Σ w,
    whose mean is v; *direct* M; *doubly robust* M + w (r − m) [1]_; *switch* the same without the correction
    in rows of w > switch [2]_.

    Parameters
    ----------
    rewards, weights, model_shown, model_target : np.ndarray, shape (..., n)
        Of one log, or of many side by side.

    References
    ----------
    .. [1] Dudík, Langford & Li (2011), "Doubly robust policy evaluation and learning", ICML.
    .. [2] Wang, Agarwal & Dudík (2017), "Optimal and adaptive off-policy evaluation in contextual bandits".
    """
    if not np.size(rewards) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("the log must have rows, and weights that are finite and not negative")
    total = weights.sum(axis=-1, keepdims=True)
    if not (total > 0).all():
        raise ValueError("all weights are 0: the log holds nothing that the target policy would show")
    ratio, rest = (weights * rewards).sum(axis=-1, keepdims=True) / total, rewards - model_shown
    return {
        "inverse propensity": weights * rewards,
        "clipped": np.minimum(weights, clip) * rewards,
        "self-normalised": ratio + weights * (rewards - ratio) * weights.shape[-1] / total,
        "direct": np.broadcast_to(model_target, np.shape(rewards)),
        "doubly robust": model_target + weights * rest,
        "switch": model_target + np.where(weights <= switch, weights, 0) * rest,
    }


def effective_sample_size(weights: np.ndarray) -> np.ndarray:
    """Return ``(Σ w)² / Σ w²`` along the last axis: so many rows of equal weight are as noisy (Kish 1965)."""
    return weights.sum(axis=-1) ** 2 / (weights**2).sum(axis=-1)


def normal_interval(terms: np.ndarray) -> np.ndarray:
    """Return mean − 1.96 and mean + 1.96 standard errors along the last axis, shape (2, ...)."""
    half = 1.96 * terms.std(axis=-1, ddof=1) / np.sqrt(terms.shape[-1])
    return terms.mean(axis=-1) + np.stack([-half, half])


def bootstrap_terms(
    terms: np.ndarray,
    users: np.ndarray | None = None,
    n_resamples: int = 400,
    seed: int | np.random.Generator = 0,
) -> np.ndarray:
    """Return the 95 % percentile interval of the mean, shape (2, ...), of rows or whole users drawn again.

    Parameters
    ----------
    terms : np.ndarray, shape (..., n)
        Many logs side by side share the draws.
    users : np.ndarray, shape (n,), optional
        Whose row it is: rows of one user resemble each other, and are drawn together.
    """
    drawn = resample_weights(terms.shape[-1] if users is None else users, n_resamples, seed)
    means = terms @ (drawn / drawn.sum(axis=1, keepdims=True)).T
    return np.quantile(means, [0.025, 0.975], axis=-1)


def bernstein_interval(terms: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return an interval, shape (2, ...), that holds the truth in at least 95 % of logs, however skewed.

    ``mean ± (√(2 V ln(4/δ) / n) + 7 (high − low) ln(4/δ) / (3 (n − 1)))`` with δ = 0.05 and V the variance:
    the empirical Bernstein bound of Maurer & Pontil (2009, COLT), half of δ for each side.

    Parameters
    ----------
    terms : np.ndarray, shape (..., n)
        Independent, each from `low` to `high`: for clicks w r, 0 and the largest possible weight.
    """
    n = terms.shape[-1]
    if n < 2 or terms.min() < low - 1e-9 or terms.max() > high + 1e-9:
        raise ValueError(
            f"need two terms or more, all from {low} to {high}; got {n}, up to {terms.max():.3g}"
        )
    log = np.log(4 / 0.05)
    half = np.sqrt(2 * terms.var(axis=-1, ddof=1) * log / n) + 7 * (high - low) * log / (3 * (n - 1))
    return terms.mean(axis=-1) + np.stack([-half, half])


def _check_support(actions: np.ndarray, every: np.ndarray, target: np.ndarray) -> None:
    if every.ndim == 2:
        lacking = np.nonzero((target > 0) & (every <= 0))[1]
    else:  # only what was shown is known: an action that is wanted must be there at least once
        lacking = np.setdiff1d(np.flatnonzero(target.sum(axis=0) > 0), actions)
    if len(lacking):
        raise ValueError(
            f"no support: the target policy wants action {lacking[0]}, which the log does not hold, or whose"
            " propensity there is 0; no weight can make up for what was not seen"
        )
