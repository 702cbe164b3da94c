"""The CUDA kernels in Triton's interpreter, on tensors of the host, or on a GPU where there is one.

The interpreter multiplies in float32 whatever the kernel asks for, so that tensor cores' rounding is tried on
its own here; `benchmarks/gpu.py` tries it on the device.
"""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from scoring_oracle import assert_ranked, brute_force

from recsys_lib.scoring import TopK, accelerator

fused = pytest.importorskip("recsys_lib.scoring.fused", reason="needs Triton: make test installs it on Linux")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N_ITEMS, K = 1500, 4


def draw(n_queries, width, kind="integers", seed=0):
    """Queries and items, of small integers (scores are exact, ties many) or normal."""
    rng = np.random.default_rng(seed)
    if kind == "integers":
        return [rng.integers(-3, 4, (n, width)).astype(np.float32) for n in (n_queries, N_ITEMS)]
    return [rng.standard_normal((n, width)).astype(kind) for n in (n_queries, N_ITEMS)]


def on_device(*arrays):
    return [torch.from_numpy(array).to(DEVICE) for array in arrays]


def some_seen(n_queries, per_query=8, seed=0):
    rng = np.random.default_rng(seed)
    return csr_array(random_array((n_queries, N_ITEMS), density=per_query / N_ITEMS, rng=rng))


@pytest.fixture
def fuse(monkeypatch):
    """Let `accelerator` take the kernels although the device is none of CUDA's."""
    monkeypatch.setattr(accelerator, "_can_fuse", lambda queries, items, k: True)


@pytest.fixture(params=["one program per list", "selections between kernels"])
def way(request, monkeypatch):
    """Choose groups either way, whatever the length of the lists."""
    monkeypatch.setattr(fused, "_SHORT", 32 * request.param.startswith("one"))


@pytest.mark.parametrize(("n_queries", "width"), [(1, 40), (4, 3), (6, 40)])
@pytest.mark.parametrize("certify", [True, False])
def test_lists_equal_brute_force(way, n_queries, width, certify):
    queries, items = draw(n_queries, width)
    ids, scores, certain = fused.rank_factors(*on_device(queries, items), K, None, 10**8, certify)
    expected = brute_force(queries, items, K)
    sure = certain.cpu().numpy()
    assert sure.all() or certify
    assert_ranked(TopK(ids.cpu()[sure], scores.cpu()[sure]), [part[sure] for part in expected])


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("n_queries", [2, 6])
def test_excluded_items_do_not_count(way, n_queries, certify):
    """The best items are excluded: their groups are numbered again without them."""
    queries, items = draw(n_queries, 20, "float32")
    seen = csr_array(some_seen(n_queries) + best_of(queries, items, 12))
    seen.sum_duplicates()
    ids, scores, certain = fused.rank_factors(*on_device(queries, items), K, seen, 10**8, certify)
    expected, values = brute_force(queries, items, K, seen)
    assert certain.all()
    np.testing.assert_array_equal(ids.cpu().numpy(), expected)
    np.testing.assert_allclose(scores.cpu().numpy(), values, rtol=1e-5)


def best_of(queries, items, k):
    ids, _ = brute_force(queries, items, k)
    rows = np.repeat(np.arange(len(queries)), k)
    return csr_array((np.ones(ids.size), (rows, ids.ravel())), (len(queries), N_ITEMS))


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_blocks_and_half_precision(kind):
    queries, items = draw(5, 17, kind)
    ids, scores, certain = fused.rank_factors(*on_device(queries, items), K, None, 30_000, certify=True)
    expected, values = brute_force(queries, items, K)
    assert certain.all()
    np.testing.assert_array_equal(ids.cpu().numpy(), expected)
    np.testing.assert_allclose(scores.cpu().numpy(), values, rtol=1e-5)


