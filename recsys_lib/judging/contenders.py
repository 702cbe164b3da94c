"""Who competes on which benchmark: every model with the settings chosen for it on validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from recsys_lib.data import load_movielens_100k, load_table, movie_texts, product_texts
from recsys_lib.judging.benchmark import Benchmark
from recsys_lib.recommenders import (
    ALS,
    BPR,
    EASE,
    BoostedRanker,
    ContentBased,
    Hybrid,
    ItemKNN,
    PersonalFrequency,
    Popularity,
    Random,
    Recommender,
    SessionEASE,
    Trending,
    TwoTower,
    UserKNN,
)

PROFILES = ("smoke", "default", "full")
# Their figures may differ a little between machines: notebooks mark them ≈.
STOCHASTIC = frozenset({"ALS", "BPR", "TwoTower", "BiasedMF", "Hybrid", "BoostedRanker"})


class Contender(NamedTuple):
    """One entry of a leaderboard.

    Attributes
    ----------
    name : str
        As it stands in tables; two models made for one task each may share it.
    model : Recommender
        Not fitted.
    tasks : tuple of str
        Of the benchmark, which it competes in.
    extra : mapping
        What its `fit` takes besides interactions.
    """

    name: str
    model: Recommender
    tasks: tuple[str, ...]
    extra: Mapping[str, Any] = MappingProxyType({})


def contenders(
    benchmark: Benchmark, profile: str = "default", seed: int = 0, device: str = "cpu"
) -> list[Contender]:
    """List the models of a benchmark, not fitted.

    Parameters
    ----------
    benchmark : Benchmark
    profile : {"smoke", "default", "full"}
        Smoke: smaller and fewer epochs on MovieLens, only the simplest models elsewhere. Full: wider vectors,
        and more months of the past for the rankers.
    seed : int
    device : str
        As in `Recommender`.

    Returns
    -------
    list of Contender
        Plain ones first. The settings were chosen on the validation split of each protocol; one's own data
        gets those of the shop, as a place to start.

    Raises
    ------
    ValueError
        If the profile is not known.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {PROFILES}, got {profile!r}")
    make = _for_films if benchmark.name == "movielens" else _for_baskets
    return make(benchmark, profile, seed, device)


def spelled_out(model: Recommender) -> str:
    """Name a model's class and those settings that differ from the class's defaults.

    Examples
    --------
    >>> spelled_out(ALS(32, alpha=3.0)), spelled_out(Popularity())
    ('ALS(factors=32, alpha=3.0)', 'Popularity()')
    """
    shown = []
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name in ("device", "seed", "progress") or value == field.default:
            continue
        if field.name == "parts":
            value = f"[{', '.join(spelled_out(part) for part in value)}]"
        shown.append(f"{field.name}={value}")
    return f"{type(model).__name__}({', '.join(shown)})"


def _entries(benchmark: Benchmark, models: dict[str, Recommender], **extra: dict) -> list[Contender]:
    return [
        Contender(name, model, tuple(benchmark.tasks), extra.get(name, {})) for name, model in models.items()
    ]


def _for_films(benchmark: Benchmark, profile: str, seed: int, device: str) -> list[Contender]:
    quick, own = profile == "smoke", {"seed": seed, "device": device}
    factors = ((16, 10.0, 4.0), (24, 40.0, 10.0), (32, 30.0, 4.0))  # numbers per vector, λ, α
    several = [
        ALS(*chosen, scheme="binary", seed=seed + place, device=device)
        for place, chosen in enumerate(factors)
    ]
    towers = {"factors": 32, "epochs": 10, "batch_users": 64} if quick else {"epochs": 20}
    models = {
        "Random": Random(seed),
        "Popularity": Popularity(),
        "PersonalFrequency": PersonalFrequency(),
        "ItemKNN cosine": ItemKNN(None, "cosine"),
        "ItemKNN TF-IDF": ItemKNN(None, "tfidf"),
        "ItemKNN BM25": ItemKNN(None, "bm25"),
        "UserKNN": UserKNN(100, "tfidf", scheme="binary"),
        "ContentBased": ContentBased(),
        "ALS": ALS(32, regularization=30.0, alpha=3.0, scheme="binary", **own),
        "BPR": BPR(epochs=5 if quick else 20, scheme="binary", **own),
        "EASE": EASE(500.0, scheme="binary", device=device),
        "TwoTower": TwoTower(scheme="binary", **(towers | own)),
        "SessionEASE": SessionEASE(device=device),
        "Hybrid": Hybrid(
            [SessionEASE(device=device), *several[: 1 if quick else 3]],
            task="discovery",
            holdout="random",
            seed=seed,
        ),
    }
    texts = movie_texts(load_movielens_100k().items, benchmark.split.train.items)
    return _entries(benchmark, models, ContentBased={"texts": texts})


