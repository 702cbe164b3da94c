"""The deep user ⊕ item model: one tower for the household, one for the campaign, then a joint head."""

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin

from recsys_lib.customers.encoding import as_numbers
from recsys_lib.scoring.workers import single_threaded

# Columns that describe the campaign, not the household; everything else belongs to the user's side.
ITEM_PREFIX = "campaign_"


class UserItemNetwork(ClassifierMixin, BaseEstimator):
    """A classifier of conversion from a user vector and an item vector.

    Both towers are one dense layer with ReLU. Their outputs u and v are joined to u ⊕ v ⊕ (u ⊙ v): side by
    side, so that the head can weigh them, and multiplied, so that it can compare them. The head is a hidden
    layer and one logit; the loss is the cross-entropy on the logit (one sigmoid, inside the loss).

    Parameters
    ----------
    width : int
        Size of u and of v.
    rate : float
        Adam's learning rate.
    weight_decay : float
        L2 penalty, in AdamW's form.
    dropout : float
        Share of joined numbers set to 0 in training.
    members : int
        Networks from different first weights; their probabilities are averaged.
    device : str
        Where torch computes.

    References
    ----------
    Covington, Adams & Sargin (2016), "Deep Neural Networks for YouTube Recommendations", RecSys.
    """

    def __init__(  # noqa: PLR0913 - scikit-learn wants every setting as an argument
        self, width: int = 8, epochs: int = 10, batch_size: int = 256, rate: float = 0.005,
        weight_decay: float = 0.1, dropout: float = 0.5, members: int = 2, seed: int = 0, device: str = "cpu",
    ) -> None:  # fmt: skip
        self.width, self.epochs, self.batch_size, self.rate = width, epochs, batch_size, rate
        self.weight_decay, self.dropout, self.members = weight_decay, dropout, members
        self.seed, self.device = seed, device

    def fit(self, features: pd.DataFrame, y: np.ndarray) -> "UserItemNetwork":
        """Train on a table of `campaign_features` and its labels 0 and 1."""
        self.classes_ = np.array([0, 1])
        self.encoders_ = [as_numbers(log_scale=True).fit(part) for part in self._sides(features)]
        inputs = self._inputs(features)
        labels = torch.tensor(np.asarray(y), dtype=torch.float32, device=self.device)
        # The global generator is put back: dropout and first weights draw from it.
        # One thread: for matrices this small, sharing the work costs more than it saves.
        with torch.random.fork_rng(), single_threaded():
            self.networks_ = [self._train(inputs, labels, self.seed + k) for k in range(self.members)]
        return self

    def predict_proba(self, features: pd.DataFrame) -> np.ndarray:
        """Return (n_rows, 2): the probability of no and of yes."""
        inputs = self._inputs(features)
        with torch.no_grad():
            logits = [network(*inputs) for network in self.networks_]
        # float64 on the host: Apple's GPUs (mps) do not have it.
        yes = torch.stack([torch.sigmoid(logit.cpu().double()) for logit in logits]).mean(0).numpy()
        return np.column_stack([1 - yes, yes])

    def _train(self, inputs: list[torch.Tensor], labels: torch.Tensor, seed: int) -> "TwoTowers":
        torch.manual_seed(seed)
        network = TwoTowers(*(part.shape[1] for part in inputs), self.width, self.dropout).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, self.epochs)
        network.train()
        for _ in range(self.epochs):
            for batch in torch.randperm(len(labels)).split(self.batch_size):
                logits = network(*(part[batch] for part in inputs))
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step()
        return network.eval()

    def _inputs(self, features: pd.DataFrame) -> list[torch.Tensor]:
        sides = zip(self.encoders_, self._sides(features), strict=True)
        return [
            torch.tensor(encoder.transform(part).to_numpy(), dtype=torch.float32, device=self.device)
            for encoder, part in sides
        ]

    @staticmethod
    def _sides(features: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        is_item = features.columns.str.startswith(ITEM_PREFIX)
        return features.loc[:, ~is_item], features.loc[:, is_item]


class TwoTowers(torch.nn.Module):
    """u = ReLU(W_u x + b_u), v = ReLU(W_v z + b_v), logit = head(u ⊕ v ⊕ (u ⊙ v))."""

    def __init__(self, n_user: int, n_item: int, width: int, dropout: float) -> None:
        super().__init__()
        self.user = torch.nn.Sequential(torch.nn.Linear(n_user, width), torch.nn.ReLU())
        self.item = torch.nn.Sequential(torch.nn.Linear(n_item, width), torch.nn.ReLU())
        self.head = torch.nn.Sequential(
            torch.nn.Dropout(dropout),
            torch.nn.Linear(3 * width, width),
            torch.nn.ReLU(),
            torch.nn.Linear(width, 1),
        )

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """Return one logit per row, shape (n_rows,)."""
        u, v = self.user(user), self.item(item)
        return self.head(torch.cat([u, v, u * v], dim=1))[:, 0]
