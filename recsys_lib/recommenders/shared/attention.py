"""What SASRec reads sequences with: causal self-attention in layers, and its loss on drawn items."""

import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    """One layer: causal self-attention, then a small network for each place; both add to what comes in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projections, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.network = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, may_see: torch.Tensor) -> torch.Tensor:
        """Map vectors, shape (n, places, width); `may_see`, (n, 1, places, places), says who may see whom."""
        n, places, width = x.shape
        parts = self.projections(self.before(x)).view(n, places, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) / (width // self.heads) ** 0.5
        shares = scores.masked_fill(~may_see, float("-inf")).softmax(3)
        seen = (shares @ value).transpose(1, 2).reshape(n, places, width)
        x = x + self.drop(self.out(seen))
        return x + self.drop(self.network(self.between(x)))


class SequenceReader(nn.Module):
    """Vectors of items and places, and the layers that read them."""

    def __init__(
        self, n_items: int, width: int, length: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.items, self.places = nn.Embedding(n_items + 1, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.last, self.drop = nn.LayerNorm(width), nn.Dropout(dropout)
        for part in (self.items, self.places):
            nn.init.normal_(part.weight, std=width**-0.5)

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        """Read items, shape (n, places), newest last, `n_items` where there is none; (n, places, width)."""
        places = sequences.shape[1]
        known = sequences < self.items.num_embeddings - 1
        itself = torch.eye(places, dtype=torch.bool, device=sequences.device)
        may_see = (known[:, None, None, :] & itself.new_ones(places, places).tril()) | itself
        x = self.drop(self.items(sequences) + self.places.weight[-places:])
        for block in self.blocks:
            x = block(x, may_see)
        return self.last(x)


def sampled_loss(
    states: torch.Tensor,
    targets: torch.Tensor,
    vectors: torch.Tensor,
    drawn: torch.Tensor,
    log_q: torch.Tensor,
) -> torch.Tensor:
    """Estimate the mean of ``−ln softmax(states · vectors)[target]`` from n drawn items.

    The sum over all items is estimated by ``e^target + Σ e^score / (n q)`` over the drawn ones (Bengio and
    Senécal 2008): without the division by the chance q of being drawn, popular items would be pushed down for
    being drawn often. Shapes: (n_states, width), (n_states,), (n_items, width), (n,) and (n_items,).
    """
    target = (states * vectors[targets]).sum(1)
    others = states @ vectors[drawn].T - log_q[drawn] - float(np.log(len(drawn)))
    others = others.masked_fill(targets[:, None] == drawn, float("-inf"))
    return (torch.logaddexp(target, others.logsumexp(1)) - target).mean()
