"""The questions of the course beside its leaderboards: a simple rival, and a model, for each."""

from collections.abc import Mapping
from typing import Any

from recsys_lib.course.front.tables import BASELINES, NOT_YET, markdown_table, task_rows, with_interval
from recsys_lib.files import project_root, read_rows

# Question, task, metric, its name, which direction is better; then the simple rival and the model that the
# notebook chose before it looked at the test.
QUESTIONS = read_rows(project_root() / "data" / "questions.csv")

LEADERBOARD_SENTENCES = {
    "complete_journey_all": "The shop, all products",
    "complete_journey_discovery": "The shop, new to the household",
    "movielens_100k": "The films",
}


def answers_table(kept: Mapping[str, Any]) -> str:
    """Compare a simple rival and a model of the notebook in the course's other questions."""
    rows = []
    for of in QUESTIONS:
        shown = (of["rival"], of["model"])
        found = {
            row["model"]: (notebook, row)
            for notebook, of_notebook in kept["results"].items()
            for row in of_notebook
            if (row["task"], row["metric"]) == (of["task"], of["metric"]) and row["model"] in shown
        }
        if found:
            notebook, _ = next(iter(found.values()))
            cells = [f"{one}: {with_interval(found[one][1])}" if one in found else "–" for one in shown]
            link = f"[{notebook[:2]}](notebooks/{notebook}.ipynb)"
            measure = f"{of['measure']}, {of['better']} is better"
            rows.append((f"{of['question']} {link}", measure, *cells))
    head = ("question", "measure", "simple rival", "the model")
    return markdown_table(head, "llll", rows) if rows else NOT_YET


def findings(kept: Mapping[str, Any]) -> str:
    """Say in one sentence per leaderboard how the best model compares with what it has to beat."""
    lines = []
    for task, start in LEADERBOARD_SENTENCES.items():
        models = task_rows(kept, task)
        own = [model for model in models if model not in BASELINES and not model.startswith("published: ")]
        rivals = [model for model in BASELINES[::-1] if model in models and model != "Random"]
        if task != "complete_journey_all":  # habit has nothing to say about what is new
            rivals = [model for model in rivals if model != "PersonalFrequency"]
        rivals += [model for model in models if model.startswith("published: ")][:1]
        if own and rivals:
            beside = ", ".join(_quoted(model, models[model]) for model in rivals)
            lines.append(f"- {start}: {_quoted(own[0], models[own[0]])}; beside it {beside}.")
    return "\n".join(lines) or NOT_YET


def _quoted(model: str, metrics: Mapping[str, Any]) -> str:
    name = model.replace("published: ", "the best published row below, ")
    return f"{name} {metrics['ndcg@10']['value']:.3f}"
