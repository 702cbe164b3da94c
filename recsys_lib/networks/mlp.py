"""A multi-layer perceptron derived by hand (notebook 02): NumPy, float64, made to be read.

The letters are those of the formulas: X the inputs, W the weights, z = W x + b, δ = ∂L/∂z.
"""
# ruff: noqa: N803, N806

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, log_softmax, softmax

from recsys_lib.networks.optimizers import SGD, Adam

# Each activation φ with its derivative φ′, from the pre-activation z and the output a = φ(z).
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z, a: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z, a: (z > 0).astype(np.float64)),
    "sigmoid": (expit, lambda z, a: a * (1 - a)),
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    # Its derivative is a matrix; only the cross-entropy needs it, where it cancels against 1/a.
    "softmax": (lambda z: softmax(z, axis=1), None),
}
# The output activations that each loss is made for.
OUTPUTS = {"half_squared_error": ("identity", "relu", "sigmoid", "tanh")}
OUTPUTS |= {"binary_cross_entropy": ("sigmoid",), "cross_entropy": ("softmax",)}


class MLP:
    """Layers H = φ(W X + b), one after the other, and the gradients of a loss for every W and b.

    Parameters
    ----------
    sizes : sequence of int
        Widths from input to output, such as (10, 100, 1).
    activations : str or sequence of str
        One of `ACTIVATIONS` per layer; "softmax" only last, and only with "cross_entropy".
    loss : {"half_squared_error", "binary_cross_entropy", "cross_entropy"}
        Summed over outputs, mean over rows; made for the output activations in `OUTPUTS`.
    seed : int or numpy.random.Generator
        W is drawn uniformly, with variance 2/n_in before ReLU and 2/(n_in + n_out) otherwise; b is 0.

    Attributes
    ----------
    layers : list of (W, b)
        Shapes (n_out, n_in) and (n_out,), as in the formulas. Rows are examples, so Z = X Wᵀ + b.

    References
    ----------
    Rumelhart, Hinton & Williams (1986); first weights: Glorot & Bengio (2010), He et al. (2015).
    """

    def __init__(
        self, sizes: Sequence[int], activations: str | Sequence[str], loss: str,
        seed: int | np.random.Generator,
    ) -> None:  # fmt: skip
        names = [activations] if isinstance(activations, str) else list(activations)
        whole = len(sizes) >= 2 and all(isinstance(n, (int, np.integer)) and n >= 1 for n in sizes)
        _check(whole, f"sizes must be at least two integers >= 1, got {tuple(sizes)}")
        _check(len(names) == len(sizes) - 1, f"{len(sizes) - 1} layers but {len(names)} activations: {names}")
        _check(set(names) <= set(ACTIVATIONS), f"unknown activation in {names}, not of {[*ACTIVATIONS]}")
        _check("softmax" not in names[:-1], f"softmax may only be the last activation, got {names}")
        _check(loss in OUTPUTS, f"unknown loss {loss!r}; there are {list(OUTPUTS)}")
        _check(names[-1] in OUTPUTS[loss], f"{loss} needs the output {OUTPUTS[loss]}, got {names[-1]!r}")
        self.sizes, self.activations, self.loss, self.layers = tuple(sizes), tuple(names), loss, []
        generator = np.random.default_rng(seed)
        for n_in, n_out, name in zip(sizes[:-1], sizes[1:], names, strict=True):
            # A uniform number from −a to a has variance a²/3. Chosen so, the outputs of a layer vary about as
            # much as its inputs, and no signal dies out or explodes on its way through many layers.
            bound = np.sqrt(3 * 2 / (n_in if name == "relu" else n_in + n_out))
            self.layers.append((generator.uniform(-bound, bound, (n_out, n_in)), np.zeros(n_out)))

    @property
    def parameters(self) -> list[np.ndarray]:
        """Return [W1, b1, W2, b2, …]: the arrays themselves, not copies."""
        return [array for layer in self.layers for array in layer]

    def forward(self, X: np.ndarray) -> np.ndarray:
        """Return the output for each row: X (n, n_in) → (n, n_out)."""
        return self.layer_outputs(X)[-1]

    def layer_outputs(self, X: np.ndarray) -> list[np.ndarray]:
        """Return [X, H1, …, O]: what each layer passes on, one row per example."""
        return self._run(_matrix(X, "X", self.sizes[0]))[1]

    def gradients(self, X: np.ndarray, y: np.ndarray) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
        """Return the loss and [(∂L/∂W, ∂L/∂b), …], shaped like `layers`."""
        X, y = self._examples(X, y)
        flat = self._gradients(X, y)
        return self._loss(X, y), list(zip(flat[::2], flat[1::2], strict=True))

    def gradient_check(self, X: np.ndarray, y: np.ndarray) -> float:
        """Compare every gradient with finite differences; return the worst relative error.

        The error of an array is its largest deviation over its largest entry, or over 1e-5 of the loss:
        differences lose what is smaller. Below 1e-7 all is well; a wrong formula gives 1e-2 to 1.
        """
        X, y = self._examples(X, y)
        worst = 0.0
        for parameter, gradient in zip(self.parameters, self._gradients(X, y), strict=True):
            slopes = [self._slope(parameter, index, X, y) for index in np.ndindex(gradient.shape)]
            numeric = np.reshape(slopes, gradient.shape)
            scale = max(np.abs(gradient).max(), np.abs(numeric).max(), 1e-5 * self._loss(X, y))
            worst = max(worst, np.abs(gradient - numeric).max() / (scale or 1.0))
        return float(worst)

    def fit(
        self, X: np.ndarray, y: np.ndarray, optimizer: SGD | Adam, epochs: int, batch_size: int = 32,
        seed: int | np.random.Generator = 0, validation: tuple[np.ndarray, np.ndarray] | None = None,
        patience: int | None = None,
    ) -> list[tuple[float, float]]:  # fmt: skip
        """Train on shuffled mini-batches; return (loss, validation loss or NaN) after every epoch.

        With `validation` = (X, y), the weights of the best epoch are kept; with `patience`, training stops
        after that many epochs without a better one (early stopping).
        """
        X, y = self._examples(X, y)
        validation = validation and self._examples(*validation)
        _check(patience is None or validation, "patience needs validation data")
        _check(batch_size >= 1, f"batch_size must be at least 1, got {batch_size}")
        generator, history = np.random.default_rng(seed), []
        best, since, kept = np.inf, 0, self.parameters
        for _ in range(epochs):
            # Another order in every epoch, so that the steps do not repeat each other.
            for rows in np.split(generator.permutation(len(X)), range(batch_size, len(X), batch_size)):
                optimizer.step(self.parameters, self._gradients(X[rows], y[rows]))
            later = self._loss(*validation) if validation else np.nan
            history.append((self._loss(X, y), later))
            since += 1
            if later < best:
                best, since, kept = later, 0, [array.copy() for array in self.parameters]
            if patience is not None and since >= patience:
                break
        for array, value in zip(self.parameters, kept, strict=True):
            array[...] = value
        return history

    def _run(self, X: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        pre_activations, outputs = [], [X]
        for (W, b), name in zip(self.layers, self.activations, strict=True):
            # The formulas have one example as a column, W x + b; here examples are rows, hence X Wᵀ + b.
            pre_activations.append(outputs[-1] @ W.T + b)
            outputs.append(ACTIVATIONS[name][0](pre_activations[-1]))
        return pre_activations, outputs

    def _loss(self, X: np.ndarray, y: np.ndarray) -> float:
        (*_, z), (*_, output) = self._run(X)
        if self.loss == "half_squared_error":
            return float(0.5 * ((output - y) ** 2).sum() / len(y))
        # The logarithms are taken from z: the output may have rounded to 0 or 1, where they are infinite.
        if self.loss == "binary_cross_entropy":
            return float((y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)).sum() / len(y))
        return float(-(y * log_softmax(z, axis=1)).sum() / len(y))

    def _gradients(self, X: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        pre_activations, outputs = self._run(X)
        # δ = ∂L/∂z of the last layer. All three losses begin with "output minus truth"; the mean over rows
        # divides by their number here, once, and every later gradient inherits it.
        delta = (outputs[-1] - y) / len(y)
        if self.loss == "half_squared_error":
            # The chain goes through φ. In the cross-entropies φ′ has cancelled against the loss's 1/output.
            delta = delta * ACTIVATIONS[self.activations[-1]][1](pre_activations[-1], outputs[-1])
        result = []
        for i in reversed(range(len(self.layers))):
            # z = W h + b: W[j, k] reaches the loss through z[j] only, by the factor h[k], and b[j] by 1.
            # The product over rows adds up the examples: ∂L/∂W = δ hᵀ and ∂L/∂b = δ, summed.
            result = [delta.T @ outputs[i], delta.sum(axis=0), *result]
            if i > 0:
                # Back through the layer: h[k] feeds every z[j] with weight W[j, k], so its gradient collects
                # Wᵀ δ (with examples as rows: δ W). Then through φ, which multiplies by its own slope.
                derivative = ACTIVATIONS[self.activations[i - 1]][1]
                delta = (delta @ self.layers[i][0]) * derivative(pre_activations[i - 1], outputs[i])
        return result

    def _slope(self, parameter: np.ndarray, index: tuple[int, ...], X: np.ndarray, y: np.ndarray) -> float:
        # Large inputs turn a small step of a weight into a large one of z: the step shrinks with them.
        middle, step = parameter[index], 1e-3 / max(1.0, np.abs(X).max())
        while True:
            values, sides = [], []
            for shift in (-2, -1, 1, 2):  # four points: the error is of order step⁴
                parameter[index] = middle + shift * step
                values.append(self._loss(X, y))
                pairs = zip(self._run(X)[0], self.activations, strict=True)
                sides.append([(z > 0).tobytes() for z, name in pairs if name == "relu"])
            parameter[index] = middle
            # No difference may step across the kink of a ReLU; one that does is taken again, closer.
            if step < 1e-7 or all(side == sides[0] for side in sides):
                return (values[0] - values[3] + 8 * (values[2] - values[1])) / (12 * step)
            step /= 4

    def _examples(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X, y = _matrix(X, "X", self.sizes[0]), _matrix(y, "y", self.sizes[-1])
        _check(len(X) == len(y), f"X has {len(X)} rows but y has {len(y)}")
        if self.loss != "half_squared_error":
            _check(((y >= 0) & (y <= 1)).all(), f"{self.loss} needs targets between 0 and 1 in y")
        if self.loss == "cross_entropy":
            _check(np.allclose(y.sum(axis=1), 1), "cross_entropy needs rows of y that sum to 1")
        return X, y


def _matrix(values: np.ndarray, name: str, width: int) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    fits = array.ndim == 2 and array.shape[1] == width and len(array) > 0
    _check(fits, f"{name} must have shape (n, {width}) with n >= 1, got {array.shape}")
    for index in np.argwhere(~np.isfinite(array))[:1]:
        raise ValueError(f"{name}{index.tolist()} is {array[tuple(index)]}")
    return array


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
