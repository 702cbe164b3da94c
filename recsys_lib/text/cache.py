"""Vectors of texts on disk: one file per model, checked when read, rebuilt when damaged."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys_lib.files import load_tensors, save_tensors

KEY_BYTES = 16  # of a text's SHA-256


def cached_vectors(
    folder: str | Path, model: str, texts: list[str], encode: Callable[[list[str]], np.ndarray]
) -> np.ndarray:
    """Return one vector per text: known ones from a file, the others by `encode`, which are then added.

    Each text comes once; `model` is the checksum of all that the vectors depend on besides the text; `encode`
    gives float32 of shape (n, width), and so does this.
    """
    path = Path(folder) / f"vectors-{model[:16]}.safetensors"
    keys, vectors = _read(path, model) or (np.empty((0, KEY_BYTES), np.uint8), encode([]))
    place = {key.tobytes(): i for i, key in enumerate(keys)}
    wanted = [hashlib.sha256(text.encode()).digest()[:KEY_BYTES] for text in texts]
    missing = [i for i, key in enumerate(wanted) if key not in place]
    if missing:
        new = encode([texts[i] for i in missing])
        for i in missing:
            place[wanted[i]] = len(place)
        new_keys = np.frombuffer(b"".join(wanted[i] for i in missing), np.uint8).reshape(-1, KEY_BYTES)
        keys, vectors = np.concatenate([keys, new_keys]), np.concatenate([vectors, new])
        save_tensors(path, {"keys": keys, "vectors": vectors}, {"model": model})
    return vectors[[place[key] for key in wanted]]


def _read(path: Path, model: str) -> tuple[np.ndarray, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        tensors, stamp = load_tensors(path)
        if stamp != {"model": model}:
            raise ValueError(f"{path.name} holds the vectors of another model")
        return tensors["keys"], tensors["vectors"]
    except (ValueError, OSError) as error:
        warnings.warn(f"{error}; its vectors are rebuilt", stacklevel=4)
        return None
