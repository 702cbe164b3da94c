"""The page in a real browser: Debian's chromium, driven by Selenium."""

import shutil
import threading
from types import SimpleNamespace

import pytest
import uvicorn
from shops import free_port, publish_tiny, served

from recsys_lib.online.serving import make_app
from recsys_lib.text.assistant import Reply

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
        status = browser.find_element(By.ID, "status")
        box.send_keys(Keys.ENTER)  # the number that the page gave is one that it takes
        assert status.get_attribute("class") == ""  # no complaint
        box.clear()
        box.send_keys("seven", Keys.ENTER)
        wait.until(lambda _: "number" in status.text)
        browser.find_element(By.ID, "empty").click()  # a new household
        wait.until(lambda _: len(box.get_property("value")) == 10 and box.get_property("value").isdigit())
        wait.until(lambda _: "is new" in status.text)
        wide = browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        assert wide  # nothing to scroll sideways on a phone
        assert browser.get_log("browser") == []
        browser.save_screenshot(str(tmp_path / "page.png"))


@needs_chromium
def test_a_question_is_answered_in_the_page(browser, tmp_path):
    publish_tiny(tmp_path)
    desk = SimpleNamespace(reply=lambda text, _: Reply("answer", f"<b>You asked: {text}", "R1", [], 1.0))
    app = make_app(tmp_path, f"sqlite:///{tmp_path / 'events.sqlite'}", desk=lambda _: desk)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait = WebDriverWait(browser, 20)
        wait.until(lambda _: server.started)
        wait.until(lambda _: app.state.service.shop)
        browser.get(f"http://127.0.0.1:{port}/")
        wait.until(lambda _: len(texts(browser, "list")) == 10)
        browser.find_element(By.ID, "question").send_keys("what does delivery cost", Keys.ENTER)
        wait.until(lambda _: "You asked" in browser.find_element(By.ID, "talk").text)
        assert (
            browser.find_element(By.ID, "talk").text.split("\n")[-1]
            == "<b>You asked: what does delivery cost"
        )
    finally:
        server.should_exit = True
        thread.join(10)
