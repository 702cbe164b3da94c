"""Build the book: write its sources, let Sphinx render them, check every link inside.

`make book` calls this; a warning of Sphinx, or a link that leads nowhere, is an error.
"""

import argparse
import re
import shutil
import sys
from pathlib import Path

from check_links import broken_links
from sphinx.cmd.build import build_main
from write_sources import write_sources

from recsys_lib.files import project_root


def main() -> int:
    """Run the command line and return the exit status: 0, or 1 if there is anything to complain about."""
    parser = argparse.ArgumentParser(prog="python book", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=project_root() / "build" / "book", help="the site's folder"
    )
    parser.add_argument("--repository", default="", help="owner/name on GitHub, for the links to Colab")
    options = parser.parse_args()
    if options.repository and not re.fullmatch(r"[\w.-]+/[\w.-]+", options.repository):
        parser.error(f"the repository must be owner/name, such as ada/course, not '{options.repository}'")
    site = options.output.resolve()
    sources, cache = site.with_name(f"{site.name}-sources"), site.with_name(f"{site.name}-cache")
    for folder in (site, sources, cache):  # what is no longer in the course shall not stay in the book
        shutil.rmtree(folder, ignore_errors=True)
    write_sources(project_root(), sources, options.repository)
    settings = Path(__file__).parent
    status = build_main(
        [
            "-W",
            "--keep-going",
            "-q",
            "-c",
            str(settings),
            "-d",
            str(cache),
            "-b",
            "html",
            str(sources),
            str(site),
        ]
    )
    broken = broken_links(site)
    print("\n".join(broken) if broken else f"The book: {site / 'index.html'}")
    return int(bool(status or broken))


if __name__ == "__main__":
    sys.exit(main())
