import matplotlib

matplotlib.use("agg")
import matplotlib.colors
import matplotlib.pyplot as plt
import numpy as np
import pytest

from recsys_lib.course.plots import COLORS, MARKERS, draw_boxes, use_course_style


def test_every_box_and_link_is_drawn_inside_the_axes():
    figure, ax = plt.subplots()
    boxes = {"left": (0, 0, "3 rows", "blue"), "right": (5, 2, "4 rows", "red")}
    draw_boxes(ax, boxes, [("left", "right", "id")])
    assert {text.get_text() for text in ax.texts} == {"left", "3 rows", "right", "4 rows", "id"}
    assert len(ax.patches) == 2
    low, high = ax.get_xlim()
    assert all(low < patch.get_x() and patch.get_x() + patch.get_width() < high for patch in ax.patches)
    plt.close(figure)


def test_an_unknown_end_of_a_link_is_an_error():
    figure, ax = plt.subplots()
    with pytest.raises(KeyError, match="nowhere"):
        draw_boxes(ax, {"left": (0, 0, "", "blue")}, [("left", "nowhere", "")])
    plt.close(figure)


def test_the_style_uses_the_colour_blind_safe_cycle():
    with plt.rc_context():
        use_course_style()
        assert [entry["color"] for entry in plt.rcParams["axes.prop_cycle"]] == list(COLORS.values())


# Linear RGB as readers without green, or red, cones see it: Machado, Oliveira & Fernandes (2009), severity 1.
VISION = {
    "common": np.eye(3),
    "no green cones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no red cones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def cielab(hexadecimal: list[str], vision: np.ndarray) -> np.ndarray:
    """Return colours as CIELAB under daylight (D65), as sRGB and CIE 1976 define it."""
    rgb = np.array([matplotlib.colors.to_rgb(color) for color in hexadecimal])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    ratio = np.clip(linear @ vision.T, 0, 1) @ to_xyz.T / [0.95047, 1, 1.08883]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def least_distance(points: np.ndarray) -> float:
    return np.linalg.norm(points[:, None] - points[None], axis=2)[np.triu_indices(len(points), 1)].min()


@pytest.mark.parametrize(
    ("vision", "distance"), [("common", 30), ("no green cones", 20), ("no red cones", 20)]
)
def test_no_two_colors_look_alike(vision: str, distance: float) -> None:
    assert least_distance(cielab(list(COLORS.values()), VISION[vision])) >= distance


def test_no_two_colors_are_alike_in_grey_print() -> None:
    assert least_distance(cielab(list(COLORS.values()), VISION["common"])[:, :1]) >= 8


def test_the_distances_find_colors_that_are_alike() -> None:
    okabe_and_ito_with_grey = ["#0072B2", "#009E73", "#7F7F7F", "#D55E00"]
    assert least_distance(cielab(okabe_and_ito_with_grey, VISION["no green cones"])) < 20
    assert least_distance(cielab(okabe_and_ito_with_grey, VISION["common"])[:, :1]) < 8
    # White, black and sRGB's red, as Lindbloom's tables give them.
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20]]
    assert np.allclose(cielab(["#FFFFFF", "#000000", "#FF0000"], VISION["common"]), expected, atol=0.02)


def test_every_color_has_a_shape_of_its_own() -> None:
    assert len(set(MARKERS.values())) == len(MARKERS) == len(COLORS)
