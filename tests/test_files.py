"""Files are written whole or not at all."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from recsys_lib.files import atomic_path, load_tensors, project_root, save_tensors, sha256, tensors_sha256

TENSORS = {
    "table": np.arange(12, dtype=np.float32).reshape(3, 4),
    "slice": np.arange(12).reshape(3, 4)[:, ::2],
    "transposed": np.arange(6, dtype=np.int16).reshape(2, 3).T,
    "number": np.array(2.5),
    "empty": np.empty((0, 3)),
    "flags": np.array([True, False]),
}
STAMP = {"version": 1, "settings": {"rate": 0.1, "name": "größer"}, "seconds": [1.5, None]}


def test_the_new_file_replaces_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "numbers.csv"
    with atomic_path(path) as temporary:
        temporary.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["numbers.csv"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, problem: type[BaseException]) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("old")

    def write() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise problem

    with pytest.raises(problem):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["numbers.csv"]


def test_a_failed_first_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), atomic_path(tmp_path / "numbers.csv"):
        raise ValueError("stop")
    assert os.listdir(tmp_path) == []


def test_permissions_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "path"
    plain.write_text("")
    with atomic_path(path):
        pass
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    with atomic_path(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o640
    save_tensors(tmp_path / "tensors", {"a": np.arange(3)}, {})
    assert (tmp_path / "tensors").stat().st_mode == plain.stat().st_mode


def test_sha256_is_the_checksum_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"abc" * 1_000_000)
    assert sha256(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_tensors_come_back_with_their_stamp(tmp_path: Path) -> None:
    path = tmp_path / "made" / "tensors.safetensors"
    save_tensors(path, TENSORS, STAMP)
    found, stamp = load_tensors(path)
    assert stamp == STAMP
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name, strict=True)
    assert os.listdir(path.parent) == [path.name]
    save_tensors(path, {}, {})
    assert load_tensors(path) == ({}, {})


def test_torch_tensors_are_stored_as_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "tensors.safetensors"
    weights = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    save_tensors(path, {"weights": weights, "transposed": weights.T}, {})
    found = load_tensors(path)[0]
    np.testing.assert_array_equal(found["weights"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["transposed"], [[0, 3], [1, 4], [2, 5]])


def test_every_damaged_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "tensors.safetensors"
    save_tensors(path, {"table": TENSORS["table"], "flags": TENSORS["flags"]}, {"version": 1})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"^tensors\.safetensors is damaged: ."):
            load_tensors(path)
    for length in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"is damaged: ."):
            load_tensors(path)


def test_files_that_are_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "nowhere")
    save_file({"table": TENSORS["table"]}, tmp_path / "foreign")
    with pytest.raises(ValueError, match="foreign is damaged"):
        load_tensors(tmp_path / "foreign")


def test_the_checksum_of_tensors_sees_names_types_shapes_and_numbers() -> None:
    table = TENSORS["table"]
    others = [
        {"a": table, "b": table[:2]},
        {"a": table.astype(np.float64)},
        {"a": table.reshape(4, 3)},
        {"a": table + 1},
        {"b": table},
        {},
    ]
    assert len({tensors_sha256({"a": table}), *map(tensors_sha256, others), tensors_sha256({}, "a")}) == 8
    assert tensors_sha256({"a": table, "b": table.T}) == tensors_sha256({"b": table.T, "a": table})
    assert tensors_sha256({"a": torch.from_numpy(table)}) == tensors_sha256({"a": table})


def test_the_project_root_holds_the_library_whatever_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (project_root() / "recsys_lib" / "files.py").is_file()


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">i8"])
def test_another_byte_order_is_written_as_the_same_numbers(dtype, tmp_path):
    save_tensors(tmp_path / "x", {"a": np.arange(3, dtype=dtype)}, {})
    assert load_tensors(tmp_path / "x")[0]["a"].tolist() == [0, 1, 2]


def test_a_file_without_a_stamp_is_named(tmp_path):
    save_file({"a": np.arange(3)}, tmp_path / "x")
    with pytest.raises(ValueError, match="it holds no stamp"):
        load_tensors(tmp_path / "x")
