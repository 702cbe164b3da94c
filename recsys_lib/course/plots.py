"""One figure style for the whole course, and the few drawings that several notebooks share."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

# No two are alike in grey print (8 units of CIE lightness apart) or to readers without red or green cones (20
# units of CIELAB, as Machado et al. 2009 simulate them). The names of the hues follow Okabe and Ito (2008).
COLORS = {
    "blue": "#113889",
    "orange": "#F6AA7C",
    "green": "#148C3D",
    "red": "#C71B00",
    "purple": "#872F65",
    "sky": "#39B1DC",
    "yellow": "#E2D93E",
    "grey": "#8F8F8F",
}
# A shape for each colour: what several lines or clouds of points tell apart should not hang on colour alone.
MARKERS = dict(zip(COLORS, "osDv^PX*", strict=True))


def use_course_style() -> None:
    """Set matplotlib's defaults for the session: colours, sizes, titles on the left, no frame."""
    plt.rcParams.update(
        {
            "figure.figsize": (8, 3.6),
            "figure.dpi": 90,
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": plt.cycler(color=list(COLORS.values())),
            "axes.titlelocation": "left",
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.labelsize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "legend.frameon": False,
            "font.size": 10,
        }
    )


def draw_boxes(
    ax: Axes,
    boxes: dict[str, tuple[float, float, str, str]],
    links: Iterable[tuple[str, str, str]],
    size: tuple[float, float] = (2.3, 1.0),
) -> None:
    """Draw named boxes and labelled lines between them: tables and keys, or layers and shapes.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its axes are hidden; its limits are set to hold all boxes.
    boxes : dict
        Name → (x, y, second line, colour): the centre in arbitrary units, a line of small print, and a key
        of `COLORS`.
    links : iterable of (from, to, label)
        Between names of `boxes`.
    size : (width, height)
        Of every box.
    """
    width, height = size
    centered = {"ha": "center", "va": "center"}
    label_patch = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    outline = {"boxstyle": "round,pad=0,rounding_size=0.12", "fc": "white", "lw": 2, "zorder": 3}
    for start, end, label in links:
        (x0, y0), (x1, y1) = boxes[start][:2], boxes[end][:2]
        # Drawn behind the boxes, so that a line between centres seems to end at their edges.
        ax.plot([x0, x1], [y0, y1], color=COLORS["grey"], lw=1.4, zorder=1)
        ax.text((x0 + x1) / 2, (y0 + y1) / 2, label, fontsize=8, zorder=2, bbox=label_patch, **centered)
    for name, (x, y, small, color) in boxes.items():
        corner = (x - width / 2, y - height / 2)
        ax.add_patch(FancyBboxPatch(corner, width, height, ec=COLORS[color], **outline))
        ax.text(x, y + 0.16 * height, name, fontsize=9.5, weight="bold", zorder=4, **centered)
        ax.text(x, y - 0.22 * height, small, fontsize=8, zorder=4, **centered)
    xs, ys = [box[0] for box in boxes.values()], [box[1] for box in boxes.values()]
    ax.set(xlim=(min(xs) - width, max(xs) + width), ylim=(min(ys) - height, max(ys) + height))
    ax.axis("off")
