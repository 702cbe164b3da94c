"""The figures a notebook arrives at: rows in build/results/NN_name.json, from which every table is drawn."""

import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_lib.files import atomic_path, project_root

if TYPE_CHECKING:
    import pandas as pd

FIELDS = ("notebook", "profile", "seed", "seconds", "rows")
ROW_FIELDS = ("task", "model", "metric", "value", "low", "high", "n")
PROFILES = ("smoke", "default", "full")
NOTEBOOK_NAME = re.compile(r"\d{2}_[a-z0-9_]+")
TASK_NAME = re.compile(r"[a-z][a-z0-9_]*")
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]*(@\d+)?")


def result_row(
    task: str,
    model: str,
    metric: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    n: int = 0,
) -> dict[str, Any]:
    """Return one row of results, checked.

    Parameters
    ----------
    task : str
        Such as "complete_journey_all".
    model : str
        Class or plain name; published figures as "published: NAME".
    metric : str
        Such as "ndcg@10", "rmse" or "fit_seconds".
    value : float or None
        Finite. None for what could not be judged: the row then has neither interval nor `n`, and is shown
        as "–".
    low, high : float, optional
        The 95 % bootstrap interval; both or neither.
    n : int
        How many users, queries or rows the value is the mean of; it has to be given with a value. An
        `Interval` of `recsys_lib.metrics` holds the last four in this order:
        `result_row(task, model, metric, *interval)`.

    Examples
    --------
    >>> result_row("complete_journey_all", "Popularity", "ndcg@10", 0.165, 0.158, 0.172, n=2448)["high"]
    0.172
    """
    row = {"task": task, "model": model, "metric": metric, "value": value, "low": low, "high": high, "n": n}
    _validate_row(row, "the row")
    return _plain(row)


def save_results(
    notebook: str,
    profile: str,
    seed: int,
    seconds: float,
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path | None = None,
) -> Path:
    """Write a notebook's results as JSON, whole or not at all.

    Parameters
    ----------
    notebook : str
        The notebook's name without suffix, such as "03_recommenders".
    profile : {"smoke", "default", "full"}
    seed : int
    seconds : float
        Run time of the notebook so far.
    rows : sequence of dict
        From `result_row`.
    folder : str or Path, optional
        By default the environment variable RECSYS_RESULTS, else build/results of the project.

    Returns
    -------
    Path
        The file written. Show its `.name` in a notebook: the rest differs between machines.
    """
    payload = {"notebook": notebook, "profile": profile, "seed": seed, "seconds": seconds, "rows": list(rows)}
    validate_results(payload)
    payload.update(seed=int(seed), seconds=round(float(seconds), 3), rows=[_plain(row) for row in rows])
    path = _results_folder(folder) / f"{notebook}.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(payload, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def load_results(notebook: str, folder: str | Path | None = None) -> dict[str, Any]:
    """Read what `save_results` wrote, and check it.

    Raises
    ------
    FileNotFoundError
        If the notebook has not been run; the message says how.
    ValueError
        If the file is not in the agreed form.
    """
    path = _results_folder(folder) / f"{notebook}.json"
    if not path.is_file():
        raise FileNotFoundError(f'No {path.name} yet. Make it: make run NOTEBOOKS="{notebook.split("_")[0]}"')
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
        validate_results(payload)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    return payload


def validate_results(payload: Mapping[str, Any]) -> None:
    """Raise ValueError, naming field or row, unless `payload` is what readers of build/results/ rely on."""
    if not isinstance(payload, Mapping) or set(payload) != set(FIELDS):
        raise ValueError(f"results must have exactly the fields {list(FIELDS)}, got {_names(payload)}")
    notebook, seed, seconds, rows = (payload[name] for name in ("notebook", "seed", "seconds", "rows"))
    if not isinstance(notebook, str) or not NOTEBOOK_NAME.fullmatch(notebook):
        raise ValueError(f"notebook must be a name such as '03_recommenders', got {notebook!r}")
    if payload["profile"] not in PROFILES:
        raise ValueError(f"profile must be one of {PROFILES}, got {payload['profile']!r}")
    if not _is_integer(seed):
        raise ValueError(f"seed must be an integer, got {seed!r}")
    if not _is_finite(seconds) or seconds < 0:
        raise ValueError(f"seconds must be a number ≥ 0, got {seconds!r}")
    if not isinstance(rows, list | tuple) or not rows:
        raise ValueError(f"rows must be a list of at least one row, got {rows!r}")
    taken: dict[tuple[str, str, str], int] = {}
    for number, row in enumerate(rows):
        _validate_row(row, f"row {number}")
        key = (row["task"], row["model"], row["metric"])
        if key in taken:
            raise ValueError(f"row {number} repeats task, model and metric of row {taken[key]}: {key}")
        taken[key] = number


