"""The documentation's site in a real browser: wide and narrow pages, the console, the search."""

import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from helpers import browser

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served: its search reads its index, which a browser reads of no file."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def driver():
    driver = browser.start()
    yield driver
    driver.quit()


def of_width(driver, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_pages_fit_the_screen(driver, address, site):
    """No page is wider than the screen, lacks a picture or leaves an error on the console."""
    for page in sorted(site.rglob("*.html")):
        driver.get(f"{address}/{page.relative_to(site)}")
        for width in (1400, 360):
            of_width(driver, width)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, (
                page
            )
        lost = "return [...document.images].filter(i => i.complete && !i.naturalWidth).length"
        assert driver.execute_script(lost) == 0, page
        errors = [entry["message"] for entry in driver.get_log("browser")]
        assert [error for error in errors if "404.html" not in error] == [], page


def test_search_finds_pages(driver, address):
    of_width(driver, 1400)
    driver.get(f"{address}/index.html?q=intra-modal")
    found = "return [...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
    end = time.monotonic() + 20
    while not (links := driver.execute_script(found)):
        assert time.monotonic() < end, "the search finds nothing"
        time.sleep(0.1)
    assert any("hashing.html" in link for link in links)
