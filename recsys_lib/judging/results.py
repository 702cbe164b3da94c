"""The figures a notebook arrives at: rows in build/results/NN_name.json, from which every table is drawn."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, FiniteFloat, ValidationError, model_validator

from recsys_lib.files import atomic_path, project_root

if TYPE_CHECKING:
    import pandas as pd

PROFILES = ("smoke", "default", "full")
# NumPy's numbers become Python's, so that they can be written as JSON.
_PLAIN = BeforeValidator(lambda number: number.item() if hasattr(number, "item") else number)
_Number = Annotated[FiniteFloat, _PLAIN]


class Row(BaseModel, extra="forbid", strict=True):
    """One row of results; see `result_row`."""

    task: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    model: Annotated[str, Field(pattern=r"^\S(.*\S)?$")]
    metric: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(@\d+)?$")]
    value: _Number | None
    low: _Number | None
    high: _Number | None
    n: Annotated[int, Field(ge=0), _PLAIN]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        value, low, high = self.value, self.low, self.high
        if value is None and (low, high, self.n) != (None, None, 0):
            raise ValueError("without a value there is no interval, and n is 0")
        if value is not None and self.n == 0:
            raise ValueError("n is 0, but there is a value")
        if (low is None) != (high is None):
            raise ValueError(f"give both low and high or neither, got {low!r} and {high!r}")
        rounding = 1e-9 * max(abs(low or 0), abs(high or 0), 1.0)
        if low is not None and not low - rounding <= value <= high + rounding:
            raise ValueError(f"low ≤ value ≤ high does not hold: {low} ≤ {value} ≤ {high}")
        return self


class Results(BaseModel, extra="forbid", strict=True):
    """What a notebook's file of results holds."""

    notebook: Annotated[str, Field(pattern=r"^\d{2}_[a-z0-9_]+$")]
    profile: Literal[PROFILES]
    seed: Annotated[int, _PLAIN]
    seconds: Annotated[_Number, Field(ge=0)]
    rows: Annotated[list[Row], Field(min_length=1)]

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        taken: dict[tuple[str, str, str], int] = {}
        for number, row in enumerate(self.rows):
            first = taken.setdefault((row.task, row.model, row.metric), number)
            if first < number:
                raise ValueError(f"row {number} repeats task, model and metric of row {first}")
        return self


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
    try:
        return Row(**row).model_dump()
    except ValidationError as error:
        raise ValueError(f"task {task!r}, model {model!r}, metric {metric!r}: {error}") from error


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
    payload = Results(**payload).model_dump()
    payload["seconds"] = round(payload["seconds"], 3)
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
    Results.model_validate(payload)


def results_table(
    rows: Sequence[Mapping[str, Any]], digits: int = 3, approximate: Collection[str] = ()
) -> "pd.DataFrame":
    """Lay rows out as text: models down, metrics across, intervals in brackets.

    Parameters
    ----------
    rows : sequence of dict
        From `result_row` or `load_results(...)["rows"]`.
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


def _text(row: Mapping[str, Any], digits: int, mark: str) -> str:
    if row["value"] is None:
        return "–"
    if row["metric"].endswith("_seconds"):
        return f"{row['value']:.2f} s"
    value, low, high = (
        None if row[name] is None else f"{mark}{row[name]:,.{digits}f}" for name in ("value", "low", "high")
    )
    return value if low is None else f"{value} [{low}, {high}]"
