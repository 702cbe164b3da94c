"""The book in a real browser: every page at a phone's width, then search, folds and the dark colours."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (make test does it)")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER and find_spec("axe_playwright_python")),
    reason="chromium, its driver or axe-core is not installed",
)
pytestmark = needs_chromium
RULES = ["color-contrast", "document-title", "empty-heading", "heading-order", "html-has-lang", "image-alt"]
RULES += ["link-name", "page-has-heading-one"]
# Judging each coloured piece of code takes many seconds a notebook, and all share one style sheet: the first
# blocks of code, rows and formulas of a page stand for the others.
THIN = """
const rest = (words, kept) => [...document.querySelectorAll(words)].slice(kept).forEach(one => one.remove());
rest(".highlight", 4);
rest("mjx-container", 4);
rest("article tbody tr", 12);
rest("dl.py", 12);
rest("table.genindextable li", 12);
"""
JUDGE = """
const done = arguments[arguments.length - 1], cut = node => node.html.slice(0, 150);
axe.run(document, {runOnly: arguments[0], resultTypes: ["violations"]}).then(result => done(
  result.violations.flatMap(rule => rule.nodes.slice(0, 3).map(node => `${rule.id}: ${cut(node)}`))));
"""
SEE = """
const done = arguments[arguments.length - 1], count = words => document.querySelectorAll(words).length;
const images = [...document.images];
const boxes = [document.documentElement, ...document.querySelectorAll(".content")];
images.forEach(image => image.loading = "eager");
const typeset = count("span.math, div.math") ? MathJax.startup.promise : Promise.resolve();
Promise.all([typeset, ...images.map(image => image.decode().catch(() => 0))]).then(() => done({
  title: document.title,
  requests: performance.getEntriesByType("resource").map(entry => entry.name),
  formulas: count("span.math, div.math"), typeset: count("mjx-container"), flawed: count("mjx-merror"),
  images: images.length, missing: images.filter(image => !image.naturalWidth).map(image => image.src),
  wide: Math.max(...boxes.map(box => box.scrollWidth)) - window.innerWidth,  // the theme lets .content scroll
  solutions: [...document.querySelectorAll("details summary")].map(one => one.innerText.trim())
    .filter(text => text === "Solution").length,
}));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    # Headless windows are 500 pixels wide at least; the device's own width is what a page sees.
    size = {"width": 400, "height": 850, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.set_script_timeout(60)
    yield browser
    browser.quit()


def judge(browser: Any, thin: bool = False) -> list[str]:
    if thin:
        browser.execute_script(THIN)
    script = Path(find_spec("axe_playwright_python").submodule_search_locations[0]) / "axe.min.js"
    browser.execute_script(script.read_text("utf-8"))
    return browser.execute_async_script(JUDGE, RULES)


@pytest.fixture(scope="module")
def visits(browser: Any, address: str, site: Path) -> dict[str, dict[str, Any]]:
    """What was seen on each page."""
    seen = {}
    for path in sorted(site.rglob("*.html")):
        page = str(path.relative_to(site))
        if page.startswith("_static"):
            continue
        browser.get(address + page)
        seen[page] = browser.execute_async_script(SEE)
        seen[page]["judged"] = judge(browser, thin=True)
        seen[page]["log"] = [entry["message"] for entry in browser.get_log("browser")]
    return seen


def test_there_is_a_page_for_everything(visits: dict[str, Any]) -> None:
    wanted = {
        "index",
        "start",
        "teachers",
        "results",
        "glossary",
        "data_card",
        "library",
        "library/recommenders",
    }
    assert {f"{name}.html" for name in wanted} <= visits.keys()
    assert sum(page.startswith("notebooks/") for page in visits) >= 13


def test_no_page_complains_or_asks_another_host(visits: dict[str, Any], address: str) -> None:
    assert {page: seen["log"] for page, seen in visits.items() if seen["log"]} == {}
    outside = {
        page: [r for r in seen["requests"] if not r.startswith(address)] for page, seen in visits.items()
    }
    assert {page: found for page, found in outside.items() if found} == {}
    assert all(seen["requests"] for seen in visits.values())  # they were recorded


def test_formulas_are_typeset_and_figures_shown(visits: dict[str, Any]) -> None:
    for page, seen in visits.items():
        assert not seen["missing"], page
        assert not seen["flawed"], page
        assert seen["typeset"] >= seen["formulas"], page
        if page.startswith("notebooks/"):
            assert seen["images"] > 0, page
            assert seen["formulas"] > 0, page
            assert seen["solutions"] >= 3, page


def test_nothing_scrolls_sideways_on_a_phone(visits: dict[str, Any]) -> None:
    assert {page: seen["wide"] for page, seen in visits.items() if seen["wide"] > 0} == {}


def test_contrast_headings_and_names_are_in_order(visits: dict[str, Any]) -> None:
    assert {page: seen["judged"] for page, seen in visits.items() if seen["judged"]} == {}


def test_a_whole_notebook_has_contrast(browser: Any, address: str) -> None:
    browser.get(address + "notebooks/01_preprocessing.html")
    assert judge(browser) == []


@pytest.mark.parametrize("page", ["index.html", "notebooks/01_preprocessing.html", "library/scoring.html"])
def test_the_dark_colours_have_contrast_too(browser: Any, address: str, page: str) -> None:
    browser.get(address + page)
    browser.execute_script("document.body.dataset.theme = 'dark'")
    assert judge(browser, thin=True) == []


def test_flaws_are_seen(browser: Any, address: str) -> None:
    browser.get(address + "index.html")
    assert browser.execute_async_script(SEE)["wide"] == 0
    browser.execute_script("""
      const title = document.querySelector("h1"), image = new Image();
      title.style = "color: #eee; width: 900px";
      image.src = "nowhere.png";
      title.append(image);
    """)
    seen = browser.execute_async_script(SEE)
    assert seen["wide"] > 0
    assert seen["missing"] == [address + "nowhere.png"]
    assert {found.split(":")[0] for found in judge(browser)} == {"color-contrast", "image-alt"}


def test_the_search_finds_a_model(browser: Any, address: str) -> None:
    browser.get(address + "search.html?q=EASE")
    wait = WebDriverWait(browser, 20)
    links = "#search-results li a"
    wait.until(lambda _: "found" in browser.find_element(By.CSS_SELECTOR, ".search-summary").text)
    found = [link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, links)]
    assert any("notebooks/03_" in link for link in found)
    assert any("library/recommenders" in link for link in found)


def test_a_solution_unfolds(browser: Any, address: str, site: Path) -> None:
    (page,) = (site / "notebooks").glob("03_*.html")
    browser.get(f"{address}notebooks/{page.name}")
    fold = next(
        one
        for one in browser.find_elements(By.TAG_NAME, "details")
        if one.find_element(By.TAG_NAME, "summary").text.strip() == "Solution"
    )
    code = fold.find_element(By.TAG_NAME, "pre")
    assert not code.is_displayed()
    browser.execute_async_script(SEE)  # nothing moves any more
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", fold)
    fold.find_element(By.TAG_NAME, "summary").click()
    WebDriverWait(browser, 20).until(lambda _: code.is_displayed())


def test_a_page_offers_download_colab_and_a_command(browser: Any, address: str, site: Path) -> None:
    (page,) = (site / "notebooks").glob("03_*.html")
    browser.get(f"{address}notebooks/{page.name}")
    links = {
        link.text: link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "article a")
    }
    assert links["Download notebook"].endswith(f"/{page.stem}.ipynb")
    colab = f"https://colab.research.google.com/github/ada/course/blob/main/notebooks/{page.stem}.ipynb"
    assert links["Open in Colab"] == colab
    assert "start.html#on-your-machine" in links["Run locally"]
