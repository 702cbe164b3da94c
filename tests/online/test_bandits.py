"""Bandits against hand-worked choices, a plain ridge regression, and worlds whose regret is known."""

import itertools
from functools import partial

import numpy as np
import pytest

from recsys_lib.online.bandits import (
    epsilon_greedy,
    lai_robbins,
    lin_thompson,
    lin_ucb,
    play,
    play_linear,
    thompson,
    ucb1,
)

CLICKS, SHOWN = np.array([[3.0, 1, 0]]), np.array([[10.0, 2, 88]])


def rng():
    return np.random.default_rng(0)


def test_greedy_takes_the_best_rate_and_what_was_never_shown_first():
    assert epsilon_greedy(CLICKS, SHOWN, rng(), epsilon=0) == [1]
    assert epsilon_greedy(CLICKS, np.array([[10.0, 2, 0]]), rng(), epsilon=0) == [2]


@pytest.mark.parametrize(("decay", "chance"), [(np.inf, 0.3), (10, 0.1)])
def test_epsilon_is_the_chance_of_any_arm(decay, chance):
    many = [np.repeat(x, 30_000, axis=0) for x in (CLICKS, SHOWN)]  # 100 steps: 10 / 100 = 0.1
    arms = epsilon_greedy(*many, rng(), epsilon=0.3, decay=decay)
    assert np.bincount(arms, minlength=3) / 30_000 == pytest.approx(
        [chance / 3, 1 - 2 * chance / 3, chance / 3], abs=0.01
    )


def test_ucb1_by_hand():
    # 0.3 + √(2 ln 100 / 10) = 1.26; 0.5 + √(2 ln 100 / 2) = 2.65; 0 + √(2 ln 100 / 88) = 0.32
    assert ucb1(CLICKS, SHOWN, rng()) == [1]
    more = np.array([[3.0, 40, 0]]), np.array([[10.0, 80, 10]])  # 1.26, 0.5 + 0.34, 0 + 0.96
    assert ucb1(*more, rng()) == [0]
    assert ucb1(*more, rng(), width=0.01) == [1]
    # 1/16 + √(2 ln 100 / 16) = 0.82; 38/84 + √(2 ln 100 / 84) = 0.78
    assert ucb1(np.array([[1.0, 38]]), np.array([[16.0, 84]]), rng()) == [0]


def test_thompson_chooses_as_often_as_the_beliefs_say():
    clicks, shown = np.repeat([[1.0, 0]], 40_000, axis=0), np.repeat([[1.0, 0]], 40_000, axis=0)
    # Beta(2, 1) against Beta(1, 1): P(first is larger) = ∫ 2x · x dx = 2/3
    assert thompson(clicks, shown, rng()).mean() == pytest.approx(1 / 3, abs=0.01)


def shows_of_b(chances, steps, clicks=(0, 0), shown=(0, 0)):
    """Expected showings of the second arm under greedy, over all choices and answers that can happen."""
    if not steps:
        return 0.0
    rate = [clicks[i] / shown[i] if shown[i] else 9 for i in (0, 1)]
    best = [i for i in (0, 1) if rate[i] == max(rate)]
    total = 0.0
    for arm, answer in itertools.product(best, (0, 1)):
        chance = (chances[arm] if answer else 1 - chances[arm]) / len(best)
        more = tuple(n + answer * (i == arm) for i, n in enumerate(clicks))
        after = tuple(n + (i == arm) for i, n in enumerate(shown))
        total += chance * ((arm == 1) + shows_of_b(chances, steps - 1, more, after))
    return total


def test_greedy_on_two_arms_equals_the_enumeration():
    chances = np.array([0.3, 0.6])
    arms = play(partial(epsilon_greedy, epsilon=0), np.tile(chances, (6, 1)), 60_000, rng())
    assert (arms == 1).sum(axis=1).mean() == pytest.approx(shows_of_b(chances, 6), abs=0.03)


def test_play_learns_the_better_arm_and_forgets():
    chances = np.concatenate([np.tile([0.9, 0.1], (300, 1)), np.tile([0.1, 0.9], (300, 1))])
    arms = play(thompson, chances, 50, rng())
    assert (arms[:, 200:300] == 0).mean() > 0.95
    fading = play(thompson, chances, 50, rng(), memory=0.97)
    assert (fading[:, 400:] == 1).mean() > (arms[:, 400:] == 1).mean() + 0.1


def test_with_a_delay_nothing_is_known_before():
    seen = []

    def watch(clicks, shown, rng):
        seen.append((clicks.sum(), shown.sum()))
        return np.zeros(len(shown), int)

    play(watch, np.ones((5, 2)), 3, rng(), delay=2)
    assert seen == [(0, 0), (0, 0), (0, 0), (3, 3), (6, 6)]
    seen.clear()
    play(watch, np.ones((4, 2)), 2, rng(), memory=0.5)
    assert seen == [(0, 0), (2, 2), (3, 3), (3.5, 3.5)]


@pytest.mark.parametrize("policy", [lin_ucb, lin_thompson])
def test_linear_policies_get_ridge_regression(policy):
    world = np.random.default_rng(1)
    contexts, chances = world.normal(size=(2, 40, 3)), world.random((2, 40, 2))
    calls = []

    def watch(mean, error, rng):
        calls.append((mean, error))
        return policy(mean, error, rng)

    clicks_rng = np.random.default_rng(2)
    arms = play_linear(watch, contexts, chances, clicks_rng)
    again = np.random.default_rng(2)
    clicked = np.zeros((2, 40))
    for step in range(40):  # the same draws in the same order
        policy(*calls[step], again)
        clicked[:, step] = again.random(2) < chances[[0, 1], step, arms[:, step]]
    for run, arm in itertools.product((0, 1), (0, 1)):
        own = arms[run, :39] == arm
        gram = contexts[run, :39][own].T @ contexts[run, :39][own] + np.eye(3)
        x = contexts[run, 39]
        theta = np.linalg.solve(gram, contexts[run, :39][own].T @ clicked[run, :39][own])
        assert calls[39][0][run, arm] == pytest.approx(x @ theta)
        assert calls[39][1][run, arm] == pytest.approx(np.sqrt(x @ np.linalg.solve(gram, x)))


def test_linear_choices_by_hand():
    mean, error = np.array([[0.2, 0.1]]), np.array([[0.1, 1.0]])
    assert lin_ucb(mean, error, rng(), width=0.05) == [0]
    assert lin_ucb(mean, error, rng(), width=0.2) == [1]
    assert lin_thompson(mean, error, rng(), width=1e-9) == [0]


def test_lai_robbins_by_hand():
    divergence = 0.3 * np.log(0.3 / 0.5) + 0.7 * np.log(0.7 / 0.5)
    assert lai_robbins(np.array([0.5, 0.3, 0.5])) == pytest.approx(0.2 / divergence)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epsilon_greedy(CLICKS, SHOWN, rng(), epsilon=1.5), "epsilon must be a chance"),
        (lambda: play(thompson, np.array([[0.5, 1.5]]), 2, rng()), "table of steps × arms from 0 to 1"),
        (lambda: play(thompson, np.ones((1, 2)), 0, rng()), "n_runs ≥ 1"),
        (lambda: play(thompson, np.ones((1, 2)), 1, rng(), memory=0), "memory in"),
        (lambda: lai_robbins(np.array([0.0, 0.5])), "between 0 and 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
