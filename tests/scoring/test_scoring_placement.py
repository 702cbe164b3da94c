"""Placement without a GPU: fake tensors on device `meta` stand in for an accelerator's.

They refuse to be read (a host synchronisation) and to be mixed with tensors of the host.
"""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, random_array
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recsys_lib.scoring import accelerator, ranking, top_k, top_k_blocks

TRANSFERS = ("aten._to_copy.default", "aten.detach.default", "aten.lift_fresh.default")


class HostOperations(TorchDispatchMode):
    """Records every operation that touches a tensor of the host."""

    def __init__(self):
        super().__init__()
        self.names, self.total = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if str(function).startswith("prim."):  # asks for a property, computes nothing
            return result
        self.total += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.names.append(str(function))
        return result


def on_meta(n, width=16, dtype=torch.float32):
    return torch.empty(n, width, dtype=dtype, device="meta")


@pytest.fixture
def fake():
    with FakeTensorMode() as mode:
        yield mode


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("max_bytes", [None, 200_000])
@pytest.mark.parametrize("k", [1, 10, 7000])
def test_factors_stay_on_their_device(fake, dtype, max_bytes, k):
    with HostOperations() as host_operations:
        result = top_k(
            on_meta(50, 16, dtype), on_meta(5000, 16, dtype), k, max_bytes=max_bytes, check_finite=False
        )
    assert host_operations.total > 5
    assert host_operations.names == []
    assert result.ids.device.type == result.scores.device.type == "meta"
    assert result.ids.shape == result.scores.shape == (50, k)
    assert result.ids.dtype == torch.int64
    assert result.scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_exclusions_are_sent_to_the_device_and_nothing_comes_back(fake):
    seen = csr_array(random_array((50, 5000), density=0.01, rng=np.random.default_rng(0)))
    with HostOperations() as host_operations:
        top_k(on_meta(50), on_meta(5000), 10, exclude=seen, max_bytes=200_000, check_finite=False)
    assert host_operations.names
    assert set(host_operations.names) <= set(TRANSFERS)


def test_without_queries_or_items(fake):
    assert top_k(on_meta(0), on_meta(9), 3, check_finite=False).ids.shape == (0, 3)
    assert top_k(on_meta(2), on_meta(0), 3, check_finite=False).ids.device.type == "meta"


def test_the_finite_check_is_the_one_synchronisation(fake):
    with pytest.raises(DataDependentOutputException):
        top_k(on_meta(5), on_meta(7), 3)


def test_mixed_devices_are_refused(fake):
    for queries, items in ((torch.empty(5, 16), on_meta(7)), (on_meta(5), torch.empty(7, 16))):
        with pytest.raises(ValueError, match="on device"):
            top_k(queries, items, 3, check_finite=False)


def test_tensors_are_not_copied_to_another_device(fake):
    with pytest.raises(ValueError, match="the tensors are on device meta, not cpu"):
        top_k(on_meta(5), on_meta(7), 3, device="cpu", check_finite=False)
    assert top_k(on_meta(5), on_meta(7), 3, device="meta", check_finite=False).ids.device.type == "meta"


def test_score_blocks_stay_on_their_device(fake, monkeypatch):
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 50_000)
    monkeypatch.setattr(ranking.checks, "check_scores", lambda *_: None)  # there are no numbers
    seen = csr_array(random_array((50, 300), density=0.01, rng=np.random.default_rng(0)))
    result = top_k_blocks(lambda rows: on_meta(rows.stop - rows.start, 300), 50, 300, 10, exclude=seen)
    assert result.ids.device.type == "meta"
    assert result.ids.shape == (50, 10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_transposed_score_blocks_are_ranked_on_an_accelerator_as_on_the_host(dtype):
    """The accelerator's code, run on host tensors: rows that do not lie in a row, and exclusions."""
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(90, 7))).to(dtype).T
    seen = csr_array(random_array((7, 90), density=0.3, rng=1))
    before = scores.clone()
    ids, values = accelerator.rank_scores(scores, 5, seen)
    expected = top_k_blocks(lambda rows: scores[rows], 7, 90, 5, exclude=seen)
    assert torch.equal(ids, expected.ids)
    assert torch.equal(values, expected.scores)
    assert torch.equal(scores, before)
