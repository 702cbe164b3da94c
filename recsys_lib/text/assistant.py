"""An assistant that stays with the facts: find rows, decide, say them, check what was said.

It reads the shop's rules, its products, and the purchases of the household that asks; nothing else. What it
says is a template filled with rows, or a model's sentence that `ungrounded` finds nothing to object to.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from recsys_lib.text.encoder import TextModel, encode

GROUPS = ("product", "purchases", "list", "person", "decline")  # where there is no rule to quote
MOST_LETTERS = 400
SENTENCES = {"person": "I pass this on to a colleague, who will write to you."}
SENTENCES["decline"] = "I can help with this shop only: orders, returns, opening hours, your card, products."
HEADINGS = dict(product="A product or its price", purchases="What you bought before", list="A recommendation")
HEADINGS |= {"person": "A person", "decline": "Something else"}
UNREADABLE = "Please write your question in a few English words."
_WORDS = r"(?u)[^\W_]+"
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SPOKEN = "zero one two three four five six seven eight nine ten eleven twelve".split()
_CALENDAR = "monday tuesday wednesday thursday friday saturday sunday january february march april june july"
_CALENDAR += " august september october november december christmas thanksgiving free half double twice"


class Reply(NamedTuple):
    """What the assistant says, and why: the rows are those it may quote."""

    action: str  # "answer", "ask", "person" or "decline"
    text: str
    entry: str  # a rule's id, or one of `GROUPS`
    rows: list[str]
    confidence: float


def bm25(documents: Sequence[str], k1: float = 1.2, b: float = 0.75) -> Callable[[Sequence[str]], np.ndarray]:
    """Return a function from texts to scores, (n_texts, n_documents): rare words in common count most.

    From Robertson & Zaragoza (2009), "The Probabilistic Relevance Framework: BM25 and Beyond".
    """
    counter = CountVectorizer(token_pattern=_WORDS)
    count = counter.fit_transform(documents).toarray().astype(np.float64)
    found_in, length = (count > 0).sum(axis=0), count.sum(axis=1, keepdims=True)
    rarity = np.log(1 + (len(count) - found_in + 0.5) / (found_in + 0.5))
    weight = rarity * count * (k1 + 1) / (count + k1 * (1 - b + b * length / length.mean()))
    return lambda texts: np.asarray((counter.transform(texts) > 0) @ weight.T)


def clean(text: str) -> str:
    """Take control characters out, cut after 400 characters; "" if hardly a Latin letter is left."""
    text = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in str(text)[: 10 * MOST_LETTERS])
    text = " ".join(text.split())[:MOST_LETTERS]
    letters = sum(c.isascii() and c.isalpha() for c in text)
    return text if letters >= 2 and letters > sum(c.isalpha() for c in text) / 2 else ""


def ungrounded(answer: str, rows: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """List the numbers, days, strong words and product names of an answer that stand in none of the rows."""
    said, known = answer.lower(), " ".join(rows).lower()
    numbers = {str(_SPOKEN.index(word)) for word in re.findall(_WORDS, known) if word in _SPOKEN}
    numbers |= set(_NUMBER.findall(known))
    wrong = [number for number in _NUMBER.findall(said) if number not in numbers]
    spoken = {word for word in _SPOKEN[2:] if str(_SPOKEN.index(word)) not in numbers}  # "one" is often none
    spoken |= set(_CALENDAR.split()) - set(re.findall(_WORDS, known))
    wrong += [word for word in re.findall(_WORDS, said) if word in spoken]
    return wrong + [name for name in names if name.lower() in said and name.lower() not in known]


def quotable(
    rules: pd.DataFrame, signed: pd.DataFrame, products: pd.DataFrame, catalogue: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rules that stand as signed, heading and answer, and the products named in catalogue words.

    Both keep their index: a household's purchases still find their product.
    """
    columns = ["rule", "question", "answer"]
    stands = rules[columns].apply(tuple, axis=1).isin(set(signed[columns].itertuples(index=False, name=None)))
    known = set(re.findall(_WORDS, " ".join(catalogue).lower()))
    texts = (products["name"] + " " + products["words"]).str.lower().str.findall(_WORDS)
    return rules[stands], products[texts.map(known.issuperset).astype(bool)]


