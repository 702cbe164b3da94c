"""One lock for everybody: pip and conda users install the same, and it is what pyproject.toml asks for."""

import re
import tomllib
from importlib.metadata import requires

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from recsys_lib.files import project_root

ROOT = project_root()
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BOOK_LOCK = (ROOT / "requirements-book.txt").read_text(encoding="utf-8")
EXTRAS = dict(PROJECT["optional-dependencies"])
BOOK = [Requirement(text) for text in EXTRAS.pop("book")]
WANTED = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]
]


def pins(text: str) -> dict[str, Requirement]:
    """Every line of a lock that is not a comment, by package name."""
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    requirements = [Requirement(line) for line in lines if line]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    return specifier.version


@pytest.mark.parametrize("lock", [LOCK, BOOK_LOCK], ids=["course", "book"])
def test_every_line_of_the_lock_is_one_exact_version(lock: str) -> None:
    for requirement in pins(lock).values():
        assert re.fullmatch(r"==[0-9][\w.]*", str(requirement.specifier)), str(requirement)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_what_the_project_asks_for_is_in_the_lock(wanted: Requirement) -> None:
    pinned = pins(LOCK)[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version(pinned)), f"{wanted} is not met by {pinned}"


@pytest.mark.parametrize("wanted", BOOK, ids=str)
def test_what_the_book_asks_for_is_in_its_own_lock(wanted: Requirement) -> None:
    pinned = pins(BOOK_LOCK)[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version(pinned)), f"{wanted} is not met by {pinned}"


def test_the_books_lock_only_adds_to_the_courses() -> None:
    assert not pins(BOOK_LOCK).keys() & pins(LOCK).keys()


def test_torch_is_the_agreed_version_without_a_build_suffix() -> None:
    assert "torch==2.13.0" in LOCK.splitlines()


def test_the_locks_name_no_index() -> None:
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|--trusted-host", LOCK + BOOK_LOCK)


def test_conda_installs_the_same_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["channels"] == ["conda-forge"]
    *from_conda, from_pip = environment["dependencies"]
    # Nothing but the interpreter and pip comes from conda: all versions are the lock's.
    names = [re.match(r"\w+", dependency)[0] for dependency in from_conda]
    assert names == ["python", "pip"]
    assert from_pip == {"pip": ["-r requirements.lock", "-e ."]}


def test_everybody_is_asked_for_the_same_python() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = SpecifierSet(environment["dependencies"][0].removeprefix("python"))
    pip = SpecifierSet(PROJECT["requires-python"])
    low, high = re.search(
        r"not \((3, \d+)\) <= sys.version_info < \((3, \d+)\)",
        (ROOT / "Makefile").read_text(encoding="utf-8"),
    ).groups()
    make = SpecifierSet(f">={low.replace(', ', '.')},<{high.replace(', ', '.')}")
    minors = [[minor for minor in range(8, 20) if f"3.{minor}" in asked] for asked in (conda, pip, make)]
    assert minors == [[11, 12, 13, 14]] * 3
    words = f"Python 3.{minors[0][0]} to 3.{minors[0][-1]}"
    assert words in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert words in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_benchmarks_add_to_the_lock_and_contradict_nothing() -> None:
    locked = pins(LOCK)
    for name, requirement in pins((ROOT / "requirements-bench.txt").read_text(encoding="utf-8")).items():
        assert name not in locked or version(locked[name]) == version(requirement)


def test_the_kernels_add_the_triton_that_torch_asks_for_where_it_is_built_for_cuda() -> None:
    (triton,) = pins((ROOT / "requirements-kernels.txt").read_text(encoding="utf-8")).values()
    wanted = [Requirement(text) for text in requires("torch") or ()]
    versions = [
        one.specifier for one in wanted if one.name == "triton"
    ]  # none, where torch is built for the CPU
    assert all(specifier.contains(version(triton)) for specifier in versions)
    assert triton.marker is not None
    assert "triton" not in pins(LOCK)