def results_table(
    rows: Sequence[Mapping[str, Any]], digits: int = 3, approximate: Collection[str] = ()
) -> "pd.DataFrame":
    """Lay rows out as text: models down, metrics across, intervals in brackets.

    Parameters
    ----------
    rows : sequence of dict
        From `result_row` or `load_results(...)["rows"]`.
    digits : int
    approximate : collection of str
        Models trained with random draws: their figures get the ≈ that takes a number out of the comparison of
        stored outputs. Metrics that end in `_seconds` are shown as "1.23 s", which is taken out too.

    Returns
    -------
    pandas.DataFrame
        Strings, in the order of the rows; "–" where there is no row, or one without a value. With
        several tasks, the task comes before the model in the index.

    Examples
    --------
    >>> rows = [result_row("search", "TF-IDF", "ndcg@10", 0.5, 0.4, 0.6, n=100)]
    >>> results_table(rows).loc["TF-IDF", "ndcg@10"]
    '0.500 [0.400, 0.600]'
    """
    import pandas as pd

    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        text = _text(row, digits, "≈" if row["model"] in approximate else "")
        cells.setdefault((row["task"], row["model"]), {})[row["metric"]] = text
    index = pd.MultiIndex.from_tuples(list(cells), names=["task", "model"])
    metrics = pd.Index(dict.fromkeys(row["metric"] for row in rows), name="metric")
    table = pd.DataFrame(list(cells.values()), index=index, columns=metrics).fillna("–")
    several_tasks = len({row["task"] for row in rows}) > 1
    return table if several_tasks else table.droplevel("task")


def _results_folder(folder: str | Path | None) -> Path:
    return Path(folder or os.environ.get("RECSYS_RESULTS") or project_root() / "build" / "results")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    # NumPy's numbers become Python's, so that they can be written as JSON.
    floats = {name: None if row[name] is None else float(row[name]) for name in ("value", "low", "high")}
    return {**{name: row[name] for name in ROW_FIELDS}, **floats, "n": int(row["n"])}


def _validate_row(row: Mapping[str, Any], where: str) -> None:
    if not isinstance(row, Mapping) or set(row) != set(ROW_FIELDS):
        raise ValueError(f"{where} must have exactly the fields {list(ROW_FIELDS)}, got {_names(row)}")
    task, model, metric, value, low, high, n = (row[name] for name in ROW_FIELDS)
    where = f"{where} (task {task!r}, model {model!r}, metric {metric!r})"
    for name, text, pattern in (("task", task, TASK_NAME), ("metric", metric, METRIC_NAME)):
        if not isinstance(text, str) or not pattern.fullmatch(text):
            raise ValueError(
                f"{where}: {name} must be lower case with underscores, such as 'ndcg@10' for a metric"
            )
    if not isinstance(model, str) or not model or model != model.strip():
        raise ValueError(f"{where}: model must be a name without blanks around it")
    if value is None and (low, high, n) == (None, None, 0):
        return
    if value is None:
        raise ValueError(f"{where}: without a value there is no interval, and n is 0")
    _check_figures(value, low, high, n, where)


def _check_figures(value: Any, low: Any, high: Any, n: Any, where: str) -> None:
    if not _is_finite(value):
        raise ValueError(f"{where}: value must be a finite number, got {value!r}")
    if not _is_integer(n) or n < 1:
        raise ValueError(f"{where}: n must be an integer ≥ 1, got {n!r}")
    if (low is None) != (high is None):
        raise ValueError(f"{where}: give both low and high or neither, got {low!r} and {high!r}")
    if low is not None:
        _check_interval(value, low, high, where)


def _check_interval(value: float, low: float, high: float, where: str) -> None:
    if not (_is_finite(low) and _is_finite(high)):
        raise ValueError(f"{where}: low and high must be finite numbers, got {low!r} and {high!r}")
    rounding = 1e-9 * max(abs(low), abs(high), 1.0)
    if not low - rounding <= value <= high + rounding:
        raise ValueError(f"{where}: low ≤ value ≤ high does not hold: {low} ≤ {value} ≤ {high}")


def _is_integer(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _is_finite(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)


def _names(mapping: Any) -> object:
    return sorted(mapping) if isinstance(mapping, Mapping) else type(mapping).__name__


def _text(row: Mapping[str, Any], digits: int, mark: str) -> str:
    if row["value"] is None:
        return "–"
    if row["metric"].endswith("_seconds"):
        return f"{row['value']:.2f} s"
    value, low, high = (
        None if row[name] is None else f"{mark}{row[name]:,.{digits}f}" for name in ("value", "low", "high")
    )
    return value if low is None else f"{value} [{low}, {high}]"
