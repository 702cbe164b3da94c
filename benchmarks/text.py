"""Training and encoding texts side by side: batches of about the same length against padding to 128 tokens.

Run from the repository root in the benchmark environment::

    .venv-bench/bin/python benchmarks/text.py     # five to ten minutes

Training: one epoch of the classifier of notebook 04 on its pairs: those of a household's purchases that are
nearest to a product, and the product. Same model, same start, same pairs, 32 at a time, AdamW:

- `recsys_lib`: `fit`, batches of pairs of about the same length;
- `padded to 128`: a plain loop, every pair padded to 128 tokens, as the articles print it;
- `Trainer`: that of transformers, each batch padded to its longest pair, pairs in random order;
- `Trainer, grouped`: the same with its own batches by length.

Encoding: product texts to vectors, tokenising included; beside padding to 128, sentence-transformers. What is
padded to 128 does a quarter of the work per timed call, all its batches being alike; times are scaled up.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import numpy as np

PAIRS, HELD_OUT, BATCH = 384, 256, 32
TEXTS, ENCODE_BATCH = 512, 64
WIDTH = 128  # tokens that the articles pad to
ROUNDS = 3
PART = 4  # what is padded to 128 does 1/4 of the work in each call
RATE = 2e-5
TRAINING = ("recsys_lib", "padded to 128", "Trainer", "Trainer, grouped")
ENCODING = ("recsys_lib", "padded to 128", "sentence-transformers")
BARS = {"padded to 128": 3.0, "Trainer": 1.0}  # how many times as fast training is to be at least


def draw_texts() -> dict[str, list]:
    """Draw what is trained on and what is encoded: pairs as in notebook 04, and whole product texts."""
    import pandas as pd

    from recsys_lib.data import complete_journey_december, load_table, product_texts
    from recsys_lib.text import encode, load_text_model, purchase_pairs, related_purchases

    split = complete_journey_december()
    products = load_table("products").set_index("product_id")
    sold = products.loc[split.train.items]
    names = [text.split(",")[0] for text in product_texts(sold, ["product_type"])]
    brands = product_texts(sold, ["brand"])
    month = pd.Timestamp("2017-11-01")
    pairs = purchase_pairs(split.train.events, month, PAIRS + HELD_OUT, np.random.default_rng(0))
    pairs = pairs.iloc[np.random.default_rng(1).permutation(len(pairs))]
    vectors = encode(load_text_model(), names)
    bought = related_purchases(split.train.events, pairs, month, names, vectors)
    catalogue = list(dict.fromkeys(product_texts(products)))
    some = np.random.default_rng(0).choice(len(catalogue), TEXTS, replace=False)
    return {
        "first": bought,
        "second": [f"{names[item]}; {brands[item]}" for item in pairs["item"]],
        "labels": pairs["label"].tolist(),
        "catalogue": [catalogue[row] for row in some],
    }


def make(name: str, cell: dict) -> Callable[[], None]:
    """Load the model in the worker, and return the call, which leaves its findings in a file."""
    from recsys_lib.text import load_text_model

    folder = Path(cell["folder"])
    texts = json.loads((folder / "texts.json").read_text())
    task = {"training": train_call, "encoding": encode_call}[cell["task"]]
    return task(name, load_text_model(), texts, folder / f"{cell['task']} {name}.json")


def train_call(name: str, text_model: Any, texts: dict[str, list], path: Path) -> Callable[[], None]:
    """Return a call that trains one epoch; after the first it measures the loss on held-out pairs."""
    from recsys_lib.text import PairClassifier, labeled_pairs, mean_loss

    model = PairClassifier(text_model)
    pairs = texts["first"], texts["second"], np.array(texts["labels"])
    train, rest = ([column[part] for column in pairs] for part in (slice(PAIRS), slice(PAIRS, None)))
    held_out = labeled_pairs(text_model.tokenizer, *rest)
    start = {"recsys_lib": ours, "padded to 128": plain_loop}.get(name, trainer)
    epoch = start(model, text_model.tokenizer, *train, name)

    def call() -> None:
        whole = not path.exists()
        places = epoch(whole)
        call.scale = 1 if whole or start is not plain_loop else PART
        if whole:
            path.write_text(json.dumps({"places": places, "loss": mean_loss(model, held_out)}))

    return call


def ours(model: Any, tokenizer: Any, first: list, second: list, labels: np.ndarray, name: str) -> Callable:
    """Prepare the course's loop; it needs something to validate on: one pair, some milliseconds.

    Like the others below, returns a call that trains and returns the tokens computed on, padding included.
    """
    from recsys_lib.text import fit, labeled_pairs

    pairs = labeled_pairs(tokenizer, first, second, labels)
    one = labeled_pairs(tokenizer, first[:1], second[:1], labels[:1])

    def epoch(whole: bool) -> int:
        history = fit(model, pairs, one, epochs=1, batch_size=BATCH, rate=RATE)
        return history.tokens + history.padded

    return epoch


def plain_loop(
    model: Any, tokenizer: Any, first: list, second: list, labels: np.ndarray, name: str
) -> Callable:
    """Prepare the loop that the articles print, made to run: every pair padded to 128 tokens."""
    import torch

    settings = dict(padding="max_length", max_length=WIDTH, truncation=True, return_tensors="pt")
    inputs = tokenizer(first, second, return_token_type_ids=True, **settings)
    inputs["labels"] = torch.from_numpy(labels.astype(np.float32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)

    def epoch(whole: bool) -> int:
        model.train()
        order = torch.randperm(PAIRS)
        for rows in order[: PAIRS if whole else PAIRS // PART].split(BATCH):
            optimizer.zero_grad()
            model(**{key: value[rows] for key, value in inputs.items()}).loss.backward()
            optimizer.step()
        model.eval()
        return PAIRS * WIDTH

    return epoch


def trainer(model: Any, tokenizer: Any, first: list, second: list, labels: np.ndarray, name: str) -> Callable:
    """Prepare the loop of transformers, with the same settings."""
    from torch import nn
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    class Wrapped(nn.Module):
        """The same model with its output as a dictionary, as the Trainer expects it."""

        def __init__(self) -> None:
            super().__init__()
            self.model, self.config = model, model.config

        def forward(self, input_ids, attention_mask, token_type_ids, labels):
            places[0] += input_ids.numel()
            output = self.model(input_ids, attention_mask, token_type_ids, labels)
            return {"loss": output.loss, "logits": output.logits}

    places = [0]
    encoded = tokenizer(first, second, truncation=True, max_length=WIDTH, return_token_type_ids=True)
    examples = [
        {**{key: values[i] for key, values in encoded.items()}, "labels": float(label)}
        for i, label in enumerate(labels)
    ]
    strategy = "group_by_length" if name.endswith("grouped") else "random"
    settings = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=BATCH,
        learning_rate=RATE, weight_decay=0.01, warmup_steps=0.1, max_grad_norm=1.0,
        optim="adamw_torch_fused", train_sampling_strategy=strategy, use_cpu=True, logging_strategy="no",
        save_strategy="no", report_to="none", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip

    def epoch(whole: bool) -> int:
        places[0] = 0
        loop = Trainer(
            Wrapped(), settings, DataCollatorWithPadding(tokenizer), examples, processing_class=tokenizer
        )
        loop.remove_callback(PrinterCallback)
        loop.train()
        model.eval()
        return places[0]

    return epoch


def encode_call(name: str, text_model: Any, texts: dict[str, list], path: Path) -> Callable[[], None]:
    """Return a call that encodes product texts; the first one stores their vectors."""
    import torch

    from recsys_lib.text import bundled_folder, encode, mean_of_tokens
    from recsys_lib.text.encoder import quiet

    catalogue = texts["catalogue"]

    def padded(texts: list[str]) -> np.ndarray:
        settings = dict(padding="max_length", max_length=WIDTH, truncation=True, return_tensors="pt")
        vectors = []
        for start in range(0, len(texts), ENCODE_BATCH):
            inputs = text_model.tokenizer(texts[start : start + ENCODE_BATCH], **settings)
            with torch.inference_mode():
                hidden = text_model.encoder(**inputs).last_hidden_state
                mean = mean_of_tokens(hidden, inputs["attention_mask"])
                vectors.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(vectors)

    if name == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        with quiet():
            other = SentenceTransformer(str(bundled_folder()), device="cpu")

    def call() -> None:
        whole = not path.exists()
        call.scale = 1 if whole or name != "padded to 128" else PART
        if name == "recsys_lib":
            vectors = encode(text_model, catalogue, batch_size=ENCODE_BATCH)
        elif name == "padded to 128":
            vectors = padded(catalogue[: TEXTS // call.scale])
        else:
            vectors = other.encode(catalogue, batch_size=ENCODE_BATCH, show_progress_bar=False)
        if whole:
            np.save(path.with_suffix(".npy"), vectors)
            path.write_text("{}")

    return call


def measure(texts: dict[str, list]) -> dict[str, dict[str, dict]]:
    """Time all contenders of both tasks in turn, and check that they did the same work."""
    results = {}
    for task, names, count in (("training", TRAINING, PAIRS), ("encoding", ENCODING, TEXTS)):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "texts.json").write_text(json.dumps(texts))
            cell = {"task": task, "folder": folder}
            found = harness.compare(__file__, cell, names, rounds=ROUNDS, memory=True, parallel_setup=True)
            for name, result in found.items():
                path = Path(folder) / f"{task} {name}.json"
                result.update(json.loads(path.read_text()), texts_per_second=count / result["median"])
                ratios = np.array(result["seconds"]) / found["recsys_lib"]["seconds"]
                result.update(ratio=float(np.median(ratios)), ratio_range=[ratios.min(), ratios.max()])
            if task == "encoding":
                vectors = [np.load(path) for path in sorted(Path(folder).glob("*.npy"))]
                worst = max(float(np.abs(other - vectors[0]).max()) for other in vectors[1:])
                if worst > 1e-4:
                    raise RuntimeError(f"the contenders' vectors differ by {worst}")
        results[task] = found
    return results


def rows(results: dict[str, dict[str, dict]]) -> list[list[str]]:
    """Return the table's lines."""
    return [
        [
            f"{task}: {name}",
            f"{result['texts_per_second']:.1f}",
            "" if name == "recsys_lib" else "{:.2f} ({:.2f} to {:.2f})".format(
                result["ratio"], *result["ratio_range"]
            ),
            f"{result['places'] / PAIRS:.1f}" if "places" in result else "",
            f"{result['loss']:.3f}" if "loss" in result else "",
            "–" if result["extra_bytes"] is None else f"{result['extra_bytes'] / 1e6:,.0f}",
        ]
        for task, found in results.items()
        for name, result in found.items()
    ]  # fmt: skip


