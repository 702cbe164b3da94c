"""The scoring core: exact top-k ranking on CPU or GPU, which every recommender ranks through."""

from recsys_lib.scoring.ranking import TopK, top_k, top_k_blocks

__all__ = ["TopK", "top_k", "top_k_blocks"]
