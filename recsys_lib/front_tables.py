"""The tables of the front page, as Markdown, from kept results and benchmarks."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

NOT_YET = "*Not measured yet: `make run`, then `make results readme`.*"
LEADERBOARDS = {
    "complete_journey_all": "Shop, all products",
    "complete_journey_discovery": "Shop, new to the household",
    "movielens_100k": "Films, not yet rated",
}
BASELINES = ("Random", "Popularity", "PersonalFrequency")
# Rivals that need no learning, or hardly any.
SIMPLE = re.compile(
    r"(popular\w*|random|chance|tf-?idf|bm25|mean|global mean|base rate)( \+ logistic regression)?",
    re.IGNORECASE,
)
COMPARISON = re.compile(r"^published: | against | minus ")
HIGHER, LOWER = "higher is better", "lower is better"
# What is asked, task, metric, its name, which way is better; then the simple rival and the model that the
# notebook chose before it looked at the test. None: the best simple one, the best of the others.
QUESTIONS = (
    ("What rating will somebody give a film?", "movielens_rating", "rmse", "RMSE, stars", LOWER, None, None),
    ("What will a household spend in four weeks?", "next_four_weeks_spend", "rmse", "RMSE, dollars", LOWER,
     "linear regression", "network 10-100-1"),
    ("Which products answer a shopper's words?", "search", "ndcg@10", "NDCG@10", HIGHER, None, None),
    ("Will this household buy this product next month?", "purchase_intent", "roc_auc", "ROC AUC", HIGHER,
     None, None),
    ("Who wants a product that nobody bought yet?", "new_products", "ndcg@10", "NDCG@10", HIGHER, None, None),
    ("Who redeems a coupon?", "campaign_conversion", "roc_auc", "ROC AUC", HIGHER,
     "redeemed before", "blend, calibrated"),
    ("Whom to send it, in dollars earned?", "campaign_decision", "profit_dollars", "profit", HIGHER,
     "redeemed before", "model, threshold"),
    ("Who stays away for four weeks?", "churn", "roc_auc", "ROC AUC", HIGHER,
     "visits", "logistic regression"),
)  # fmt: skip
FASTER = (("ALS", "fit and recommend, ALS"), ("BPR", "fit and recommend, BPR"))
FASTER += tuple((f"{kind} kNN", f"fit and recommend, {kind} kNN") for kind in ("cosine", "TF-IDF", "BM25"))

NO_RIVAL = ("recsys_lib", "bare product", "plain loop")

Row = Mapping[str, Any]


def notebooks_table(kept: Mapping[str, Any]) -> str:
    """Link every notebook, with its title, run time and memory."""
    course = kept["course"] or {"notebooks": []}
    took = {row["notebook"]: row for row in course["notebooks"]}
    rows = []
    for name, title in kept["titles"].items():
        row = took.get(name)
        cost = (f"{row['seconds']} s", f"{row['peak_mib'] / 1024:.1f} GiB") if row else ("–", "–")
        rows.append((f"[{name[:2]}](notebooks/{name}.ipynb)", title, *cost))
    if took:
        seconds = sum(row["seconds"] for row in took.values())
        peak = max(row["peak_mib"] for row in took.values()) / 1024
        rows.append(("", "**the whole course**", f"**{seconds / 60:.1f} min**", f"**{peak:.1f} GiB**"))
    return _table(("", "notebook", "run time", "memory"), "llrr", rows)


def task_rows(kept: Mapping[str, Any], task: str) -> dict[str, dict[str, Row]]:
    """Model → metric → row of a leaderboard, from the last notebook that judged and timed models on it."""
    for name in sorted(kept["results"], reverse=True):
        models: dict[str, dict[str, Row]] = {}
        for row in kept["results"][name]:
            if row["task"] == task:
                models.setdefault(row["model"], {})[row["metric"]] = row
        models = {
            model: of_model
            for model, of_model in models.items()
            if "ndcg@10" in of_model and ("fit_seconds" in of_model or model.startswith("published: "))
        }
        if models:
            return dict(sorted(models.items(), key=lambda item: -item[1]["ndcg@10"]["value"]))
    return {}


def shop_leaderboard(kept: Mapping[str, Any]) -> str:
    """NDCG@10 on the shop's December: with everything allowed, and for products new to the household."""
    everything = task_rows(kept, "complete_journey_all")
    new = task_rows(kept, "complete_journey_discovery")
    models = list(dict.fromkeys([*everything, *new]))
    if not models:
        return NOT_YET
    rows = []
    for model in models:
        cells = [_value(table.get(model, {}).get("ndcg@10")) for table in (everything, new)]
        seconds = (everything.get(model) or new.get(model))["fit_seconds"]["value"]
        rows.append((_named(model), *cells, _seconds(seconds)))
    return _table(("model", "all products", "new to the household", "fit"), "lrrr", rows)


def films_leaderboard(kept: Mapping[str, Any]) -> str:
    """NDCG@10 and MAP@10 on MovieLens 100K, beside published figures."""
    models = task_rows(kept, "movielens_100k")
    if not models:
        return NOT_YET
    rows = []
    for model, metrics in models.items():
        seconds = _seconds(metrics["fit_seconds"]["value"]) if "fit_seconds" in metrics else "–"
        rows.append((_named(model), *(_value(metrics.get(m)) for m in ("ndcg@10", "map@10")), seconds))
    return _table(("model", "NDCG@10", "MAP@10", "fit"), "lrrr", rows)


def leaderboard_chart(kept: Mapping[str, Any]) -> str:
    """Show the chart of the leaderboards, if there is one."""
    if not any(task_rows(kept, task) for task in LEADERBOARDS):
        return NOT_YET
    seen = "NDCG@10 of every model with its interval; red: baselines, hollow: published figures"
    return f"![{seen}](results/charts/leaderboard.svg)"


def answers_table(kept: Mapping[str, Any]) -> str:
    """The other questions of the course: a simple rival, and a model of the notebook."""
    rows = []
    for question, task, metric, name, better, *shown in QUESTIONS:
        found = {
            row["model"]: (notebook, row)
            for notebook, of_notebook in kept["results"].items()
            for row in of_notebook
            if (row["task"], row["metric"]) == (task, metric) and not COMPARISON.search(row["model"])
        }
        if not found:
            continue
        ranked = sorted(found, key=lambda model: found[model][1]["value"], reverse=better == HIGHER)
        simple = [model for model in ranked if SIMPLE.fullmatch(model)]
        rival = shown[0] if shown[0] in found else next(iter(simple), None)
        others = [model for model in ranked if model not in simple and model != rival]
        model = shown[1] if shown[1] in found else next(iter(others), None)
        notebook = found[ranked[0]][0]
        cells = [f"{one}: {_value(found[one][1])}" if one else "–" for one in (rival, model)]
        link = f"[{notebook[:2]}](notebooks/{notebook}.ipynb)"
        rows.append((f"{question} {link}", f"{name}, {better}", *cells))
    return _table(("question", "measure", "simple rival", "the model"), "llll", rows) if rows else NOT_YET


def speed_rows(benchmarks: Mapping[str, Any]) -> list[tuple[str, float, dict[str, float]]]:
    """What was timed, our seconds, and the seconds of each other library at the same work."""
    cells = [
        (f"top 10 of {cell['items']:,} items", cell["results"])
        for cell in benchmarks.get("top_k", {}).get("cells", [])
        if (cell["factors"], cell["width"], cell["k"]) == ("real", 64, 10)
    ]
    cells += [
        (f"metrics of {cell['users']:,} lists", cell["results"])
        for cell in benchmarks.get("metrics", {}).get("cells", [])
        if cell["k"] == 10
    ]
    texts = benchmarks.get("text", {}).get("results", {})
    cells += [(f"texts, {task}", results) for task, results in texts.items()]
    timed = [
        (
            what,
            results["recsys_lib"]["median"],
            {n: results[n]["median"] for n in results if n not in NO_RIVAL},
        )
        for what, results in cells
    ]
    fitted = benchmarks.get("recommenders", {}).get("results", {})
    return timed + [
        (what, fitted[name]["median"], {"implicit": fitted[f"implicit {name}"]["median"]})
        for name, what in FASTER
        if name in fitted and f"implicit {name}" in fitted
    ]


def speed_table(kept: Mapping[str, Any]) -> str:
    """Seconds of ours, and how many times as long others took."""
    rows = [
        (what, _seconds(ours), ", ".join(f"{name} {s / ours:.1f} ×" for name, s in others.items()))
        for what, ours, others in speed_rows(kept["benchmarks"])
    ]
    return _table(("work", "recsys_lib", "the others took"), "lrl", rows) if rows else NOT_YET


def sizes_table(kept: Mapping[str, Any]) -> str:
    """What the course takes of a machine."""
    course = kept["course"]
    if not course:
        return NOT_YET
    seconds = sum(row["seconds"] for row in course["notebooks"])
    peak = max(row["peak_mib"] for row in course["notebooks"])
    rows = [
        ("environment on disk", f"{course['environment_mib'] / 1024:.1f} GiB"),
        ("data prepared by the notebooks", f"{course['data_mib']:.0f} MiB"),
        ("memory, at most", f"{peak / 1024:.1f} GiB"),
        ("whole course, two cores, no GPU", f"{seconds / 60:.1f} min"),
    ]
    return _table(("", ""), "lr", rows)


def read_glossary(path: Path) -> list[dict[str, str]]:
    """Rows with `english`, `chinese`, `meaning` and `notebook` (numbers of notebooks, first one first)."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def glossary_table(kept: Mapping[str, Any]) -> str:
    """English, Chinese, meaning, and a link to where it is taught."""
    by_number = {name[:2]: name for name in kept["titles"]}
    rows = []
    for row in sorted(kept["glossary"], key=lambda row: row["english"].lower()):
        links = [
            f"[{n}](notebooks/{by_number[n]}.ipynb)" if n in by_number else n for n in row["notebook"].split()
        ]
        rows.append((row["english"], row["chinese"], row["meaning"], " ".join(links)))
    return _table(("English", "中文", "in a few words", "taught in"), "llll", rows)


def _named(model: str) -> str:
    if model.startswith("published: "):
        return f"*{model.removeprefix('published: ')} (published)*"
    return f"{model} (baseline)" if model in BASELINES else f"**{model}**"


def _value(row: Row | None) -> str:
    if row is None:
        return "–"
    digits = 0 if abs(row["value"]) >= 100 else 3
    text = f"{row['value']:,.{digits}f}"
    return text if row["low"] is None else f"{text} [{row['low']:,.{digits}f}, {row['high']:,.{digits}f}]"


def _seconds(seconds: float) -> str:
    if seconds < 0.001:
        return "< 1 ms"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _table(head: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))
