"""Boosted decision trees as plain arrays: fitted by scikit-learn, stored and applied without it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

_ROWS = 4096  # at a time, so that a block of columns stays in the cache
# Of a column's histogram. scikit-learn searches weighted quantiles one by one, each time through all rows;
# with 64 in place of 255 the lists of notebook 03 are as good on validation.
_BINS = 64


class Trees(NamedTuple):
    """A sum of trees. All nodes of all trees lie in one list; a leaf has itself as both children.

    Attributes
    ----------
    roots : int array, shape (n_trees,)
        First node of each tree.
    column, left, right : int arrays, shape (n_nodes,)
        Which column a node looks at, and the nodes below it.
    threshold : float array, shape (n_nodes,)
        Values up to it go left.
    missing_left : bool array, shape (n_nodes,)
        Whether NaN goes left.
    value : float array, shape (n_nodes,)
        What a leaf adds to the score; of an inner node the mean over the rows that passed it.
    depth : int array, shape ()
        Of the deepest tree.
    base : float array, shape ()
        Score before any tree: the log-odds of the base rate.
    """

    roots: np.ndarray
    column: np.ndarray
    left: np.ndarray
    right: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    depth: np.ndarray
    base: np.ndarray


def fit_trees(
    columns: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    *,
    n_trees: int,
    learning_rate: float,
    leaves: int,
    min_rows: int,
    seed: int,
) -> Trees:
    """Fit the probability of a label by gradient boosting on the logistic loss.

    Parameters
    ----------
    columns : float32 array, shape (n_rows, n_columns)
        NaN marks what is not known.
    labels : bool array, shape (n_rows,)
    weights : float array, shape (n_rows,)
    n_trees, learning_rate, leaves, min_rows
        Trees, factor on each, most leaves of a tree, fewest rows of a leaf.
    seed : int

    Returns
    -------
    Trees
        Their scores are log-odds.

    References
    ----------
    Friedman (2001), "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 29(5).
    Ke et al. (2017), "LightGBM: A Highly Efficient Gradient Boosting Decision Tree", NeurIPS (histograms).
    """
    unknown = np.isnan(columns).all(axis=0)  # scikit-learn cannot bin a column without a number
    if unknown.any():
        columns = np.where(unknown, np.float32(0), columns)
    model = HistGradientBoostingClassifier(
        max_iter=n_trees,
        max_bins=_BINS,
        learning_rate=learning_rate,
        max_leaf_nodes=leaves,
        min_samples_leaf=min_rows,
        early_stopping=False,
        random_state=seed,
    ).fit(columns, labels, sample_weight=weights)
    trees = _as_arrays(model)
    # scikit-learn has no public way to its trees. If a later version keeps them differently, that must not
    # pass unnoticed.
    some = columns[:: max(1, len(columns) // 1000)]
    if not np.allclose(apply_trees(trees, some), model.decision_function(some), atol=1e-4):
        raise RuntimeError("this version of scikit-learn keeps its trees in another way than expected")
    return trees


def apply_trees(trees: Trees, columns: np.ndarray) -> np.ndarray:
    """Scores of rows, shape (n_rows,), float32."""
    scores = np.full(len(columns), float(trees.base))
    for start in range(0, len(columns), _ROWS):
        block = columns[start : start + _ROWS]
        for root in trees.roots:
            nodes = np.full(len(block), root)
            for _ in range(int(trees.depth)):
                nodes = _step(trees, block, nodes)
            scores[start : start + _ROWS] += trees.value[nodes]
    return scores.astype(np.float32)


def contributions(trees: Trees, row: np.ndarray) -> np.ndarray:
    """Split one row's score into its columns: every step down a tree credits the column it looks at.

    Parameters
    ----------
    trees : Trees
    row : np.ndarray, shape (n_columns,)

    Returns
    -------
    np.ndarray, shape (n_columns + 1,)
        They add up to the score; the last one is what holds without looking at any column.

    References
    ----------
    Saabas (2014), "Interpreting random forests".
    """
    credit = np.zeros(len(row) + 1)
    credit[-1] = float(trees.base) + trees.value[trees.roots].sum()
    nodes = trees.roots
    for _ in range(int(trees.depth)):
        below = _step(trees, np.tile(row, (len(nodes), 1)), nodes)
        np.add.at(credit, trees.column[nodes], trees.value[below] - trees.value[nodes])
        nodes = below
    return credit


def _step(trees: Trees, block: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    values = block[np.arange(len(block)), trees.column[nodes]]
    goes_left = (values <= trees.threshold[nodes]) | (np.isnan(values) & trees.missing_left[nodes])
    return np.where(goes_left, trees.left[nodes], trees.right[nodes])


def _as_arrays(model: HistGradientBoostingClassifier) -> Trees:
    tables = [predictors[0].nodes for predictors in model._predictors]
    sizes = [len(table) for table in tables]
    roots = np.cumsum([0, *sizes[:-1]])
    nodes = np.concatenate(tables)
    first, itself = np.repeat(roots, sizes), np.arange(len(nodes))
    leaf = nodes["is_leaf"].astype(bool)
    left = np.where(leaf, itself, nodes["left"] + first)
    right = np.where(leaf, itself, nodes["right"] + first)
    value, count = nodes["value"].copy(), nodes["count"].astype(float)
    for node in np.argsort(-nodes["depth"].astype(int), kind="stable"):  # children before their parents
        if not leaf[node]:
            below = [left[node], right[node]]
            value[node] = np.average(value[below], weights=count[below])
    return Trees(
        roots,
        np.where(leaf, 0, nodes["feature_idx"]).astype(np.int64),
        left.astype(np.int64),
        right.astype(np.int64),
        nodes["num_threshold"].copy(),
        nodes["missing_go_to_left"].astype(bool),
        value,
        np.array(int(nodes["depth"].max())),
        np.array(float(np.ravel(model._baseline_prediction)[0])),
    )
