"""The page in a real browser: it loads without an error, filters, sorts, opens rows, is quick."""

import time

import pytest
from helpers import browser
from helpers.record_folders import CAPTIONS, HOSTILE, LABELS, RETRIEVAL, attacked, recorded

import jaxadv as ja
from jaxadv.reports.page.write import write_page

pytestmark = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))
SOON = 10  # seconds that a page has for what takes it a fraction of one


@pytest.fixture(scope="module")
def chromium():
    driver = browser.start()
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """A page of 48 attacks on captioners, four of which failed."""
    folder = tmp_path_factory.mktemp("captions")
    recorded(folder / "records", {"captions": [CAPTIONS]}, attempts=12, pictures=True)
    return write_page(folder / "records", folder / "page")


class Tab:
    """A page that is open, in words of a reader."""

    def __init__(self, driver, path, address="", width=1200, height=900, scheme="light"):
        self.driver = driver
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
        driver.get("about:blank")
        driver.get(f"{path.as_uri()}{address}")
        self.until("document.readyState === 'complete'")

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, condition, seconds=SOON):
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"not within {seconds} s: {condition}"
            time.sleep(0.02)

    def errors(self):
        """What the console holds, violations of the page's own policy among it."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def count(self):
        return self.run("return document.getElementById('count').textContent")

    def choose(self, name, value):
        self.run(
            "const field = document.getElementById('filters').elements[arguments[0]];"
            "field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}))",
            name, value,
        )  # fmt: skip

    def column(self, number):
        return self.run(
            "return [...document.querySelectorAll(`#rows tbody td:nth-child(${arguments[0]})`)]"
            ".map(cell => cell.textContent)",
            number,
        )

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def title(self):
        """Of the row that is open; None where none is."""
        return self.run(
            "const row = document.getElementById('row');"
            "return row.open ? document.getElementById('row-title').textContent : null"
        )

    def focused(self):
        return self.run("return document.activeElement.textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_loads_and_fits(chromium, captions, scheme, width):
    tab = Tab(chromium, captions, width=width, scheme=scheme)
    tab.until("document.querySelectorAll('#rows tbody tr').length === 25")
    assert tab.count() == "48 attacks" and tab.errors() == []
    assert tab.run("return document.documentElement.scrollWidth") <= width
    dark = tab.run("return getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    assert tab.run("return document.getElementById('cards').hidden") == (width == 1200)
    loaded = "[...document.images].filter(i => i.loading !== 'lazy').every(i => i.naturalWidth > 0)"
    tab.until(loaded)


def test_filters_change_what_is_shown(chromium, captions):
    tab = Tab(chromium, captions)
    assert tab.count() == "48 attacks"
    tab.choose("victim", "=scenes-scst")
    tab.until("document.getElementById('count').textContent === '24 of 48 attacks'")
    assert set(tab.column(3)) == {"scenes-scst"}
    tab.choose("outcome", "=failed")
    tab.until("document.getElementById('count').textContent === '2 of 48 attacks'")
    assert set(tab.column(7)) == {"broken"}
    tab.run("document.querySelector('#filters [type=reset]').click()")
    tab.until("document.getElementById('count').textContent === '48 attacks'")
    tab.choose("least", "2")
    tab.choose("most", "4")
    tab.until("document.getElementById('count').textContent.includes(' of 48')")
    norms = [float(text) for text in tab.column(9)]
    assert norms and all(2 <= norm <= 4 for norm in norms)
    tab.run("document.querySelector('#filters [type=reset]').click()")
    tab.choose("words", "scene-11")
    tab.until("document.getElementById('count').textContent === '4 of 48 attacks'")
    tab.choose("words", "no such word")
    tab.until("document.getElementById('count').textContent === '0 of 48 attacks'")
    assert "No attack is like that." in tab.column(1) and tab.errors() == []


def test_sorts_by_norm(chromium, captions):
    tab = Tab(chromium, captions)
    header = "document.querySelector('#rows thead th:last-child')"
    tab.run(f"{header}.click()")
    tab.until(f"{header}.getAttribute('aria-sort') === 'ascending'")
    norms = [float(text) for text in tab.column(9)]
    assert norms == sorted(norms) and len(norms) == 25
    tab.run(f"{header}.click()")
    tab.until(f"{header}.getAttribute('aria-sort') === 'descending'")
    norms = [float(text) for text in tab.column(9) if text != "–"]
    assert norms == sorted(norms, reverse=True)


def test_keys_open_rows_and_go_on(chromium, captions):
    """Down goes to the next row, Enter opens it, Escape closes it and goes back to it."""
    from selenium.webdriver.common.keys import Keys

    tab = Tab(chromium, captions)
    tab.run("document.querySelector('#rows tbody a').focus()")
    tab.press(Keys.ARROW_DOWN)
    tab.press(Keys.ARROW_DOWN)
    assert tab.focused() == "scene-2"
    tab.press(Keys.ENTER)
    tab.until("document.getElementById('row').open")
    assert tab.title() == "scene-2" and tab.run("return location.hash").endswith("-2")
    assert tab.run("return document.querySelectorAll('#inside img').length") == 3
    tab.until("[...document.querySelectorAll('#inside img')].every(i => i.naturalWidth > 0)")
    marked = "[...document.querySelectorAll('#inside mark')].map(mark => mark.textContent)"
    assert tab.run(f"return {marked}") == ["red circle", "sand"]
    tab.press(Keys.ARROW_RIGHT)
    tab.until("document.getElementById('row-title').textContent === 'scene-3'")
    tab.press(Keys.ARROW_LEFT)
    tab.until("document.getElementById('row-title').textContent === 'scene-2'")
    tab.press(Keys.ESCAPE)
    tab.until("!document.getElementById('row').open")
    assert tab.focused() == "scene-2" and tab.run("return location.hash") == ""
    for _ in range(30):
        tab.press(Keys.ARROW_DOWN)  # onto the next page
    assert tab.run("return document.querySelector('.dt-paging .current').textContent") == "2"
    assert tab.errors() == []


def test_a_link_opens_its_row(chromium, captions):
    tab = Tab(chromium, captions)
    address = tab.run("return document.querySelectorAll('#rows tbody a')[4].getAttribute('href')")
    tab = Tab(chromium, captions, address)
    tab.until("document.getElementById('row').open")
    assert tab.title() == "scene-4"
    tab = Tab(chromium, captions, "#row-%E0%A4%A")  # mistyped
    assert tab.title() is None and tab.count() == "48 attacks" and tab.errors() == []


def test_pictures_in_cards(chromium, captions):
    tab = Tab(chromium, captions)
    tab.run("document.getElementById('as-cards').click()")
    tab.until("document.querySelectorAll('#cards li').length === 25")
    tab.run("document.querySelector('#cards a').click()")
    tab.until("document.getElementById('row').open")
    assert tab.title() == "scene-0"


def test_a_reader_of_the_screen_is_told(chromium, captions):
    """Landmarks, one first heading, names of fields, pictures and tables, news of the count."""
    tab = Tab(chromium, captions)
    assert tab.run("return document.querySelectorAll('main, header, footer, nav').length") >= 4
    assert tab.run("return document.querySelectorAll('h1').length") == 1
    unnamed = (
        "return [...document.querySelectorAll('input, select')]"
        ".filter(field => !field.labels.length && !field.ariaLabel).length"
    )
    assert tab.run(unnamed) == 0
    assert tab.run("return [...document.images].filter(i => !i.hasAttribute('alt')).length") == 0
    tables = "[...document.querySelectorAll('table')]"
    assert tab.run(f"return {tables}.filter(table => !table.caption).length") == 0
    assert tab.run("return document.getElementById('count').getAttribute('aria-live')") == "polite"
    assert tab.run("return document.documentElement.lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast(chromium, tmp_path, scheme):
    """At least 4.5 to 1 against what is behind them (WCAG 2.2, AA)."""
    tables = {"labels": [LABELS], "captions": [CAPTIONS]}
    page = write_page(recorded(tmp_path / "records", tables, pictures=True), tmp_path / "page")
    tab = Tab(chromium, page, scheme=scheme)
    tab.run("document.querySelectorAll('details').forEach(one => { one.open = true })")
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("document.getElementById('row').open")
    time.sleep(0.3)  # the rows' backgrounds fade
    poor = tab.run(
        """
        const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) =>
          0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
        const behind = (node) => {
          for (let at = node; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
          }
          return [255, 255, 255];
        };
        const found = new Set();
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
          const node = walker.currentNode.parentElement;
          const own = walker.currentNode.textContent.trim();
          const unread = 'script, :disabled, .disabled, .unseen';
          if (!own || !node.checkVisibility() || node.closest(unread)) continue;
          const [one, two] = [light(parse(getComputedStyle(node).color)), light(behind(node))];
          const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
          if (ratio < 4.5) found.add(`${own.slice(0, 30)}: ${ratio.toFixed(2)} (${node.tagName})`);
        }
        return [...found];
        """
    )
    assert poor == []


@pytest.mark.parametrize("tables", [{"labels": [LABELS]}, {"retrieval": [RETRIEVAL]}], ids=str)
def test_rankings_say_what_they_are_in_words(chromium, tmp_path, tables):
    page = write_page(recorded(tmp_path / "records", tables), tmp_path / "page")
    tab = Tab(chromium, page)
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("document.getElementById('row').open")
    words = "[...document.querySelectorAll('#inside li small')].map(word => word.textContent)"
    kinds = tab.run(f"return {words}")
    assert kinds and {kind.strip() for kind in kinds} <= {"specified", "relevant", "irrelevant"}
    assert tab.errors() == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_run_nothing(chromium, tmp_path, text):
    """Shown, filtered, searched, sorted and opened; nothing breaks the page's width either."""

    def hostile(row):
        for name in ("image", "setting", "target", "benign", "said_8bit", "failed"):
            if isinstance(row.get(name), str):
                row[name] = text
        return row | {text: text}

    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, change=hostile)
    page = write_page(folder, tmp_path / "page")
    tab = Tab(chromium, page, width=360)
    tab.run("window.ran = []; window.alert = (what) => window.ran.push(what)")
    assert tab.count() == "24 attacks"
    tab.choose("words", "<b>&")
    tab.until("document.getElementById('count').textContent === '0 of 24 attacks'")
    tab.run("const field = document.getElementById('filters').setting; field.selectedIndex = 1")
    for number in range(2, 10):
        tab.run(f"document.querySelector('#rows thead th:nth-child({number})').click()")
    tab.choose("words", text.split()[0][:20])
    tab.until("document.querySelector('#rows tbody a')")
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("document.getElementById('row').open")
    assert tab.title() == text.replace("\ud800", "\ufffd")
    assert tab.run("return document.documentElement.scrollWidth") <= 360
    assert tab.run("return [window.ran.length, document.querySelectorAll('[onerror]').length]") == [
        0,
        0,
    ]
    assert tab.run("return document.querySelectorAll('script').length") == 3
    assert tab.errors() == []


