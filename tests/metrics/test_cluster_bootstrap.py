"""The bootstrap over groups, such as all rows of a household: against repeated rows and the plain one."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from recsys_lib.metrics import (
    bootstrap_classification,
    bootstrap_interval,
    lift,
    resample_weights,
    significance,
)

RNG = np.random.default_rng(1)
P = np.round(RNG.random(300) ** 2, 2)  # with ties
Y = (RNG.random(300) < P).astype(int)
HOUSEHOLDS = RNG.integers(0, 90, 300)


def intervals(y=Y, p=P, groups=HOUSEHOLDS, **settings):
    return bootstrap_classification(y, p, groups=groups, **({"fraction": 0.1, "n_resamples": 40} | settings))


def test_rows_of_a_group_are_drawn_together():
    weights = resample_weights(HOUSEHOLDS, 50, seed=2)
    assert weights.shape == (50, 300)
    ids = np.unique(HOUSEHOLDS)
    for household in ids:
        own = weights[:, household == HOUSEHOLDS]
        assert (own == own[:, :1]).all()
    first_rows = [int(np.argmax(household == HOUSEHOLDS)) for household in ids]
    assert (weights[:, first_rows].sum(axis=1) == len(ids)).all()
    assert not (weights[0] == weights[1]).all()
    assert (resample_weights(HOUSEHOLDS, 50, seed=2) == weights).all()


def test_a_row_in_a_group_of_its_own_is_an_independent_row():
    np.testing.assert_array_equal(
        resample_weights(np.arange(20), 30, seed=1), resample_weights(20, 30, seed=1)
    )
    plain = bootstrap_classification(Y, P)
    for name, interval in bootstrap_classification(Y, P, groups=np.arange(300)).items():
        np.testing.assert_allclose(interval, plain[name], rtol=1e-12)


def test_the_intervals_are_quantiles_of_metrics_on_repeated_rows():
    found = intervals(seed=3)
    weights = resample_weights(HOUSEHOLDS, 40, np.random.default_rng(3)).astype(int)
    oracles = {
        "roc_auc": roc_auc_score,
        "average_precision": average_precision_score,
        "brier": brier_score_loss,
        "log_loss": lambda y, p: log_loss(y, p, labels=[0, 1]),
    }
    for name, metric in oracles.items():
        values = [metric(np.repeat(Y, w), np.repeat(P, w)) for w in weights]
        low, high = np.quantile(values, [0.025, 0.975])
        np.testing.assert_allclose(found[name], (metric(Y, P), low, high, 300), rtol=1e-9)
    means = [np.repeat(P, w).mean() for w in weights]
    mean = bootstrap_interval(P, groups=HOUSEHOLDS, n_resamples=40, seed=3, confidence=0.8)
    np.testing.assert_allclose(mean, (P.mean(), *np.quantile(means, [0.1, 0.9]), 300), rtol=1e-9)


def test_the_resampled_lift_is_near_the_lift_of_repeated_rows():
    found = intervals(seed=3, fraction=0.2)["lift"]
    weights = resample_weights(HOUSEHOLDS, 40, np.random.default_rng(3)).astype(int)
    values = [lift(np.repeat(Y, w), np.repeat(P, w), fraction=0.2) for w in weights]
    # It takes exactly a fifth of the rows, `lift` rounds up to a whole row.
    np.testing.assert_allclose(found[1:3], np.quantile(values, [0.025, 0.975]), rtol=0.02)
    assert found.value == lift(Y, P, fraction=0.2)
    np.testing.assert_allclose(intervals(p=np.full(300, 0.3))["lift"][:3], 1)


def test_lift_is_there_on_request_only_and_changes_nothing_else():
    without = intervals(fraction=None)
    assert list(without) == ["roc_auc", "average_precision", "brier", "log_loss"]
    with_lift = intervals()
    assert with_lift.pop("lift").n == 300
    assert with_lift == without


@pytest.mark.filterwarnings("error")
def test_what_one_class_leaves_without_meaning_is_nan():
    found = intervals(y=np.zeros(300))
    for name in ("roc_auc", "average_precision", "lift"):
        assert np.isnan(found[name][:3]).all()
    assert 0 < found["brier"].low < found["brier"].value < found["brier"].high
    # Some resamples hold no one: they are left out.
    rare = intervals(y=np.arange(300) == 7)
    assert np.isfinite([rare[name][:3] for name in rare]).all()


def test_differences_are_paired_and_a_model_does_not_differ_from_itself():
    same = intervals(baseline=P)
    assert all(interval[:3] == (0, 0, 0) for interval in same.values())
    worse = np.clip(P + RNG.normal(0, 0.3, 300), 0, 1)
    gain = intervals(baseline=worse, n_resamples=200)
    alone = [intervals(p=p, n_resamples=200)["roc_auc"] for p in (P, worse)]
    assert np.isclose(gain["roc_auc"].value, alone[0].value - alone[1].value)
    assert gain["roc_auc"].low > 0 > gain["brier"].high


def test_groups_of_many_like_rows_widen_the_interval():
    values, ids = np.repeat(RNG.random(60), 5), np.repeat(np.arange(60), 5)
    clustered, plain = bootstrap_interval(values, groups=ids), bootstrap_interval(values)
    assert clustered.value == plain.value
    assert np.isclose((clustered.high - clustered.low) / (plain.high - plain.low), np.sqrt(5), rtol=0.1)


def test_a_missing_value_leaves_with_its_group_id_and_blocks_go_on_drawing(monkeypatch):
    gaps = np.insert(P, 10, np.nan)
    whole = bootstrap_interval(P, groups=HOUSEHOLDS, n_resamples=40)
    assert bootstrap_interval(gaps, groups=np.insert(HOUSEHOLDS, 10, 7), n_resamples=40) == whole
    monkeypatch.setattr(significance, "BLOCK_DRAWS", 3000)  # blocks of ten
    np.testing.assert_allclose(bootstrap_interval(P, groups=HOUSEHOLDS, n_resamples=40), whole, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intervals(groups=HOUSEHOLDS[:5]), r"300 rows but groups of shape \(5,\): one per row"),
        (lambda: bootstrap_interval(P, groups=HOUSEHOLDS[:5]), r"300 rows but groups of shape \(5,\)"),
        (lambda: intervals(fraction=0.0), "fraction must be above 0 and at most 1, got 0.0"),
        (lambda: resample_weights(3, 0), "n_resamples must be at least 1, got 0"),
    ],
)
def test_bad_input_says_what_and_where(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("missing", [None, np.nan])
def test_a_missing_group_is_named(missing):
    groups = np.array(["a", missing, "b"], dtype=object)
    with pytest.raises(ValueError, match=r"groups\[1\] is missing"):
        bootstrap_interval([1.0, 2.0, 3.0], groups=groups)
