"""Train the adapter that notebook 04 loads: `python data/intent_adapter/train.py PAIRS OUTPUT` (a GPU: minutes).

PAIRS is the folder that `pairs.py` beside this file writes. OUTPUT gets the adapter, every model's predictions, and the
rows for `results/full`.
"""

import importlib.util
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
if importlib.util.find_spec("pandera") is None:  # a bare GPU machine: none of what is needed here checks tables
    package = ModuleType("recsys_lib.data")
    package.__path__ = [str(ROOT / "recsys_lib" / "data")]
    sys.modules["recsys_lib.data"] = package
    sys.modules["recsys_lib.data.interactions"] = ModuleType("recsys_lib.data.interactions")
    sys.modules["recsys_lib.data.interactions"].check_columns = None

from recsys_lib import text as bert
from recsys_lib.files import save_tensors
from recsys_lib.text.adapters import trained_weights

MONTHS = {"train": ("2017-08-01", "2017-09-01", "2017-10-01"), "november": ("2017-11-01",), "december": ("2017-12-01",)}
BATCH, EPOCHS, SECONDS = 128, 2, 230  # after so many seconds, what is left of the list is left out


class Run:
    """The examples, and what has been found so far."""

    def __init__(self, pairs: pd.DataFrame, output: Path, model: str | None, device: str, smoke: bool, commit: str):
        self.output, self.model, self.device, self.smoke, self.commit = output, model, device, smoke, commit
        self.words = bert.load_text_model(model).tokenizer
        self.tables = {part: pairs[pairs["month"].isin(months)] for part, months in MONTHS.items()}
        if smoke:
            self.tables = {part: table.head(256) for part, table in self.tables.items()}
        self.examples = {part: self.prepare(table, table["label"]) for part, table in self.tables.items()}
        self.rows, self.predictions, self.started = [], {}, time.perf_counter()

    def prepare(self, table, labels):
        return bert.labeled_pairs(self.words, list(table["bought"]), list(table["product"]), np.asarray(labels))

    def fresh(self, seed: int):
        return bert.PairClassifier(bert.load_text_model(self.model, device=self.device, seed=seed), seed=seed)

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def row(self, task: str, model: str, metric: str, value: float, n: int) -> None:
        row = {"task": task, "model": model, "metric": metric, "value": float(value), "low": None, "high": None, "n": n}
        self.rows.append(row)
        print(f"{self.elapsed():6.0f} s  {model:50} {metric:16} {value:.4f}", flush=True)

    def judge(self, name: str, classifier, history=None) -> float:
        """Note the AUC of November and December, and keep the predictions."""
        auc = {}
        for part in ("november", "december"):
            p = bert.predict(classifier, self.examples[part], batch_size=512)
            self.predictions[f"{name}|{part}"] = p
            auc[part] = roc_auc_score(self.tables[part]["label"], p)
            self.row("purchase_intent", name, f"roc_auc_{part}", auc[part], len(p))
        if history is not None:
            self.row("purchase_intent", name, "fit_seconds", history.seconds, len(self.tables["train"]))
            self.curve(name, history)
        self.write()
        return auc["november"]

    def curve(self, name: str, history) -> None:
        ends = np.unique(np.linspace(0, len(history.losses), 26).astype(int))
        for start, end in zip(ends[:-1], ends[1:], strict=True):
            value = float(np.mean(history.losses[start:end]))
            self.rows.append({"task": "learning_curve", "model": name, "metric": f"loss@{end}", "value": value,
                              "low": None, "high": None, "n": int(end - start)})

    def write(self) -> None:
        """Write after every model, so that a run that is cut off leaves what it has."""
        device = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        facts = {"seed": 0, "device": device, "commit": self.commit, "torch": torch.__version__}
        facts |= {"batch": BATCH, "epochs": EPOCHS, "seconds": round(self.elapsed(), 1), "smoke": self.smoke}
        text = json.dumps({"facts": facts, "rows": self.rows}, indent=1)
        (self.output / "adapter_results.json").write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(self.output / "predictions.npz", **self.predictions)


def train_lora(run: Run, rate: float, seed: int, part=None, epochs: int = EPOCHS):
    classifier = bert.add_adapters(run.fresh(seed), rank=8, seed=seed)
    train = run.examples["train"] if part is None else part
    recipe = {"epochs": epochs, "batch_size": BATCH, "rate": rate, "seed": seed}
    return classifier, bert.fit(classifier, train, run.examples["november"], **recipe)


def choose_rate(run: Run, rates: tuple[float, ...] = (5e-4, 1e-3, 2e-3)) -> float:
    """Try some rates on a third of the pairs; November decides."""
    few = run.tables["train"].sample(frac=1 / 3, random_state=0)
    examples, found = run.prepare(few, few["label"]), {}
    for rate in rates:
        classifier, _ = train_lora(run, rate, 0, examples, epochs=1)
        p = bert.predict(classifier, run.examples["november"], batch_size=512)
        found[rate] = roc_auc_score(run.tables["november"]["label"], p)
        run.row("purchase_intent", f"LoRA, rate {rate:g}, a third of the pairs", "roc_auc_november", found[rate], len(p))
    return max(found, key=found.get)


def distil(run: Run, teacher) -> None:
    """Teach every second layer of the merged teacher its probabilities."""
    opinion = bert.predict(teacher, run.examples["train"], batch_size=512)
    whole = replace(bert.load_text_model(run.model, device=run.device), model=teacher.encoder)
    student = bert.PairClassifier(bert.drop_layers(whole, range(0, 6, 2)), seed=0)
    student.head.load_state_dict(teacher.head.state_dict())
    run.judge("half of the layers, untaught", student)
    lessons = run.prepare(run.tables["train"], opinion)
    november = run.prepare(run.tables["november"], bert.predict(teacher, run.examples["november"]))
    history = bert.fit(student, lessons, november, epochs=EPOCHS, batch_size=BATCH, rate=2e-4, seed=0)
    run.judge("half of the layers, distilled", student, history)


def main(folder: str, output: str, commit: str = "unknown", model: str | None = None, smoke: bool = False) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    Path(output).mkdir(parents=True, exist_ok=True)
    pairs = pd.read_csv(Path(folder) / "pairs.csv.gz", keep_default_na=False)
    run = Run(pairs, Path(output), model, device, smoke, commit)
    rate = choose_rate(run)
    run.row("purchase_intent", "LoRA", "rate", rate, 1)
    teacher = None
    for seed in range(3):
        if run.elapsed() > SECONDS:
            break
        classifier, history = train_lora(run, rate, seed)
        name = "BERT with LoRA" if seed == 0 else f"BERT with LoRA, seed {seed}"
        run.judge(name, classifier, history)
        if seed == 0:
            stamp = {"base": "all-MiniLM-L6-v2", "rank": 8, "rate": rate, "seed": seed, "commit": commit,
                     "device": torch.cuda.get_device_name() if device == "cuda" else "CPU", "pairs": len(run.tables["train"])}
            save_tensors(Path(output) / "intent_adapter.safetensors", trained_weights(classifier), stamp)
            teacher = bert.merge_adapters(classifier)
    if run.elapsed() < SECONDS:
        distil(run, teacher)
    run.write()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    main(*words, smoke="--smoke" in sys.argv)
