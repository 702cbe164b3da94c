"""Check every link inside the built book: the file is there, and so is the place in it."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

STATIC = "_static"  # the theme's own files
ADDRESSES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, and the places that others may link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and the names of one element."""
        given = dict(attrs)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        if given.get(ADDRESSES.get(tag, "")):
            self.links.append(given[ADDRESSES[tag]])


def broken_links(folder: Path) -> list[str]:
    """Return a line for each link that leads nowhere."""
    pages = {
        path.resolve(): Page(path.read_text("utf-8"))
        for path in folder.rglob("*.html")
        if STATIC not in path.parts
    }
    if not pages:
        raise ValueError(f"no pages in {folder}; first: make book")
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            place = unquote(parts.fragment)
            if not target.is_file():
                found.append(f"{path.relative_to(folder.resolve())}: {link}: there is no such file")
            elif place and target in pages and place not in pages[target].places:
                found.append(f"{path.relative_to(folder.resolve())}: {link}: there is no such place")
    return found
