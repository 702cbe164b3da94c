"""The book, built once for all of its tests, and served to a browser."""

import functools
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from recsys_lib.files import project_root

sys.path.insert(0, str(project_root() / "book"))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book, as `make book` does."""
    if not all(map(find_spec, ("myst_nb", "furo", "sphinx-mathjax-offline"))):
        pytest.skip("what builds the book is not installed (make test does it)")
    folder = tmp_path_factory.mktemp("book") / "site"
    command = [sys.executable, "book", "--output", str(folder), "--repository", "ada/course"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not talk."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
