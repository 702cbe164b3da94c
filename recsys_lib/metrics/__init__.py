"""Judge recommendations: ranked lists, catalogue use, probabilities, and how sure the numbers are."""

from recsys_lib.metrics.catalogue import catalogue_metrics
from recsys_lib.metrics.classification import (
    bootstrap_classification,
    calibration_curve,
    classification_metrics,
    lift,
)
from recsys_lib.metrics.ranking import ranking_metrics
from recsys_lib.metrics.significance import (
    Interval,
    bootstrap_difference,
    bootstrap_interval,
    holm,
    paired_permutation_test,
    resample_weights,
)
