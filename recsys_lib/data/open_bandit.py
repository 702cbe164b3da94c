"""The Open Bandit sample, read in a PyPI wheel: what a fashion shop showed, and what was clicked."""

import zipfile

import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel

WHEEL = "obp==0.4.1"
WHEEL_SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"


def load_open_bandit(policy: str, campaign: str) -> pd.DataFrame:
    """Load one of the six logs of the Open Bandit sample, 10,000 rows each. Errors: see `fetch_wheel`.

    Parameters
    ----------
    policy : {"random", "bts"}
        Who chose: chance, or Bernoulli Thompson sampling.
    campaign : {"all", "men", "women"}

    Returns
    -------
    pandas.DataFrame
        `item` (from 0), `position` (1 to 3), `click` (0 or 1), `propensity` (chance of the item).

    References
    ----------
    Saito, Aihara, Matsutani & Narita (2021), "Open Bandit Dataset and Pipeline", NeurIPS Datasets.
    """
    if policy not in ("random", "bts") or campaign not in ("all", "men", "women"):
        raise ValueError(f"there is random or bts, of all, men or women; got {policy!r}, {campaign!r}")
    columns = ["item_id", "position", "click", "propensity_score"]
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256, data_folder() / "raw")) as wheel:
        name = f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"
        log = pd.read_csv(wheel.open(name), usecols=columns)[columns]
    return log.set_axis(["item", "position", "click", "propensity"], axis=1)
