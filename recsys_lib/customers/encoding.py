"""From the table of features to numbers that a model can take."""

import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler


def as_numbers(*, squeeze: bool) -> ColumnTransformer:
    """Text to 0/1 columns; numbers as they are, or squeezed by a logarithm and standardised.

    Counts and dollars have long tails: a linear model takes their logarithm, a tree does not mind.

    Parameters
    ----------
    squeeze : bool

    Returns
    -------
    ColumnTransformer
        Its output is a DataFrame whose columns keep their names.
    """
    numbers = (
        Pipeline([("log", FunctionTransformer(_signed_log, feature_names_out="one-to-one")),
                  ("scale", StandardScaler())])
        if squeeze
        else "passthrough"
    )  # fmt: skip
    text = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("text", text, make_column_selector(dtype_exclude="number")),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))
