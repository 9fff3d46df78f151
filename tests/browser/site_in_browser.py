"""The documentation site in headless Chromium: ``make test-browser``. Not collected by a plain ``pytest``.

Its search finds what messages say, and its pages fit in both themes and on a phone, without a network.
"""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from chromium import HEIGHT, PICTURES, ROOT, open_chromium, require_chromium
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PAGES = ("docs/index", "docs/troubleshooting", "docs/data-dictionary", "docs/python", "notebooks/02_convert")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The site, built as ``make docs`` builds it, behind a server of this machine."""
    out = tmp_path_factory.mktemp("site")
    strict = ["--quiet", "--nitpicky", "--fail-on-warning", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", *strict, "-c", "docs", ".", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    handler = functools.partial(_Quiet, directory=str(out))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser for all tests."""
    require_chromium()
    opened = open_chromium(tmp_path_factory.mktemp("browser"))
    yield opened
    opened.quit()


@pytest.mark.parametrize("words", ["kind_unknown", "undated", "overdue", "LedgerBusy", "first_reply_time"])
def test_the_search_finds_what_a_message_says(site: str, browser: Chrome, words: str) -> None:
    """A reason, a state, an error and a metric lead to their pages."""
    browser.get(f"{site}/search.html?q={words}")
    results = WebDriverWait(browser, 20).until(
        lambda page: page.find_elements(By.CSS_SELECTOR, "#search-results ul.search li a")
    )
    assert results[0].text
    browser.get(results[0].get_attribute("href") or "")
    assert words in browser.page_source


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_are_whole_in_both_themes_and_on_a_phone(
    site: str, browser: Chrome, theme: str, width: int
) -> None:
    """No page is wider than the window, asks another host, or writes an error; pictures are kept."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(f"{site}/docs/index.html")
    browser.execute_script("['mode', 'theme'].forEach(key => localStorage.setItem(key, arguments[0]))", theme)
    for page in PAGES:
        browser.get(f"{site}/{page}.html")
        assert browser.execute_script("return document.documentElement.dataset.theme") == theme
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page
        loaded = browser.execute_script(
            "return performance.getEntriesByType('resource').map(entry => entry.name)"
        )
        assert loaded, page
        assert all(address.startswith((site, "data:")) for address in loaded), loaded
        browser.save_screenshot(str(PICTURES / f"site_{page.replace('/', '_')}_{width}_{theme}.png"))
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors
