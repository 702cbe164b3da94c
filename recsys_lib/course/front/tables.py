"""The tables of the front page, as Markdown, from kept results and benchmarks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NOT_YET = "*Not measured yet: `make run`, then `make results readme`.*"
LEADERBOARDS = {
    "complete_journey_all": "Shop, all products",
    "complete_journey_discovery": "Shop, new to the household",
    "movielens_100k": "Films, not yet rated",
}
TUNED = {
    "EASE, for all": "EASE, tuned for this,",
    "habit × sales of late": "habit times a power of last week's sales",
    "popularity, last 60 days": "popularity of 60 days",
}
BASELINES = ("Random", "Popularity", "Popularity, 45 days", "PersonalFrequency")
LEVEL = 0.05  # of the p-values, which are corrected for the number of rivals
FASTER = (("ALS", "fit and recommend, ALS"), ("BPR", "fit and recommend, BPR"))
FASTER += tuple((f"{kind} kNN", f"fit and recommend, {kind} kNN") for kind in ("cosine", "TF-IDF", "BM25"))

NO_RIVAL = ("recsys_lib", "bare product", "plain loop")

Row = Mapping[str, Any]


def notebooks_table(kept: Mapping[str, Any]) -> str:
    """Link every notebook, with its title, what it teaches, run time and memory."""
    course = kept["course"] or {"notebooks": []}
    took = {row["notebook"]: row for row in course["notebooks"]}
    rows = []
    for name, title in kept["titles"].items():
        row = took.get(name)
        cost = (f"{row['seconds']} s", f"{row['peak_mib'] / 1024:.1f} GiB") if row else ("–", "–")
        learn = kept.get("learn", {}).get(name[:2])
        shown = f"**{title}**<br>{learn}" if learn else title
        rows.append((f"[{name[:2]}](notebooks/{name}.ipynb)", shown, *cost))
    if took:
        seconds = sum(row["seconds"] for row in took.values())
        peak = max(row["peak_mib"] for row in took.values()) / 1024
        rows.append(("", "**the whole course**", f"**{seconds / 60:.1f} min**", f"**{peak:.1f} GiB**"))
    return markdown_table(("", "notebook", "run time", "memory"), "llrr", rows)


def task_rows(kept: Mapping[str, Any], task: str) -> dict[str, dict[str, Row]]:
    """Return model → metric → row of a task, from the last notebook that judged and timed models on it."""
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
    """Compare NDCG@10 on the shop's December: all products, and products new to the household."""
    everything = task_rows(kept, "complete_journey_all")
    new = task_rows(kept, "complete_journey_discovery")
    models = list(dict.fromkeys([*everything, *new]))
    if not models:
        return NOT_YET
    rows = []
    for model in models:
        cells = [_ranked_value(table.get(model, {})) for table in (everything, new)]
        seconds = (everything.get(model) or new.get(model))["fit_seconds"]["value"]
        rows.append((_named(model), *cells, _seconds(seconds)))
    table = markdown_table(("model", "all products", "new to the household", "fit"), "lrrr", rows)
    judged = [row for of in kept["results"].values() for row in of if row["task"] == "complete_journey_all"]
    found = {row["model"]: row["value"] for row in judged if row["metric"] == "ndcg@10"}
    others = ", ".join(f"{name} has {found[of]:.3f}" for of, name in TUNED.items() if of in found)
    note = f"\n\nNot in the table: on all products {others} (notebooks 03 and 01)."
    return table + note if others else table


def films_leaderboard(kept: Mapping[str, Any]) -> str:
    """Compare NDCG@10 and MAP@10 on MovieLens 100K, beside published figures."""
    models = task_rows(kept, "movielens_100k")
    if not models:
        return NOT_YET
    rows = []
    for model, metrics in models.items():
        seconds = _seconds(metrics["fit_seconds"]["value"]) if "fit_seconds" in metrics else "–"
        rows.append((_named(model), _ranked_value(metrics), with_interval(metrics.get("map@10")), seconds))
    return markdown_table(("model", "NDCG@10", "MAP@10", "fit"), "lrrr", rows)


