"""Bins of equal weight, against scikit-learn's own and a loop."""

import numpy as np
import pytest
from sklearn.ensemble._hist_gradient_boosting.binning import _find_binning_thresholds

from recsys_lib.recommenders.bins import binned, edges_of, weighted_edges


def column(kind, rng, n=2_000):
    values = {
        "all different": rng.standard_normal(n),
        "many equal": np.round(rng.exponential(20, n)),
        "few values": rng.integers(0, 5, n) / 2,
        "one value": np.ones(n),
    }[kind].astype(np.float32)
    values[rng.random(n) < 0.3] = np.nan
    return values


@pytest.mark.parametrize("kind", ["all different", "many equal", "few values", "one value"])
@pytest.mark.parametrize("weighted", [True, False])
def test_edges_are_those_of_scikit_learn(kind, weighted):
    rng = np.random.default_rng(3)
    values = column(kind, rng)
    weights = 1 / np.sqrt(rng.integers(1, 60, len(values))) if weighted else np.ones(len(values))
    expected = _find_binning_thresholds(values.astype(np.float64), 64, weights)
    np.testing.assert_array_equal(weighted_edges(values, weights, 64), expected)


def test_a_bin_holds_what_is_at_most_its_edge():
    rng = np.random.default_rng(4)
    table = np.stack([column("all different", rng), column("many equal", rng)], axis=1)
    edges = edges_of(table, rng.uniform(0.5, 2, len(table)), 8)
    numbers = binned(table, edges)
    assert numbers.dtype == np.float32
    for place in range(2):
        for value, number in zip(table[:, place], numbers[:, place], strict=True):
            assert (
                np.isnan(number) if np.isnan(value) else number == sum(value > edge for edge in edges[place])
            )


def test_bins_are_of_about_equal_weight():
    rng = np.random.default_rng(5)
    values, weights = rng.standard_normal(20_000), rng.uniform(0, 3, 20_000)
    numbers = np.searchsorted(weighted_edges(values, weights, 10), values)
    np.testing.assert_allclose(np.bincount(numbers, weights) / weights.sum(), 0.1, atol=0.001)
