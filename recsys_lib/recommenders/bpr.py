"""Bayesian personalised ranking: factors that put what a user has above what the user has not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, NotNegative, Positive, Seed
from recsys_lib.recommenders.shared.products import rows_of
from recsys_lib.recommenders.shared.weighting import Weighting, weigh
from recsys_lib.scoring import TopK

_START = 0.03  # standard deviation of the first factors
_STEPS = 32  # per epoch, at least: small data would otherwise be one step
_TABLE = 2**28  # pairs of users and items up to which one byte for each of them is no waste
_DRAWS = 4  # of a negative, at most: one that turns out to be seen is drawn again


class Triples(NamedTuple):
    """Users, an item each of them has, and items of which each is unseen where `unseen` says so."""

    users: torch.Tensor  # (n,)
    positives: torch.Tensor  # (n,)
    negatives: torch.Tensor  # (n, candidates)
    unseen: torch.Tensor  # (n, candidates)


class Gradients(NamedTuple):
    """Gradients of the summed loss, by the rows of factors and biases of each triple."""

    user: torch.Tensor
    positive: torch.Tensor
    negative: torch.Tensor
    positive_bias: torch.Tensor
    negative_bias: torch.Tensor


@dataclass(kw_only=True, eq=False)
class BPR(Recommender):
    """Learn ``x_ui = p_u · q_i + b_i`` such that items a user has score above items the user has not.

    Minimises ``−ln σ(x_ui − x_uj) + λ/2 (‖p_u‖² + ‖q_i‖² + ‖q_j‖² + b_i² + b_j²)`` over drawn triples of a
    user u, an item i of the user, the pair in proportion to its weight, and an item j that is not. Of some
    random unseen items the one with the highest score is taken for j: most random items are below i already
    and teach nothing. `similar` is the cosine of item factors.

    Parameters
    ----------
    learning_rate : float
        Step size of the optimizer Adam.
    regularization : float
        λ ≥ 0.
    epochs : int
        Each draws as many triples as there are pairs.
    candidates : int
        Random unseen items that j is chosen from; 1 is the method as published.
    batch_size : int
        Triples per step, at most; an epoch has 32 steps or more.

    Attributes
    ----------
    user_factors_, item_factors_ : tensors, shape (n_users, factors) and (n_items, factors)
    item_biases_ : tensor, shape (n_items,)

    References
    ----------
    Rendle, Freudenthaler, Gantner & Schmidt-Thieme (2009), "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI. Zhang, Chen, Wang & Yu (2013), "Optimizing Top-N Collaborative Filtering via Dynamic
    Negative Item Sampling", SIGIR (the hardest of some candidates).
    """

    factors: Count = 64
    learning_rate: Positive = 0.003
    regularization: NotNegative = 0.01
    epochs: Count = 10
    candidates: Count = 4
    weighting: Weighting = "binary"
    half_life: Positive | None = None
    batch_size: Count = 16384
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("user_factors_", "item_factors_", "item_biases_")

    def _fit(self, train: Interactions) -> None:
        generator, device = torch.Generator().manual_seed(self.seed), self._device()
        shape = train.matrix.shape
        users, items = (_START * torch.randn((n, self.factors), generator=generator) for n in shape)
        parameters = tuple(part.to(device) for part in (users, items, torch.zeros(shape[1])))
        self.user_factors_, self.item_factors_, self.item_biases_ = parameters
        weights = weigh(train, self.weighting, self.half_life)
        users = np.repeat(np.arange(train.n_users), np.diff(weights.indptr))
        optimizer = torch.optim.Adam(parameters, lr=self.learning_rate, fused=device.type != "mps")
        seen, draws = pair_lookup(train.matrix), np.random.default_rng(self.seed)
        n_steps = max(_STEPS, -(-len(users) // self.batch_size))
        for _ in progress_bar(range(self.epochs), "BPR"):
            chosen = sample_by_weight(weights.data, draws)
            pairs = users[chosen], weights.indices[chosen]
            triples = draw_triples(*pairs, seen, train.n_items, self.candidates, draws)
            for batch in batches(triples, n_steps, draws, device):
                step(*parameters, batch, self.regularization)
                optimizer.step()
        for parameter in parameters:
            parameter.grad = None

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        """Return factors; the biases of items are one more column."""
        queries = torch.as_tensor(rows_at(self.user_factors_, users))
        ones = torch.ones_like(queries[:, :1])
        items = torch.cat([self.item_factors_, self.item_biases_[:, None]], dim=1)
        return as_native(torch.cat([queries, ones], dim=1)), as_native(items)

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_, items, k, themselves)

    def _explain(self, users: np.ndarray, item: int) -> dict[str, Any]:
        match = self.user_factors_[int(users[0])] @ self.item_factors_[item]
        values = [float(match), float(self.item_biases_[item])]
        return {"reason": ["match of factors", "item's bias"], "contribution": np.array(values)}


def step(
    users: torch.Tensor, items: torch.Tensor, biases: torch.Tensor, triples: Triples, regularization: float
) -> None:
    """Choose the negatives and set `.grad` of users, items and biases: the sums over a batch of triples."""
    at = torch.nn.functional.embedding  # on a host several times faster than indexing
    p, i = at(triples.users, users), triples.positives
    # The candidate that the model ranks highest: most random items are below i already and teach little.
    j, weight = hardest(p, items, biases, triples)
    by = bpr_gradients(p, at(i, items), at(j, items), biases[i], biases[j], weight, regularization)
    # A user or an item may occur in several triples: index_add_ sums its gradients.
    touched = torch.cat([i, j])  # an item is pulled up where it is i, and pushed down where it is j
    users.grad = torch.zeros_like(users).index_add_(0, triples.users, by.user)
    items.grad = torch.zeros_like(items).index_add_(0, touched, torch.cat([by.positive, by.negative]))
    both = torch.cat([by.positive_bias, by.negative_bias])
    biases.grad = torch.zeros_like(biases).index_add_(0, touched, both)


def hardest(
    p: torch.Tensor, items: torch.Tensor, biases: torch.Tensor, triples: Triples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick the unseen candidate with the highest score, and 1; or any, and 0 where all were seen."""
    candidates, unseen = triples.negatives, triples.unseen
    if candidates.shape[1] == 1:
        return candidates[:, 0], unseen[:, 0].to(p.dtype)
    scores = (torch.nn.functional.embedding(candidates, items) @ p[:, :, None])[:, :, 0] + biases[candidates]
    best = torch.where(unseen, scores, -torch.inf).argmax(dim=1, keepdim=True)
    return candidates.gather(1, best)[:, 0], unseen.gather(1, best)[:, 0].to(p.dtype)


