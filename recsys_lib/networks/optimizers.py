"""Steps down a slope: gradient descent, momentum and Adam, on any list of NumPy arrays."""

from collections.abc import Sequence

import numpy as np


class SGD:
    """Gradient descent, v ← momentum · v + g, w ← w − rate · v; the rows it sees make it stochastic."""

    def __init__(self, rate: float, momentum: float = 0.0) -> None:
        if not (rate > 0 and 0 <= momentum < 1):
            raise ValueError(f"rate > 0 and 0 <= momentum < 1 needed, got {rate} and {momentum}")
        self.rate, self.momentum, self._velocity = rate, momentum, None

    def step(self, parameters: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> None:
        """Move all parameters one step, in place; always pass the same ones, in the same order."""
        self._velocity = self._velocity or [np.zeros_like(w) for w in parameters]
        for w, g, v in zip(parameters, gradients, self._velocity, strict=True):
            # The velocity remembers earlier slopes: those that agree add up, those that flip cancel.
            v[...] = self.momentum * v + g
            w -= self.rate * v


class Adam:
    """Steps scaled by running means of gradient and squared gradient (Kingma & Ba 2015, algorithm 1)."""

    def __init__(self, rate: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        if not (rate > 0 and 0 <= beta1 < 1 and 0 <= beta2 < 1):
            raise ValueError(f"rate > 0 and 0 <= beta < 1 needed, got {rate}, {beta1} and {beta2}")
        self.rate, self.beta1, self.beta2, self._means, self._steps = rate, beta1, beta2, None, 0

    def step(self, parameters: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> None:
        """Move all parameters one step, in place; always pass the same ones, in the same order."""
        self._means = self._means or [(np.zeros_like(w), np.zeros_like(w)) for w in parameters]
        self._steps += 1
        for w, g, (m, s) in zip(parameters, gradients, self._means, strict=True):
            m[...] = self.beta1 * m + (1 - self.beta1) * g
            s[...] = self.beta2 * s + (1 - self.beta2) * g**2
            # Both means start at 0 and are too small at first; dividing by 1 − βᵗ makes up for that.
            m_hat, s_hat = m / (1 - self.beta1**self._steps), s / (1 - self.beta2**self._steps)
            # The slope over its usual size: steep or flat, a weight moves by about `rate`.
            w -= self.rate * m_hat / (np.sqrt(s_hat) + 1e-8)
