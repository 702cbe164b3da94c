"""Differential privacy, household by household: noise, clipping, and what a training run costs."""

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csr_array, diags_array
from scipy.special import gammaln, log_ndtr, logsumexp

_ORDERS = np.unique(np.concatenate([np.arange(2, 65), np.geomspace(65, 512, 24).astype(int)]))


def check_privacy(epsilon: float, delta: float = 0.5) -> None:
    """Raise ValueError unless ε > 0 and 0 < δ < 1."""
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be a finite number above 0, got {epsilon}")
    if not 0 < delta < 1:
        raise ValueError(f"delta must be between 0 and 1, without its ends, got {delta}")


def gaussian_delta(epsilon: float, noise: float) -> float:
    """Return the smallest δ for which Gaussian noise of `noise` sensitivities is (ε, δ)-private.

    Balle & Wang (2018), "Improving the Gaussian Mechanism for Differential Privacy", ICML, theorem 8.
    """
    half, tail = 1 / (2 * noise), epsilon * noise
    return float(np.exp(log_ndtr(half - tail)) - np.exp(epsilon + log_ndtr(-half - tail)))


def gaussian_noise(epsilon: float, delta: float) -> float:
    """Return the least standard deviation, in sensitivities, of (ε, δ)-private Gaussian noise."""
    check_privacy(epsilon, delta)
    return float(np.exp(brentq(lambda s: gaussian_delta(epsilon, np.exp(s)) - delta, -20, 14, xtol=1e-12)))


def clip_rows(matrix: csr_array, clip: float) -> csr_array:
    """Shorten the rows of a matrix, one per household, to at most the length `clip` > 0."""
    if not clip > 0:
        raise ValueError(f"clip must be above 0, got {clip}")
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), float)).ravel()
    return (diags_array(np.minimum(1, clip / np.maximum(lengths, 1e-300))) @ matrix).tocsr()


def private_counts(
    matrix: csr_array, epsilon: float, limit: int, generator: np.random.Generator
) -> np.ndarray:
    """Count the households of each item with ε-differential privacy, shape (n_items,).

    Of each household `limit` items, drawn at random, are counted; Laplace noise of scale limit / ε hides it.
    """
    check_privacy(epsilon)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((generator.random(len(rows)), rows))
    kept = order[np.arange(len(rows)) - matrix.indptr[rows] < limit]
    counts = np.bincount(matrix.indices[kept], minlength=matrix.shape[1])
    return counts + generator.laplace(scale=limit / epsilon, size=len(counts))


def private_gram(
    matrix: csr_array, epsilon: float, delta: float, clip: float, generator: np.random.Generator
) -> np.ndarray:
    """Return ``Xᵀ X`` of clipped rows with (ε, δ)-differential privacy, shape (n_items, n_items).

    A row x adds ``x xᵀ``, whose upper triangle has a length of at most ``clip²``; symmetric Gaussian noise
    hides it. Negative eigenvalues, which are noise for certain, become 0; that costs nothing.

    References
    ----------
    Dwork, Talwar, Thakurta & Zhang (2014), "Analyze Gauss: Optimal Bounds for Privacy-Preserving PCA", STOC.
    """
    clipped = clip_rows(matrix.astype(np.float64), clip)
    scale = gaussian_noise(epsilon, delta) * clip**2
    noise = np.triu(generator.normal(scale=scale, size=(matrix.shape[1],) * 2))
    values, vectors = np.linalg.eigh((clipped.T @ clipped).toarray() + noise + np.triu(noise, 1).T)
    return (vectors * np.maximum(values, 0)) @ vectors.T


def sgd_epsilon(noise: float, share: float, steps: int, delta: float) -> float:
    """Return the ε that `steps` noisy, clipped gradient sums cost at δ, by Rényi divergences.

    Each step takes every household with the chance `share`, clips each one's gradient and adds Gaussian noise
    of `noise` times the clip to the sum.

    References
    ----------
    Mironov, Talwar & Zhang (2019), "Rényi Differential Privacy of the Sampled Gaussian Mechanism"; Canonne,
    Kamath & Steinke (2020), "The Discrete Gaussian for Differential Privacy", proposition 12.
    """
    check_privacy(1, delta)
    if not (noise > 0 and 0 < share <= 1 and steps >= 1):
        raise ValueError(f"noise > 0, 0 < share ≤ 1, steps ≥ 1: got {noise}, {share}, {steps}")
    costs = steps * np.array([renyi(order, noise, share) for order in _ORDERS])
    given = np.log1p(-1 / _ORDERS) - (np.log(delta) + np.log(_ORDERS)) / (_ORDERS - 1)
    return float(np.maximum(costs + given, 0).min())


def renyi(order: int, noise: float, share: float) -> float:
    """Return the Rényi divergence of one step, of a whole order of at least 2, in closed form."""
    k = np.arange(order + 1)
    if share == 1:
        return order / (2 * noise**2)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = choose + (order - k) * np.log1p(-share) + k * np.log(share) + (k * k - k) / (2 * noise**2)
    return float(logsumexp(terms) / (order - 1))
