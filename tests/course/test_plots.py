import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import pytest

from recsys_lib.course.plots import COLORS, draw_boxes, use_course_style


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
