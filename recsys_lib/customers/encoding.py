"""From the table of features to numbers that a model can take."""

import numpy as np
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler


def as_numbers(*, log_scale: bool) -> ColumnTransformer:
    """Turn text into 0/1 columns; leave numbers as they are, or take their logarithm and standardise it.

    Counts and dollars have long tails: a linear model takes their logarithm, a tree does not mind. The output
    is a DataFrame whose columns keep their names.
    """
    log = FunctionTransformer(_signed_log, feature_names_out="one-to-one")
    numbers = Pipeline([("log", log), ("scale", StandardScaler())]) if log_scale else "passthrough"
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