def test_an_attacks_folder(chromium, tmp_path):
    folder = attacked(tmp_path / "out", "a b&c'd#%")
    page = write_page(folder, tmp_path / "page")
    tab = Tab(chromium, page)
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("document.getElementById('row').open")
    tab.until("[...document.querySelectorAll('#inside img')].every(i => i.naturalWidth > 0)")
    assert tab.run("return document.querySelectorAll('#inside img').length") == 3
    assert tab.errors() == []


def test_ten_thousand_rows(chromium, tmp_path, monkeypatch):
    """Each within a second or so where nothing else runs; pictures beside, only those shown."""
    monkeypatch.setattr("jaxadv.reports.page.write.MOST_EMBEDDED", 0)
    folder = tmp_path / "records"
    recorded(folder, {"captions": [CAPTIONS]}, attempts=2500)
    _few_pictures(folder)
    page = write_page(folder, tmp_path / "page")
    began = time.monotonic()
    tab = Tab(chromium, page)
    tab.until("document.querySelectorAll('#rows tbody tr').length === 25", 30)
    took = {"load": time.monotonic() - began}
    assert tab.count() == "10,000 attacks"
    for name, field, value, count in (
        ("filter", "victim", "=scenes-scst", "5,000 of 10,000 attacks"),
        ("search", "words", "scene-777", "2 of 10,000 attacks"),
    ):
        began = time.monotonic()
        tab.choose(field, value)
        tab.until(f"document.getElementById('count').textContent === '{count}'")
        took[name] = time.monotonic() - began
    tab.run("document.querySelector('#filters [type=reset]').click()")
    tab.until("document.getElementById('count').textContent === '10,000 attacks'")
    began = time.monotonic()
    tab.run("document.querySelector('#rows thead th:last-child').click()")
    tab.until("document.querySelector('#rows thead th:last-child').ariaSort === 'ascending'")
    took["sort"] = time.monotonic() - began
    began = time.monotonic()
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("document.getElementById('row').open")
    took["open"] = time.monotonic() - began
    print({name: round(seconds, 2) for name, seconds in took.items()})
    assert max(took.values()) < SOON
    assert tab.run("return document.images.length") < 100 and tab.errors() == []


