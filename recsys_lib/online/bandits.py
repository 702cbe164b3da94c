"""Bandits: what to show while still learning what is liked; many runs side by side, one row each.

A policy is a function (clicks, shown, rng) → arms; both arrays are (n_runs, n_arms) and say what each run has
seen of each arm. A linear policy gets each arm's expected click in this context and its error instead.
"""

from collections.abc import Callable

import numpy as np

Policy = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
UNSEEN = 1e3  # above any score of an arm that was shown


def epsilon_greedy(
    clicks: np.ndarray,
    shown: np.ndarray,
    rng: np.random.Generator,
    epsilon: float = 0.1,
    decay: float = np.inf,
) -> np.ndarray:
    """Show the arm with the best rate so far, but any arm with chance ``min(epsilon, decay / steps)`` [1]_.

    Arms not yet shown come first, here and in `ucb1`.

    References
    ----------
    .. [1] Auer, Cesa-Bianchi & Fischer (2002), "Finite-time analysis of the multiarmed bandit problem",
       Machine Learning 47.
    """
    if not 0 <= epsilon <= 1:
        raise ValueError(f"epsilon must be a chance from 0 to 1, got {epsilon}")
    rate = np.divide(clicks, shown, out=np.full(shown.shape, UNSEEN), where=shown > 0)
    explore = rng.random(len(shown)) < np.minimum(epsilon, decay / np.maximum(shown.sum(axis=1), 1))
    return np.where(explore, rng.integers(shown.shape[1], size=len(shown)), _best(rate, rng))


def ucb1(clicks: np.ndarray, shown: np.ndarray, rng: np.random.Generator, width: float = 2.0) -> np.ndarray:
    """Show the arm with the highest bound ``rate + √(width · ln t / shown)``; UCB1 has width 2 (Auer)."""
    steps, times = np.log(np.maximum(shown.sum(axis=1, keepdims=True), 1)), np.maximum(shown, 1e-9)
    bound = np.minimum(clicks / times + np.sqrt(width * steps / times), UNSEEN / 2)
    return _best(np.where(shown > 0, bound, UNSEEN), rng)


def thompson(clicks: np.ndarray, shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw each arm's rate from Beta(1 + clicks, 1 + no clicks); show the best draw (Thompson 1933)."""
    return rng.beta(1 + clicks, 1 + np.maximum(shown - clicks, 0)).argmax(axis=1)


def lin_ucb(mean: np.ndarray, error: np.ndarray, rng: np.random.Generator, width: float = 0.3) -> np.ndarray:
    """Show the arm with the highest ``mean + width · error``: LinUCB (Li et al. 2010, WWW)."""
    return _best(mean + width * error, rng)


def lin_thompson(
    mean: np.ndarray, error: np.ndarray, rng: np.random.Generator, width: float = 0.3
) -> np.ndarray:
    """Draw each arm's value from N(mean, (width · error)²) and show the best (Agrawal & Goyal 2013, ICML)."""
    return rng.normal(mean, width * error).argmax(axis=1)


def play(
    policy: Policy,
    chances: np.ndarray,
    n_runs: int,
    rng: np.random.Generator,
    *,
    delay: int = 0,
    memory: float = 1.0,
) -> np.ndarray:
    """Let a policy choose arms step by step, in many runs at once.

    Parameters
    ----------
    chances : np.ndarray, shape (n_steps, n_arms)
        The true click chances at each step.
    delay : int
        A step is known to the policy, showing and answer, this many steps later.
    memory : float
        What is known is multiplied by this at every step: below 1, old answers fade.

    Returns
    -------
    np.ndarray of int, shape (n_runs, n_steps)
        The arms shown.
    """
    _check_world(chances)
    if delay < 0 or not 0 < memory <= 1 or n_runs < 1:
        raise ValueError(f"need delay ≥ 0, memory in (0, 1], n_runs ≥ 1; got {delay}, {memory}, {n_runs}")
    n_steps, n_arms = chances.shape
    clicks, shown, row = np.zeros((n_runs, n_arms)), np.zeros((n_runs, n_arms)), np.arange(n_runs)
    arms, answers = np.zeros((n_runs, n_steps), int), np.zeros((n_runs, n_steps))
    for step in range(n_steps):
        arms[:, step] = arm = policy(clicks, shown, rng)
        answers[:, step] = rng.random(n_runs) < chances[step, arm]
        if memory < 1:
            clicks, shown = clicks * memory, shown * memory
        if (known := step - delay) >= 0:
            clicks[row, arms[:, known]] += answers[:, known]
            shown[row, arms[:, known]] += 1
    return arms


def play_linear(
    policy: Policy, contexts: np.ndarray, chances: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Let a policy choose arms by context; each arm learns a ridge regression of its clicks on the context.

    As `play`, with `contexts` of shape (n_runs, n_steps, n_features), and `chances` in these contexts of
    shape (n_runs, n_steps, n_arms). The λ of the regressions is 1.
    """
    (n_runs, n_steps, n_features), n_arms = contexts.shape, chances.shape[-1]
    _check_world(chances.reshape(-1, n_arms))
    inverse = np.tile(np.eye(n_features), (n_runs, n_arms, 1, 1))  # of XᵀX + λI
    response, row = np.zeros((n_runs, n_arms, n_features)), np.arange(n_runs)
    arms = np.zeros((n_runs, n_steps), int)
    for step in range(n_steps):
        x = contexts[:, step]
        spread = (inverse @ x[:, None, :, None])[..., 0]  # inverse · x, for each run and arm
        error = np.sqrt(np.einsum("raf,rf->ra", spread, x))
        arms[:, step] = arm = policy(np.einsum("raf,raf->ra", spread, response), error, rng)
        own = spread[row, arm]  # Sherman and Morrison: the inverse after one more row x
        inverse[row, arm] -= own[:, :, None] * own[:, None, :] / (1 + error[row, arm] ** 2)[:, None, None]
        response[row, arm] += x * (rng.random(n_runs) < chances[row, step, arm])[:, None]
    return arms


def lai_robbins(chances: np.ndarray) -> float:
    """Return ``c = Σ (p* − p_a) / KL(p_a, p*)`` over the worse arms; regret grows by c · ln t or more [1]_.

    References
    ----------
    .. [1] Lai & Robbins (1985), "Asymptotically efficient adaptive allocation rules".
    """
    best = np.max(chances)
    if not 0 < np.min(chances) <= best < 1:
        raise ValueError(f"chances must lie between 0 and 1, got {np.min(chances)} to {best}")
    worse = np.asarray(chances)[np.asarray(chances) < best]
    divergence = worse * np.log(worse / best) + (1 - worse) * np.log((1 - worse) / (1 - best))
    return float(((best - worse) / divergence).sum())


def _best(scores: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (scores + 1e-9 * rng.random(scores.shape)).argmax(axis=1)  # equal scores: any of them


def _check_world(chances: np.ndarray) -> None:
    if chances.ndim != 2 or not chances.size or not ((chances >= 0) & (chances <= 1)).all():
        raise ValueError(f"chances must be a table of steps × arms from 0 to 1, got shape {chances.shape}")
