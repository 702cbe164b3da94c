"""Fitted models on disk: one safetensors file with everything else as JSON in its stamp; never pickle."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from recsys_lib.files import load_tensors, save_tensors

FORMAT, VERSION = "recsys_lib.recommenders", 3  # raise it where older files would be read wrongly
MODEL_FILE = "model.safetensors"
CSR_PARTS = ("data", "indices", "indptr")


def settings_of(model: Any) -> dict[str, Any]:
    """Return the hyper-parameters of a dataclass model; the device belongs to the machine, not to it."""
    return {
        field.name: _plain(getattr(model, field.name))
        for field in fields(model)
        if field.init and field.name != "device"
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def save_model(model: Any, folder: str | Path) -> None:
    """Write a fitted model so that at any moment the folder holds the old one or the new one, whole.

    What its class names in `_stored` may be NumPy arrays, tensors, csr_arrays, or numbers, strings, None and
    lists of these. Ids are integers or strings.
    """
    tensors: dict[str, Any] = {}
    state = {"matrix_": model.matrix_} | _state(model)
    stamp = {
        "format": FORMAT,
        "version": VERSION,
        **_described(model),
        "users": _ids(model.users_),
        "items": _ids(model.items_),
        "state": {name: _take_apart(name, value, tensors) for name, value in state.items()},
    }
    save_tensors(Path(folder) / MODEL_FILE, tensors, stamp)


def load_model(kind: type, folder: str | Path, device: str, base: type) -> Any:
    """Read a model that `save_model` wrote, and refuse what is not exactly that.

    Its tensors go to `device`; the classes of its parts derive from `base`. Raises FileNotFoundError if there
    is no model in the folder, ValueError if it is damaged, of another version or of another class.
    """
    path = Path(folder) / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(f"no model in {folder}: there is no {MODEL_FILE}. Save a model there first")
    with _damage_told(folder):
        tensors, stamp = load_tensors(path)
        found = stamp["format"], stamp["version"], stamp["class"]
        parts = [entry["class"] for entry in stamp["settings"].get("parts", ())]
    if found[:2] != (FORMAT, VERSION):
        raise ValueError(f"{path} holds {found[0]} version {found[1]}; this library reads version {VERSION}")
    if found[2] != kind.__name__:
        raise ValueError(
            f"{path} holds a model of class {found[2]}, not {kind.__name__}: use {found[2]}.load"
        )
    known = {below.__name__: below for below in _subclasses(base)}
    if set(parts) - set(known):
        raise ValueError(f"a part is of class {min(set(parts) - set(known))}: import it before loading")
    with _damage_told(folder):
        state = {name: _put_together(name, form, tensors) for name, form in stamp["state"].items()}
        ids = _index(stamp["users"]), _index(stamp["items"])
        if state["matrix_"].shape != (len(ids[0]), len(ids[1])):
            raise ValueError("its ids are not those of its matrix")
        return _restored(kind, stamp["settings"], state, ids, device, known)


@contextmanager
def _damage_told(folder: str | Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = str(error) if isinstance(error, ValueError) else repr(error)
        why = why.removeprefix(f"{MODEL_FILE} is damaged: ")
        raise ValueError(f"the model in {folder} is damaged: {why}. Save it again") from error


def _described(model: Any) -> dict[str, Any]:
    """Class and settings of a fitted model, and of what it is made of, as JSON can hold them."""
    settings = settings_of(model)
    if model.parts_:
        settings["parts"] = [_described(part) for part in model.parts_]
    return {"class": type(model).__name__, "settings": settings}


def _state(model: Any) -> dict[str, Any]:
    """Fitted attributes by name, and those of the parts behind the part's number."""
    state = {name: getattr(model, name) for name in model._stored}
    for number, part in enumerate(model.parts_):
        state |= {f"part{number}.{name}": value for name, value in _state(part).items()}
    return state


def _restored(
    kind: type,
    settings: Mapping[str, Any],
    state: Mapping[str, Any],
    ids: tuple[pd.Index, pd.Index],
    device: str,
    known: Mapping[str, type],
) -> Any:
    """Build a model, and what it is made of, from hyper-parameters and fitted attributes."""
    parts = []
    for number, entry in enumerate(settings.get("parts", ())):
        mark = f"part{number}."
        own = {name.removeprefix(mark): state[name] for name in state if name.startswith(mark)}
        own["matrix_"] = state["matrix_"]  # the parts share it
        parts.append(_restored(known[entry["class"]], entry["settings"], own, ids, device, known))
    model = kind(**(dict(settings) | ({"parts": [replace(part) for part in parts]} if parts else {})))
    model.device = device
    if parts:
        model.parts_ = parts
    model.users_, model.items_ = ids
    for name in ("matrix_", *kind._stored):
        value = state[name]
        setattr(model, name, value.to(model._device()) if isinstance(value, torch.Tensor) else value)
    return model


def _take_apart(name: str, value: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Put the numbers of a value into `tensors`, and say how to put it together again."""
    if isinstance(value, csr_array):
        tensors.update({f"{name}.{part}": getattr(value, part) for part in CSR_PARTS})
        return {"kind": "csr", "shape": list(value.shape)}
    if isinstance(value, torch.Tensor | np.ndarray):
        tensors[name] = value
        return {"kind": "torch" if isinstance(value, torch.Tensor) else "numpy"}
    if value is None or isinstance(value, str | int | float | list):
        return {"kind": "json", "value": value}
    raise TypeError(f"cannot store a {type(value).__name__}")


def _put_together(name: str, form: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Any:
    if form["kind"] == "csr":
        return csr_array(tuple(tensors[f"{name}.{part}"] for part in CSR_PARTS), shape=tuple(form["shape"]))
    if form["kind"] == "json":
        return form["value"]
    return torch.from_numpy(tensors[name].copy()) if form["kind"] == "torch" else tensors[name]


def _subclasses(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _ids(index: pd.Index) -> dict[str, Any]:
    integers = pd.api.types.is_integer_dtype(index.dtype)
    values = [int(value) for value in index] if integers else [str(value) for value in index]
    if not integers and not all(isinstance(value, str) for value in index):
        raise ValueError("ids must be integers or strings to be stored")
    name = _plain(index.name)
    if not (name is None or isinstance(name, str | int)):
        raise ValueError(f"the name of ids must be a string to be stored, got {name!r}")
    return {"dtype": str(index.dtype), "name": name, "values": values}


def _index(stored: Mapping[str, Any]) -> pd.Index:
    index = pd.Index(stored["values"], dtype=stored["dtype"], name=stored["name"])
    if not index.is_unique:
        raise ValueError(f"the id {index[index.duplicated()][0]!r} stands there twice")
    return index
