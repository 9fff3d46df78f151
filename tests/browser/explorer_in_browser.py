"""The explorer in a real browser: ``make test-browser``. Not collected by a plain ``pytest``.

A page with over 100,000 messages is searched, read by keyboard, and asked for its accessible names; texts
that try to run stay texts. Pictures in the light and in the dark scheme are kept in ``build/screenshots``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from chromium import PICTURES, open_chromium, require_chromium
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import chatlio_kit as ck
from chatlio_kit import local_platform
from chatlio_kit.aep import Platform
from chatlio_kit.jobs.platforms import settings_of
from chatlio_kit.local_platform import Options
from chatlio_kit.tables import Tables

MESSAGES = 100_000
LONGEST_MS = 300
QUERIES = ("r", "re", "refund", "order where", "größe", "zzz", "")
PLANTED = (
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "<!--<script>",
    "\u202egnp.exe",
)
_SEARCH = """
const [text, done] = arguments, field = document.getElementById("query");
field.value = text;
const started = performance.now();
field.dispatchEvent(new Event("input", {bubbles: true}));
requestAnimationFrame(() => setTimeout(() => done(performance.now() - started)));
"""
_RUN = """
const script = document.createElement("script");
script.textContent = "window.ran = 1";
document.body.append(script);
"""
_CONTRASTS = """
const numbers = color => color.match(/[\\d.]+/g).map(Number);
const linear = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const behind = element => {
    for (; element; element = element.parentElement) {
        const color = numbers(getComputedStyle(element).backgroundColor);
        if (color.length === 3 || color[3] > 0) return color;
    }
};
const ratios = {};
for (const name of arguments[0]) {
    for (const element of document.querySelectorAll(name)) {
        const colors = [numbers(getComputedStyle(element).color), behind(element)];
        const [dark, bright] = colors.map(light).sort((a, b) => a - b);
        ratios[name] = Math.min(ratios[name] || 21, (bright + 0.05) / (dark + 0.05));
    }
}
return ratios;
"""
_TEXTS = (
    "h1", "header p", "label", "#count", "#list b", ".snippet", ".snippet mark", ".badge", "dt", "dd",
    ".visitor .quiet", ".agent .quiet", ".text", "th", "td", "td small",
)  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A browser, and the folder of its pages."""

    driver: Chrome
    folder: Path

    def open(self, name: str) -> None:
        """Open a page."""
        self.driver.get((self.folder / name).as_uri())

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def text(self, name: str) -> str:
        """Return what an element shows."""
        return str(self.driver.find_element(By.ID, name).text)

    def focused(self) -> str:
        """Return the text of the element that has the focus."""
        return str(self.driver.switch_to.active_element.text)

    def names(self) -> dict[str, set[str]]:
        """Return the accessible names of a page by role."""
        nodes = self.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        names: dict[str, set[str]] = {}
        for node in nodes:
            if not node.get("ignored"):
                role, name = node["role"]["value"], (node.get("name") or {}).get("value", "")
                names.setdefault(role, set()).add(name)
        return names


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Tables of over 100,000 messages."""
    path = ck.write_sample(tmp_path_factory.mktemp("large") / "captures", events=60_000, bad_share=0.005).path
    return ck.read_export(path).to_tables(quiet=True)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, tables: Tables) -> Iterator[Opened]:
    """A browser and pages: a large one, one after a backfill, one with planted texts, one in a frame."""
    require_chromium()
    PICTURES.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("pages")
    tables.explore(limit=1_000_000).save(folder / "large.html")
    _backfilled(folder)
    small = ck.read_export(_planted(folder)).to_tables(quiet=True).explore()
    small.save(folder / "planted.html")
    frame = f"<!DOCTYPE html><title>notebook</title>{small._repr_html_()}"
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    driver = open_chromium(folder)
    yield Opened(driver, folder)
    driver.quit()


def _backfilled(folder: Path) -> None:
    """Write the page of a backfill that a platform took in part."""
    captures, state = folder / "captures", folder / "state"
    ck.write_sample(captures, events=600, seed=3, bad_share=0.03)
    picky = {"faults": [{"fault": "partial", "status": 400, "share": 0.1, "lasting": True}]}
    options = Options(enabling_delay=0.02, processing_delay=0.02, faults=picky)
    server = local_platform.ensure_running(state / "local", options=options)
    try:
        with Platform(settings_of(server, state)) as platform:
            ck.backfill(captures, platform, quiet=True, wait=60)
    finally:
        local_platform.stop(state / "local")
    tables = ck.read_export(captures).to_tables(quiet=True)
    ck.explore(tables, state=state).save(folder / "backfilled.html")


def _planted(folder: Path) -> Path:
    lines = []
    for number, text in enumerate(PLANTED):
        chat = f"00000000-0000-0000-0000-{number:012d}"
        messages = [{"ts": f"1710144005.00020{number}", "text": text, "username": text, "isVisitorMsg": True}]
        payload: dict[str, Any] = {
            "conversationUUID": chat,
            "startedAt": "2024-03-11T09:00:00Z",
            "endedAt": "2024-03-11T09:03:10Z",
            "visitorName": text,
            "visitor": {"UUID": chat, "currentPage": "javascript:document.title='run'"},
            "messages": messages,
        }
        lines += [{"kind": "transcript", "payload": payload}, {"kind": text, "payload": {"message": text}}]
    path = folder / "planted.ndjson"
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


def test_a_search_of_100_000_messages_is_quick(
    opened: Opened, tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each search is answered and drawn within 300 ms, and finds what the frame's search finds."""
    assert len(tables.messages) > MESSAGES
    opened.open("large.html")
    opened.driver.set_script_timeout(60)
    for query in QUERIES:
        milliseconds = opened.driver.execute_async_script(_SEARCH, query)
        with capsys.disabled():
            print(f"\n{query!r}: {milliseconds:.0f} ms, {opened.text('count')}", end="")
        assert milliseconds < LONGEST_MS
        assert opened.text("count").startswith(f"{len(tables.search(query)):,} of ")


