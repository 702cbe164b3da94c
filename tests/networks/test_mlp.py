"""The network's gradients equal torch's and finite differences; the optimisers take torch's steps."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from recsys_lib.networks.mlp import ACTIVATIONS, MLP, OUTPUTS
from recsys_lib.networks.optimizers import SGD, Adam

COMBINATIONS = [(loss, output) for loss, outputs in OUTPUTS.items() for output in outputs]
HIDDEN = [name for name in ACTIVATIONS if name != "softmax"]
TORCH = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda z: z,  # torch's cross-entropy takes z
}


def examples(net: MLP, n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random rows, with targets that suit the loss; soft targets too, not only 0 and 1."""
    X = generator.normal(size=(n, net.sizes[0]))
    if net.loss == "half_squared_error":
        return X, generator.normal(size=(n, net.sizes[-1]))
    if net.loss == "binary_cross_entropy":
        return X, generator.choice([0.0, 0.3, 1.0], size=(n, net.sizes[-1]))
    return X, generator.dirichlet(np.ones(net.sizes[-1]), size=n)


def with_biases(net: MLP, generator: np.random.Generator) -> MLP:
    """Biases start at 0, where errors in them could hide."""
    for _, b in net.layers:
        b += generator.normal(scale=0.5, size=b.shape)
    return net


