"""Files on disk: written whole or not at all, their checksums, tensors in files, and the project's folder."""

import contextlib
import csv
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}(\.\w+)?")  # names that `atomic_path` gives


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the whole new one, never half of it. If the block raises anything, Ctrl-C
    included, the temporary file is removed and `path` stays as it was. Missing parent folders are made. The
    temporary file is empty and has the suffix of `path`, for writers that look at it.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with atomic_path(target) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> target.read_text()
    '1 2 3'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    temporary.touch(exist_ok=False)
    mode = (path if path.exists() else temporary).stat().st_mode & 0o777
    try:
        yield temporary
        temporary.chmod(mode)  # safetensors makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(folder: str | Path, seconds: float = 3600.0) -> None:
    """Remove the temporary files that killed processes left in a folder and below it.

    Only `atomic_path` may write hidden files there. Files younger than `seconds` may still be written: they
    stay.
    """
    for path in Path(folder).rglob(".*"):
        with contextlib.suppress(OSError):  # somebody else removed it, or it is not ours to remove
            old = time.time() - path.stat().st_mtime > seconds
            if old and path.is_file() and TEMPORARY.fullmatch(path.name):
                path.unlink()


def sha256(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file, which may be larger than memory, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """Read a CSV file in UTF-8, with a header line, as it stands: a dictionary of texts per row."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def save_tensors(path: str | Path, tensors: Mapping[str, Any], stamp: Mapping[str, Any]) -> None:
    """Write tensors and a stamp that describes them as one safetensors file, whole or not at all.

    NumPy arrays or torch tensors by name, of types that NumPy knows, complex numbers excepted; the stamp is
    whatever tells these tensors from others, as JSON can hold it: versions, settings, checksums of inputs.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "squares.safetensors"
    >>> save_tensors(path, {"squares": np.arange(4) ** 2}, {"power": 2})
    >>> load_tensors(path)
    ({'squares': array([0, 1, 4, 9])}, {'power': 2})
    """
    arrays = {name: _contiguous(value) for name, value in tensors.items()}
    text = json.dumps(dict(stamp), allow_nan=False)
    with atomic_path(path) as temporary:
        save_file(arrays, temporary, metadata={"stamp": text, "sha256": tensors_sha256(arrays, text)})


def load_tensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read tensors and stamp that `save_tensors` wrote, after checking every byte against its checksum.

    Raises FileNotFoundError if there is no such file, ValueError if it is damaged, or was not written by
    `save_tensors`.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            stored = file.metadata() or {}
        if not {"stamp", "sha256"} <= set(stored):
            raise ValueError("it holds no stamp, so save_tensors did not write it")
        text, checksum = stored["stamp"], stored["sha256"]
        if checksum != tensors_sha256(tensors, text):
            raise ValueError("its checksum differs")
        return tensors, json.loads(text)
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f"{Path(path).name} is damaged: {error}") from error


def tensors_sha256(tensors: Mapping[str, Any], text: str = "") -> str:
    """Return the SHA-256 of tensors (names, types, shapes, numbers), in whatever order, and of a text."""
    digest = hashlib.sha256(f"{len(text)} {text}".encode())
    for name in sorted(tensors):
        array = _contiguous(tensors[name])
        digest.update(f"{len(name)} {name} {array.dtype} {array.shape};".encode())
        digest.update(array)
    return digest.hexdigest()


def package_folder(package: str, folder: str, otherwise: str) -> Path:
    """Return a folder of an installed package, without importing it, or raise a FileNotFoundError."""
    spec = find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"{package} is not installed. Run: pip install {package} (`make` does it), or {otherwise}."
        )
    return Path(spec.submodule_search_locations[0]) / folder


def project_root() -> Path:
    """Return the folder that holds `pyproject.toml`, `notebooks/` and `data/`.

    With the editable install that `make` does, this is the folder above the package. If the package was
    installed some other way, the current folder and its parents are searched.

    Raises
    ------
    FileNotFoundError
        If no such folder is found.
    """
    here = Path(__file__).resolve().parent.parent
    for folder in (here, *(Path.cwd() / "_").parents):
        if (folder / "pyproject.toml").is_file():
            return folder
    raise FileNotFoundError(
        f"No pyproject.toml in {here} nor in {Path.cwd()} and its parents. "
        "Work inside a clone of the course, set up by `make`."
    )


def _contiguous(value: Any) -> np.ndarray:
    # Known by what it can do, so that whoever only writes files need not import torch.
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    # Safetensors writes the bytes as they lie: those of a slice, a transpose or another byte order would be
    # other numbers.
    array = np.asarray(value, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)
