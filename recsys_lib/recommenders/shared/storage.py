"""Fitted models on disk: arrays as safetensors, everything else as JSON; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.sparse import csr_array

from recsys_lib.files import atomic_path, sha256

VERSION = 1  # raise it whenever a stored model of before would be read wrongly
MODEL_FILE = "model.json"
CSR_PARTS = ("data", "indices", "indptr")


class StoredModel(NamedTuple):
    """What `load_model` found."""

    settings: dict[str, Any]
    arrays: dict[str, Any]
    users: pd.Index
    items: pd.Index


def settings_of(model: Any) -> dict[str, Any]:
    """Hyper-parameters of a dataclass model; the device belongs to the machine, not to the model."""
    return {
        field.name: getattr(model, field.name)
        for field in fields(model)
        if field.init and field.name not in ("device", "progress")
    }


def save_model(
    folder: str | Path,
    kind: str,
    settings: Mapping[str, Any],
    arrays: Mapping[str, Any],
    users: pd.Index,
    items: pd.Index,
) -> None:
    """Write a model so that at any moment the folder holds the old one or the new one, whole.

    Parameters
    ----------
    folder : str or Path
        Made if missing.
    kind : str
        Name of the class.
    settings : mapping
        Values that JSON can hold.
    arrays : mapping of str to NumPy array, tensor or csr_array
    users, items : pandas.Index
        Ids: integers or strings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors, forms = {}, {}
    for name, value in arrays.items():
        forms[name] = _form(value)
        tensors.update(_tensors(name, value))
    with atomic_path(folder / ".weights") as temporary:
        save_file(tensors, temporary)
    checksum = sha256(folder / ".weights")
    # The weights' name carries their checksum, and model.json, written last, names them: a crash in between
    # leaves the old pair in force.
    weights = folder / f"weights-{checksum[:16]}.safetensors"
    (folder / ".weights").replace(weights)
    payload = {
        "format": "recsys_lib.recommenders",
        "version": VERSION,
        "class": kind,
        "settings": dict(settings),
        "weights": weights.name,
        "sha256": checksum,
        "arrays": forms,
        "users": _ids(users),
        "items": _ids(items),
    }
    with atomic_path(folder / MODEL_FILE) as temporary:
        temporary.write_text(json.dumps(payload, allow_nan=False), encoding="utf-8")
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()


def load_model(folder: str | Path, kind: str) -> StoredModel:
    """Read a model that `save_model` wrote, and refuse what is not exactly that.

    Raises
    ------
    FileNotFoundError
        If there is no model in the folder.
    ValueError
        If it is damaged, of another version or of another class.
    """
    folder = Path(folder)
    path = folder / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no {MODEL_FILE} in {folder}: save a model there first")
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
        found = (payload["format"], payload["version"], payload["class"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}. Save the model again") from error
    if found[:2] != ("recsys_lib.recommenders", VERSION):
        raise ValueError(f"{path} holds {found[0]} version {found[1]}; this library reads version {VERSION}")
    if found[2] != kind:
        raise ValueError(f"{path} holds a model of class {found[2]}, not {kind}: use {found[2]}.load")
    try:
        weights = folder / Path(payload["weights"]).name
        if not weights.is_file() or sha256(weights) != payload["sha256"]:
            raise ValueError("the weights are missing or their checksum differs")
        if not isinstance(payload["settings"], dict):
            raise ValueError("the settings are no table of names and values")
        tensors = load_file(weights)
        arrays = {name: _value(name, form, tensors) for name, form in payload["arrays"].items()}
        return StoredModel(payload["settings"], arrays, _index(payload["users"]), _index(payload["items"]))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"the model in {folder} is damaged: {error}. Save it again") from error


def _form(value: Any) -> dict[str, Any]:
    if isinstance(value, csr_array):
        return {"kind": "csr", "shape": list(value.shape)}
    if isinstance(value, torch.Tensor | np.ndarray):
        return {"kind": "torch" if isinstance(value, torch.Tensor) else "numpy"}
    raise TypeError(f"cannot store a {type(value).__name__}")


def _tensors(name: str, value: Any) -> dict[str, torch.Tensor]:
    if isinstance(value, csr_array):
        return {f"{name}.{part}": torch.from_numpy(getattr(value, part).copy()) for part in CSR_PARTS}
    if isinstance(value, np.ndarray):
        return {name: torch.from_numpy(np.array(value, order="C"))}
    return {name: value.detach().cpu().contiguous().clone()}


def _value(name: str, form: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    if form["kind"] == "csr":
        parts = tuple(tensors[f"{name}.{part}"].numpy() for part in CSR_PARTS)
        return csr_array(parts, shape=tuple(form["shape"]))
    return tensors[name] if form["kind"] == "torch" else tensors[name].numpy()


def _ids(index: pd.Index) -> dict[str, Any]:
    integers = pd.api.types.is_integer_dtype(index.dtype)
    values = [int(value) for value in index] if integers else [str(value) for value in index]
    if not integers and not all(isinstance(value, str) for value in index):
        raise ValueError("ids must be integers or strings to be stored")
    return {"dtype": str(index.dtype), "name": index.name, "values": values}


def _index(stored: Mapping[str, Any]) -> pd.Index:
    return pd.Index(stored["values"], dtype=stored["dtype"], name=stored["name"])
