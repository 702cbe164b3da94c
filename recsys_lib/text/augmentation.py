"""More texts out of the same texts: words left out at random."""

from collections.abc import Sequence

import numpy as np

from recsys_lib.text.batches import check_texts

SEPARATORS = ";,"


def delete_words(texts: Sequence[str], share: float = 0.1, *, seed: int = 0) -> list[str]:
    """Leave out words at random; each text keeps at least one.

    Parameters
    ----------
    share : float
        Probability of each word to be left out, from 0 to 1.

    Returns
    -------
    list of str
        One new text for each, none of them empty, and the same again for the same seed. The separator
        behind a word left out goes to the word before it, so that lists stay lists.

    Examples
    --------
    >>> delete_words(["frozen breaded stick; vegetables; white bread"], 0.4)
    ['frozen; vegetables; white bread']
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    generator = np.random.default_rng(seed)
    shortened = []
    for text in check_texts(texts, "texts"):
        words = text.split()
        draws = generator.random(len(words))
        draws[generator.integers(len(words))] = 1.0  # this word stays
        kept: list[str] = []
        for word, draw in zip(words, draws, strict=True):
            if draw >= share:
                kept.append(word)
            elif kept and word[-1] in SEPARATORS and kept[-1][-1] not in SEPARATORS:
                kept[-1] += word[-1]
        text = " ".join(kept)
        shortened.append(text.rstrip(SEPARATORS + " ") or text)
    return shortened
