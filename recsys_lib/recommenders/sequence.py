"""SASRec: a user is the sequence of what he handled, read by causal self-attention."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.sparse import csr_array

from recsys_lib.data import Interactions
from recsys_lib.recommenders.shared.answers import progress_bar, similar_factors
from recsys_lib.recommenders.shared.arrays import Array, as_native, rows_at
from recsys_lib.recommenders.shared.attention import SequenceReader, sampled_loss
from recsys_lib.recommenders.shared.base import Recommender
from recsys_lib.recommenders.shared.checks import Count, Positive, Seed, Share, timed_events
from recsys_lib.scoring import TopK


@dataclass(kw_only=True, eq=False)
class SASRec(Recommender):
    """Predict the next item from the order of the last ones (Kang and McAuley 2018, ICDM).

    Every place of a sequence is asked for the item after it; a score is the product of the state after the
    last item with an item's vector, `similar` the cosine of such vectors. Events of one moment keep the order
    in which they were given. `reader`, the SequenceReader, is not saved: users' states are.

    Parameters
    ----------
    factors, layers, heads : int
        Width of vectors, a multiple of `heads`; number of layers; attention heads per layer.
    length : int
        So many last items of a user are read; training cuts longer sequences, each time at other places.
    epochs, batch_size, negatives : int
        Passes over all sequences; sequences per step; items drawn per step, by their popularity.
    dropout, learning_rate, seed
        In three passes a dropout of 0.1 costs a fifth of the time, and does not help (notebook 13). The rate
        of AdamW rises in the first tenth of the steps, then falls to 0.
    """

    factors: Count = 64
    layers: Count = 1
    heads: Count = 2
    length: Count = 50
    epochs: Count = 3
    batch_size: Count = 16
    negatives: Count = 256
    dropout: Share = 0.0
    learning_rate: Positive = 0.006
    seed: Seed = 0

    _stored: ClassVar[tuple[str, ...]] = ("user_factors_", "item_factors_")
    _cannot: ClassVar[dict[str, str]] = {"fold_in": "a history without its order is no sequence"}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factors % self.heads:
            raise ValueError(f"factors must be a multiple of heads, got {self.factors} and {self.heads}")

    def _fit(self, train: Interactions) -> None:
        events = timed_events(train, "a sequence needs").sort_values("user", kind="stable")
        items = events["item"].to_numpy(np.int64)
        stops = np.cumsum(np.bincount(events["user"], minlength=train.n_users))
        starts = np.r_[0, stops[:-1]]
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            shape = self.factors, self.length, self.layers, self.heads, self.dropout
            self.reader = SequenceReader(train.n_items, *shape).to(self._device())
            self._train(items, starts, stops)
        self.user_factors_ = self.states(padded(items, starts, stops, self.length, train.n_items))
        self.item_factors_ = self.reader.items.weight[:-1].detach()

    def _train(self, items: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> None:
        chance = np.bincount(items, minlength=self.reader.items.num_embeddings - 1) / len(items)
        log_q = torch.from_numpy(np.log(np.maximum(chance, 1e-12))).float().to(self._device())
        generator, device = np.random.default_rng(self.seed), self._device()
        optimizer = torch.optim.AdamW(
            self.reader.parameters(), lr=self.learning_rate, weight_decay=0.01, fused=device.type != "mps"
        )
        warm = 0.1 * self.epochs
        for epoch in progress_bar(range(self.epochs), "SASRec"):
            first, end = windows(starts, stops, self.length, generator)
            order, steps = generator.permutation(len(first)), -(-len(first) // self.batch_size)
            for step in range(steps):
                batch, done = order[step::steps], epoch + step / steps
                factor = min((done + 0.01) / warm, (self.epochs - done) / (self.epochs - warm))
                optimizer.param_groups[0]["lr"] = self.learning_rate * factor
                rows = padded(items, first[batch], end[batch], self.length + 1, len(chance))
                drawn = items[generator.integers(len(items), size=self.negatives)]
                asked = np.flatnonzero(rows[:, :-1] < len(chance))  # a device would be waited for
                rows, drawn, asked = (torch.from_numpy(part).to(device) for part in (rows, drawn, asked))
                states = self.reader.train()(rows[:, :-1]).flatten(0, 1).index_select(0, asked)
                targets = rows[:, 1:].flatten()[asked]
                loss = sampled_loss(states, targets, self.reader.items.weight, drawn, log_q)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    def states(self, sequences: np.ndarray) -> torch.Tensor:
        """Read sequences as `SequenceReader` takes them, and return the state after the last item of each."""
        rows = torch.from_numpy(sequences).to(self._device())
        with torch.no_grad():
            return torch.cat([self.reader.eval()(part)[:, -1] for part in rows.split(1024)])

    def _factors(self, users: np.ndarray) -> tuple[Array, Array]:
        return rows_at(self.user_factors_, users), as_native(self.item_factors_)

    def _similar(self, items: np.ndarray, k: int, themselves: csr_array) -> TopK:
        return similar_factors(self.item_factors_, items, k, themselves)


def windows(
    starts: np.ndarray, stops: np.ndarray, length: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut sequences, from `starts` to `stops`, into windows; return where each begins and ends.

    A window has at most `length` + 1 places, and begins at the last one of the window before: every place but
    a sequence's first is asked for once. Where the cuts lie is drawn. Windows of one place are left out.
    """
    shift = generator.integers(length, size=len(starts))
    counts = (stops - starts - 2 + shift) // length + 1
    of = np.repeat(np.arange(len(starts)), np.maximum(counts, 0))
    number = np.arange(len(of)) - np.searchsorted(of, of)
    first = starts[of] - shift[of] + number * length
    first, end = np.maximum(first, starts[of]), np.minimum(first + length + 1, stops[of])
    return first[end - first > 1], end[end - first > 1]


def padded(items: np.ndarray, starts: np.ndarray, stops: np.ndarray, length: int, padding: int) -> np.ndarray:
    """Lay the last `length` items of sequences into rows, newest last, with `padding` before them."""
    places = stops[:, None] - length + np.arange(length)
    return np.where(places >= starts[:, None], items[np.maximum(places, 0)], padding)
