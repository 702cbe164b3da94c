"""The first line of every notebook: its settings checked in one place, before anything heavy is loaded."""

import os
import re
from numbers import Integral
from pathlib import Path
from typing import Any

from recsys_lib.files import project_root
from recsys_lib.judging.results import PROFILES

COPIES = ".copies.json"  # in a folder of students' copies: the checksum of each file as it was handed out
LARGEST_SEED = 2**32 - 1  # of NumPy's old generators, which scikit-learn still uses
OUTER_DATA = os.environ.get("RECSYS_DATA")  # as it was before a notebook's own `data_dir`


class SettingError(ValueError):
    """A setting that makes no sense: one line in a notebook, since the traceback would say no more."""

    def _render_traceback_(self) -> list[str]:
        return [f"ValueError: {self}"]


def start_notebook(profile: str, seed: int, device: str, data_dir: str | Path | None) -> str:
    """Check the settings that all notebooks have, and make them hold for the library.

    Parameters
    ----------
    profile : {"smoke", "default", "full"}
    seed : int
        From 0 to 2³² − 1.
    device : str
        "auto", "cpu", "cuda", "cuda:1" or "mps".
    data_dir : str, Path or None
        Becomes `$RECSYS_DATA`; None leaves it as it was when the kernel started.

    Returns
    -------
    str
        The device, with "auto" resolved.
    """
    check_settings(profile, seed, device, data_dir)
    _check_library(Path.cwd())
    if folder := data_dir or OUTER_DATA:
        os.environ["RECSYS_DATA"] = str(Path(folder).expanduser().absolute())
    else:
        os.environ.pop("RECSYS_DATA", None)
    if (Path.cwd() / COPIES).is_file():  # a student's copy: what it finds is kept beside it
        for name in ("results", "lists"):
            os.environ.setdefault(f"RECSYS_{name.upper()}", str(Path.cwd().parent / name))
    from recsys_lib.scoring.checks import resolve_device  # loads torch

    try:
        return str(resolve_device(device))
    except ValueError as error:
        raise SettingError(str(error)) from None


def check_settings(
    profile: Any = "default", seed: Any = 0, device: Any = "auto", data_dir: Any = None
) -> None:
    """Raise SettingError, which is a ValueError, unless the settings make sense on some machine."""
    if profile not in PROFILES:
        raise SettingError(f"profile must be smoke, default or full, got {profile!r}")
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed <= LARGEST_SEED:
        raise SettingError(f"seed must be a whole number from 0 to 2³² − 1, got {seed!r}")
    if not isinstance(device, str) or not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise SettingError(f"device must be auto, cpu, cuda or mps, got {device!r}")
    if data_dir is None:
        return
    if not isinstance(data_dir, str | Path) or not str(data_dir):
        raise SettingError(f"data_dir must be a folder or None, got {data_dir!r}")
    path = Path(data_dir).expanduser().absolute()
    if path.exists() and not path.is_dir():
        raise SettingError(f"data_dir must be a folder, but {path} is a file")


def _check_library(here: Path) -> None:
    """Refuse to run a notebook of one clone with the library of another."""
    clones = [folder for folder in (here / "_").parents if (folder / "recsys_lib" / "course").is_dir()]
    wanted = Path(os.environ.get("RECSYS_PROJECT") or (clones or [project_root()])[0]).resolve()
    if wanted != project_root():
        raise SettingError(
            f"the notebook belongs to {wanted}, but recsys_lib was imported from {project_root()}; "
            f"start it from there: make -C {wanted} lab (or run)"
        )
