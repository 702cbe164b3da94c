"""Who competes on which benchmark: every model with the settings chosen for it on validation."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from recsys_lib import recommenders as rec
from recsys_lib.data import load_movielens_100k, load_table, movie_texts, product_texts
from recsys_lib.judging.benchmark import Benchmark
from recsys_lib.judging.results import PROFILES

# Their figures may differ a little between machines: notebooks mark them ≈.
STOCHASTIC = frozenset({"ALS", "BPR", "TwoTower", "BiasedMF", "Hybrid", "BoostedRanker"})

# What was tried on validation, by benchmark and model: name of a setting → its values.
GRIDS = tomllib.loads(Path(__file__).with_name("grids.toml").read_text("utf-8"))
REPEATS = ("PersonalFrequency", "TIFU-KNN", "UP-CF")  # tuned for all products; only for new ones:
DISCOVERIES = ("Popularity, 45 days", "EASE", "TrendEASE")


class Contender(NamedTuple):
    """One entry of a leaderboard."""

    name: str  # in tables; two models made for one task each may share it
    model: rec.Recommender  # not fitted
    tasks: tuple[str, ...]  # of the benchmark, in which it competes
    extra: Mapping[str, Any] = MappingProxyType({})  # further arguments of its `fit`


def contenders(
    benchmark: Benchmark, profile: str = "default", seed: int = 0, device: str = "cpu"
) -> list[Contender]:
    """List the models of a benchmark, not fitted.

    Parameters
    ----------
    profile : {"smoke", "default", "full"}
        Smoke: smaller and fewer epochs on MovieLens, only the simplest models elsewhere. Full: wider vectors,
        and more months of the past for the rankers.
    device : str
        As in `Recommender`.

    Returns
    -------
    list of Contender
        Plain ones first. The settings were chosen on the validation split of each protocol; your data gets
        those of the shop, as a place to start.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {PROFILES}, got {profile!r}")
    list_models = _for_films if benchmark.name == "movielens" else _for_baskets
    return list_models(benchmark, profile, seed, device)


def describe(model: rec.Recommender) -> str:
    """Name a model's class and those settings that differ from the class's defaults or were tuned.

    Examples
    --------
    >>> describe(rec.EASE(regularization=300.0, weighting="log")), describe(rec.Popularity())
    ('EASE(regularization=300.0)', 'Popularity()')
    """
    names = {field.name for field in fields(model)}
    grids = (grid for of in GRIDS.values() for grid in of.values() if names.issuperset(grid))
    shown, tuned = [], {name for grid in grids for name in grid}
    for field in fields(model):
        value = getattr(model, field.name)
        plain = value == field.default and (value is None or field.name not in tuned)
        if field.name in ("device", "seed") or plain:
            continue
        if field.name == "parts":
            value = f"[{', '.join(describe(part) for part in value)}]"
        shown.append(f"{field.name}={value}")
    return f"{type(model).__name__}({', '.join(shown)})"


def _entries(benchmark: Benchmark, models: dict[str, rec.Recommender], **extra: dict) -> list[Contender]:
    return [
        Contender(name, model, tuple(benchmark.tasks), extra.get(name, {})) for name, model in models.items()
    ]


def _for_films(benchmark: Benchmark, profile: str, seed: int, device: str) -> list[Contender]:
    smoke, shared = profile == "smoke", {"seed": seed, "device": device}
    tower_settings = {"factors": 32, "epochs": 10, "batch_users": 64} if smoke else {"epochs": 20}
    als_settings = ((16, 10.0, 4.0), (24, 40.0, 10.0), (32, 30.0, 4.0))[: 1 if smoke else 3]
    blended = [
        rec.ALS(factors=f, regularization=r, alpha=a, weighting="binary", seed=seed + number, device=device)
        for number, (f, r, a) in enumerate(als_settings)
    ]
    sessions = rec.SessionEASE(regularization=200.0, share=0.75, scale=1_000.0, device=device)
    models = {
        "Random": rec.Random(seed=seed),
        "Popularity": rec.Popularity(),
        "PersonalFrequency": rec.PersonalFrequency(),
        "ItemKNN cosine": rec.ItemKNN(similarity="cosine"),
        "ItemKNN TF-IDF": rec.ItemKNN(similarity="tfidf"),
        "ItemKNN BM25": rec.ItemKNN(similarity="bm25"),
        "UserKNN": rec.UserKNN(neighbors=100, similarity="tfidf", weighting="binary"),
        "ContentBased": rec.ContentBased(),
        "ALS": rec.ALS(factors=32, regularization=30.0, alpha=3.0, weighting="binary", **shared),
        "BPR": rec.BPR(regularization=0.03, epochs=5 if smoke else 20, weighting="binary", **shared),
        "EASE": rec.EASE(regularization=500.0, weighting="binary", device=device),
        "TwoTower": rec.TwoTower(learning_rate=0.1, weight_decay=1.0, **tower_settings, **shared),
        "SessionEASE": sessions,
        "Hybrid": rec.Hybrid(parts=[sessions, *blended], task="discovery", holdout="random", **shared),
    }
    texts = movie_texts(load_movielens_100k().items, benchmark.split.train.items)
    return _entries(benchmark, models, ContentBased={"texts": texts})


