"""Sphinx's settings for the book, which renders what `write_sources.py` has written."""

import re
from importlib.util import find_spec
from pathlib import Path

import fastapi  # noqa: F401  (before autodoc reads stubs in place of modules, which pydantic does not take)
from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

project = html_title = "Recommendation that runs"
author = "The authors of this course"
copyright = "the authors of this course; code and text: MIT"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["files/**"]

# Notebooks are shown as they are stored: `make refresh` and nbval see to what is in them.
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_url_schemes = ("http", "https", "mailto")

# Signatures and types stand in the docstrings' own tables.
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# scikit-learn adds these to its classes, with docstrings that point into its own book.
autodoc_default_options = {"exclude-members": "set_fit_request, set_predict_proba_request, set_score_request"}
napoleon_google_docstring = False
napoleon_use_param = napoleon_use_rtype = False  # else the n of "shape (n,)" becomes a link

html_theme = "furo"
html_static_path = [str(Path(__file__).with_name("style.css"))]
html_favicon = str(Path(__file__).with_name("icon.svg"))
html_css_files = ["style.css"]
html_use_index = html_domain_indices = False  # the search finds more
html_copy_source = html_show_sourcelink = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
templates_path = [str(Path(__file__).with_name("templates"))]

default_role = "literal"  # single backticks in docstrings

# MathJax comes with a package, so that a page asks no other host for anything.
mathjax_path = "mathjax/tex-mml-chtml.js"
MATHJAX = Path(find_spec("sphinx-mathjax-offline").submodule_search_locations[0]) / "static" / "mathjax"
FONTS = "output/chtml/fonts/woff-v2"


def copy_mathjax(app: Sphinx, _: Exception | None) -> None:
    """Copy the one component that the pages load, and its fonts."""
    target = app.outdir / "_static" / "mathjax"
    copy_asset(MATHJAX / "tex-mml-chtml.js", target)
    copy_asset(MATHJAX / FONTS, target / FONTS)


def number_references(*arguments: object) -> None:
    """Make plain text of numbered references: a page has many docstrings, each with its own [1]."""
    lines: list[str] = arguments[-1]
    lines[:] = [re.sub(r"^(\s*)\.\. (\[\d\])", r"\1| \2", line).replace("]_", "]") for line in lines]


def setup(app: Sphinx) -> None:
    """Register what Sphinx shall call."""
    app.connect("autodoc-process-docstring", number_references)
    app.connect("build-finished", copy_mathjax)
