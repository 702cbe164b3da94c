"""Files on disk: writing them whole or not at all, their checksums, and where the project lives."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    A reader sees the old file or the whole new one, never half of it. If the block raises anything,
    Ctrl-C included, the temporary file is removed and `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        The file to write. Missing parent folders are made.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix, so that writers that look at the suffix
        behave as they would on `path` itself.

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
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _copy_permissions(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file as 64 hexadecimal digits.

    Parameters
    ----------
    path : str or Path
        Read in blocks, so the file may be larger than memory.

    Returns
    -------
    str
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def project_root() -> Path:
    """Return the folder that holds `pyproject.toml`, `notebooks/` and `data/`.

    With the editable install that `make` does, this is the folder above the package. If the package was
    installed some other way, the current folder and its parents are searched.

    Returns
    -------
    Path

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


def _copy_permissions(path: Path, temporary: Path) -> None:
    # mkstemp makes files that only their owner can read; a plain open() would follow the umask.
    if path.exists():
        mode = path.stat().st_mode & 0o777
    else:
        umask = os.umask(0)
        os.umask(umask)
        mode = 0o666 & ~umask
    temporary.chmod(mode)