class Router:
    """Say how probable each rule and each of `GROUPS` is as what answers a question.

    A candidate has six features: cosine with the rule's answer and with its heading, BM25 of the rule, the
    largest and the mean of the three largest cosines with questions known to belong there, and the log
    probability of its group from a classifier on letters, words and meaning. A conditional logit weighs them.
    """

    def __init__(self, rules: pd.DataFrame, encoder: TextModel) -> None:
        self.rules, self.encoder, self.entries = rules, encoder, [*rules["rule"], *GROUPS]
        texts = (rules["question"] + " " + rules["answer"]).tolist()
        self.about = [encode(encoder, texts).T, encode(encoder, rules["question"].tolist()).T]
        self.words = bm25(texts)

    def fit(
        self, questions: Sequence[str], entries: Sequence[str], vectors: np.ndarray | None = None
    ) -> "Router":
        """Learn from questions (and their vectors, if known) and entries; none is its own neighbour."""
        if unknown := set(entries) - set(self.entries):
            raise ValueError(f"an entry is the id of a rule, or one of {GROUPS}; not {min(unknown)!r}")
        self.place = np.array([self.entries.index(entry) for entry in entries])
        self.known = encode(self.encoder, list(questions)) if vectors is None else vectors
        letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORDS)
        self.spelling = [vectorizer.fit(questions) for vectorizer in (letters, words)]
        self.groups = LogisticRegression(C=10, max_iter=3_000)
        design, group = self._design(questions, self.known), np.maximum(self.place - len(self.rules), -1)
        left_out = cross_val_predict(self.groups, design, group, cv=5, method="predict_proba")
        self.groups.fit(design, group)
        features = self._features(questions, self.known, left_out, learning=True)
        right = np.arange(len(self.entries)) == self.place[:, None]

        def loss(weight: np.ndarray) -> tuple[float, np.ndarray]:  # of a conditional logit, a little shrunk
            chance = softmax(features @ weight, axis=1)
            slope = np.einsum("nef,ne->f", features, chance - right) / len(right)
            return -np.log(chance[right]).mean() + 1e-3 * weight @ weight, slope + 2e-3 * weight

        self.weight = minimize(loss, np.zeros(features.shape[2]), jac=True).x
        return self

    def probabilities(self, texts: Sequence[str], vectors: np.ndarray | None = None) -> np.ndarray:
        """Return (n_texts, n_rules + 5): rows sum to 1, columns in the order of `entries`."""
        vectors = encode(self.encoder, list(texts)) if vectors is None else vectors
        chances = self.groups.predict_proba(self._design(texts, vectors))
        return softmax(self._features(texts, vectors, chances) @ self.weight, axis=1)

    def _design(self, texts: Sequence[str], vectors: np.ndarray) -> sparse.csr_array:
        spelt = [vectorizer.transform(texts) for vectorizer in self.spelling]
        return sparse.csr_array(sparse.hstack([2 * vectors, *spelt]))

    def _features(
        self, texts: Sequence[str], vectors: np.ndarray, chances: np.ndarray, learning: bool = False
    ) -> np.ndarray:
        n, near = len(self.rules), vectors @ self.known.T
        near[np.arange(len(near) * learning), np.arange(len(near) * learning)] = -1  # not its own neighbour
        features = np.zeros((len(vectors), len(self.entries), 6 + len(GROUPS)))
        features[:, :n, :2] = np.stack([vectors @ about for about in self.about], axis=2)
        features[:, :n, 2] = self.words(texts) / 10
        for entry in np.unique(self.place):
            best = -np.sort(-near[:, self.place == entry], axis=1)[:, :3]
            features[:, entry, 3] = np.maximum(best[:, 0], 0)
            features[:, entry, 4] = (best * (best > -1)).sum(axis=1) / np.maximum((best > -1).sum(axis=1), 1)
        features[:, :, 5] = np.log(chances[:, np.maximum(np.arange(len(self.entries)) - n + 1, 0)])
        features[:, n:, 6:] = np.eye(len(GROUPS))
        return features


class Assistant:
    """Answer a household's question from the shop's rows; ask back when unsure; pass on what needs a person.

    Parameters
    ----------
    router : Router
        Fitted.
    products : pandas.DataFrame
        `name`, `words` (what to find it by), `price` in dollars, `lines` (how often it sold); unique index.
    bought : function
        From a household to its own purchases: `last`, `price`, `times`, indexed by row of `products`.
    recommend : function
        From a household to names of products; those that `products` does not hold are left out.
    threshold : float
        Least probability of an entry that is used without asking back.
    rules : pandas.DataFrame, optional
        Those that may be quoted, all of the router's without one; a person answers for any other.
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
            return "answer", "You may like: " + ("; ".join(rows) or "nothing new"), entry, rows
        table = self.products if entry == "product" else self.bought(household)
        table = table[table.index.isin(self.products.index)]
        spelling = (self.spelt @ self.letters.transform([text]).T).toarray()[:, 0]
        score = self.known + self.vectors @ encode(self.router.encoder, [text])[0] + spelling
        table = table.loc[(-score[table.index]).sort_values(kind="stable").index[:3]]
        named = list(zip(self.products["name"][table.index], table.itertuples(), strict=True))
        if entry == "product":
            rows = [f"{name} (about ${row.price:.2f})" for name, row in named]
            return "answer", "We have: " + ("; ".join(rows) or "nothing like it"), entry, rows
        say = "{} (×{}, last {:%Y-%m-%d} for ${:.2f})".format
        rows = [say(name, row.times, row.last, row.price) for name, row in named]
        return "answer", "You bought: " + ("; ".join(rows) or "nothing yet"), entry, rows
