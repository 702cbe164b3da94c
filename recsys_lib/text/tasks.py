"""What a BERT is trained to do: guess masked words, judge a pair of texts, bring matching texts together."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from recsys_lib.text.batches import Tokens, check_examples, tokenize
from recsys_lib.text.encoder import TextModel, mean_of_tokens, unit_vectors

IGNORED = -100  # label of a token that is not to be guessed, as in torch's cross-entropy
MASKED_SHARE, REPLACED_BY_MASK, REPLACED_AT_RANDOM = 0.15, 0.8, 0.1
Batch = dict[str, torch.Tensor]
SCALE = 20.0  # cosine similarities lie in −1 … 1; times 20 their softmax can become certain


@dataclass(frozen=True)
class Examples:
    """Texts or pairs of texts, tokenised once, that a training loop turns into batches."""

    tokens: Tokens

    @property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each example, shape (n,): batches hold examples of about the same length."""
        return self.tokens.lengths

    def batch(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        """Return a model's inputs for some examples; whatever is random about them comes from `generator`."""
        raise NotImplementedError


@dataclass
class Output:
    """A model's `loss`, averaged over the batch (None without labels), and its `logits`."""

    loss: torch.Tensor | None
    logits: torch.Tensor


# ---- masked words


@dataclass(frozen=True)
class MaskedTexts(Examples):
    """Texts in which some tokens are hidden, others each time.

    Of each text 15 % of the tokens, at least one, are to be guessed: 80 % of these are shown as [MASK], 10 %
    as a random token, 10 % as they are. Made by `masked_texts`.
    """

    mask_token: int
    special: np.ndarray
    vocabulary: int

    def batch(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        """Return inputs, `labels`: the hidden tokens, `IGNORED` elsewhere, and `places`: where these lie.

        Places count through the texts one after the other, padding included. The model could find them, but
        then a GPU would have to wait for the answer to how many there are.
        """
        batch = self.tokens.batch(rows)
        ids = batch["input_ids"].numpy()
        free = batch["attention_mask"].numpy().astype(bool) & ~np.isin(ids, self.special)
        # Ranking random numbers within each text hides exactly the share asked for, never nothing.
        draws = np.where(free, generator.random(ids.shape), np.inf)
        rank = draws.argsort(axis=1).argsort(axis=1)
        number = np.maximum(1, np.round(MASKED_SHARE * free.sum(axis=1)))
        hidden = free & (rank < number[:, None])
        kind = generator.random(ids.shape)
        shown = np.where(hidden & (kind < REPLACED_BY_MASK), self.mask_token, ids)
        random_token = hidden & (kind >= 1 - REPLACED_AT_RANDOM)
        shown = np.where(random_token, generator.integers(self.vocabulary, size=ids.shape), shown)
        labels = np.where(hidden, ids, IGNORED)
        new = {"input_ids": shown, "labels": labels, "places": np.flatnonzero(hidden)}
        return batch | {name: torch.from_numpy(array) for name, array in new.items()}


class MaskedLanguageModel(nn.Module):
    """BERT with the head that guesses words; the head looks at the hidden tokens only.

    The head multiplies by the whole vocabulary. On all tokens that would cost about as much as a small BERT
    itself; on the 15 % whose labels count it costs a sixth of that.

    Parameters
    ----------
    text_model : TextModel
        Loaded with `masked=True`. Training changes its weights.
    """

    def __init__(self, text_model: TextModel) -> None:
        super().__init__()
        if not hasattr(text_model.model, "cls"):
            raise ValueError("load the model with masked=True: without its head it cannot guess words")
        self.model = text_model.model
        self.config = text_model.model.config
        self.eval()

    def forward(self, labels: torch.Tensor, places: torch.Tensor, **inputs: torch.Tensor) -> Output:
        """Return logits (n_hidden, n_vocabulary) of the tokens whose label counts, and the loss."""
        hidden = self.model.bert(**inputs).last_hidden_state
        logits = self.model.cls(hidden.flatten(0, 1)[places])
        return Output(functional.cross_entropy(logits, labels.flatten()[places]), logits)


def masked_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> MaskedTexts:
    """Prepare texts for guessing masked words.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a [MASK] token.
    texts : sequence of str
        Long ones are cut off, as in `tokenize`.

    References
    ----------
    Devlin et al. (2019), "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding".
    """
    tokens = tokenize(tokenizer, texts)
    special = np.array(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}))
    return MaskedTexts(tokens, tokenizer.mask_token_id, special, len(tokenizer))


# ---- pairs of texts: yes or no


@dataclass(frozen=True)
class LabeledPairs(Examples):
    """Pairs of texts, each with a label from 0 to 1. Made by `labeled_pairs`."""

    labels: np.ndarray

    def batch(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        """Return inputs and `labels`, float32 of shape (len(rows),)."""
        return self.tokens.batch(rows) | {"labels": torch.from_numpy(self.labels[rows])}


class PairClassifier(nn.Module):
    """BERT over both texts at once, the mean of its token vectors, one linear unit: log-odds of label 1.

    Parameters
    ----------
    text_model : TextModel
        Training changes its weights.
    dropout : float
        Share of the mean vector set to 0 while training.
    seed : int
        Draws the weights of the linear unit.
    """

    def __init__(self, text_model: TextModel, *, dropout: float = 0.1, seed: int = 0) -> None:
        super().__init__()
        self.encoder = text_model.encoder
        self.config = self.encoder.config
        self.dropout = nn.Dropout(dropout)
        # skip_init: torch's own start weights would draw from the global random numbers.
        self.head = nn.utils.skip_init(nn.Linear, self.config.hidden_size, 1)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.head.weight, std=self.config.initializer_range, generator=generator)
        nn.init.zeros_(self.head.bias)
        self.to(self.encoder.device).eval()

    def forward(self, labels: torch.Tensor | None = None, **inputs: torch.Tensor) -> Output:
        """Return logits of shape (n,), and the binary cross-entropy if there are labels."""
        hidden = self.encoder(**inputs).last_hidden_state
        logits = self.head(self.dropout(mean_of_tokens(hidden, inputs["attention_mask"]))).squeeze(-1)
        if labels is None:
            return Output(None, logits)
        return Output(functional.binary_cross_entropy_with_logits(logits.float(), labels), logits)


