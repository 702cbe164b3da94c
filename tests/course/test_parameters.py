"""Parameters on the command line arrive as they were meant, or are refused before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_course import printed, run, write

from recsys_lib.course.parameters import parameters_per_notebook, read_value, split_parameters

CELL = """
text = "user"
whole = 3
share = 8.0
flag = True
names = ["a"]
pair = (1, 2)
weights = {"a": 1}
nothing = None
column: str = None
count: int | None = None
computed = 2 * whole
profile, seed, device, data_dir = "default", 0, "auto", None
"""


def read(tmp_path: Path, **given: str) -> dict[str, Any]:
    path = write(tmp_path / "01_first.ipynb", parameters=CELL)
    return parameters_per_notebook([path], given)[0]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "0", "0"),  # a column whose name is a number
        ("text", "1.50", "1.50"),
        ("text", "null", "null"),
        ("text", "(1, 2)", "(1, 2)"),
        ("text", "NaN", "NaN"),
        ("text", 'it\'s "so"', 'it\'s "so"'),
        ("text", "", ""),
        ("text", "a=b", "a=b"),
        ("column", "0", "0"),
        ("column", "null", None),
        ("column", "None", None),
        ("whole", "-7", -7),
        ("share", "1e-3", 0.001),
        ("share", "2", 2.0),
        ("flag", "false", False),
        ("flag", "False", False),
        ("names", "['x', 1]", ["x", 1]),
        ("pair", "[3, 4]", [3, 4]),
        ("weights", '{"b": 2}', {"b": 2}),
        ("count", "5", 5),
        ("count", "null", None),
        ("nothing", "3", 3),
        ("nothing", "1e-3", 0.001),
        ("nothing", "[1, 2]", [1, 2]),
        ("nothing", "plain", "plain"),
        ("nothing", '"1,5"', "1,5"),
        ("computed", "true", True),
    ],
)
def test_a_value_has_the_type_of_the_notebooks_own(name: str, text: str, value: Any, tmp_path: Path) -> None:
    found = read(tmp_path, **{name: text})[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *[
            ("whole", text, "whole must be a whole number")
            for text in ("abc", "1.5", "true", "", "null", "'3'")
        ],
        *[
            ("share", text, "share must be a finite number")
            for text in ("1,5", "nan", "inf", "1e999", "x", "NaN")
        ],
        *[("flag", text, "flag must be true or false") for text in ("1", "yes")],
        *[("names", text, "names must be a list") for text in ("(1, 2)", "a", "[NaN]", "{1}", "[b'a']")],
        ("pair", "3", "pair must be a list"),
        *[("weights", text, "weights must be a dictionary") for text in ("[1]", "a", "{1: 2}", "{'b': nan}")],
        ("count", "five", "count must be a whole number"),
        *[
            ("nothing", text, "cannot be passed on")
            for text in (
                "(1, 2)",
                "1,5",
                "{1, 2}",
                "1+2j",
                "b'a'",
                "NaN",
                "-inf",
                "[1, NaN]",
                "{1: 2}",
                "[(1,)]",
            )
        ],
    ],
)
def test_what_cannot_arrive_as_written_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        read(tmp_path, **{name: text})
    assert f"--parameter {name}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_advice_for_text_can_be_followed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in quotes: nothing='\"1,5\"'"):
        read(tmp_path, nothing="1,5")
    assert read(tmp_path, nothing='"1,5"') == {"nothing": "1,5"}


def test_the_home_folder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert read_value("text", "~/my.csv", {"str"}) == "/somewhere/my.csv"
    assert read_value("text", "~/my.csv", set()) == "/somewhere/my.csv"
    assert read_value("text", "a~/my.csv", {"str"}) == "a~/my.csv"


def test_each_notebook_gets_what_it_has(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "01_a.ipynb", parameters="x = 1"),
        write(tmp_path / "02_b.ipynb", parameters='x = ""\ny = 1'),
    ]
    assert parameters_per_notebook(paths, {"x": "7", "profile": "smoke"}) == [{"x": 7}, {"x": "7"}]
    with pytest.raises(ValueError, match="no chosen notebook has a parameter 'z'; they have: x, y"):
        parameters_per_notebook(paths, {"z": "7"})


@pytest.mark.parametrize("texts", [["seed"], ["=1"], ["1x=3"], ["a b=3"], ["x=1", "y=2", "x=1"]])
def test_what_is_no_parameter_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"--parameter (seed|=1|1x=3|a b=3|x)"):
        split_parameters(texts)


def test_text_arrives_letter_by_letter(tmp_path: Path) -> None:
    """Through papermill, which writes it into a cell."""
    report = "import json\nprint(json.dumps([text, names]))"
    write(tmp_path / "nb" / "01_a.ipynb", report, parameters='text = ""\nnames = []')
    awkward = 'it\'s "so"\\n {x} %s $HOME # 名字 \\\n\ttail'
    assert (
        run(tmp_path, "--parameter", f"text={awkward}", "--parameter", f"names={json.dumps([awkward])}") == 0
    )
    assert printed(tmp_path / "build" / "notebooks" / "01_a.ipynb") == [awkward, [awkward]]
