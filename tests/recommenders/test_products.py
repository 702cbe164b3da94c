"""Products and inverses against the plain dense ones; on device `meta` they stay there."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from recsys_lib.recommenders.shared import products

HOST = torch.device("cpu")


def random_sparse(n_rows, n_columns, seed=0):
    generator = np.random.default_rng(seed)
    dense = generator.random((n_rows, n_columns)) * (generator.random((n_rows, n_columns)) < 0.2)
    return csr_array(dense.astype(np.float32))


@pytest.fixture(params=[1, 7, 300])
def size(request, monkeypatch):
    """Rows, columns and bytes of a block."""
    monkeypatch.setattr(products, "_ROWS", request.param)
    monkeypatch.setattr(products, "_COLUMNS", request.param)
    monkeypatch.setattr(products, "_DEVICE_BYTES", 4 * 40 * request.param)


@pytest.mark.usefixtures("size")
def test_products_do_not_depend_on_their_blocks():
    left, right = random_sparse(70, 40), random_sparse(40, 90, seed=1)
    expected, dense = left.toarray() @ right.toarray(), right.toarray()
    np.testing.assert_allclose(products.sparse_product(left, right), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(products.mixed_product(left, dense), expected, rtol=1e-5, atol=1e-6)
    for form in (np.asarray, torch.from_numpy):
        found = products.dense_product(left, form(dense)), products.transposed_product(form(dense.T), left)
        assert {type(part) for part in found} == {type(form(dense))}
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1], expected.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("with_mkl", [True, False])
def test_sparse_products_are_scipys_to_the_last_bit(kind, with_mkl, monkeypatch):
    """Also of rows in any order, of nothing at all, of indices of 64 bits and of memory that is read only."""
    available = torch.backends.mkl.is_available()
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: available and with_mkl)
    generator = np.random.default_rng(0)
    for n, m, k in ((30, 40, 50), (1, 1, 1), (0, 5, 3), (3, 0, 4), (2, 3, 0), (5, 200, 5)):
        left, right = (csr_array(random_sparse(*shape), dtype=kind) for shape in ((n, m), (m, k)))
        for start, stop in pairwise(left.indptr):
            order = generator.permutation(stop - start) + start
            left.indices[start:stop], left.data[start:stop] = left.indices[order], left.data[order]
        left.has_sorted_indices = False
        right.indices, right.indptr = right.indices.astype(np.int64), right.indptr.astype(np.int64)
        right.data.flags.writeable = False
        out = np.full((n, k), np.nan, kind)
        products._multiply_into(left, right, out)
        np.testing.assert_array_equal(out, (left @ right).toarray())


@pytest.mark.usefixtures("size")
def test_gram_multiplies_all_rows_with_each_other():
    rows = random_sparse(70, 40)
    dense = rows.toarray().astype(np.float64)
    np.testing.assert_allclose(products.gram(rows), dense @ dense.T, rtol=1e-12)


@pytest.mark.usefixtures("size")
def test_quadratic_forms_and_squared_lengths():
    columns = random_sparse(30, 40)
    dense = columns.toarray().astype(np.float64)
    matrix = np.random.default_rng(1).normal(size=(40, 40))
    matrix += matrix.T
    expected = np.einsum("ni,ij,nj->n", dense, matrix, dense)
    for form in (np.asarray, torch.from_numpy):
        found = products.quadratic_forms(form(matrix), columns)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(products.squared_lengths(columns), (dense**2).sum(1), rtol=1e-6)


@pytest.mark.usefixtures("size")
def test_products_stay_on_an_accelerator():
    rows, square = random_sparse(70, 40), torch.empty(40, 40, device="meta")
    for found in (
        products.dense_product(rows, square),
        products.transposed_product(square, rows).T,
        products.quadratic_forms(square, rows)[:, None].expand(-1, 40),
    ):
        assert found.device.type == "meta"
        assert found.shape == (70, 40)


def test_counts_and_rows_of_stored_entries():
    matrix = csr_array(np.array([[0, 2, 0, 1], [0, 0, 0, 0], [0, 3, 0, 0]]))
    np.testing.assert_array_equal(products.user_counts(matrix), [0, 2, 0, 1])
    np.testing.assert_array_equal(products.rows_of(matrix), [0, 0, 2])


def test_inverse_of_more_than_one_block():
    rows = np.random.default_rng(0).normal(size=(700, 700))
    matrix = rows @ rows.T / 700 + np.eye(700)
    inverse = products.invert(matrix.copy(), HOST)
    np.testing.assert_allclose(inverse @ matrix, np.eye(700), atol=1e-10)
    np.testing.assert_array_equal(inverse, inverse.T)


def test_weights_between_items_are_ridge_regressions():
    rows = np.random.default_rng(0).normal(size=(30, 12))
    weights = products.item_weights(rows.T @ rows, 2.0, HOST).numpy()
    for item in range(12):
        others = np.delete(rows, item, axis=1)
        expected = np.linalg.solve(others.T @ others + 2 * np.eye(11), others.T @ rows[:, item])
        np.testing.assert_allclose(np.delete(weights[:, item], item), expected, rtol=1e-4, atol=1e-6)
        assert weights[item, item] == 0
