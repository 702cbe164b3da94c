"""Off-policy estimates against a hand-worked log and the enumeration of a small world."""

import itertools

import numpy as np
import pytest

from recsys_lib.online.off_policy import (
    bernstein_interval,
    bootstrap_terms,
    effective_sample_size,
    importance_weights,
    normal_interval,
    value_terms,
)

KINDS, CHANCES = np.array([0.3, 0.7]), np.array([[0.1, 0.5], [0.4, 0.2]])  # of visitors; of a click
LOGGING, TARGET = np.array([[0.8, 0.2], [0.4, 0.6]]), np.array([[0.1, 0.9], [0.7, 0.3]])
MODEL = np.array([[0.3, 0.3], [0.1, 0.9]])  # wrong on purpose
VALUE = (KINDS[:, None] * TARGET * CHANCES).sum()


def test_the_hand_worked_log():
    r, w, m, M = np.array([1.0, 0, 1]), np.array([2, 1, 0.5]), np.full(3, 0.5), np.array([0.4, 0.6, 0.5])
    means = {name: terms.mean() for name, terms in value_terms(r, w, m, M, clip=1.5, switch=1.5).items()}
    assert means == pytest.approx(
        {
            "inverse propensity": 2.5 / 3,
            "clipped": 2 / 3,
            "self-normalised": 2.5 / 3.5,
            "direct": 0.5,
            "doubly robust": (0.4 + 1 + 0.6 - 0.5 + 0.5 + 0.25) / 3,
            "switch": (0.4 + 0.6 - 0.5 + 0.5 + 0.25) / 3,
        }
    )
    assert effective_sample_size(w) == pytest.approx(3.5**2 / 5.25)


def test_means_over_all_that_can_happen():
    """Inverse propensity and doubly robust hit the value exactly; direct is as wrong as its model."""
    mean = dict.fromkeys(("inverse propensity", "doubly robust", "direct", "switch"), 0.0)
    for x, a, r in itertools.product((0, 1), repeat=3):
        chance = KINDS[x] * LOGGING[x, a] * (CHANCES[x, a] if r else 1 - CHANCES[x, a])
        weights = importance_weights([a], LOGGING[[x]], TARGET[[x]])
        log = np.array([float(r)]), weights, MODEL[x, [a]], TARGET[[x]] @ MODEL[x]
        terms = value_terms(*log, switch=2.0)
        for name in mean:
            mean[name] += chance * terms[name][0]
    assert mean["inverse propensity"] == pytest.approx(VALUE)
    assert mean["doubly robust"] == pytest.approx(VALUE)
    assert mean["direct"] == pytest.approx((KINDS[:, None] * TARGET * MODEL).sum())
    missed = KINDS[0] * TARGET[0, 1] * (CHANCES - MODEL)[0, 1]  # only weight 0.9 / 0.2 is above 2
    assert mean["switch"] == pytest.approx(VALUE - missed)


def test_many_logs_are_many_single_ones():
    rng = np.random.default_rng(0)
    logs = [rng.random((3, 50)) for _ in range(4)]
    together = value_terms(*logs)
    for i in range(3):
        for name, terms in value_terms(*(part[i] for part in logs)).items():
            assert together[name][i] == pytest.approx(terms)
            assert normal_interval(together[name])[:, i] == pytest.approx(normal_interval(terms))
            assert bootstrap_terms(together[name])[:, i] == pytest.approx(bootstrap_terms(terms))


def test_intervals_by_hand():
    terms = np.array([0.0, 0, 1, 1])
    half = 1.96 * np.sqrt(1 / 3) / 2
    assert normal_interval(terms) == pytest.approx([0.5 - half, 0.5 + half])
    log = np.log(80)
    half = np.sqrt(2 / 3 * log / 4) + 7 * log / 9
    assert bernstein_interval(terms, 0, 1) == pytest.approx([0.5 - half, 0.5 + half])


def test_users_are_drawn_whole():
    terms, users = np.repeat([0.0, 1, 1, 0, 1, 0, 0, 1], 25), np.arange(8).repeat(25)
    by_row, by_user = np.ptp(bootstrap_terms(terms)), np.ptp(bootstrap_terms(terms, users))
    assert by_user / by_row == pytest.approx(5, rel=0.25)  # 25 equal rows of a user are one


def test_the_bernstein_bound_covers_where_the_normal_interval_does_not():
    rng = np.random.default_rng(0)
    terms = 50.0 * (rng.random((2_000, 60)) < 0.02)
    low, high = normal_interval(terms)
    assert ((low <= 1) & (high >= 1)).mean() < 0.8
    low, high = bernstein_interval(terms, 0, 50)
    assert ((low <= 1) & (high >= 1)).mean() > 0.95


HALVES = [[0.5, 0.5]] * 2


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (([], [], np.empty((0, 2))), "the log is empty"),
        (([0, 1], [0.5, 0.0], HALVES), r"row 1 has propensity 0\.0"),
        (([0, 1], [1.2, 0.5], HALVES), r"row 0 has propensity 1\.2"),
        (([0, 1], [np.nan, 0.5], HALVES), "row 0 has propensity nan"),
        (([0, 0], [[1.0, 0.0]] * 2, HALVES), "no support: the target policy wants action 1"),
        (([0, 0], [0.5, 0.5], HALVES), "no support: the target policy wants action 1"),
        (([0, 1], [0.5, 0.5], [[0.5, 0.4]] * 2), "add up to 1"),
        (([0, 1], [0.5, 0.5], [[0.5, 0.5]]), "a row for each of the 2"),
        (([0, 1], [0.5], HALVES), "a row for each of the 2"),
        (([0, 1], [[0.5, 0.5]], HALVES), "a row for each of the 2"),
        (([0, -1], HALVES, HALVES), "row 1 has action -1; actions go from 0 to 1"),  # an empty place
        (([0, 2], HALVES, HALVES), "row 1 has action 2; actions go from 0 to 1"),
    ],
)
def test_bad_logs_are_refused(log, message):
    with pytest.raises(ValueError, match=message):
        importance_weights(*log)


def test_bad_terms_are_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match="finite and not negative"):
        value_terms(one, np.array([1, np.inf]), one, one)
    with pytest.raises(ValueError, match="all weights are 0"):
        value_terms(one, 0 * one, one, one)
    with pytest.raises(ValueError, match="all from 0 to 1"):
        bernstein_interval(np.array([0.0, 2]), 0, 1)
