"""The contract of `top_k` and `top_k_blocks`, corner by corner, against brute force."""

import re
import threading

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, csr_array, csr_matrix, random_array
from scoring_oracle import assert_ranked, brute_force, rank
from threadpoolctl import threadpool_info

from recsys_lib.scoring import TopK, host, norms, ranking, top_k, top_k_blocks, workers
from recsys_lib.scoring.checks import check_count, resolve_device


def whole_numbers(seed, *shape, dtype=np.float32, low=-3, high=4):
    """Factors whose products are exact in every type, so that equal scores are really equal."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


@pytest.fixture
def factors():
    return whole_numbers(0, 40, 5), whole_numbers(1, 3000, 5)


@pytest.fixture
def multiplied(monkeypatch):
    """Number of (item, query) products that were computed, one entry per block."""
    counts, multiply = [], host._multiply

    def count(items, queries, block):
        counts.append(len(items) * len(queries))
        multiply(items, queries, block)

    monkeypatch.setattr(host, "_multiply", count)
    return counts


@pytest.mark.parametrize("k", [1, 10, 100, 2999, 3000])
def test_equals_brute_force(factors, k):
    result = top_k(*factors, k)
    assert isinstance(result, TopK)
    assert result.ids.dtype == np.int64
    assert_ranked(result, brute_force(*factors, k))


def test_random_floats_are_ranked_by_their_true_scores():
    generator = np.random.default_rng(0)
    queries, items = (generator.standard_normal((n, 64), np.float32) for n in (600, 20_000))
    ids, scores = top_k(queries, items, 50)
    _, expected = brute_force(queries, items, 50)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    own = np.einsum("qd,qkd->qk", queries.astype(float), items[ids].astype(float))
    np.testing.assert_allclose(scores, own, rtol=1e-5)
    assert all(len(set(row)) == 50 for row in ids)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_non_finite_factors_are_refused_with_their_place(factors, value, side, kind):
    factors[side][7, 3] = value
    word = "nan" if np.isnan(value) else "infinite"
    with pytest.raises(ValueError, match=rf"{('queries', 'items')[side]}\[7, 3\] is {word}"):
        top_k(*map(kind, factors), 2)


def test_factors_whose_scores_overflow_are_refused():
    with pytest.raises(ValueError, match="overflow"):
        top_k(np.full((1, 2), 1e30, np.float32), np.full((1, 2), 1e30, np.float32), 1)


def test_widths_must_match(factors):
    with pytest.raises(ValueError, match="queries have 4 factors, items have 5"):
        top_k(factors[0][:, :4], factors[1], 2)


@pytest.mark.parametrize("k", [0, -1, 2.0, 2.5, True, "3", np.float32(2)])
def test_k_below_one_or_not_an_integer_is_refused(factors, k):
    with pytest.raises(ValueError, match=re.escape(f"k must be a whole number of at least 1, got {k!r}")):
        top_k(*factors, k)


def test_counts_are_refused_by_name():
    check_count(factors=np.int8(1), epochs=3)
    with pytest.raises(ValueError, match=r"epochs must be a whole number of at least 1, got 2\.5"):
        check_count(factors=1, epochs=2.5, rounds=0)


@pytest.mark.parametrize("dtype", [np.int64, np.int32, bool, np.complex64, object])
def test_other_than_floats_are_refused(factors, dtype):
    with pytest.raises(ValueError, match="items must hold floating-point numbers"):
        top_k(factors[0], factors[1].astype(dtype), 2)


def test_integer_tensors_lists_and_vectors_are_refused(factors):
    queries, items = factors
    with pytest.raises(ValueError, match="queries must hold floating-point"):
        top_k(torch.ones(2, 5, dtype=torch.int32), torch.ones(2, 5), 1)
    with pytest.raises(ValueError, match="queries must be a NumPy array or a torch tensor, got list"):
        top_k([[1.0]], items, 1)
    with pytest.raises(ValueError, match="queries must be two-dimensional"):
        top_k(queries[0], items, 1)
    with pytest.raises(ValueError, match="of one kind"):
        top_k(queries, torch.from_numpy(items), 1)


def test_k_above_the_number_of_items_is_padded():
    result = top_k(np.ones((2, 1), np.float32), np.array([[1.0], [3.0]], np.float32), 4)
    assert result.ids.tolist() == [[1, 0, -1, -1]] * 2
    assert result.scores.tolist() == [[3.0, 1.0, -np.inf, -np.inf]] * 2


def test_no_items_no_queries_no_factors_one_item():
    one = np.ones((1, 3), np.float32)
    nothing = top_k(one, one[:0], 2)
    assert nothing.ids.tolist() == [[-1, -1]]
    assert nothing.scores.tolist() == [[-np.inf, -np.inf]]
    assert top_k(one[:0], one, 2).ids.shape == (0, 2)
    assert top_k(one[:, :0], one[:, :0], 1).scores.tolist() == [[0.0]]
    assert top_k(one, one, 1).ids.tolist() == [[0]]
    assert top_k(one, one, 1).scores.tolist() == [[3.0]]


def test_everything_excluded_for_one_query():
    seen = csr_array(np.array([[1, 1, 1], [0, 1, 0]]))
    result = top_k(np.ones((2, 1), np.float32), np.ones((3, 1), np.float32), 2, exclude=seen)
    assert result.ids.tolist() == [[-1, -1], [0, 2]]
    assert result.scores.tolist() == [[-np.inf, -np.inf], [1.0, 1.0]]


@pytest.mark.parametrize("shape", [(39, 3000), (40, 2999), (3000, 40)])
def test_exclude_of_another_shape_is_refused(factors, shape):
    with pytest.raises(ValueError, match=r"exclude has shape .* there are 40 queries and 3000 items"):
        top_k(*factors, 2, exclude=csr_array(shape))


def test_exclude_that_is_no_sparse_matrix_or_holds_wrong_ids_is_refused(factors):
    with pytest.raises(ValueError, match="exclude must be a scipy sparse"):
        top_k(*factors, 2, exclude=np.zeros((40, 3000)))
    broken = csr_array((40, 3000))
    broken.data, broken.indices = np.ones(1), np.array([3000], np.int32)
    broken.indptr = np.array([0] + [1] * 40, np.int32)
    with pytest.raises(ValueError, match="item ids outside"):
        top_k(*factors, 2, exclude=broken)


@pytest.mark.parametrize("kind", [csr_array, csr_matrix, coo_array])
def test_excluded_items_never_come_back(factors, kind):
    seen = kind(random_array((40, 3000), density=0.3, rng=np.random.default_rng(2)))
    assert_ranked(top_k(*factors, 20, exclude=seen), brute_force(*factors, 20, csr_array(seen)))


def test_exclude_with_unsorted_and_repeated_indices_stays_as_it_is(factors):
    seen = csr_array((40, 3000))
    best = brute_force(*factors, 6)[0]
    # The six best of every query, backwards, the first one twice; a stored zero excludes as well.
    seen.indices = np.hstack([best[:, ::-1], best[:, :1]]).ravel().astype(np.int32)
    seen.data = np.zeros(40 * 7)
    seen.indptr = np.arange(0, 40 * 7 + 1, 7, dtype=np.int32)
    before = seen.indices.copy()
    result = top_k(*factors, 5, exclude=seen)
    np.testing.assert_array_equal(seen.indices, before)
    assert_ranked(result, brute_force(*factors, 5, seen))
    assert not (result.ids[:, :, None] == best[:, None, :]).any()


def test_ties_go_to_the_lower_id_across_blocks(multiplied):
    items = np.zeros((5000, 2), np.float32)
    items[[4999, 17, 2500, 300], 0] = 1.0
    result = top_k(np.ones((3, 2), np.float32), items, 6, max_bytes=20_000)
    assert len(multiplied) > 10
    assert result.ids.tolist() == [[17, 300, 2500, 4999, 0, 1]] * 3


def test_minus_zero_ties_with_zero():
    items = np.array([[-0.0, 1.0], [0.0, 1.0], [-0.0, 1.0]], np.float32)
    for dtype in (np.float32, np.float64):
        result = top_k(np.array([[1.0, 0.0], [-1.0, -0.0]], dtype), items.astype(dtype), 3)
        assert result.ids.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [-1, 1])
def test_scores_as_small_as_normal_numbers_get_are_found(dtype, sign):
    smallest = np.full((100, 1), sign * np.finfo(dtype).tiny, dtype)
    result = top_k(np.ones((1, 1), dtype), smallest, 3)
    assert result.ids.tolist() == [[0, 1, 2]]
    assert result.scores.tolist() == smallest[:3].T.tolist()


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "read-only", "in a file"])
def test_arrays_of_any_layout(factors, layout, tmp_path):
    queries, items = factors

    def stored(x):
        np.save(path := tmp_path / f"{len(x)}.npy", x)
        return np.load(path, mmap_mode="r")

    change = {
        "fortran": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": lambda x: np.broadcast_to(x, x.shape),
        "in a file": stored,
    }[layout]
    assert_ranked(top_k(change(queries), change(items), 7), brute_force(queries, items, 7))
    if layout in ("fortran", "strided"):
        tensors = (torch.from_numpy(change(x)) for x in factors)
        assert_ranked(top_k(*tensors, 7), brute_force(queries, items, 7))


def test_float64_is_scored_in_float64():
    items = 1 + np.arange(50)[::-1, None] * 1e-12  # all equal in float32
    result = top_k(np.ones((1, 1)), items, 50)
    assert result.scores.dtype == np.float64
    assert result.ids.tolist() == [list(range(50))]
    assert top_k(np.ones((1, 1), np.float32), items, 1).scores.dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_accumulated_in_float32(dtype):
    # 2049 is no float16 and no bfloat16; as a sum of exact parts it survives only in float32.
    items = torch.ones(3, 2, dtype=dtype)
    items[1] = torch.tensor([2048.0, 1.0])
    result = top_k(torch.ones(1, 2, dtype=dtype), items, 2)
    assert result.scores.dtype == torch.float32
    assert result.scores.tolist() == [[2049.0, 2.0]]
    assert result.ids.tolist() == [[1, 0]]


def test_float16_arrays(factors):
    halves = [x.astype(np.float16) for x in factors]
    result = top_k(*halves, 9)
    assert result.scores.dtype == np.float32
    assert_ranked(result, brute_force(*factors, 9))


@pytest.mark.parametrize("max_bytes", [1, 1000, 100_000])
def test_tiny_memory_bounds_change_nothing(factors, max_bytes, multiplied):
    queries, items = factors[0], factors[1][:500]
    assert_ranked(top_k(queries, items, 12, max_bytes=max_bytes), brute_force(queries, items, 12))
    if max_bytes == 1:
        assert max(multiplied) <= 16


def test_max_bytes_must_be_positive(factors):
    for wrong in (0, 1e9):
        with pytest.raises(ValueError, match="max_bytes must be a whole number of at least 1"):
            top_k(*factors, 2, max_bytes=wrong)


def test_negative_scores_only():
    queries, items = whole_numbers(3, 20, 4, low=1, high=5), whole_numbers(4, 2000, 4, low=-5, high=0)
    result = top_k(queries, items, 30)
    assert result.scores.max() < 0
    assert_ranked(result, brute_force(queries, items, 30))


@pytest.mark.parametrize("n_queries", [1, 3, 33, 1100])
def test_few_and_many_queries(n_queries):
    n_items = 70_000 if n_queries < 100 else 2_000
    queries, items = whole_numbers(5, n_queries, 4), whole_numbers(6, n_items, 4)
    seen = csr_array(random_array((n_queries, n_items), density=1e-3, rng=np.random.default_rng(0)))
    assert_ranked(top_k(queries, items, 10, exclude=seen), brute_force(queries, items, 10, seen))


def skewed_factors(dtype=np.float32):
    """A few long items among short ones, some of equal score; whole numbers."""
    items = whole_numbers(7, 20_000, 8, low=-1, high=2)
    items[::50] *= np.random.default_rng(8).integers(2, 12, (400, 1))
    return whole_numbers(9, 300, 8).astype(dtype), items.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("excluding", [False, True])
def test_uneven_norms_skip_items_and_stay_exact(dtype, excluding, multiplied):
    queries, items = skewed_factors(dtype)
    seen = None
    if excluding:  # take away the best, so that the bounds must come from what is left
        best = brute_force(queries, items, 40)[0]
        pairs = np.repeat(np.arange(300), 40), best.ravel()
        seen = coo_array((np.ones(12_000), pairs), shape=(300, 20_000)).tocsr()
    result = top_k(queries, items, 10, exclude=seen)
    assert 0 < sum(multiplied) < 0.5 * 300 * 20_000
    assert_ranked(result, brute_force(queries, items, 10, seen))


def test_even_norms_are_not_sorted():
    generator = np.random.default_rng(0)
    queries, items = (generator.standard_normal((n, 64), np.float32) for n in (100, 20_000))
    assert norms.norm_order(queries, items, 10) is None


def test_the_norm_bound_holds_for_computed_scores():
    generator = np.random.default_rng(1)
    items = generator.standard_normal((2000, 128), np.float32)
    scores = np.einsum("id,id->i", items, items)  # an item is its own best query: the bound is tight
    bounds = [
        norms.upper_bounds(norms.row_norms(x[None]), norms.row_norms(x[None])[0], 128)[0] for x in items
    ]
    assert (scores <= bounds).all()
    np.testing.assert_allclose(scores, bounds, rtol=1e-4)
    tiny = np.full((1, 4), 1e-30, np.float32)
    assert norms.row_norms(tiny)[0] == pytest.approx(2e-30)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("small", "large"), [(1e-165, 1e160), (1e100, 1e100)])
def test_norms_whose_squares_leave_the_range_of_numbers(small, large):
    generator = np.random.default_rng(0)
    queries, items = small * generator.standard_normal((5, 8)), generator.standard_normal((60_000, 8))
    items *= large * np.exp(generator.standard_normal((60_000, 1)))
    np.testing.assert_array_equal(top_k(queries, items, 5).ids, brute_force(queries, items, 5)[0])


def test_thread_settings_are_restored(factors, monkeypatch):
    def settings():
        pools = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
        return torch.get_num_threads(), pools

    before_test = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        before = settings()
        top_k(*factors, 3)
        assert settings() == before
        threads = [threading.Thread(target=top_k, args=(*factors, 3)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert settings() == before
        monkeypatch.setattr(host, "_multiply", None)  # fails inside the workers
        with pytest.raises(TypeError):
            top_k(*factors, 3)
        assert settings() == before
    finally:
        torch.set_num_threads(before_test)


def test_all_workers_work_also_where_the_caller_keeps_the_libraries_at_one_thread(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda _: range(2), raising=False)
    before_test = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        meeting = threading.Barrier(2, timeout=60)
        with workers.single_threaded():
            assert sorted(workers.run(lambda _: meeting.wait(), range(2))) == [0, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before_test)


def test_inputs_are_not_changed(factors):
    copies = [x.copy() for x in factors]
    top_k(*factors, 5)
    for factor, copy in zip(factors, copies, strict=True):
        np.testing.assert_array_equal(factor, copy)


def test_tensors_come_back_as_tensors_without_gradient(factors):
    tensors = [torch.from_numpy(x).requires_grad_() for x in factors]
    result = top_k(*tensors, 5)
    assert isinstance(result.ids, torch.Tensor)
    assert result.ids.dtype == torch.int64
    assert not result.scores.requires_grad
    assert_ranked(result, brute_force(*factors, 5))


def test_device_names():
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    assert resolve_device("meta:0") == torch.device("meta:0")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device must be 'auto', 'cpu', 'cuda' or 'mps', got 'gpu'"),
        (2.5, "device must be 'auto', .* got 2.5"),
        ("cuda:99", "device 'cuda:99' is not available here: "),
        ("xla", "device 'xla' is not available here: "),
        ("hpu", "device 'hpu' is not available here: "),
    ],
)
def test_devices_that_are_not_here_are_refused(factors, device, message):
    with pytest.raises(ValueError, match=message):
        resolve_device(device)
    for values in (factors, [torch.from_numpy(x) for x in factors]):
        with pytest.raises(ValueError, match=message):
            top_k(*values, 3, device=device)


@pytest.mark.parametrize("device", [None, "auto", "cpu", torch.device("cpu")])
def test_devices_that_mean_the_host(factors, device):
    if device == "auto" and torch.accelerator.is_available():
        pytest.skip("auto means the accelerator here")
    assert_ranked(top_k(*factors, 3, device=device), brute_force(*factors, 3))


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("block_bytes", [2**28, 50_000])
def test_score_blocks_rank_like_factors(kind, dtype, block_bytes, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", block_bytes)
    scores = whole_numbers(11, 70, 1000, low=-50, high=50).astype(dtype)
    seen = csr_array(random_array((70, 1000), density=0.1, rng=np.random.default_rng(3)))
    source, rows_asked = kind(scores.copy()), []

    def score_block(rows):
        rows_asked.append(rows)
        return source[rows]

    result = top_k_blocks(score_block, 70, 1000, 8, exclude=seen)
    assert isinstance(result.ids, type(source))
    assert [row for rows in rows_asked for row in range(70)[rows]] == list(range(70))
    assert (len(rows_asked) > 1) == (block_bytes == 50_000)
    assert_ranked(result, rank(scores, 8, seen))
    np.testing.assert_array_equal(np.asarray(source), scores)


def test_score_blocks_minus_infinity_is_no_candidate():
    scores = np.array([[-np.inf, 1.0, -np.inf]], np.float32)
    result = top_k_blocks(lambda rows: scores[rows], 1, 3, 2)
    assert result.ids.tolist() == [[1, -1]]
    assert result.scores.tolist() == [[1.0, -np.inf]]


def test_score_blocks_refuse_nan_and_wrong_shapes(monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 100)
    scores = np.zeros((5, 4), np.float32)
    scores[3, 2] = np.nan
    with pytest.raises(ValueError, match=r"scores\[3, 2\] is nan"):
        top_k_blocks(lambda rows: scores[rows], 5, 4, 2)
    with pytest.raises(ValueError, match=r"has shape \(1, 4\), expected \(1, 3\)"):
        top_k_blocks(lambda rows: scores[rows], 5, 3, 2)
    with pytest.raises(ValueError, match="must hold floating-point"):
        top_k_blocks(lambda rows: np.zeros((5, 4), int), 5, 4, 2)


def test_score_blocks_without_queries_or_items():
    assert top_k_blocks(lambda rows: np.empty((0, 3)), 0, 3, 2).ids.shape == (0, 2)
    empty = np.empty((2, 0), np.float32)
    assert top_k_blocks(lambda rows: empty[rows], 2, 0, 1).ids.tolist() == [[-1], [-1]]
