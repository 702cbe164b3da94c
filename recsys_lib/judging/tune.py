"""Choose settings on validation, and keep what was tried: `python -m recsys_lib.judging.tune`."""

import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys_lib.data import complete_journey_december, movielens_100k_stratified
from recsys_lib.files import atomic_path, project_root
from recsys_lib.judging.benchmark import Benchmark, basket_tasks
from recsys_lib.judging.contenders import DISCOVERIES, GRIDS, REPEATS, contenders
from recsys_lib.metrics import ranking_metrics
from recsys_lib.recommenders import Recommender
from recsys_lib.recommenders.shared.arrays import to_numpy

SEED = 0
LEVEL = 0.001  # of the goal: less is no difference, and far inside the interval over users


def tuning_file() -> Path:
    """Return where the tried settings are kept: beside the results that the project stores."""
    return project_root() / "results" / "tuning.json"


def tuning_table() -> pd.DataFrame:
    """Read what was tried: one line per setting.

    Returns
    -------
    pd.DataFrame
        Columns benchmark, model, settings (dict), goal (geometric mean of NDCG@10 over the tasks that the
        model was tuned for), all and discovery (NDCG@10 of each task), chosen (bool: of those level with the
        grid's best, up to LEVEL of it, the first in the order of the grid), edge (names of those of its
        numbers that end their line of the grid).
    """
    found = pd.DataFrame(json.loads(tuning_file().read_text(encoding="utf-8"))["rows"])
    best = found.groupby(["benchmark", "model"])["goal"].transform("max")
    level = found[found["goal"] >= (1 - LEVEL) * best]
    found["chosen"] = found.index.isin(level.drop_duplicates(["benchmark", "model"]).index)
    named = [edges(GRIDS[of.benchmark][of.model], of.settings) for of in found.itertuples()]
    found["edge"] = np.where(found["chosen"], named, "")
    return found


def edges(grid: dict[str, list], settings: dict[str, Any]) -> str:
    """Name the numbers of a setting that are the smallest or largest tried.

    Examples
    --------
    >>> edges({"factors": [8, 16, 32], "alpha": [1.0, 2.0, 3.0]}, {"factors": 32, "alpha": 2.0})
    'factors'
    """
    numbers = {name: values for name, values in grid.items() if not isinstance(values[0], str)}
    return ", ".join(name for name in numbers if settings[name] in (grid[name][0], grid[name][-1]))


def _validation() -> Iterator[Benchmark]:
    splits = {"movielens_100k": movielens_100k_stratified, "complete_journey": complete_journey_december}
    for name, make in splits.items():
        split = make(validation=True)
        names = split.train.items.astype(str).to_numpy()
        yield Benchmark(name.removesuffix("_100k"), split, basket_tasks(name, split)[0], names)


def _try(model: Recommender, benchmark: Benchmark, label: str) -> dict[str, float]:
    model.fit(benchmark.split.train)
    found = {}
    for name, (relevant, exclude_seen) in benchmark.tasks.items():
        ids = to_numpy(model.recommend(k=10, exclude_seen=exclude_seen).ids)
        found[name.split("_")[-1]] = ranking_metrics(ids, relevant, k=10)["ndcg"]
    of = {"all": label not in DISCOVERIES, "discovery": label not in REPEATS}
    asked = [value for task, value in found.items() if of.get(task, True)]
    return {"goal": float(np.exp(np.mean(np.log(asked)))), **found}


def main() -> None:
    """Try every grid on the validation splits, and write results/tuning.json."""
    rows = []
    for benchmark in _validation():
        models = {entry.name: entry.model for entry in contenders(benchmark, "full", SEED)}
        for label, grid in GRIDS[benchmark.name].items():
            for values in itertools.product(*grid.values()):
                settings = dict(zip(grid, values, strict=True))
                als = (benchmark.name, label) == ("complete_journey", "ALS")
                narrow = {"factors": 64} if als else {}  # as in the default profile
                found = _try(replace(models[label], **settings, **narrow), benchmark, label)
                rows.append({"benchmark": benchmark.name, "model": label, "settings": settings, **found})
                print(label, settings, {name: round(value, 4) for name, value in found.items()}, flush=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True, cwd=project_root())
    whole = {"commit": commit.strip(), "profile": "default", "seed": SEED, "rows": rows}
    with atomic_path(tuning_file()) as path:
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
