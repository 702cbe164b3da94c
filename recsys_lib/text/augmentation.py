"""More texts out of the same texts: words left out, swapped for the shop's own, cut off, lists merged.

Every function returns a new list with one text for each text, none of them empty, and the same list again
for the same seed.
"""

import re
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from recsys_lib.data.abbreviations import WORDS
from recsys_lib.text.batches import check_texts

SEPARATORS = ";,"
BETWEEN_PARTS = "; "  # of a list
SHOP_NAMES = tuple((short.lower(), plain) for short, plain in WORDS.items() if plain)


def delete_words(texts: Sequence[str], share: float = 0.1, *, seed: int = 0) -> list[str]:
    """Leave out words at random; each text keeps at least one.

    Parameters
    ----------
    texts : sequence of str
    share : float
        Probability of each word to be left out, from 0 to 1.
    seed : int

    Returns
    -------
    list of str
        The separator behind a word left out goes to the word before it, so that lists stay lists.

    Examples
    --------
    >>> delete_words(["frozen breaded stick; vegetables; white bread"], 0.4)
    ['frozen; vegetables; white bread']
    """
    _check_share(share)
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
        shortened.append(_join(kept))
    return shortened


def swap_names(
    texts: Sequence[str],
    share: float = 0.5,
    *,
    names: Iterable[tuple[str, str]] = SHOP_NAMES,
    seed: int = 0,
) -> list[str]:
    """Write words another way at random: abbreviate those that are spelt out, spell out abbreviated ones.

    Parameters
    ----------
    texts : sequence of str
    share : float
        Probability of each word that can be written another way to be swapped, from 0 to 1.
    names : iterable of (str, str)
        Pairs that stand for one another, of one word or several. Without them: the shop's abbreviations and
        what they mean.
    seed : int

    Returns
    -------
    list of str

    Examples
    --------
    >>> swap_names(["frozen bread"], 1.0), swap_names(["frzn bread"], 1.0)
    (['frzn bread'], ['frozen bread'])
    >>> swap_names(["soft drink"], 1.0, names=[("soft drink", "soda")])
    ['soda']
    """
    _check_share(share)
    others = _both_ways(names)
    texts = check_texts(texts, "texts")
    if not others:
        return texts
    # Longest first: of "lunch meat" and "meat", the former is found where both are there.
    parts = sorted(others, key=lambda name: (-len(name), name))
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, parts))})(?!\w)", re.IGNORECASE)
    generator = np.random.default_rng(seed)

    def swap(match: re.Match) -> str:
        # The old letter ſ matches an s but is no s in lower case either: such a word stays.
        choices = others.get(match.group().lower())
        if generator.random() >= share or choices is None:
            return match.group()
        return choices[generator.integers(len(choices))]

    return [pattern.sub(swap, text) for text in texts]


def truncate_words(texts: Sequence[str], most: int) -> list[str]:
    """Keep the first words of each text: of a household, what it bought last.

    Parameters
    ----------
    texts : sequence of str
    most : int
        Largest number of words.

    Examples
    --------
    >>> truncate_words(["white bread; butter; tea", "tea"], 3)
    ['white bread; butter', 'tea']
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    return [_join(text.split()[:most]) for text in check_texts(texts, "texts")]


def merge_texts(
    texts: Sequence[str], groups: Sequence[Hashable], *, most: int | None = None, seed: int = 0
) -> list[str]:
    """Join each list with another one of its group, drawn at random, every part once.

    Parameters
    ----------
    texts : sequence of str, shape (n,)
        Lists with "; " between their parts, such as those of `related_purchases`.
    groups : sequence, shape (n,)
        The household of each list, or its label: only lists of one group are joined, so that what is true
        of both stays true of the joined one.
    most : int, optional
        Largest number of parts.
    seed : int

    Returns
    -------
    list of str
        A list that is alone in its group comes back with repeated parts left out.

    Examples
    --------
    >>> merge_texts(["bread; tea", "soap", "tea; milk"], ["food", "home", "food"])
    ['bread; tea; milk', 'soap', 'tea; milk; bread']
    """
    texts = check_texts(texts, "texts")
    if len(groups) != len(texts):
        raise ValueError(f"{len(texts)} texts need as many groups, got {len(groups)}")
    if most is not None and most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    generator = np.random.default_rng(seed)
    merged = []
    for row, group in enumerate(groups):
        partners = [other for other in members[group] if other != row] or [row]
        partner = partners[generator.integers(len(partners))]
        both = texts[row].split(BETWEEN_PARTS) + texts[partner].split(BETWEEN_PARTS)
        parts = dict.fromkeys(part for part in both if part.strip())
        merged.append(BETWEEN_PARTS.join(list(parts)[:most]) or texts[row])
    return merged


def _both_ways(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    others: dict[str, list[str]] = {}
    for one, other in names:
        if not one.strip() or not other.strip():
            raise ValueError(f"a name is empty: ({one!r}, {other!r})")
        if one.lower() != other.lower():
            others.setdefault(one.lower(), []).append(other)
            others.setdefault(other.lower(), []).append(one)
    return others


def _join(words: list[str]) -> str:
    text = " ".join(words)
    return text.rstrip(SEPARATORS + " ") or text


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
