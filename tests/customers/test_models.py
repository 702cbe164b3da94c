"""Models, calibration and rolling predictions: against scikit-learn, torch and short loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from recsys_lib.customers import (
    MODELS,
    UserItemNetwork,
    as_numbers,
    conversion_model,
    fit_calibration,
    fit_model,
    forward_predictions,
    probability,
)

RNG = np.random.default_rng(0)
N = 600
TABLE = pd.DataFrame(
    {
        "spend": RNG.lognormal(3, 1, N),
        "trend": RNG.normal(size=N),
        "campaign_days": RNG.choice([30.0, 45.0], N),
        "campaign_type": RNG.choice(["Type A", "Type B"], N),
        "age": RNG.choice(["19-24", "unknown"], N),
    }
)
TRUE = expit(0.8 * (np.log1p(TABLE["spend"]) - 3) + TABLE["trend"] + (TABLE["campaign_type"] == "Type A") - 1)
Y = (RNG.random(N) < TRUE).astype(int)
SMALL = {
    "random forest": {"n_estimators": 30, "n_jobs": 1},
    "user ⊕ item network": {"epochs": 6, "members": 1, "rate": 0.01},
    "gradient-boosted trees": {"n_estimators": 50},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_learns_gives_probabilities_and_repeats_itself(name: str) -> None:
    make = lambda: conversion_model(name, seed=3, **SMALL.get(name, {}))  # noqa: E731
    train, test = slice(0, 400), slice(400, N)
    model = fit_model(make(), TABLE[train], Y[train])
    p = probability(model, TABLE[test])
    assert p.shape == (200,)
    assert ((p > 0) & (p < 1)).all()
    assert roc_auc_score(Y[test], p) > (0.65 if name == "decision tree" else 0.7)
    assert abs(p.mean() - Y[train].mean()) < 0.1
    np.testing.assert_allclose(
        p, probability(fit_model(make(), TABLE[train], Y[train]), TABLE[test]), rtol=1e-9
    )
    # One row alone gets what it got among others, and a value never seen in training is no error.
    np.testing.assert_allclose(probability(model, TABLE[500:501]), p[100:101], rtol=1e-5)
    probability(model, TABLE[500:501].assign(age="65+"))


def test_the_blend_is_the_mean_of_its_three_parts() -> None:
    parts = ("logistic regression", "gradient-boosted trees", "random forest")
    each = [
        probability(fit_model(conversion_model(part, seed=5), TABLE[:200], Y[:200]), TABLE) for part in parts
    ]
    blend = probability(fit_model(conversion_model("blend", seed=5), TABLE[:200], Y[:200]), TABLE)
    np.testing.assert_allclose(blend, np.mean(each, axis=0), atol=1e-12)


def test_numbers_are_log_scaled_and_standardized_and_text_becomes_columns() -> None:
    encoded = as_numbers(log_scale=True).fit_transform(TABLE)
    text = ["campaign_type_Type A", "campaign_type_Type B", "age_19-24", "age_unknown"]
    assert list(encoded) == ["spend", "trend", "campaign_days", *text]
    logs = np.column_stack(
        [np.log1p(TABLE["spend"]), np.sign(TABLE["trend"]) * np.log1p(TABLE["trend"].abs())]
    )
    np.testing.assert_allclose(encoded[["spend", "trend"]], StandardScaler().fit_transform(logs), atol=1e-12)
    assert (encoded["age_unknown"] == (TABLE["age"] == "unknown")).all()
    np.testing.assert_array_equal(as_numbers(log_scale=False).fit_transform(TABLE)["spend"], TABLE["spend"])


def test_the_network_computes_its_formula() -> None:
    model = UserItemNetwork(width=4, epochs=1, members=2).fit(TABLE, Y)
    user, item = (part.numpy() for part in model._inputs(TABLE[:5]))
    assert (user.shape[1], item.shape[1]) == (4, 3)  # spend, trend, age ×2; days, type ×2
    by_hand = []
    for network in model.networks_:
        weights = {name: array.numpy() for name, array in network.state_dict().items()}
        u = np.maximum(user @ weights["user.0.weight"].T + weights["user.0.bias"], 0)
        v = np.maximum(item @ weights["item.0.weight"].T + weights["item.0.bias"], 0)
        joined = np.concatenate([u, v, u * v], axis=1)
        hidden = np.maximum(joined @ weights["head.1.weight"].T + weights["head.1.bias"], 0)
        by_hand.append(expit(hidden @ weights["head.3.weight"].T + weights["head.3.bias"])[:, 0])
    np.testing.assert_allclose(model.predict_proba(TABLE[:5])[:, 1], np.mean(by_hand, axis=0), rtol=1e-5)
    assert not np.allclose(by_hand[0], by_hand[1])


def test_training_the_network_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    UserItemNetwork(epochs=1, members=1).fit(TABLE, Y)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_period_is_predicted_by_a_model_of_the_time_before_it() -> None:
    dates = pd.Series(pd.Timestamp("2017-01-01") + pd.to_timedelta(np.arange(N) % 300, unit="D"))
    cuts = ["2017-04-01", "2017-08-01"]
    make = lambda: conversion_model("logistic regression")  # noqa: E731
    known = dates + pd.Timedelta(days=40)
    predicted = forward_predictions(make, TABLE, Y, dates, known, cuts)
    for begin, end in ((cuts[0], cuts[1]), (cuts[1], "2018-01-01")):
        now = ((dates >= begin) & (dates < end)).to_numpy()
        past = (known < begin).to_numpy()
        expected = make().fit(TABLE[past], Y[past]).predict_proba(TABLE[now])[:, 1]
        np.testing.assert_allclose(predicted[now], expected, rtol=1e-12)
    assert np.isnan(predicted[dates < cuts[0]]).all()
    # An answer that is not known at a cut does not reach the prediction of the period that begins there.
    now = ((dates >= cuts[0]) & (dates < cuts[1])).to_numpy()
    later = np.where(known >= cuts[0], 1 - Y, Y)
    assert (forward_predictions(make, TABLE, later, dates, known, cuts)[now] == predicted[now]).all()
    # One that started before the cut and is not known yet would, if it were let in.
    assert (forward_predictions(make, TABLE, later, dates, dates, cuts)[now] != predicted[now]).any()


@pytest.mark.parametrize(
    ("cuts", "message"),
    [
        ([], "at least one date"),
        (["2017-08-01", "2017-04-01"], "ascending order"),
        (["2016-04-01"], "has 600 rows, and 0 known before it"),
        (["2019-04-01"], "has 0 rows, and 600 known before it"),
    ],
)
def test_bad_cuts_are_refused(cuts: list[str], message: str) -> None:
    dates = pd.Series(pd.Timestamp("2017-01-01") + pd.to_timedelta(np.arange(N) % 300, unit="D"))
    with pytest.raises(ValueError, match=message):
        forward_predictions(lambda: conversion_model("logistic regression"), TABLE, Y, dates, dates, cuts)


def test_platt_finds_the_most_likely_line_in_log_odds() -> None:
    p = expit(2 * logit(np.clip(TRUE.to_numpy(), 1e-3, 1 - 1e-3)) + 0.5)  # overconfident and shifted
    calibrated = fit_calibration(p, Y, "platt")(p)

    def loss(line: np.ndarray) -> float:
        z = line[0] * logit(p) + line[1]
        return float(np.mean(np.logaddexp(0, z) - Y * z))

    a, b = minimize(loss, [1.0, 0.0]).x
    np.testing.assert_allclose(calibrated, expit(a * logit(p) + b), atol=1e-4)
    assert 0.3 < a < 0.7
    assert abs(calibrated.mean() - Y.mean()) < 1e-4 < abs(p.mean() - Y.mean())


def test_isotonic_never_falls_and_its_steps_are_means() -> None:
    p = np.sqrt(TRUE.to_numpy())
    calibrate = fit_calibration(p, Y, "isotonic")
    order = np.argsort(p)
    stepped = calibrate(p)[order]
    assert (np.diff(stepped) >= 0).all()
    for level in np.unique(stepped)[1:-1]:
        assert np.isclose(Y[order][stepped == level].mean(), level)
    assert np.isclose(calibrate(p).mean(), Y.mean())
    assert calibrate(np.array([0.0, 1.0])).tolist() == [stepped[0], stepped[-1]]


def test_sure_predictions_stay_probabilities() -> None:
    p = np.array([0.0, 0.2, 0.8, 1.0] * 10)
    y = np.array([0, 0, 1, 1] * 9 + [1, 0, 1, 0])
    for method in ("platt", "isotonic", "none"):
        calibrated = fit_calibration(p, y, method)(p)
        assert ((calibrated >= 0) & (calibrated <= 1)).all()


@pytest.mark.parametrize(
    ("p", "y", "method", "message"),
    [
        ([0.1, 0.2], [0, 0], "platt", "all 2 outcomes are the same"),
        ([0.1], [0, 1], "platt", "one length"),
        ([0.1, np.nan], [0, 1], "platt", "between 0 and 1, and no NaN"),
        ([0.1, 1.2], [0, 1], "platt", "between 0 and 1"),
        ([0.1, 0.2], [1, 2], "platt", "outcomes of 0 or 1, got 2"),
        ([0.1, 0.2, 0.3], [0, 0.5, 1], "isotonic", "outcomes of 0 or 1, got 0.5"),
        ([0.1, 0.2, 0.3], [0, np.nan, 1], "none", "outcomes of 0 or 1, got nan"),
        ([0.1, 0.2], [0, 1], "beta", "no method 'beta'"),
    ],
)
def test_bad_calibration_is_refused(p: list, y: list, method: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration(np.array(p), np.array(y), method)


def test_one_class_in_train_and_wrong_names_are_refused() -> None:
    with pytest.raises(ValueError, match="all 600 training labels are 0: a model needs both outcomes"):
        fit_model(conversion_model("logistic regression"), TABLE, np.zeros(N))
    with pytest.raises(ValueError, match="600 rows of features but labels of shape"):
        fit_model(conversion_model("logistic regression"), TABLE, Y[:5])
    with pytest.raises(ValueError, match="no model 'oracle'"):
        conversion_model("oracle")
    with pytest.raises(ValueError, match=r"the blend takes no settings, got \['C'\]"):
        conversion_model("blend", C=1)


def test_settings_reach_the_classifier() -> None:
    assert conversion_model("logistic regression", C=0.5)[-1].C == 0.5
    assert conversion_model("random forest", seed=7)[-1].random_state == 7
    assert isinstance(conversion_model("logistic regression")[-1], LogisticRegression)
