"""The questions of the course beside its leaderboards: a simple rival, and a model, for each."""

from collections.abc import Mapping
from typing import Any

from recsys_lib.course.front.tables import BASELINES, NOT_YET, markdown_table, task_rows, with_interval

HIGHER, LOWER = "higher is better", "lower is better"
# Question, task, metric, its name, which direction is better; then the simple rival and the model that the
# notebook chose before it looked at the test.
QUESTIONS = (
    ("What rating will somebody give a film?", "movielens_rating", "rmse", "RMSE, stars", LOWER,
     "global mean", "BiasedMF"),
    ("What will a household spend in four weeks?", "next_four_weeks_spend", "rmse", "RMSE, dollars", LOWER,
     "linear regression", "network"),
    ("Which products answer a shopper's words?", "search", "ndcg@10", "NDCG@10", HIGHER,
     "TF-IDF of letters", "weighted letters and MiniLM"),
    ("Will this household buy this product next month?", "purchase_intent", "roc_auc", "ROC AUC", HIGHER,
     "counts, boosted trees", "counts (trees) + BERT"),
    ("Who wants a product that nobody bought yet?", "new_products", "ndcg@10", "NDCG@10", HIGHER,
     "attributes", "attributes + frozen MiniLM"),
    ("Who redeems a coupon?", "campaign_conversion", "roc_auc", "ROC AUC", HIGHER,
     "redeemed before", "logistic regression"),
    ("Whom to send it, in dollars earned?", "campaign_decision", "profit_dollars", "profit", HIGHER,
     "redeemed before", "model, threshold"),
    ("Whom does a coupon change? (a simulation)", "uplift", "qini", "Qini coefficient", HIGHER,
     "response model", "X-learner"),
    ("Who stays away for four weeks?", "churn", "roc_auc", "ROC AUC", HIGHER,
     "visits", "logistic regression"),
    ("What will a household spend in 13 weeks?", "spend_13_weeks", "mae", "mean error, dollars", LOWER,
     "last 13 weeks", "BG/NBD × Gamma-Gamma"),
    ("How much of a product will be sold in four weeks?", "sales_4_weeks", "wape", "WAPE", LOWER,
     "median of 8 weeks", "trees, median"),
    ("Which banner, while learning? (a simulation)", "bandit_stationary", "regret", "clicks lost", LOWER,
     "ε-greedy, 0.1", "Thompson"),
)  # fmt: skip

LEADERBOARD_SENTENCES = {
    "complete_journey_all": "The shop, all products",
    "complete_journey_discovery": "The shop, new to the household",
    "movielens_100k": "The films",
}


def answers_table(kept: Mapping[str, Any]) -> str:
    """Compare a simple rival and a model of the notebook in the course's other questions."""
    rows = []
    for question, task, metric, name, better, *shown in QUESTIONS:
        found = {
            row["model"]: (notebook, row)
            for notebook, of_notebook in kept["results"].items()
            for row in of_notebook
            if (row["task"], row["metric"]) == (task, metric) and row["model"] in shown
        }
        if found:
            notebook, _ = next(iter(found.values()))
            cells = [f"{one}: {with_interval(found[one][1])}" if one in found else "–" for one in shown]
            link = f"[{notebook[:2]}](notebooks/{notebook}.ipynb)"
            rows.append((f"{question} {link}", f"{name}, {better}", *cells))
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
    name = model.replace("published: ", "the best published figure, ")
    return f"{name} {metrics['ndcg@10']['value']:.3f}"
