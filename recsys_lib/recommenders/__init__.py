"""Recommenders: each is fit → recommend, over positions of users and items."""

from recsys_lib.recommenders.als import ALS
from recsys_lib.recommenders.baskets import TIFUKNN, UPCF
from recsys_lib.recommenders.biased_mf import BiasedMF
from recsys_lib.recommenders.bpr import BPR
from recsys_lib.recommenders.content import ContentBased
from recsys_lib.recommenders.ease import EASE
from recsys_lib.recommenders.hybrid import Hybrid
from recsys_lib.recommenders.neighbors import ItemKNN, UserKNN
from recsys_lib.recommenders.popularity import PersonalFrequency, Popularity, Random, Trending
from recsys_lib.recommenders.ranker import BoostedRanker
from recsys_lib.recommenders.sequence import SASRec
from recsys_lib.recommenders.sessions import SessionEASE, TrendEASE
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.weighting import weigh
from recsys_lib.recommenders.two_tower import TwoTower
