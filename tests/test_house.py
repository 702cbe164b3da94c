"""The house rules: imports point downwards and never in a circle, modules are small, and no code is idle.

The files are parsed, never imported, so the checks take seconds and need no package.
"""

import ast
import functools
import graphlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# From the ground floor up: a room may import from those before it.
ROOMS = ["files", "data", "scoring", "metrics", "networks", "recommenders", "text", "customers", "online"]
ROOMS += ["shop", "judging", "course"]
SHARED = "recsys_lib.recommenders.shared"  # a floor of its own, below the models
LONGEST_MODULE, LARGEST_LIBRARY = 360, 17_000  # lines
# Methods that nothing in the house calls, and why they stay; of recommenders, but for torch's `forward`.
ALLOWED = {
    "fold_in": "notebook 08 serves shoppers who came after training",
    "save": "notebook 08 serves from a stored model",
    "load": "notebook 08 serves from a stored model",
    "similar": "notebook 08 fills the page of a product",
    "explain": "notebook 08 says why an item is shown",
    "forward": "torch calls it",
}


class Definition(NamedTuple):
    """A public name of the library."""

    module: str
    owner: str  # the class of a method, else empty
    name: str


def module_of(path: Path) -> str:
    """Return "recsys_lib.data.cache" for recsys_lib/data/cache.py, "recsys_lib.data" for the room's face."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def parse(path: Path) -> ast.Module:
    """Parse a Python file, or the code cells of a notebook as one program."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return ast.parse(text)


PATHS = {module_of(path): path for path in sorted((ROOT / "recsys_lib").rglob("*.py"))}
LIBRARY = {module: parse(path) for module, path in PATHS.items()}
FACES = {module for module, path in PATHS.items() if path.name == "__init__.py"}  # they pass names on
CALLERS = {module: tree for module, tree in LIBRARY.items() if module not in FACES}
for pattern in ("notebooks/*.ipynb", "benchmarks/*.py"):
    CALLERS |= {str(path): parse(path) for path in ROOT.glob(pattern)}


def imports_of(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield module, name in it (or ""), and name here of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "", alias.asname or alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or ".", alias.name, alias.asname or alias.name) for alias in node.names)


def library_imports(module: str) -> set[str]:
    """Return the modules of the library that a module of it imports."""
    pairs = {(source, f"{source}.{name}") for source, name, _ in imports_of(LIBRARY[module])}
    return {whole if whole in LIBRARY else source for source, whole in pairs} & set(LIBRARY)


def floor_of(module: str) -> float:
    """Return the number of a module's floor; the library's own face is the roof."""
    room = [*module.split("."), ""][1]
    floor = ROOMS.index(room) if room else len(ROOMS)
    return floor - 0.5 if module.startswith(SHARED) else floor


def test_imports_point_downwards() -> None:
    wrong = [
        f"{module} imports {source}"
        for module in LIBRARY
        for source in sorted(library_imports(module))
        if floor_of(source) > floor_of(module)
    ]
    assert not wrong, "\n".join(["imports that point upwards:", *wrong])


def test_imports_are_written_out() -> None:
    """The other checks read whole names only, and of rooms that they know."""
    wrong = [
        f"{module}, line {node.lineno}"
        for module, tree in LIBRARY.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.level)
        or getattr(node, "id", getattr(node, "attr", "")) in ("import_module", "__import__")
    ]
    sources = {(module, source) for module, tree in LIBRARY.items() for source, _, _ in imports_of(tree)}
    wrong += [f"{module} imports {source}" for module, source in sources if source.split(".")[0] == "tests"]
    wrong += [
        f"{module} lies in no room" for module in LIBRARY if [*module.split("."), ""][1] not in [*ROOMS, ""]
    ]
    assert not wrong, "\n".join(["relative imports, hidden ones, or no room:", *wrong])


def test_imported_names_exist() -> None:
    """Notebooks, benchmarks and tests included: none of them has to run to show that a name is gone."""
    tests = {str(path): parse(path) for path in (ROOT / "tests").rglob("*.py")}
    wrong = [
        f"{caller} imports {name} from {source}"
        for caller, tree in {**LIBRARY, **CALLERS, **tests}.items()
        for source, name, _ in imports_of(tree)
        if source.split(".")[0] == "recsys_lib" and name and f"{source}.{name}" not in LIBRARY
        if source not in LIBRARY or name not in defined_in(source)
    ]
    assert not wrong, "\n".join(["imported, but not there:", *wrong])


@functools.cache
def defined_in(module: str) -> set[str]:
    """Return all names at the top of a module, imported ones included."""
    names = {here for _, _, here in imports_of(LIBRARY[module])}
    names |= {node.name for node in LIBRARY[module].body if isinstance(node, FUNCTIONS | ast.ClassDef)}
    stored = [node for node in LIBRARY[module].body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return names | {part.id for node in stored for part in ast.walk(node) if isinstance(part, ast.Name)}


def test_no_modules_import_each_other() -> None:
    try:
        graphlib.TopologicalSorter({module: library_imports(module) for module in LIBRARY}).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(f"a circle of imports: {' → '.join(error.args[1])}") from None


def test_modules_and_library_are_small() -> None:
    lines = {module: len(path.read_text("utf-8").splitlines()) for module, path in PATHS.items()}
    wrong = [f"{module} has {count} lines" for module, count in lines.items() if count > LONGEST_MODULE]
    if sum(lines.values()) > LARGEST_LIBRARY:
        wrong.append(f"the library has {sum(lines.values())} lines: one in, one out")
    limits = f"more than {LONGEST_MODULE} lines per module or {LARGEST_LIBRARY} in all:"
    assert not wrong, "\n".join([limits, *wrong])


def definitions(module: str) -> Iterator[Definition]:
    """Yield the functions, classes and constants of a module and the methods of its classes, if public."""
    for node in LIBRARY[module].body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            yield from (Definition(module, "", name) for name in sorted(names) if name.isupper())
        elif isinstance(node, FUNCTIONS | ast.ClassDef):
            yield Definition(module, "", node.name)
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
                yield from (Definition(module, node.name, name) for name in methods)


@functools.cache
def read_in(node: ast.AST) -> set[str]:
    """Return the names that are read below a node; ".name" for what is read off something."""
    if isinstance(node, ast.Module):
        return set().union(*map(read_in, node.body))
    names = (part for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load))
    return {part.id for part in names} | {
        f".{part.attr}" for part in ast.walk(node) if isinstance(part, ast.Attribute)
    }


