"""Pictures: what is drawn, what is read, and what the network makes of it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from recsys_lib.data import load_table
from recsys_lib.data.cache import data_folder
from recsys_lib.files import project_root
from recsys_lib.text.images import OPENMOJI, SIDE, _network, emoji_pictures, picture_vectors, read_picture


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE, 3), np.uint8)


def test_a_picture_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    picture = noise(1)[0]
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert np.array_equal(read_picture(tmp_path / "a.png"), picture)


def test_what_is_transparent_is_white_and_another_size_is_scaled(tmp_path: Path) -> None:
    glass = np.zeros((30, 60, 4), np.uint8)
    glass[:, :30] = (200, 10, 10, 255)  # the left half is red, the right one clear
    Image.fromarray(glass).save(tmp_path / "half.webp", lossless=True)
    read = read_picture(tmp_path / "half.webp")
    assert read.shape == (SIDE, SIDE, 3)
    assert (read[:, -50:] == 255).all()
    assert (read[:, :50] == (200, 10, 10)).all()


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\nbroken"])
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "milk.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"milk\.png is no readable picture"):
        read_picture(tmp_path / "milk.png")


def test_a_picture_cut_short_is_named(tmp_path: Path) -> None:
    Image.fromarray(noise(1)[0]).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2_000])
    with pytest.raises(ValueError, match=r"cut\.png is no readable picture"):
        read_picture(tmp_path / "cut.png")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.png is no readable picture"):
        read_picture(tmp_path / "none.png")


def test_vectors_do_not_depend_on_the_batch_and_are_the_head_of_the_network() -> None:
    pictures = noise(3)
    vectors = picture_vectors(pictures)
    assert vectors.shape == (3, 1280)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, picture_vectors(pictures, batch_size=1), atol=1e-4)
    with torch.no_grad():  # the network's own way to its 1,000 classes, from the same numbers
        network = _network()
        classes = network((torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127) / 128)
        assert torch.allclose(network._fc(torch.from_numpy(vectors)), classes, atol=1e-3)
    assert np.abs(vectors[0] - vectors[1]).max() > 0.01


@pytest.mark.parametrize("wrong", [noise(1) / 255, noise(1)[:, :100], noise(1)[0]])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pictures must be uint8 of shape"):
        picture_vectors(wrong)


@pytest.fixture
def wheel() -> None:
    name = OPENMOJI[0].replace("==", "-")
    if not (data_folder() / "raw" / f"{name}-py3-none-any.whl").is_file():
        pytest.skip("the wheel of OpenMoji has not been fetched")


@pytest.mark.usefixtures("wheel")
def test_emoji_are_drawn_in_colour_on_white() -> None:
    apple, banana = emoji_pictures(["🍎", "🍌"]).astype(int)
    assert (apple[:3] == 255).all()
    inside = apple[112, 112]
    assert inside[0] > inside[1] + 50  # red
    yellow = banana[(banana[..., 0] > 200) & (banana[..., 2] < 100)]
    assert len(yellow) > 500
    assert (yellow[:, 1] > 150).mean() > 0.9


@pytest.mark.usefixtures("wheel")
def test_a_sign_that_the_font_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="place 1 of the signs"):
        emoji_pictures(["🍎", " "])


def test_every_category_with_a_picture_is_one_of_the_shop_and_stands_once() -> None:
    chart = pd.read_csv(project_root() / "data" / "product_pictures.csv", keep_default_na=False)
    assert list(chart.columns) == ["category", "emoji"]
    assert chart["category"].is_unique
    assert set(chart["category"]) <= set(load_table("products")["product_category"].dropna())
    assert (chart["emoji"].str.len() <= 2).all()
    assert (chart["emoji"] != "").all()
