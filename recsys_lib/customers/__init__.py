"""Who converts: features as of a date, models, calibration, and the decision."""

from recsys_lib.customers.calibration import fit_calibration
from recsys_lib.customers.campaign_features import campaign_features
from recsys_lib.customers.campaigns import campaign_pairs, campaign_table
from recsys_lib.customers.decision import best_threshold, profit_curve, profits
from recsys_lib.customers.encoding import as_numbers
from recsys_lib.customers.models import MODELS, conversion_model, fit_model, forward_predictions, probability
from recsys_lib.customers.network import UserItemNetwork
from recsys_lib.customers.uplift import qini_curve, uplift_areas