def _for_baskets(benchmark: Benchmark, profile: str, seed: int, device: str) -> list[Contender]:
    timed, shop = benchmark.split.train.events is not None, benchmark.name == "complete_journey"
    slow_decay = {"half_life": 240.0} if shop else {}
    fast_decay, faster = ({"half_life": days} if shop else {} for days in (45.0, 30.0))
    factors = {"smoke": 32, "default": 64, "full": 128}[profile]
    shared = {"seed": seed, "device": device}
    frequency, nearest = rec.PersonalFrequency(half_life=90.0 if timed else None), rec.ItemKNN()
    linear = rec.EASE(regularization=100.0, weighting="log", device=device, **slow_decay)
    models = {
        "Random": rec.Random(seed=seed),
        "Popularity": rec.Popularity(),
        "PersonalFrequency": frequency,
        "ItemKNN BM25": nearest,
    }
    if profile != "smoke":
        models |= {
            "ItemKNN cosine": rec.ItemKNN(similarity="cosine"),
            "UserKNN": rec.UserKNN(neighbors=100, weighting="log", **faster),
            "ALS": rec.ALS(
                factors=factors, regularization=10.0, offset=0.0, weighting="log", **fast_decay, **shared
            ),
            "BPR": rec.BPR(factors=factors, **shared),
            "EASE": linear,
            "TwoTower": rec.TwoTower(factors=factors, **shared),
        }
    entries = _entries(benchmark, models)
    if not shop:
        return [*entries, _blend(benchmark, [frequency, nearest, rec.ALS(factors=32, seed=seed)], device)]
    if profile == "smoke":
        return entries
    products = load_table("products").set_index("product_id").reindex(benchmark.split.train.items)
    extra = {"ContentBased": {"texts": product_texts(products)}}
    entries += _entries(benchmark, _of_the_field(device) | {"ContentBased": rec.ContentBased()}, **extra)
    parts = [frequency, linear, rec.Trending(half_life=14.0)]
    return [*entries, *_rankers(products, parts, {"periods": 3 if profile == "full" else 1, **shared})]


def _of_the_field(device: str) -> dict[str, rec.Recommender]:
    """Make the baselines of the literature on next baskets, and the two that know what is taken of late."""
    return {
        "Popularity, 45 days": rec.Trending(window=45.0),
        "GP-TopFreq": rec.PersonalFrequency(half_life=None),
        "TIFU-KNN": rec.TIFUKNN(neighbors=30, group=1, basket_decay=1.0, group_decay=0.96, own=0.5),
        "UP-CF": rec.UPCF(recent=25, alpha=0.25, locality=5.0),
        "TrendEASE": rec.TrendEASE(regularization=300.0, days=45.0, power=0.5, device=device),
    }


def _blend(benchmark: Benchmark, parts: list[rec.Recommender], device: str) -> Contender:
    """Make the hybrid for your data: it learns its weights from the data, so it needs no tuning."""
    task, events = next(iter(benchmark.tasks)), benchmark.split.train.events
    span = 30 if events is None else (events["time"].max() - events["time"].min()).days
    model = rec.Hybrid(
        parts=parts,
        task="all" if task.endswith("_all") else "discovery",
        holdout="random" if events is None else "time",
        days=max(1, span / 5),
        device=device,
    )
    return Contender("Hybrid", model, (task,))


def _rankers(products: pd.DataFrame, parts: list[rec.Recommender], shared: dict[str, Any]) -> list[Contender]:
    """Make one two-stage ranker for each task of Complete Journey; `periods` months of the past teach."""
    types, makers = products["product_type"].fillna("?"), products["manufacturer_id"].astype(str)
    groups = {
        "product_type": pd.factorize(types)[0],
        "product_category": pd.factorize(products["product_category"].fillna("?"))[0],
        "type_and_maker": pd.factorize(types + "|" + makers)[0],
    }
    frequency, _, trending = parts
    repeats = rec.BoostedRanker(
        parts=[frequency, trending], candidates=[60, 10], task="all", negatives=0.3, **shared
    )
    slow = {"trees": 80, "learning_rate": 0.06, "min_rows": 300, "negatives": 0.2}
    discoveries = rec.BoostedRanker(parts=parts, candidates=[0, 150, 60], task="discovery", **slow, **shared)
    return [
        Contender("BoostedRanker", model, (f"complete_journey_{model.task}",), {"item_groups": groups})
        for model in (repeats, discoveries)
    ]
