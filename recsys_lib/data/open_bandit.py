"""The Open Bandit sample, read in a PyPI wheel: what a fashion shop showed, and what was clicked."""

import zipfile
from pathlib import Path

import pandas as pd

from recsys_lib.data.cache import data_folder, download_wheel
from recsys_lib.data.schemas import first_line
from recsys_lib.files import sha256

WHEEL = "obp==0.4.1"
WHEEL_NAME = "obp-0.4.1-py3-none-any.whl"
WHEEL_SHA256 = "87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208"


def load_open_bandit(policy: str, campaign: str) -> pd.DataFrame:
    """Load one of the six logs of the Open Bandit sample, 10,000 rows each.

    Parameters
    ----------
    policy : {"random", "bts"}
        Who chose: chance, or Bernoulli Thompson sampling.
    campaign : {"all", "men", "women"}

    Returns
    -------
    pandas.DataFrame
        `item` (from 0), `position` (1 to 3), `click` (0 or 1), `propensity` (chance of the item).

    Raises
    ------
    FileNotFoundError
        If the wheel is not in `data/raw/` and pip cannot bring it.

    References
    ----------
    Saito, Aihara, Matsutani & Narita (2021), "Open Bandit Dataset and Pipeline", NeurIPS Datasets.
    """
    if policy not in ("random", "bts") or campaign not in ("all", "men", "women"):
        raise ValueError(f"there is random or bts, of all, men or women; got {policy!r}, {campaign!r}")
    columns = ["item_id", "position", "click", "propensity_score"]
    with zipfile.ZipFile(_fetch(data_folder() / "raw")) as wheel:
        name = f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"
        log = pd.read_csv(wheel.open(name), usecols=columns)[columns]
    return log.set_axis(["item", "position", "click", "propensity"], axis=1)


def _fetch(folder: Path) -> Path:
    path = folder / WHEEL_NAME
    if path.is_file() and sha256(path) == WHEEL_SHA256:
        return path
    try:
        return download_wheel(WHEEL, WHEEL_NAME, WHEEL_SHA256, folder)
    except Exception as error:  # no network, no pip, a changed file: one sentence for all of them
        problem = f"the Open Bandit sample could not be fetched ({type(error).__name__}: {first_line(error)})"
        hint = f"where there is a network, pip download {WHEEL} --no-deps, and put {WHEEL_NAME} into {folder}"
        raise FileNotFoundError(f"{problem}; {hint}") from error