def torch_loss(net: MLP, parameters: list[torch.Tensor], X: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """The same network and loss from torch's own functions."""
    a, target = torch.tensor(X), torch.tensor(y)
    for i, name in enumerate(net.activations):
        z = F.linear(a, parameters[2 * i], parameters[2 * i + 1])
        a = TORCH[name](z)
    if net.loss == "half_squared_error":
        return 0.5 * F.mse_loss(a, target, reduction="sum") / len(y)
    if net.loss == "binary_cross_entropy":
        return F.binary_cross_entropy_with_logits(z, target, reduction="sum") / len(y)
    return F.cross_entropy(a, target)


def torch_parameters(net: MLP) -> list[torch.Tensor]:
    return [torch.tensor(array, requires_grad=True) for array in net.parameters]


def worst(ours: list[np.ndarray], others: list[torch.Tensor]) -> float:
    return max(np.abs(a - b.detach().numpy()).max() for a, b in zip(ours, others, strict=True))


def assert_like_torch(net: MLP, X: np.ndarray, y: np.ndarray) -> None:
    parameters = torch_parameters(net)
    expected = torch_loss(net, parameters, X, y)
    expected.backward()
    loss, gradients = net.gradients(X, y)
    flat = [array for layer in gradients for array in layer]
    # An absolute tolerance is a test only if there is something to find.
    assert max(np.abs(array).max() for array in flat) > 1e-4
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    assert worst(flat, [p.grad for p in parameters]) <= 1e-10
    assert [(W.shape, b.shape) for W, b in gradients] == [(W.shape, b.shape) for W, b in net.layers]


@pytest.mark.parametrize(("loss", "output"), COMBINATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_loss_and_gradients_equal_torch_and_finite_differences(loss: str, output: str, hidden: str) -> None:
    generator = np.random.default_rng(3)
    net = with_biases(MLP((4, 5, 3), (hidden, output), loss, seed=1), generator)
    X, y = examples(net, 7, generator)
    assert_like_torch(net, X, y)
    assert net.gradient_check(X, y) <= 1e-7


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    combination=st.sampled_from(COMBINATIONS),
    hidden=st.lists(st.sampled_from(HIDDEN), min_size=4, max_size=4),
    n=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_gradients_equal_torch_on_random_architectures(
    widths: list[int], combination: tuple[str, str], hidden: list[str], n: int, seed: int
) -> None:
    loss, output = combination
    generator = np.random.default_rng(seed)
    net = with_biases(MLP(widths, [*hidden[: len(widths) - 2], output], loss, generator), generator)
    X, y = examples(net, n, generator)
    parameters = torch_parameters(net)
    expected = torch_loss(net, parameters, X, y)
    expected.backward()
    value, gradients = net.gradients(X, y)
    assert value == pytest.approx(expected.item(), rel=1e-10, abs=1e-12)
    # Networks drawn at random may be dead (ReLU) or flat (softmax over one class): then both are zero.
    assert worst([a for layer in gradients for a in layer], [p.grad for p in parameters]) <= 1e-10


@pytest.mark.parametrize(("loss", "output"), COMBINATIONS)
@pytest.mark.parametrize("seed", range(3))
def test_gradient_check_passes_on_deep_networks_of_all_activations(loss: str, output: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    net = with_biases(MLP((5, 8, 7, 6, 5, 2), (*HIDDEN, output), loss, generator), generator)
    assert net.gradient_check(*examples(net, 6, generator)) <= 1e-7


def test_gradient_check_passes_where_differences_would_step_over_kinks() -> None:
    generator = np.random.default_rng(0)
    net = MLP((2, 50, 1), ("relu", "identity"), "half_squared_error", seed=0)
    X, y = examples(net, 40, generator)
    # Some unit is within the first step of its kink in some row.
    assert np.abs(X @ net.layers[0][0].T).min() < 1e-3
    assert net.gradient_check(X, y) <= 1e-7


def test_gradient_check_is_not_fooled_by_a_gradient_smaller_than_rounding() -> None:
    net = MLP((1, 1), "sigmoid", "half_squared_error", seed=0)
    net.layers[0][1][:] = 30.0
    assert 0 < np.abs(net.gradients([[1.0]], [[0.0]])[1][0][1]) < 1e-12
    assert net.gradient_check([[1.0]], [[0.0]]) <= 1e-7


@pytest.mark.parametrize("wrong", ["sign", "factor", "bias", "transpose"])
def test_gradient_check_catches_a_wrong_gradient(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = MLP((3, 3, 2), ("tanh", "identity"), "half_squared_error", seed=0)
    X, y = examples(net, 5, np.random.default_rng(0))
    right = net._gradients

    def broken(X: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
        dW, db, *last = right(X, y)
        changed = {
            "sign": [-dW, db],
            "factor": [1.01 * dW, db],
            "bias": [dW, db * 0],
            "transpose": [dW.T, db],
        }
        return [*changed[wrong], *last]

    before = [array.copy() for array in net.parameters]
    monkeypatch.setattr(net, "_gradients", broken)
    assert net.gradient_check(X, y) > 1e-3
    # The check moves every parameter; all must be back in their place.
    assert all(np.array_equal(a, b) for a, b in zip(before, net.parameters, strict=True))


def test_forward_equals_the_formula_row_by_row() -> None:
    net = with_biases(
        MLP((3, 4, 2), ("sigmoid", "tanh"), "half_squared_error", seed=5), np.random.default_rng(5)
    )
    X = np.random.default_rng(6).normal(size=(4, 3))
    (W1, b1), (W2, b2) = net.layers
    by_hand = [np.tanh(W2 @ (1 / (1 + np.exp(-(W1 @ x + b1)))) + b2) for x in X]
    np.testing.assert_allclose(net.forward(X), by_hand, rtol=1e-12)
    assert [a.shape for a in net.layer_outputs(X)] == [(4, 3), (4, 4), (4, 2)]


def test_one_example_has_the_gradients_of_the_formulas() -> None:
    net = MLP((3, 4, 2), ("sigmoid", "tanh"), "half_squared_error", seed=2)
    X, y = examples(net, 1, np.random.default_rng(2))
    (W1, b1), (W2, b2) = net.layers
    hidden = 1 / (1 + np.exp(-(W1 @ X[0] + b1)))
    output = np.tanh(W2 @ hidden + b2)
    delta2 = (output - y[0]) * (1 - output**2)
    delta1 = (W2.T @ delta2) * hidden * (1 - hidden)
    _, ((dW1, db1), (dW2, db2)) = net.gradients(X, y)
    expected = np.outer(delta1, X[0]), delta1, np.outer(delta2, hidden), delta2
    for ours, other in zip((dW1, db1, dW2, db2), expected, strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-12)


def test_a_batch_is_the_mean_of_its_rows() -> None:
    net = MLP((3, 4, 2), ("relu", "softmax"), "cross_entropy", seed=2)
    X, y = examples(net, 6, np.random.default_rng(2))
    single = [net.gradients(X[i : i + 1], y[i : i + 1]) for i in range(6)]
    loss, gradients = net.gradients(X, y)
    assert loss == pytest.approx(np.mean([value for value, _ in single]), rel=1e-12)
    np.testing.assert_allclose(gradients[0][0], np.mean([g[0][0] for _, g in single], axis=0), rtol=1e-10)


@pytest.mark.parametrize(
    ("loss", "output", "size"),
    [
        (loss, output, size)
        for loss, output in COMBINATIONS
        # The square of 1e300 is infinite, and no formula can help that.
        for size in ((50.0, 1e4) if output in ("identity", "relu") else (50.0, 1e4, 1e300))
    ],
)
def test_saturated_outputs_stay_finite_and_silent(loss: str, output: str, size: float) -> None:
    net = MLP((1, 2), output, loss, seed=0)
    net.layers[0][0][:] = [[size], [-size]]
    X = np.array([[1.0], [-1.0]])
    y = np.array([[1.0, 0.0], [1.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, gradients = net.gradients(X, y)
    assert np.isfinite(value)
    assert all(np.isfinite(array).all() for layer in gradients for array in layer)
    if loss != "half_squared_error":
        # The first row is right without error, the second wrong by the full distance.
        per_row = 2 * size
        assert value == pytest.approx(per_row / 2, rel=1e-12)
        np.testing.assert_allclose(gradients[0][1], [-0.5, 0.5], rtol=1e-12)


def test_tiny_losses_keep_their_digits() -> None:
    net = MLP((1, 1), "sigmoid", "binary_cross_entropy", seed=0)
    net.layers[0][0][:] = 40.0
    for x, y in ((1.0, 1.0), (-1.0, 0.0)):
        assert net.gradients([[x]], [[y]])[0] == pytest.approx(np.exp(-40), rel=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        (lambda: SGD(0.02, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
        (lambda: Adam(0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        (lambda: Adam(0.03, 0.8, 0.95), lambda p: torch.optim.Adam(p, lr=0.03, betas=(0.8, 0.95))),
    ],
    ids=["sgd", "momentum", "adam", "adam with other betas"],
)
def test_optimizers_take_the_steps_of_torch(ours, theirs) -> None:
    generator = np.random.default_rng(4)
    net = MLP((4, 8, 2), ("tanh", "identity"), "half_squared_error", seed=4)
    start = [array.copy() for array in net.parameters]
    parameters = torch_parameters(net)
    optimizer, reference = ours(), theirs(parameters)
    X, y = examples(net, 64, generator)
    for step in range(100):
        rows = slice(step % 8 * 8, step % 8 * 8 + 8)
        optimizer.step(net.parameters, [a for layer in net.gradients(X[rows], y[rows])[1] for a in layer])
        reference.zero_grad()
        torch_loss(net, parameters, X[rows], y[rows]).backward()
        reference.step()
    assert worst(net.parameters, parameters) <= 1e-8
    assert min(np.abs(a - b).max() for a, b in zip(start, net.parameters, strict=True)) > 0.01


def test_fit_sees_every_row_once_per_epoch_in_a_new_order() -> None:
    seen: list[np.ndarray] = []

    class Spy(MLP):
        def _gradients(self, X, y):
            seen.append(X[:, 0])
            return super()._gradients(X, y)

    X = np.arange(10.0)[:, None]
    Spy((1, 1), "identity", "half_squared_error", seed=0).fit(X, X, SGD(1e-6), epochs=2, batch_size=4, seed=0)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = np.concatenate(seen[:3]).tolist(), np.concatenate(seen[3:]).tolist()
    assert sorted(first) == sorted(second) == X[:, 0].tolist()
    assert first != second != X[:, 0].tolist()


def test_fit_learns_a_curve() -> None:
    X = np.linspace(-2, 2, 200)[:, None]
    y = np.sin(2 * X)
    net = MLP((1, 16, 1), ("tanh", "identity"), "half_squared_error", seed=0)
    history = net.fit(X, y, Adam(0.02), epochs=150, seed=0)
    assert history[-1][0] < 0.01 < 0.2 < 0.5 * y.var()
    assert net.gradients(X, y)[0] == history[-1][0]
    assert all(np.isnan(later) for _, later in history)


def test_early_stopping_keeps_the_best_weights() -> None:
    generator = np.random.default_rng(1)
    X, y = generator.normal(size=(30, 6)), generator.normal(size=(30, 1))  # noise: validation only gets worse
    validation = generator.normal(size=(30, 6)), generator.normal(size=(30, 1))
    net = MLP((6, 40, 1), ("relu", "identity"), "half_squared_error", seed=1)
    history = net.fit(X, y, Adam(0.01), epochs=200, validation=validation, patience=5)
    later = [value for _, value in history]
    assert len(history) == np.argmin(later) + 1 + 5 < 200
    assert net.gradients(*validation)[0] == min(later) < later[-1]


def test_the_same_seed_gives_the_same_network_and_touches_no_global_state() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.ones((20, 1))

    def trained(seed: int) -> list[np.ndarray]:
        net = MLP((3, 5, 1), ("relu", "identity"), "half_squared_error", seed=seed)
        net.fit(X, y, SGD(0.1), epochs=3, seed=seed)
        return net.parameters

    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = trained(0), trained(0), trained(1)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_first_weights_have_the_variance_promised() -> None:
    net = MLP((400, 300, 200), ("relu", "tanh"), "half_squared_error", seed=0)
    assert net.layers[0][0].var() == pytest.approx(2 / 400, rel=0.02)
    assert net.layers[1][0].var() == pytest.approx(2 / 500, rel=0.02)
    assert all((b == 0).all() for _, b in net.layers)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((5, 4)), np.ones((5, 1)), r"X must have shape \(n, 3\).*got \(5, 4\)"),
        (np.ones(3), np.ones((1, 1)), r"X must have shape \(n, 3\).*got \(3,\)"),
        (np.ones((0, 3)), np.ones((0, 1)), r"X must have shape .*n >= 1, got \(0, 3\)"),
        (np.ones((5, 3)), np.ones(5), r"y must have shape \(n, 1\).*got \(5,\)"),
        (np.ones((5, 3)), np.ones((5, 2)), r"y must have shape \(n, 1\).*got \(5, 2\)"),
        (np.ones((5, 3)), np.ones((4, 1)), "X has 5 rows but y has 4"),
        (np.where(np.eye(5, 3) > 0, np.nan, 1), np.ones((5, 1)), r"X\[0, 0\] is nan"),
        (np.ones((2, 3)), np.array([[0.0], [np.inf]]), r"y\[1, 0\] is inf"),
    ],
)
def test_wrong_data_is_refused_by_every_entrance(X: np.ndarray, y: np.ndarray, message: str) -> None:
    net = MLP((3, 2, 1), ("relu", "identity"), "half_squared_error", seed=0)
    for call in (net.gradients, net.gradient_check, lambda X, y: net.fit(X, y, SGD(0.1), epochs=1)):
        with pytest.raises(ValueError, match=message):
            call(X, y)


@pytest.mark.parametrize(
    ("loss", "output", "y", "message"),
    [
        ("binary_cross_entropy", "sigmoid", [[1.5, 0]], "targets between 0 and 1"),
        ("binary_cross_entropy", "sigmoid", [[-1, 0]], "targets between 0 and 1"),
        ("cross_entropy", "softmax", [[1, 1]], "rows of y that sum to 1"),
    ],
)
def test_targets_that_do_not_suit_the_loss_are_refused(loss: str, output: str, y: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP((1, 2), output, loss, seed=0).gradients([[1.0]], y)


@pytest.mark.parametrize(
    ("sizes", "activations", "loss", "message"),
    [
        ((3,), "identity", "half_squared_error", "at least two integers"),
        ((3, 0), "identity", "half_squared_error", "at least two integers"),
        ((3, 2.0), "identity", "half_squared_error", "at least two integers"),
        ((3, 2, 1), "relu", "half_squared_error", "2 layers but 1 activations"),
        ((3, 1), "gelu", "half_squared_error", r"unknown activation in \['gelu'\]"),
        ((3, 2, 1), ("softmax", "identity"), "half_squared_error", "softmax may only be the last"),
        ((3, 2), "softmax", "half_squared_error", "half_squared_error needs the output .*got 'softmax'"),
        ((3, 2), "identity", "binary_cross_entropy", "needs the output .*sigmoid.*got 'identity'"),
        ((3, 2), "softmax", "binary_cross_entropy", "needs the output .*sigmoid.*got 'softmax'"),
        ((3, 2), "sigmoid", "cross_entropy", "needs the output .*softmax.*got 'sigmoid'"),
        ((3, 1), "identity", "hinge", "unknown loss 'hinge'"),
    ],
)
def test_impossible_networks_are_refused(sizes, activations, loss: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLP(sizes, activations, loss, seed=0)


def test_impossible_training_is_refused() -> None:
    net = MLP((1, 1), "identity", "half_squared_error", seed=0)
    X = np.ones((3, 1))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        net.fit(X, X, SGD(0.1), epochs=1, batch_size=0)
    with pytest.raises(ValueError, match="patience needs validation"):
        net.fit(X, X, SGD(0.1), epochs=1, patience=2)
    with pytest.raises(ValueError, match=r"y must have shape \(n, 1\)"):
        net.fit(X, X, SGD(0.1), epochs=1, validation=(X, np.ones(3)))
    for make in (lambda: SGD(0), lambda: SGD(0.1, momentum=1), lambda: Adam(-1), lambda: Adam(0.1, beta2=1)):
        with pytest.raises(ValueError, match="needed, got"):
            make()
