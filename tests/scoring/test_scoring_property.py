"""Property tests: whatever the shapes, blocks and exclusions, every path equals brute force to the last bit.

Factors are small whole numbers: their products are exact and ties are everywhere.
"""

from unittest import mock

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scoring_oracle import assert_ranked, brute_force, rank

from recsys_lib.scoring import TopK, accelerator, norms, ranking, top_k, top_k_blocks


@st.composite
def problems(draw):
    """Queries, items, k and exclusions from a seed: hypothesis shrinks the shapes, NumPy fills them."""
    n_queries, n_items = draw(st.integers(1, 12)), draw(st.integers(1, 300))
    width, k = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    largest = draw(st.integers(0, 3))
    queries = generator.integers(-largest, largest + 1, (n_queries, width)).astype(dtype)
    items = generator.integers(-largest, largest + 1, (n_items, width)).astype(dtype)
    if draw(st.booleans()):  # uneven norms
        items[:: draw(st.integers(1, 9))] *= 5
    density = draw(st.sampled_from([None, 0.05, 0.9]))
    seen = (
        None
        if density is None
        else csr_array((generator.random((n_queries, n_items)) < density).astype(float))
    )
    return queries, items, k, seen


bounds = st.sampled_from([None, 1, 3000, 30_000])


@settings(max_examples=120, deadline=None)
@given(problems(), bounds)
def test_items_in_order(problem, max_bytes):
    queries, items, k, seen = problem
    result = top_k(queries, items, k, exclude=seen, max_bytes=max_bytes)
    assert_ranked(result, brute_force(queries, items, k, seen))


@settings(max_examples=120, deadline=None)
@given(problems(), bounds)
def test_items_by_norm(problem, max_bytes):
    queries, items, k, seen = problem
    with mock.patch.multiple(norms, _MIN_ITEMS=0, _WORTHWHILE=2.0):
        result = top_k(queries, items, k, exclude=seen, max_bytes=max_bytes)
    assert_ranked(result, brute_force(queries, items, k, seen))


@settings(max_examples=80, deadline=None)
@given(problems(), st.sampled_from([None, 1, 30_000, 300_000]))
def test_the_accelerator_path(problem, max_bytes):
    queries, items, k, seen = problem
    tensors = torch.from_numpy(queries), torch.from_numpy(items)
    result = TopK(*accelerator.rank_factors(*tensors, k, seen, max_bytes, check=False))
    assert_ranked(result, brute_force(queries, items, k, seen))


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([2**28, 1, 3000, 30_000]), st.booleans())
def test_score_blocks(problem, block_bytes, on_accelerator):
    queries, items, k, seen = problem
    scores = queries @ items.T
    if on_accelerator:
        result = TopK(*accelerator.rank_scores(torch.from_numpy(scores), k, seen))
    else:
        with mock.patch.object(ranking, "_BLOCK_BYTES", block_bytes):
            result = top_k_blocks(lambda rows: scores[rows], *scores.shape, k, exclude=seen)
    assert_ranked(result, rank(scores, k, seen))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.sampled_from([np.float32, np.float64]))
def test_top_positions_order_ties_by_position(seed, k, dtype):
    scores = np.random.default_rng(seed).integers(-2, 3, (4, 30)).astype(dtype)
    scores[scores == -2] = -np.inf
    scores[::2][scores[::2] == 0] = -0.0
    positions = accelerator.top_positions(torch.from_numpy(scores), k).numpy()
    expected = np.lexsort((np.broadcast_to(np.arange(30), scores.shape), -scores), axis=1)[:, :k]
    np.testing.assert_array_equal(positions, expected)
