"""Every model that takes a device gives the CPU's lists on a card, and what a card refuses is refused."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, inspect, pkgutil, sys
import numpy as np, pretended_gpu, torch
import recsys_lib.recommenders as rooms
from recsys_lib.data.interactions import Interactions
from recsys_lib.scoring import top_k
import pandas as pd

pretended_gpu.install()
rng = np.random.default_rng(0)
pairs = pd.DataFrame({"user": rng.integers(40, size=900), "item": rng.integers(60, size=900) // 1.2})
pairs["day"] = pd.Timestamp("2017-01-01") + pd.to_timedelta(rng.integers(300, size=900), unit="D")
train = Interactions.from_frame(pairs, user="user", item="item", time="day")
models = {}
for room in pkgutil.iter_modules(rooms.__path__):
    module = importlib.import_module(f"recsys_lib.recommenders.{room.name}")
    for name, kind in vars(module).items():
        own = inspect.isclass(kind) and kind.__module__ == module.__name__ and hasattr(kind, "recommend")
        takes = set(inspect.signature(kind).parameters) if own else set()
        if "device" in takes and "parts" not in takes:
            models[name] = kind
del models["ContentBased"]  # needs texts; notebook 04 runs it
for name, kind in models.items():
    there, here = (kind(device=device).fit(train).recommend(np.arange(40), 5) for device in ("card:0", "cpu"))
    assert there.ids.device.type == "card", name
    same = (there.ids.cpu().numpy() == here.ids).mean()
    assert same > 0.99, f"{name}: {same:.0%} of the positions"
    print(name)

backwards = np.arange(12.0).reshape(4, 3)[::-1]  # torch refuses what runs backwards
assert top_k(backwards, backwards, 2, device="card:0").ids.tolist() == [[0, 1]] * 4

for planted in (
    lambda: np.asarray(there.ids),
    lambda: there.scores + torch.ones(40, 5),
    lambda: np.ones(5) * there.scores,
):
    try:
        planted()
    except (RuntimeError, TypeError):
        print("refused")
"""


def test_models_on_a_pretended_card() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent, timeout=300
    )
    *models, one, two, three = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert len(models) >= 10
    assert one == two == three == "refused"
