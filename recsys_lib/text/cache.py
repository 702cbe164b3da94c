"""Vectors of texts on disk: one file per model, checked when read, rebuilt when damaged."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys_lib.files import load_tensors, save_tensors

VERSION = 2  # raise it whenever the same model and text would give another vector
KEY_BYTES = 16


class VectorCache:
    """Vectors by text, for one model.

    Parameters
    ----------
    folder : str or Path
    model : str
        Whatever tells this model from any other: a checksum of its weights.
    width : int
        Numbers per vector.
    """

    def __init__(self, folder: str | Path, model: str, width: int) -> None:
        key = hashlib.sha256(f"{VERSION}\n{model}\n{width}".encode()).hexdigest()
        self.path = Path(folder) / f"vectors-{key[:16]}.safetensors"
        self.key, self.width = key, width

    def get(self, texts: list[str], encode: Callable[[list[str]], np.ndarray]) -> np.ndarray:
        """Return one vector per text: known ones from the file, the others by `encode`, which are then added.

        Parameters
        ----------
        texts : list of str
            Each once.
        encode : function from list of str to array, shape (n, width)

        Returns
        -------
        np.ndarray of float32, shape (len(texts), width)
        """
        keys, vectors = self._read()
        place = {key.tobytes(): i for i, key in enumerate(keys)}
        wanted = [_key(text) for text in texts]
        missing = [i for i, key in enumerate(wanted) if key not in place]
        if missing:
            new = np.ascontiguousarray(encode([texts[i] for i in missing]), dtype=np.float32)
            for i in missing:
                place[wanted[i]] = len(place)
            fresh = np.frombuffer(b"".join(wanted[i] for i in missing), np.uint8).reshape(-1, KEY_BYTES)
            keys, vectors = np.concatenate([keys, fresh]), np.concatenate([vectors, new])
            self._write(keys, vectors)
        return vectors[[place[key] for key in wanted]]

    def _read(self) -> tuple[np.ndarray, np.ndarray]:
        empty = np.empty((0, KEY_BYTES), np.uint8), np.empty((0, self.width), np.float32)
        if not self.path.is_file():
            return empty
        try:
            tensors, stamp = load_tensors(self.path)
            if stamp != {"key": self.key}:
                raise ValueError(f"{self.path.name} holds the vectors of another model")
            return tensors["keys"], tensors["vectors"]
        except (ValueError, OSError) as error:
            warnings.warn(f"{error}; its vectors are rebuilt", stacklevel=4)
            return empty

    def _write(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        save_tensors(self.path, {"keys": keys, "vectors": vectors}, {"key": self.key})


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:KEY_BYTES]
