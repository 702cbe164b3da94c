"""Write what `train.py` reads: `python data/intent_adapter/pairs.py FOLDER` makes FOLDER/pairs.csv.gz (minutes)."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from recsys_lib import text as bert
from recsys_lib.data import complete_journey_december, load_table, product_texts
from recsys_lib.data.cache import data_folder

PAIRS = {"2017-08-01": 60_000, "2017-09-01": 60_000, "2017-10-01": 60_000, "2017-11-01": 3_000, "2017-12-01": 12_000}
SEED = 0


def main(folder: str) -> None:
    """Draw the pairs of each month, and put the households' purchases before it into words."""
    split = complete_journey_december()
    products = load_table("products").set_index("product_id").loc[split.train.items]
    texts = product_texts(products, ("product_type", "product_category"))
    names = [text.split(";")[0].split(",")[0] for text in texts]
    vectors = bert.encode(bert.load_text_model(), names, cache=data_folder() / "processed" / "vectors")
    brands = products["brand"].map({"National": "national brand", "Private": "store brand"}).to_numpy()
    events = pd.concat([split.train.events, split.test.events], ignore_index=True)
    parts = []
    for month, n in PAIRS.items():
        pairs = bert.purchase_pairs(events, month, n, np.random.default_rng([SEED, int(month[5:7])]))
        past = events[events["time"] < pd.Timestamp(month)]
        pairs["bought"] = bert.related_purchases(past, pairs, pd.Timestamp(month), names, vectors)
        pairs["product"] = [f"{names[item]}; {brands[item]}" for item in pairs["item"]]
        parts.append(pairs.assign(month=month))
    Path(folder).mkdir(parents=True, exist_ok=True)
    columns = ["user", "item", "label", "bought", "product", "month"]
    pd.concat(parts)[columns].to_csv(Path(folder) / "pairs.csv.gz", index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