def test_ties_at_the_edge_are_not_certified_and_ranked_again(fuse):
    queries, items = draw(3, 2)
    items = np.sign(items)  # nine different items, 1,500 places
    *_, certain = fused.rank_factors(*on_device(queries, items), K, None, 10**8, certify=True)
    assert not certain.any()
    seen = some_seen(3)
    found = accelerator.rank_factors(*on_device(queries, items), K, seen, None, check=True)
    assert_ranked(TopK(*(part.cpu() for part in found)), brute_force(queries, items, K, seen))


@pytest.mark.parametrize(
    ("n_queries", "where", "value"),
    [(2, "queries", np.nan), (5, "queries", np.inf), (2, "items", np.inf), (5, "items", np.nan)],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:All-NaN:RuntimeWarning")
def test_factors_that_are_not_finite_are_found(fuse, way, n_queries, where, value):
    factors = dict(zip(("queries", "items"), draw(n_queries, 20, "float32"), strict=True))
    factors[where][1, 3] = value
    with pytest.raises(ValueError, match=rf"{where}\[1, 3\] is (nan|infinite)"):
        accelerator.rank_factors(*on_device(*factors.values()), K, None, None, check=True)


@pytest.mark.parametrize("n_queries", [2, 5])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:All-NaN:RuntimeWarning")
def test_no_bound_is_nan(n_queries):
    """A device's maximum passes over NaN, here that of a query of zeros and an infinite item."""
    queries, items = np.zeros((n_queries, 20), np.float32), draw(5, 20, "float32")[1]
    items[1, 3] = np.inf
    bounds, _ = fused._bound(*on_device(queries, items), 16, True, (None, 0))
    assert bounds[:, 0].isposinf().all()
    assert bounds[:, 1:].isfinite().all()


def test_pairs_stored_twice_and_out_of_order(fuse):
    queries, items = draw(2, 20, "float32")
    best, _ = brute_force(queries, items, 3)
    ids = np.concatenate([best[:, ::-1], best], axis=1)  # descending in score, each twice
    seen = csr_array((np.ones(12), ids.ravel(), [0, 6, 12]), (2, N_ITEMS))
    before = seen.indices.copy()
    found = accelerator.rank_factors(*on_device(queries, items), K, seen, None, check=True)
    np.testing.assert_array_equal(found[0].cpu().numpy(), brute_force(queries, items, K, seen)[0])
    np.testing.assert_array_equal(seen.indices, before)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e3])
def test_what_tensor_cores_round_away_stays_within_the_bound(scale):
    """Inputs cut to 10 bits, all in the same direction: the worst that can happen to a product."""
    rng = np.random.default_rng(0)
    for width in (1, 8, 64, 300):
        queries, items = (scale * (1 + rng.random((50, width))).astype(np.float32) for _ in range(2))
        queries[0], items[0] = scale * (1 + 2.0**-10 - 2.0**-23), scale * (1 + 2.0**-10 - 2.0**-23)
        cut = [
            (part.astype(np.float32).view(np.int32) & ~0x1FFF).view(np.float32) for part in (queries, items)
        ]
        exact = queries.astype(np.float64) @ items.astype(np.float64).T
        lost = np.abs(exact - cut[0].astype(np.float64) @ cut[1].astype(np.float64).T)
        norms = [np.linalg.norm(part.astype(np.float64), axis=1) for part in (queries, items)]
        allowed = (fused._CUT + width * fused._SUM) * np.outer(*norms)
        assert (lost <= allowed).all()
        assert lost.max() > 0.3 * allowed.max() or scale != 1.0  # the bound is not idle


def test_groups_are_named_only_where_choosing_pays():
    assert fused.group_of(17_000, 10) == (16, 31)
    assert fused.group_of(1_000_000, 10) == (64, 31)
    assert fused.group_of(1_000_000, 100) == (32, 150)
    assert fused.group_of(500, 10)[1] == 0
    assert fused.group_of(10**6, 5000)[1] == 0


def test_without_cuda_nothing_is_fused():
    assert not accelerator._can_fuse(torch.ones(2, 3), torch.ones(10_000, 3), 5)