def fetched(tree: ast.AST) -> set[tuple[str, str]]:
    """Return module and name of what a file imports, or reads off a module that it imports."""
    found, modules = set(), {}
    for source, name, here in imports_of(tree):
        found.add((source, name))
        modules[here] = f"{source}.{name}" if name else source
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.add((modules.get(node.value.id, ""), node.attr))
    return {(PASSED_ON.get(pair, pair[0]), pair[1]) for pair in found}


# (face, name) → the module that defines the name
PASSED_ON = {(face, name): source for face in FACES for source, name, _ in imports_of(LIBRARY[face])}


@functools.cache
def parents() -> dict[str, set[str]]:
    """Return the names of the classes that each class of the library derives from directly."""
    classes = [node for tree in LIBRARY.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {node.name: {ast.unparse(base).split(".")[-1] for base in node.bases} for node in classes}


@functools.cache
def ancestors(name: str) -> set[str]:
    """Return a class and all it derives from, by name."""
    return {name}.union(*(ancestors(parent) for parent in parents().get(name, ())))


def is_idle(definition: Definition, owners: Counter) -> bool:
    """Say whether no notebook and no benchmark reads a name, and no module outside of its definition.

    A method that several classes have counts as read only in files that name one of its class's family too.
    """
    module, owner, name = definition
    if not owner:
        rest = [node for node in LIBRARY[module].body if getattr(node, "name", None) != name]
        return (module, name) not in FETCHED and not any(name in read_in(node) for node in rest)
    family = {other for other in parents() if owner in ancestors(other)} | ancestors(owner)
    return not any(
        f".{name}" in read_in(tree) and (owners[name] == 1 or caller == module or family & read_in(tree))
        for caller, tree in CALLERS.items()
    )


FETCHED = set().union(*map(fetched, CALLERS.values()))


def is_allowed(definition: Definition) -> bool:
    """Say whether a name is one of those methods."""
    module, owner, name = definition
    return bool(owner) and name in ALLOWED and (name == "forward" or ".recommenders" in module)


def test_no_notebook_no_code() -> None:
    """Delete what is listed, with its tests, or let a notebook call it."""
    known = [d for module in LIBRARY for d in definitions(module) if not d.name.startswith("_")]
    owners = Counter(definition.name for definition in known if definition.owner)
    idle = [".".join(filter(None, d)) for d in known if not is_allowed(d) and is_idle(d, owners)]
    assert not idle, "\n".join(["called by no notebook, no benchmark and no other module:", *idle])


def pieces(module: str) -> Iterator[tuple[Definition, ast.AST]]:
    """Yield every function, class and method of a module with its node, private ones included."""
    for node in LIBRARY[module].body:
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            yield Definition(module, "", node.name), node
            for part in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(part, FUNCTIONS):
                    yield Definition(module, node.name, part.name), part


def read_by(node: ast.AST) -> set[str]:
    """Return the names that a function reads and imports, or a class outside of its methods."""
    imported = {name for _, name, _ in imports_of(node)}
    if not isinstance(node, ast.ClassDef):
        return read_in(node) | imported
    rest = [part for part in node.body if not isinstance(part, FUNCTIONS)]
    return set().union(*map(read_in, [*node.bases, *node.decorator_list, *rest]))


def is_reached(definition: Definition, names: set[str]) -> bool:
    """Say whether one of the names that are read may stand for a function, a class or a method.

    A class that derives from one of another package may have methods that only that package calls.
    """
    _, owner, name = definition
    if owner:
        foreign = ancestors(owner) - set(parents())
        return name.startswith("__") or f".{name}" in names or is_allowed(definition) or bool(foreign)
    return name in names or f".{name}" in names or name == "main"


def test_all_code_is_reached() -> None:
    """Follow names from notebooks, benchmarks and what runs on import: two that call each other are idle."""
    roots = [tree for caller, tree in CALLERS.items() if caller not in LIBRARY]
    roots += [node for tree in LIBRARY.values() for node in tree.body if not hasattr(node, "name")]
    names = set().union(*(read_in(root) for root in roots))
    names |= {name for root in roots[: len(CALLERS) - len(LIBRARY)] for _, name, _ in imports_of(root)}
    waiting = [piece for module in LIBRARY for piece in pieces(module)]
    while reached := [piece for piece in waiting if is_reached(piece[0], names)]:
        waiting = [piece for piece in waiting if piece not in reached]
        names |= set().union(*(read_by(node) for _, node in reached))
    idle = [".".join(filter(None, definition)) for definition, _ in waiting]
    assert not idle, "\n".join(["reached from no notebook and no benchmark:", *idle])
