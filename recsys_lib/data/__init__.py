"""Data: loading, schemas, cleaning, splits, and the sparse matrix with its ids."""

from recsys_lib.data.cache import cached_table, data_folder, fetch_wheel
from recsys_lib.data.cleaning import Cleaned, apply_steps, clean_transactions, local_time
from recsys_lib.data.complete_journey import (
    CompleteJourney,
    complete_journey_folder,
    load_complete_journey,
    load_promotions,
    load_table,
)
from recsys_lib.data.households import assert_no_future, between, household_view, promotion_flags
from recsys_lib.data.interactions import Interactions, Split, discovery, names_of
from recsys_lib.data.movielens import MovieLens, load_movielens_1m, load_movielens_100k, movie_texts
from recsys_lib.data.own_data import load_interactions
from recsys_lib.data.prepared import prepared_households, prepared_lines
from recsys_lib.data.protocols import complete_journey_december, movielens_100k_stratified
from recsys_lib.data.splits import Parts, split_by_time, split_random, split_stratified, to_matrices
from recsys_lib.data.texts import product_texts, spell_out, spell_size
from recsys_lib.data.wheels import load_instacart_sample, load_open_bandit, load_ta_feng_baskets