def _for_baskets(benchmark: Benchmark, profile: str, seed: int, device: str) -> list[Contender]:
    timed, shop = benchmark.split.train.events is not None, benchmark.name == "complete_journey"
    fade = {"half_life": 240.0} if shop else {}
    fade_fast = {"half_life": 120.0} if shop else {}
    width = {"smoke": 32, "default": 64, "full": 128}[profile]  # numbers per vector
    own = {"seed": seed, "device": device}
    frequency, nearest, linear = (
        PersonalFrequency(90.0 if timed else None),
        ItemKNN(),
        EASE(100.0, scheme="log", device=device, **fade),
    )
    models = {
        "Random": Random(seed),
        "Popularity": Popularity(),
        "PersonalFrequency": frequency,
        "ItemKNN BM25": nearest,
    }
    if profile != "smoke":
        models |= {
            "ItemKNN cosine": ItemKNN(None, "cosine"),
            "UserKNN": UserKNN(100, scheme="log", **fade_fast),
            "ALS": ALS(width, regularization=10.0, offset=0.0, scheme="log", **fade_fast, **own),
            "BPR": BPR(width, **own),
            "EASE": linear,
            "TwoTower": TwoTower(width, **own),
        }
    if not shop:
        blended = [frequency, nearest, ALS(32, seed=seed)]
        return [*_entries(benchmark, models), _blend(benchmark, blended)]
    if profile == "smoke":
        return _entries(benchmark, models)
    products = load_table("products").set_index("product_id").reindex(benchmark.split.train.items)
    texts = {"texts": product_texts(products)}
    listed = _entries(benchmark, models | {"ContentBased": ContentBased()}, ContentBased=texts)
    periods = 3 if profile == "full" else 1
    return [*listed, *_rankers(products, [frequency, linear, Trending(14.0)], periods, seed)]


def _blend(benchmark: Benchmark, parts: Iterable[Recommender]) -> Contender:
    """The hybrid for one's own data: it learns its weights from the data, so it needs no tuning."""
    task, events = next(iter(benchmark.tasks)), benchmark.split.train.events
    span = 30 if events is None else (events["time"].max() - events["time"].min()).days
    how = {
        "task": "all" if task.endswith("_all") else "discovery",
        "holdout": "random" if events is None else "time",
        "days": max(1, span / 5),
    }
    return Contender("Hybrid", Hybrid(list(parts), **how), (task,))


def _rankers(products: pd.DataFrame, parts: list[Recommender], periods: int, seed: int) -> list[Contender]:
    """One two-stage ranker for each task of Complete Journey; `periods` months of the past teach."""
    kind_and_maker = products["product_type"].fillna("?") + "|" + products["manufacturer_id"].astype(str)
    groups = {
        "product_type": pd.factorize(products["product_type"].fillna("?"))[0],
        "product_category": pd.factorize(products["product_category"].fillna("?"))[0],
        "type_and_maker": pd.factorize(kind_and_maker)[0],
    }
    how = {"periods": periods, "seed": seed}
    again = BoostedRanker([parts[0], parts[2]], [60, 10], task="all", negatives=0.3, **how)
    slow = {"trees": 80, "learning_rate": 0.06, "min_rows": 300, "negatives": 0.2}
    new = BoostedRanker(parts, [0, 150, 60], task="discovery", **slow, **how)
    tasks = ("complete_journey_all",), ("complete_journey_discovery",)
    return [
        Contender("BoostedRanker", model, task, {"groups": groups})
        for model, task in zip((again, new), tasks, strict=True)
    ]
