"""Token lists of many texts, kept without padding, and batches of texts of about the same length."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

WINDOW = 50  # batches that are sorted by length together


@dataclass(frozen=True)
class Tokens:
    """Tokens of n texts, one after the other without padding."""

    ids: np.ndarray  # int32, shape (n_tokens,): numbers of the tokenizer's vocabulary
    segments: np.ndarray  # uint8, shape (n_tokens,): 0 in the first text of a pair, 1 in the second
    starts: np.ndarray  # int64, shape (n + 1,): text i is ids[starts[i] : starts[i + 1]]
    padding: int  # the token that fills up a batch

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of tokens of each text, shape (n,)."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def batch(self, rows: np.ndarray, width: int | None = None) -> dict[str, torch.Tensor]:
        """Return BERT's three inputs for some texts, each of shape (len(rows), width).

        Without a width it is the length of the longest of them, so that as little as possible is padding.
        """
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        width = int(lengths.max()) if width is None else width
        place = np.arange(width)
        real = place < lengths[:, None]
        # Places behind the end read some token of the next text; the mask then overwrites it.
        source = np.minimum(self.starts[rows][:, None] + place, len(self.ids) - 1)
        ids = np.where(real, self.ids[source], self.padding)
        segments = np.where(real, self.segments[source], 0)
        arrays = {"input_ids": ids, "attention_mask": real, "token_type_ids": segments}
        return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    *,
    max_tokens: int = 128,
) -> Tokens:
    """Cut texts, or pairs of texts, into tokens.

    Parameters
    ----------
    pairs : sequence of str, optional
        A second text for each, behind a separator.
    max_tokens : int
        Longer texts lose their end, and a warning says how many; of a pair, the longer text is cut.
    """
    least = tokenizer.num_special_tokens_to_add(pair=pairs is not None) + 1
    if not least <= max_tokens <= tokenizer.model_max_length:
        most = "" if tokenizer.model_max_length > 1e9 else f" and at most {tokenizer.model_max_length}"
        raise ValueError(f"max_tokens must be at least {least}{most}, got {max_tokens}")
    texts = check_texts(texts, "texts")
    if pairs is not None:
        pairs = check_texts(pairs, "pairs")
        if len(pairs) != len(texts):
            raise ValueError(f"{len(texts)} texts need as many pairs, got {len(pairs)}")
    if not texts:
        return _join([], [], tokenizer.pad_token_id)
    settings = dict(truncation="longest_first", max_length=max_tokens, return_token_type_ids=True)
    found = tokenizer(texts, pairs, **settings, return_attention_mask=False)
    long = [i for i, encoding in enumerate(found.encodings) if encoding.overflowing]
    if long:
        warnings.warn(
            f"{len(long)} of {len(texts)} texts have more than {max_tokens} tokens, the first is number "
            f"{long[0]}: their end is cut off",
            stacklevel=2,
        )
    return _join(found["input_ids"], found["token_type_ids"], tokenizer.pad_token_id)


def length_batches(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Cut positions 0 … n − 1 into batches of texts of about the same length.

    Parameters
    ----------
    lengths : array of int, shape (n,)
    generator : np.random.Generator, optional
        With it, texts are shuffled, and sorted by length only within windows of 50 batches; then the batches
        are shuffled: the order stays random, and little is padded. Without it, all texts are sorted, the
        longest first, so that a batch too large for the memory fails at once.

    Returns
    -------
    list of array of int
        Every position exactly once.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    lengths = np.asarray(lengths)
    if generator is None:
        return _cut(np.argsort(-lengths, kind="stable"), batch_size)
    batches = []
    for window in _cut(generator.permutation(len(lengths)), WINDOW * batch_size):
        batches += _cut(window[np.argsort(-lengths[window], kind="stable")], batch_size)
    return [batches[i] for i in generator.permutation(len(batches))]


def in_order(batches: list[np.ndarray], values: np.ndarray) -> np.ndarray:
    """Put rows that were computed batch by batch back into the order of their texts.

    Examples
    --------
    >>> in_order([np.array([2, 0]), np.array([1])], np.array([0.2, 0.0, 0.1]))
    array([0. , 0.1, 0.2])
    """
    ordered = np.empty_like(values)
    ordered[np.concatenate([np.empty(0, np.int64), *batches])] = values
    return ordered


def check_texts(texts: Sequence[str], name: str) -> list[str]:
    """Return the texts as a list, or raise a ValueError that names the first one that is not a text."""
    if isinstance(texts, str):
        raise ValueError(f"{name} must be a list of texts; for one text give [text]")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"{name}[{i}] is {text!r}, a {type(text).__name__}; every text must be a string")
        if not text.strip():
            raise ValueError(f"{name}[{i}] is empty; leave it out or write what is known of the product")
    return texts


def check_examples(name: str, bad: np.ndarray, values: Sequence[object], rule: str) -> None:
    """Raise a ValueError that names the first row in which `bad` is true, and the rule it breaks."""
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name} must {rule}; {name}[{row}] is {values[row]}")


def _join(ids: list[list[int]], segments: list[list[int]], padding: int) -> Tokens:
    starts = np.concatenate([[0], np.cumsum([len(text) for text in ids], dtype=np.int64)]).astype(np.int64)
    flat = [np.fromiter((t for text in part for t in text), np.int64, starts[-1]) for part in (ids, segments)]
    return Tokens(flat[0].astype(np.int32), flat[1].astype(np.uint8), starts, padding)


def _cut(positions: np.ndarray, size: int) -> list[np.ndarray]:
    return [positions[start : start + size] for start in range(0, len(positions), size)]