def headline(results: dict[str, dict[str, dict]]) -> str:
    """Return how many times as fast we are in this run, and whether that is below the aim."""
    parts = []
    for name, bar in BARS.items():
        ratio = results["training"][name]["ratio"]
        verdict = "" if ratio >= bar else f", below the aim of {bar:g}"
        parts.append(f"{ratio:.1f} times as fast as {name}{verdict}")
    return "recsys_lib trains " + "; ".join(parts)


def draw(results: dict[str, dict[str, dict]], path: Path) -> None:
    """Draw texts per second, a panel per task, with the range over the rounds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    counts = {"training": PAIRS, "encoding": TEXTS}
    for axis, (task, found) in zip(axes, results.items(), strict=True):
        names = list(found)[::-1]
        speed = np.array([found[name]["texts_per_second"] for name in names])
        ends = np.array([[counts[task] / found[name][end] for name in names] for end in ("high", "low")])
        colors = ["#0072B2" if name == "recsys_lib" else "#D55E00" for name in names]
        axis.barh(names, speed, color=colors, xerr=np.abs(ends - speed), capsize=4)
        for place, value in enumerate(speed):  # beyond the line
            text = f" {value:,.1f}"
            axis.text(1.01 * ends[1][place], place, text, verticalalignment="center")
        axis.set_xlim(0, 1.15 * ends[1].max())
        axis.set(xlabel="texts per second; line: slowest to fastest round")
        axis.set_title("Training on pairs" if task == "training" else "Product texts to vectors", loc="left")
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(headline(results))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print the table, write results/text.json and results/text.png."""
    started = time.perf_counter()
    results = measure(draw_texts())
    head = ["contender", "texts/s", "× our time", "tokens/text", "held-out loss", "MB"]
    print(harness.table(head, rows(results)))
    payload = {
        "machine": harness.machine(["torch", "transformers", "sentence-transformers"]),
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "note": f"{ROUNDS} rounds after a warm-up; {PAIRS} pairs, {TEXTS} texts; ratio: median over "
        "the rounds of a contender's time by ours; tokens and loss: first epoch; MB: peak of its first call",
        "results": results,
    }
    path = harness.save("text", payload)
    draw(results, path.with_suffix(".png"))
    print(headline(results))
    print(f"{payload['minutes']} minutes; written: {path.name} and {path.stem}.png")


if __name__ == "__main__":
    if harness.is_worker():
        harness.serve(make)
    main()
