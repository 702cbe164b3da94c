"""The page in a real browser: Debian's chromium, driven by Selenium."""

import shutil

import pytest
from shops import publish_tiny, served

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (make test does it)")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and its driver are not installed"
)


@pytest.fixture
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=390,844"):  # a phone's
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


def texts(browser, place):
    script = f"return [...document.querySelectorAll('#{place} button')].map(button => button.innerText)"
    return browser.execute_script(script)  # at one moment: the page may replace its buttons


@needs_chromium
def test_a_click_changes_the_list(browser, tmp_path):
    publish_tiny(tmp_path)
    with served(tmp_path) as (address, _):
        browser.get(address)
        wait = WebDriverWait(browser, 20)
        wait.until(lambda _: len(texts(browser, "list")) == 10)
        first = texts(browser, "list")
        assert all("because: taken by many of late" in text for text in first)
        browser.find_element(By.ID, "words").send_keys("1021", Keys.ENTER)  # the keyboard is enough
        wait.until(lambda _: texts(browser, "found"))
        browser.find_element(By.CSS_SELECTOR, "#found button").send_keys(Keys.ENTER)
        wait.until(lambda _: texts(browser, "list") != first)
        changed = texts(browser, "list")
        assert changed[0].startswith("thing 1021")
        assert "bought before" in changed[0]
        wait.until(lambda _: texts(browser, "basket"))
        browser.find_element(By.CSS_SELECTOR, "#basket button").click()  # taken back
        wait.until(lambda _: texts(browser, "list") == first)
        box = browser.find_element(By.ID, "household")
        box.clear()
        box.send_keys("seven", Keys.ENTER)
        wait.until(lambda _: "number" in browser.find_element(By.ID, "status").text)
        wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert wide  # nothing to scroll sideways on a phone
        assert browser.get_log("browser") == []
        browser.save_screenshot(str(tmp_path / "page.png"))
