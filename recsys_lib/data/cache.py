"""What is made or fetched once and kept: done again whenever the stored copy cannot be trusted."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_lib.files import atomic_path, project_root, sha256


def data_folder() -> Path:
    """Return the folder of the data: `$RECSYS_DATA`, or `data/` of the project."""
    return Path(os.environ.get("RECSYS_DATA") or project_root() / "data")


def cached_table(name: str, build: Callable[[], pd.DataFrame], version: dict) -> pd.DataFrame:
    """Load `processed/<name>.parquet` of the `data_folder`, or build it and write it there.

    The copy is used only if it was built with the same `version` and its bytes are those that were written
    (SHA-256, kept in a file beside it).

    Parameters
    ----------
    name : str
        File name without suffix.
    build : function without arguments
        Makes the table.
    version : dict
        Whatever the table depends on: parameters, a version number of the code, the checksum of its source.
        Plain JSON values.
    """
    path = data_folder() / "processed" / f"{name}.parquet"
    stamp = path.with_suffix(".json")
    known = _read_stamp(stamp)
    if path.is_file() and known.get("version") == _key(version):
        if sha256(path) == known.get("sha256"):
            return pq.read_table(path).to_pandas()
        warnings.warn(
            f"{path.name} is damaged (another checksum than when it was written); rebuilt", stacklevel=2
        )
    table = pa.Table.from_pandas(build(), preserve_index=False)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
        checksum = sha256(temporary)
    with atomic_path(stamp) as temporary:
        temporary.write_text(json.dumps({"version": _key(version), "sha256": checksum}))
    return table.to_pandas()  # as the copy will be read: index and types do not tell who built it


def fetch_wheel(requirement: str, checksum: str, folder: Path, source: bool = False) -> Path:
    """Return the archive of a pure Python package, to read data from; pip gets it if there is no sound copy.

    Parameters
    ----------
    requirement : str
        As in ``dmba==0.2.4``.
    checksum : str
        SHA-256 of the archive.
    source : bool
        The source archive instead, `.tar.gz`; pip runs its `setup.py` to read its metadata.

    Raises
    ------
    RuntimeError, ValueError
        If pip cannot get it, or got something with another checksum.
    """
    name = requirement.replace("==", "-")
    wheel = folder / (f"{name}.tar.gz" if source else f"{name}-py3-none-any.whl")
    if wheel.is_file() and sha256(wheel) == checksum:
        return wheel
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        # pip knows the reader's index and proxy; --no-deps because only the archive is wanted.
        command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--quiet"]
        command += ["--no-binary" if source else "--only-binary", ":all:", "--dest", scratch]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["pip failed"])[-1]
            way = f"pip download {requirement} --no-deps where there is a network, and put it into {folder}"
            raise RuntimeError(f"{wheel.name} could not be fetched ({reason}): {way}")
        fetched = Path(scratch) / wheel.name
        if sha256(fetched) != checksum:
            raise ValueError(f"{wheel.name} has another checksum than {checksum}")
        return fetched.replace(wheel)


def _key(version: dict) -> str:
    return hashlib.sha256(json.dumps(version, sort_keys=True).encode()).hexdigest()


def _read_stamp(stamp: Path) -> dict:
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