def _few_pictures(folder):
    """Keep pictures of the first attacks of a folder whose records name none."""
    import numpy as np

    from jaxadv.experiments import store

    (folder / "pictures").mkdir()
    for digest in store.read_cells(folder):
        for number in range(5):
            picture = np.full((8, 8, 3), number / 5, np.float32)
            ja.write_png(folder / "pictures" / f"{digest}-{number}.png", picture)


def test_beside_a_page_pictures_are_loaded(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxadv.reports.page.write.MOST_EMBEDDED", 0)
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    tab = Tab(chromium, write_page(folder, tmp_path / "page #1 %20"))
    tab.until("document.querySelector('.thumbnail img')?.naturalWidth === 16")
    tab.run("document.querySelector('#rows tbody a').click()")
    tab.until("[...document.querySelectorAll('#inside img')].every(i => i.naturalWidth === 16)")
    assert tab.errors() == []


def test_a_notebook_shows_it(chromium, tmp_path):
    """In its frame, which has no rights but to run the page's own scripts."""
    folder = recorded(tmp_path / "records", {"captions": [CAPTIONS]}, pictures=True)
    notebook = tmp_path / "notebook.html"
    frame = ja.report(folder)._repr_html_()
    notebook.write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    tab = Tab(chromium, notebook)
    chromium.switch_to.frame(0)
    try:
        tab.until("document.querySelectorAll('#rows tbody tr').length === 24")
        tab.run("document.querySelector('#rows tbody a').click()")
        tab.until("document.getElementById('row').open")
        tab.run("document.getElementById('close').click()")
        tab.until("!document.getElementById('row').open")
        tab.run("document.querySelectorAll('#rows tbody a')[2].click()")
        tab.until("document.getElementById('row').open")
        assert tab.title() == "scene-2"
    finally:
        chromium.switch_to.default_content()
    assert tab.errors() == []