def test_it_is_used_by_keyboard(opened: Opened) -> None:
    """Search, move through the list, read, and return, without a mouse."""
    opened.open("backfilled.html")
    opened.press("/", *"order")
    assert "found" in opened.text("count")
    opened.press(Keys.ARROW_DOWN)
    first = opened.focused()
    opened.press(Keys.ARROW_DOWN)
    second = opened.focused()
    assert first != second
    assert "order" in second.lower()
    opened.press(Keys.ENTER)
    assert opened.driver.switch_to.active_element.get_attribute("id") == "heading"
    assert opened.focused().split(",")[0] in second
    opened.press(Keys.ESCAPE)
    assert opened.focused() == second
    opened.press(Keys.END)
    last = opened.focused()
    opened.press(Keys.HOME)
    assert (opened.focused(), last != first) == (first, True)
    opened.open("backfilled.html")
    opened.driver.execute_script("document.getElementById('more').focus()")
    before = len(opened.driver.find_elements(By.CSS_SELECTOR, "#list li"))
    opened.press(Keys.ENTER)
    assert len(opened.driver.find_elements(By.CSS_SELECTOR, "#list li")) > before == 100


def test_a_screen_reader_has_a_name_for_everything(opened: Opened) -> None:
    """Fields, regions, lists, tables and buttons have names; what is opened is marked as current."""
    opened.open("backfilled.html")
    names = opened.names()
    assert names["searchbox"] == {"Search"}
    assert names["combobox"] == {"Outcome", "Type"}
    assert {"From", "To"} <= names["Date"]
    assert names["search"] == {"Search conversations"}
    assert "Results" in names["region"]
    assert "Messages" in names["list"]
    assert names["columnheader"] == {"event", "time", "read from", "outcome"}
    assert "" not in names["button"] | names["heading"] | names["article"]
    assert opened.driver.execute_script("return document.querySelectorAll('[aria-current=true]').length") == 1


def test_filters_show_what_became_of_each(opened: Opened) -> None:
    """A chosen status leaves conversations with it, and the reader says why."""
    opened.open("backfilled.html")
    for status, said in (("dead_lettered", "refused_400"), ("rejected", "The record as it was read")):
        opened.driver.find_element(By.CSS_SELECTOR, f"#status option[value={status}]").click()
        shown = opened.driver.find_elements(By.CSS_SELECTOR, f"#list .badge.{status}")
        assert len(shown) == len(opened.driver.find_elements(By.CSS_SELECTOR, "#list li")) > 0
        assert said in opened.text("reader")


@pytest.mark.parametrize("name", ["planted.html", "frame.html"])
def test_planted_texts_stay_texts(opened: Opened, name: str) -> None:
    """Nothing runs, loads or is blocked, in a file and in a notebook's frame; each text is shown as it is."""
    opened.driver.get_log("browser")
    opened.open(name)
    if name == "frame.html":
        opened.driver.switch_to.frame(0)
    assert opened.text("count").startswith(f"{2 * len(PLANTED)} of ")
    seen = ""
    for button in opened.driver.find_elements(By.CSS_SELECTOR, "#list button"):
        button.click()
        seen += opened.text("reader")
    assert all(text in seen for text in PLANTED[:3])
    assert "\\u202egnp.exe" in seen
    assert opened.driver.execute_script("return document.title") == "Conversations"
    count = "return document.querySelectorAll('img, a, iframe, script:not([id]), [onerror]').length"
    assert opened.driver.execute_script(count) == 1  # the page's own script
    assert opened.driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert opened.driver.get_log("browser") == []
    opened.driver.execute_script(_RUN)
    assert opened.driver.execute_script("return window.ran === undefined")
    if name == "planted.html":  # what a frame logs is not passed on
        assert "Content Security Policy" in str(opened.driver.get_log("browser"))
    opened.driver.switch_to.default_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_in_both_schemes(opened: Opened, scheme: str) -> None:
    """A picture of each, and texts that stand out from their background by the ratio that WCAG asks for."""
    opened.open("backfilled.html")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    opened.press("/", *"order where")
    time.sleep(0.3)
    opened.driver.save_screenshot(str(PICTURES / f"explorer-{scheme}.png"))
    ratios = opened.driver.execute_script(_CONTRASTS, _TEXTS)
    assert set(ratios) == set(_TEXTS)
    assert min(ratios.values()) >= 4.5, ratios
