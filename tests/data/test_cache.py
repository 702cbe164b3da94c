import subprocess
from pathlib import Path

import pandas as pd
import pytest

from recsys_lib.data import cached_table, fetch_wheel
from recsys_lib.files import sha256

FRAME = pd.DataFrame({"name": ["a", "b"], "count": [1, 2]})


@pytest.fixture(autouse=True)
def _data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))


@pytest.fixture
def build():
    calls = []

    def build():
        calls.append(1)
        return FRAME.copy()

    build.calls = calls
    return build


def test_built_once_then_loaded(build):
    for _ in range(3):
        pd.testing.assert_frame_equal(cached_table("t", build, {"v": 1}), FRAME)
    assert len(build.calls) == 1


def test_another_version_is_rebuilt(build):
    cached_table("t", build, {"v": 1})
    cached_table("t", build, {"v": 2})
    assert len(build.calls) == 2


@pytest.mark.parametrize("damage", [b"", b"PAR1 damaged"])
def test_a_damaged_copy_is_rebuilt_and_said(build, tmp_path, damage):
    cached_table("t", build, {"v": 1})
    (tmp_path / "processed" / "t.parquet").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"t\.parquet is damaged"):
        pd.testing.assert_frame_equal(cached_table("t", build, {"v": 1}), FRAME)
    assert len(build.calls) == 2


def test_a_lost_or_broken_stamp_means_rebuild(build, tmp_path):
    cached_table("t", build, {"v": 1})
    stamp = tmp_path / "processed" / "t.json"
    for damage in ("{ not json", "[]", "[1]", "null", "7", '"text"'):
        stamp.write_text(damage)
        cached_table("t", build, {"v": 1})
    stamp.unlink()
    cached_table("t", build, {"v": 1})
    assert len(build.calls) == 8


def test_the_first_table_is_as_the_later_ones():
    def build():
        return FRAME.assign(name=FRAME["name"].astype(object)).set_index(pd.Index([5, 7]))

    first, later = (cached_table("t", build, {"v": 1}) for _ in range(2))
    pd.testing.assert_frame_equal(first, later)


def test_a_failing_build_leaves_the_old_copy(build, tmp_path):
    cached_table("t", build, {"v": 1})

    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cached_table("t", fail, {"v": 2})
    cached_table("t", build, {"v": 1})
    assert len(build.calls) == 1
    assert sorted(file.name for file in (tmp_path / "processed").iterdir()) == ["t.json", "t.parquet"]


def test_a_sound_wheel_is_read_where_it_lies_and_a_damaged_one_fetched_again(tmp_path, monkeypatch):
    calls = []

    def pip(command, **_):
        calls.append(command)
        Path(command[-1], "one-1.0-py3-none-any.whl").write_bytes(b"sound")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    (tmp_path / "sound").write_bytes(b"sound")
    wanted, folder = sha256(tmp_path / "sound"), tmp_path / "raw"
    assert fetch_wheel("one==1.0", wanted, folder).read_bytes() == b"sound"
    wheel = fetch_wheel("one==1.0", wanted, folder)
    assert len(calls) == 1
    wheel.write_bytes(b"damage")
    assert fetch_wheel("one==1.0", wanted, folder).read_bytes() == b"sound"
    assert len(calls) == 2
    assert all("--no-deps" in command for command in calls)  # the archive, and nothing that it would install
    assert list(folder.iterdir()) == [wheel]
    with pytest.raises(ValueError, match="another checksum"):
        fetch_wheel("one==1.0", "0" * 64, folder)