def bpr_gradients(
    p: torch.Tensor,
    q_i: torch.Tensor,
    q_j: torch.Tensor,
    b_i: torch.Tensor,
    b_j: torch.Tensor,
    weight: torch.Tensor,
    regularization: float,
) -> Gradients:
    """Differentiate the loss of n triples by factors, shape (n, factors), and biases, shape (n,).

    ``L = Σ −w ln σ(x) + λ/2 (‖p‖² + ‖q_i‖² + ‖q_j‖² + b_i² + b_j²)``, ``x = p · (q_i − q_j) + b_i − b_j``.
    With ``δ = ∂(−w ln σ(x))/∂x = −w σ(−x)``: ``∂L/∂p = δ (q_i − q_j) + λ p``, ``∂L/∂q_i = δ p + λ q_i``,
    ``∂L/∂q_j = −δ p + λ q_j``, ``∂L/∂b_i = δ + λ b_i`` and ``∂L/∂b_j = −δ + λ b_j``.
    """
    apart = q_i - q_j
    delta = -weight * torch.sigmoid(b_j - b_i - (p * apart).sum(1))
    pull = delta[:, None] * p
    return Gradients(
        torch.addcmul(regularization * p, delta[:, None], apart),
        torch.add(pull, q_i, alpha=regularization),
        torch.sub(regularization * q_j, pull),
        delta + regularization * b_i,
        regularization * b_j - delta,
    )


def sample_by_weight(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw as many positions as there are weights, each about in proportion to its weight, ascending.

    Systematic sampling: evenly spaced points on the line of cumulated weights, shifted at random. A position
    comes up as often as expected, rounded up or down; with equal weights, exactly once.
    """
    total = np.cumsum(weights, dtype=np.float64)
    marks = np.floor(total / total[-1] * len(weights) + generator.random()).astype(np.int64)
    return np.repeat(np.arange(len(weights)), np.diff(marks, prepend=0))


def draw_triples(
    users: np.ndarray,
    items: np.ndarray,
    seen: Callable[[np.ndarray], np.ndarray],
    n_items: int,
    candidates: int,
    generator: np.random.Generator,
) -> Triples:
    """Give every pair random items to be compared with, and find out which of them the user has not seen.

    Pairs come in ascending order of users: looking up is much faster in order. `seen` is from `pair_lookup`.
    A seen item is drawn again a few times; one may stay where a user has nearly everything. On the host.
    """
    negatives = np.empty(len(users) * candidates, np.int64)
    unseen, open_places = np.zeros(len(negatives), bool), np.arange(len(negatives))
    for _ in range(_DRAWS):
        negatives[open_places] = generator.integers(n_items, size=len(open_places))
        keys = users[open_places // candidates].astype(np.int64) * n_items + negatives[open_places]
        is_seen = seen(keys)
        unseen[open_places] = ~is_seen
        open_places = open_places[is_seen]
    shape = len(users), candidates
    pairs = (part.astype(np.int64) for part in (users, items))
    return Triples(*map(torch.from_numpy, (*pairs, negatives.reshape(shape), unseen.reshape(shape))))


def pair_lookup(matrix: csr_array) -> Callable[[np.ndarray], np.ndarray]:
    """Return what tells which numbers of pairs, ``user · n_items + item``, a matrix stores."""
    keys = np.sort(rows_of(matrix).astype(np.int64) * matrix.shape[1] + matrix.indices)
    if np.prod(matrix.shape, dtype=np.int64) > _TABLE:
        return lambda asked: keys[np.minimum(np.searchsorted(keys, asked), len(keys) - 1)] == asked
    stored = np.zeros(matrix.shape[0] * matrix.shape[1], bool)
    stored[keys] = True
    return stored.take


def batches(
    triples: Triples, n_batches: int, generator: np.random.Generator, device: torch.device
) -> Iterator[Triples]:
    """Cut triples into batches in random order, on a device."""
    order = generator.permutation(len(triples.users))
    for rows in np.array_split(order, min(n_batches, len(order))):  # NumPy copies rows faster than torch
        yield Triples(*(torch.from_numpy(part.numpy().take(rows, 0)).to(device) for part in triples))
