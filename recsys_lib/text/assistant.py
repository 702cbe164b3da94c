"""An assistant that stays with the facts: find rows, decide, say them.

It reads the shop's rules, its products and the asking household's purchases, and fills templates with them.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_lib.files import project_root
from recsys_lib.text.encoder import TextModel, encode

GROUPS = ("product", "purchases", "list", "person", "decline")  # where there is no rule to quote
MOST_LETTERS, RIDGE = 400, 0.03  # of a question; how much the router's regression is shrunk
SENTENCES = {"person": "I pass this on to a colleague, who will write to you."}
SENTENCES["decline"] = "I can help with this shop only: orders, returns, opening hours, your card, products."
HEADINGS = dict(product="A product or its price", purchases="What you bought before", list="A recommendation")
HEADINGS |= {"person": "A person", "decline": "Something else"}
FORMS = {"product": ("We have", "{0} (about ${1.price:.2f})")}
FORMS["purchases"] = ("You bought", "{0} (×{1.times}, last {1.last:%Y-%m-%d} for ${1.price:.2f})")
UNREADABLE = "Please write your question in a few English words."


class Reply(NamedTuple):
    """What the assistant says, and why: the rows are those it may quote."""

    action: str  # "answer", "ask", "person" or "decline"
    text: str
    entry: str  # a rule's id, or one of `GROUPS`
    rows: list[str]
    confidence: float


def entry_of(answer: str, kind: str) -> str:
    """Return the entry that a labelled question of `data/service_questions.csv` should be given."""
    if answer.startswith("query:"):
        return "purchases" if kind == "purchases" else "product"
    return answer.split("|")[0]


def clean(text: str) -> str:
    """Take control characters out, cut after 400 characters; "" if hardly a Latin letter is left."""
    text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in str(text)[: 10 * MOST_LETTERS])
    text = " ".join(text.split())[:MOST_LETTERS]
    letters = sum(c.isascii() and c.isalpha() for c in text)
    return text if letters >= 2 and letters > sum(c.isalpha() for c in text) / 2 else ""


class Router:
    """Say how probable each rule and each of `GROUPS` is as what answers a question.

    A conditional logit weighs a candidate's cosines, what a kernel ridge regression says, and its group.
    """

    def __init__(self, rules: pd.DataFrame, encoder: TextModel) -> None:
        self.rules, self.encoder, self.entries = rules, encoder, [*rules["rule"], *GROUPS]
        self.about = encode(encoder, [*rules["question"], *rules["answer"]])

    def fit(self, texts: Sequence[str], entries: Sequence[str], vectors: np.ndarray | None = None) -> Self:
        """Learn from questions (and their vectors, if known) and their entries."""
        if unknown := set(entries) - set(self.entries):
            raise ValueError(f"an entry is the id of a rule, or one of {GROUPS}; not {min(unknown)!r}")
        vectors = encode(self.encoder, list(texts)) if vectors is None else vectors
        self.known, n, rules = np.concatenate([vectors, self.about]), len(vectors), range(len(self.rules))
        target = np.eye(len(self.entries))[[*map(self.entries.index, entries), *rules, *rules]]
        inverse = np.linalg.inv(self._kernel(self.known) + RIDGE * np.eye(len(target)))
        self.dual = inverse @ target
        left_out = target - self.dual / np.diag(inverse)[:, None]  # as if each text had not been there
        features, right = self._features(vectors, left_out[:n]), target[:n] > 0

        def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:  # of a conditional logit, a little shrunk
            chance = softmax(features @ weight, axis=1)
            slope = np.einsum("nef,ne->f", features, chance - right) / len(right)
            return -np.log(chance[right]).mean() + 1e-4 * weight @ weight, slope + 2e-4 * weight

        self.weight = minimize(loss, np.zeros(features.shape[2]), jac=True).x
        return self

    def probabilities(self, texts: Sequence[str], vectors: np.ndarray | None = None) -> np.ndarray:
        """Return (n_texts, n_rules + 5): rows sum to 1, columns in the order of `entries`."""
        vectors = encode(self.encoder, list(texts)) if vectors is None else vectors
        return softmax(self._features(vectors, self._kernel(vectors) @ self.dual) @ self.weight, axis=1)

    def _kernel(self, vectors: np.ndarray) -> np.ndarray:
        return np.exp(2 * (vectors @ self.known.T - 1.0))  # 1 for the same meaning

    def _features(self, vectors: np.ndarray, regression: np.ndarray) -> np.ndarray:
        n = len(self.rules)
        features = np.zeros((len(vectors), len(self.entries), 3 + len(GROUPS)))
        features[:, :n, :2] = (vectors @ self.about.T).reshape(-1, 2, n).transpose(0, 2, 1)
        features[:, :, 2], features[:, n:, 3:] = 5 * regression, np.eye(len(GROUPS))
        return features


class Assistant:
    """Answer a household's question from the shop's rows; ask back when unsure; pass on what needs a person.

    `products` has `name`, `words` (what to find it by), `price` in dollars and `lines` (how often it sold).
    `bought` leads to a household's purchases, `last`, `price`, `times`, indexed as `products`, `recommend` to
    names. Below `threshold`, a probability, it asks back. Only `rules` are quoted; else a person answers.
    """

    def __init__(self, router: Router, products: pd.DataFrame, bought: Callable[[int], pd.DataFrame],
                 recommend: Callable[[int], list[str]], threshold: float = 0.5,
                 rules: pd.DataFrame | None = None) -> None:  # fmt: skip
        self.router, self.products, self.threshold = router, products, threshold
        self.bought, self.recommend = bought, recommend
        self.rules = (router.rules if rules is None else rules).set_index("rule")
        self.vectors = encode(router.encoder, products["words"].tolist())
        self.letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
        self.spelt, self.known = self.letters.fit_transform(products["words"]), np.log(products["lines"]) / 40
        self.shop = pd.read_csv(project_root() / "data" / "customer_words.csv", index_col="customer")["shop"]
        words = sorted(map(re.escape, self.shop.index), key=len, reverse=True)  # "pop tarts" before "pop"
        self.said = re.compile(rf"\b({'|'.join(words)})(?:s|es)?\b")

    def reply(self, text: str, household: int) -> Reply:
        """Answer one question; whatever is typed, there is a sentence."""
        text = clean(text)
        if not text:
            return Reply("ask", UNREADABLE, "", [], 0.0)
        chances = self.router.probabilities([text])[0]
        best = [self.router.entries[place] for place in np.argsort(-chances, kind="stable")[:3]]
        if chances.max() < self.threshold:
            headings = {**self.rules["question"], **HEADINGS}
            rows = [headings[entry] for entry in best if entry in headings] or [HEADINGS["person"]]
            return Reply("ask", "Did you mean: " + " / ".join(rows), best[0], rows, chances.max())
        return Reply(*self.quote(best[0], text, household), chances.max())

    def quote(self, entry: str, text: str, household: int) -> tuple[str, str, str, list[str]]:
        """Return the action, a template filled with rows only, the entry and the rows."""
        if entry in self.rules.index:
            return "answer", self.rules["answer"][entry], entry, [self.rules["answer"][entry]]
        entry = entry if entry in GROUPS else "person"  # a rule that may not be quoted
        if entry in SENTENCES:
            return entry, SENTENCES[entry], entry, []
        if entry == "list":
            rows = [name for name in self.recommend(household) if name in set(self.products["name"])]
            said = f"You may like: {'; '.join(rows)}" if rows else "There is nothing new for you today."
            return "answer", said, entry, rows
        table = self.products if entry == "product" else self.bought(household)
        table = table[table.index.isin(self.products.index)]
        text = ", ".join([text, *(self.shop[words] for words in self.said.findall(text.lower()))])
        spelling = (self.spelt @ self.letters.transform([text]).T).toarray()[:, 0]
        score = self.known + self.vectors @ encode(self.router.encoder, [text])[0] + spelling
        table = table.loc[(-score[table.index]).sort_values(kind="stable").index[:3]]
        (begin, form), names = FORMS[entry], self.products["name"][table.index]
        rows = [form.format(*row) for row in zip(names, table.itertuples(), strict=True)]
        said = f"{begin}: {'; '.join(rows)}" if rows else f"{begin} nothing like it."
        return "answer", said, entry, rows