def labeled_pairs(
    tokenizer: PreTrainedTokenizerBase,
    first: Sequence[str],
    second: Sequence[str],
    labels: Sequence[float] | np.ndarray,
) -> LabeledPairs:
    """Prepare pairs of texts for `PairClassifier`.

    Parameters
    ----------
    first, second : sequence of str, shape (n,)
        For instance a household's text and a product's. Long pairs are cut off, as in `tokenize`.
    labels : array, shape (n,)
        0 or 1, or the probability of 1 according to a teacher, `predict(teacher, pairs)`. The cross-entropy
        with a teacher's probabilities is smallest where the student's are the same, and they tell more than
        0 and 1 would: how sure the teacher is.

    References
    ----------
    Hinton et al. (2015), "Distilling the Knowledge in a Neural Network".
    """
    numbers = pd.to_numeric(pd.Series(list(labels), dtype=object), errors="coerce")
    check_examples("labels", numbers.isna().to_numpy(), list(labels), "be numbers")
    labels = numbers.to_numpy(np.float32)
    if labels.shape != (len(first),):
        raise ValueError(f"{len(first)} pairs need as many labels, got an array of shape {labels.shape}")
    check_examples("labels", ~((labels >= 0) & (labels <= 1)), labels, "lie between 0 and 1")
    return LabeledPairs(tokenize(tokenizer, first, second), labels)


# ---- texts that belong together


@dataclass(frozen=True)
class MatchingTexts(Examples):
    """Pairs of texts that belong together, as of two products of one basket. Made by `matching_texts`."""

    second: Tokens
    same: np.ndarray  # shape (n, 2): equal texts have equal numbers

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens of the longer text of each pair, shape (n,)."""
        return np.maximum(self.tokens.lengths, self.second.lengths)

    def batch(self, rows: np.ndarray, generator: np.random.Generator) -> Batch:
        """Return the inputs of both texts, and `impossible` (n, n): which second texts are no negatives."""
        inputs = {f"first_{k}": v for k, v in self.tokens.batch(rows).items()}
        inputs |= {f"second_{k}": v for k, v in self.second.batch(rows).items()}
        first, second = self.same[rows].T
        # A second text equal to the row's own, or to the row's first text, is no wrong answer.
        impossible = (second[None, :] == second[:, None]) | (second[None, :] == first[:, None])
        np.fill_diagonal(impossible, False)
        return inputs | {"impossible": torch.from_numpy(impossible)}


class ContrastiveModel(nn.Module):
    """BERT that must find each text's partner among the second texts of the whole batch.

    The loss is the cross-entropy of softmax(20 · cosine) over the batch's second texts; the pair's own is
    right, the others are the negatives. Texts that are drawn often are often negatives: the vectors learn
    what goes with what beyond mere popularity.

    Parameters
    ----------
    text_model : TextModel
        Training changes its weights, so that `encode(text_model, …)` gives the new vectors afterwards.

    References
    ----------
    Henderson et al. (2017), "Efficient Natural Language Response Suggestion for Smart Reply".
    """

    def __init__(self, text_model: TextModel) -> None:
        super().__init__()
        self.encoder = text_model.encoder
        self.config = self.encoder.config
        self.eval()

    def forward(self, impossible: torch.Tensor, **inputs: torch.Tensor) -> Output:
        """Return logits of shape (n, n), rows first texts and columns second texts, and the loss."""
        first, second = (self._vectors(inputs, name) for name in ("first", "second"))
        logits = (SCALE * (first @ second.T)).float().masked_fill(impossible, -torch.inf)
        right = torch.arange(len(logits), device=logits.device)
        return Output(functional.cross_entropy(logits, right), logits)

    def _vectors(self, inputs: Batch, name: str) -> torch.Tensor:
        of_name = {key.removeprefix(f"{name}_"): v for key, v in inputs.items() if key.startswith(f"{name}_")}
        return unit_vectors(self.encoder, of_name)


def matching_texts(
    tokenizer: PreTrainedTokenizerBase, first: Sequence[str], second: Sequence[str]
) -> MatchingTexts:
    """Prepare pairs of texts that belong together for `ContrastiveModel`.

    Parameters
    ----------
    first, second : sequence of str, shape (n,)
        Two different texts in each pair. Long ones are cut off, as in `tokenize`.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} first texts need as many second ones, got {len(second)}")
    pairs = list(zip(first, second, strict=True))
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(text, len(numbers)) for pair in pairs for text in pair]
    same = np.array(flat, dtype=np.int64).reshape(-1, 2)
    check_examples(
        "pairs", same[:, 0] == same[:, 1], pairs, "hold two different texts, or nothing can be learnt"
    )
    tokens = (tokenize(tokenizer, texts) for texts in (first, second))
    return MatchingTexts(*tokens, same)
