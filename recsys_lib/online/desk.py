"""The assistant at the shop's address: notebook 12's, on all lines of the year."""

import hashlib
import io
from typing import Any

import pandas as pd

from recsys_lib.data import load_table, prepared_lines
from recsys_lib.data.texts import spell_out
from recsys_lib.files import project_root
from recsys_lib.text.assistant import Assistant, Router, entry_of
from recsys_lib.text.encoder import load_text_model

SIGNED = {  # what it quotes, learns from and searches with: checksums of what was read and approved
    "service_faq.csv": "75c4fc5ff252ae34430c89665df31eeb106ae4c3764d4c2f37f375480011290a",
    "service_questions.csv": "720df8792c250bdd6d5a49d97016ece0ca7b1dcf16182a079a66ab768f36d393",
    "customer_words.csv": "0feebe50c3a5ab0fcbacf240b19400b07437a193ccd6238804197d0166e015fa",
}


def signed_table(name: str) -> pd.DataFrame:
    """Read a table of `data/`, and refuse one in which a single letter is another than in the one signed."""
    text = (project_root() / "data" / name).read_text(encoding="utf-8")  # every end of a line becomes \n
    if (found := hashlib.sha256(text.encode()).hexdigest()) != SIGNED[name]:
        raise RuntimeError(f"data/{name} is not as it was signed; read it, then put {found} into SIGNED")
    return pd.read_csv(io.StringIO(text))


def lines_by_kind() -> pd.DataFrame:
    """Return the year's purchase lines with the `kind` of their product, its `name`, `words` and `price`."""
    names = load_table("products", ["product_id", "product_category", "product_type"]).dropna().astype(str)
    names["kind"] = names["product_category"] + " / " + names["product_type"]
    written = {kind: [*map(spell_out, kind.split(" / ")[::-1])] for kind in names["kind"].unique()}
    names["name"] = names["kind"].map(lambda kind: written[kind][0])
    names["words"] = names["kind"].map(lambda kind: ", ".join(written[kind]))
    names = names.set_index(names["product_id"].astype(int))[["kind", "name", "words"]]
    used = ["household_id", "product_id", "transaction_timestamp", "quantity", "sales_value"]
    lines = prepared_lines()[used].query("quantity > 0 and sales_value > 0")
    lines = lines.join(names, on="product_id", how="inner")
    return lines.assign(price=lines["sales_value"] / lines["quantity"])


def kinds_sold(lines: pd.DataFrame) -> pd.DataFrame:
    """Return what an `Assistant` knows of products: kinds with 50 lines or more, their median price."""
    first = {name: (name, "first") for name in ("name", "words")}
    kinds = lines.groupby("kind").agg(lines=("kind", "size"), price=("price", "median"), **first)
    return kinds[kinds["lines"] >= 50]


def purchases_of(lines: pd.DataFrame, household: int) -> pd.DataFrame:
    """Return a household's own purchases by kind: `last` day, last `price`, how many `times`."""
    mine = lines[lines["household_id"] == household].sort_values("transaction_timestamp").groupby("kind")
    return mine.agg(last=("transaction_timestamp", "last"), price=("price", "last"), times=("kind", "size"))


def open_desk(service: Any) -> Assistant:
    """Make the assistant for a `Service`; it recommends what the shop's model says."""
    rules, known, _ = map(signed_table, SIGNED)
    lines = lines_by_kind()
    name_of = lines.groupby("product_id")["name"].first()
    known = known[known["part"] != "kept"]
    entries = [entry_of(*pair) for pair in zip(known["answer"], known["kind"], strict=True)]
    router = Router(rules, load_text_model())
    router.fit(known["question"].tolist(), entries)

    def recommend(household: int) -> list[str]:
        shop = service.open()
        values = shop.history(household, service.past(shop, household)[0], shop.now())
        names = name_of.reindex([entry["item"] for entry in shop.recommend(values, 50, seen=False)])
        return list(dict.fromkeys(names.dropna()))[:10]

    return Assistant(router, kinds_sold(lines), lambda household: purchases_of(lines, household), recommend)