def leaderboard_chart(kept: Mapping[str, Any]) -> str:
    """Show the chart of the leaderboards, if there is one."""
    if not any(task_rows(kept, task) for task in LEADERBOARDS):
        return NOT_YET
    seen = "NDCG@10 of every model with its interval; red: baselines, hollow: published figures"
    return f"![{seen}](results/charts/leaderboard.svg)"


def speed_rows(benchmarks: Mapping[str, Any]) -> list[tuple[str, float, dict[str, float]]]:
    """List what was timed, our seconds, and the seconds of each other library at the same work."""
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
    gpu = benchmarks.get("gpu", {})
    timed += [
        (f"top 10 of {cell['items']:,} items, {gpu['device']}", ours / 1000, {"torch": torch / 1000})
        for cell in gpu.get("cells", [])
        if (cell["factors"], cell["queries"], cell["k"]) == ("random", 1024, 10)
        and cell["items"] in (17_000, 1_000_000)  # the smallest, and the usual large one
        for ours, torch in [[cell["milliseconds"][name] for name in ("recsys_lib", "torch")]]
    ]
    if loads := benchmarks.get("serving", {}).get("loads"):
        ours, slowly, naive = (loads[name] for name in ("ours", "ours, slowly", "naive, slowly"))
        half, most = (f"{ours[name]:.1f} ms" for name in ("p50", "p99"))
        what = f"an answer of the service (200 a second: half in {half}, 99 % in {most})"
        timed += [(what, slowly["p50"] / 1000, {"pandas in each request": naive["p50"] / 1000})]
    fitted = benchmarks.get("recommenders", {}).get("results", {})
    return timed + [
        (what, fitted[name]["median"], {"implicit": fitted[f"implicit {name}"]["median"]})
        for name, what in FASTER
        if name in fitted and f"implicit {name}" in fitted
    ]


def speed_table(kept: Mapping[str, Any]) -> str:
    """Compare our seconds with the times that other libraries took."""
    rows = [
        (what, _seconds(ours), ", ".join(f"{name} {s / ours:.1f} ×" for name, s in others.items()))
        for what, ours, others in speed_rows(kept["benchmarks"])
    ]
    return markdown_table(("work", "recsys_lib", "the others took"), "lrl", rows) if rows else NOT_YET


def sizes_table(kept: Mapping[str, Any]) -> str:
    """Say how much disk, memory and time the course takes."""
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
    return markdown_table(("", ""), "lr", rows)


def glossary_table(kept: Mapping[str, Any]) -> str:
    """List the words of the course in English and Chinese, for the page in data/: its links go up first."""
    by_number = {name[:2]: name for name in kept["titles"]}
    rows = []
    for row in sorted(kept["glossary"], key=lambda row: row["english"].lower()):
        links = [
            f"[{n}](../notebooks/{by_number[n]}.ipynb)" if n in by_number else n
            for n in row["notebook"].split()
        ]
        rows.append((row["english"], row["chinese"], row["meaning"], " ".join(links)))
    return markdown_table(("English", "中文", "in a few words", "taught in"), "llll", rows)


def _named(model: str) -> str:
    if model.startswith("published: "):
        return f"*{model.removeprefix('published: ')} (published)*"
    return f"{model} (baseline)" if model in BASELINES else f"**{model}**"


def with_interval(row: Row | None) -> str:
    """Write the value of a row of results, its interval in brackets; a dash where there is no row."""
    if row is None:
        return "–"
    digits = 3 if abs(row["value"]) < 2 else 0
    text = f"{row['value']:,.{digits}f}"
    return text if row["low"] is None else f"{text} [{row['low']:,.{digits}f}, {row['high']:,.{digits}f}]"


def _ranked_value(metrics: Mapping[str, Row]) -> str:
    """Write NDCG@10 with its interval; a † where the distance to the leader may be chance."""
    p_value = metrics.get("p_value_against_leader")
    return with_interval(metrics.get("ndcg@10")) + (" †" if p_value and p_value["value"] > LEVEL else "")


def _seconds(seconds: float) -> str:
    if seconds < 0.001:
        return "< 1 ms"
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def markdown_table(head: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown; `align` has one letter per column, l or r."""
    rule = ["---:" if side == "r" else "---" for side in align]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))
