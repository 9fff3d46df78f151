"""The notebooks in a real browser: ``make test-browser``. Not collected by a plain ``pytest``.

JupyterLab serves a throw-away copy of them on loopback, with settings of its own. A headless Chromium opens
each, restarts its kernel, runs all cells, and what is shown then is looked at. Pictures of the whole pages,
in the light and in the dark theme, are kept in ``build/screenshots``.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from chromium import PICTURES, ROOT, WIDTH, open_chromium, require_chromium

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
THEMES = ("JupyterLab Light", "JupyterLab Dark")
LONGEST_SECONDS = 300  # on a busy machine

NOT_OURS = (
    "Could not restore the debugger state",  # JupyterLab, when a kernel is restarted
    "Canceled future for kernel_info_request",  # JupyterLab, when a kernel is restarted before it answers
    "Blocked attempt to show a 'beforeunload'",  # Chromium, when a changed notebook is left
)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_SETTINGS = {
    # Every cell is drawn, also what is out of sight, so that one screenshot holds the whole notebook.
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "apputils-extension/sessionDialogs": {"skipKernelRestartDialog": True},
}
_START_SECONDS = 60.0
_RUN = """
window.ran = undefined;
window.jupyterapp.commands.execute("notebook:restart-run-all").then(
    () => { window.ran = ""; }, e => { window.ran = String(e); });
"""
_LOOK = """
const panel = window.jupyterapp.shell.currentWidget;
const session = panel.sessionContext.session;
const cells = panel.content.widgets.filter(each => each.model.type === "code");
return {
    status: session && session.kernel ? session.kernel.status : "none",
    counts: cells.map(each => each.model.executionCount),
    outputs: cells.map(each => each.model.outputs.toJSON()),
    tables: panel.node.querySelectorAll(".jp-OutputArea-output table").length,
    plots: [...panel.node.querySelectorAll(".jp-OutputArea-output img")].map(
        each => ({alt: each.alt, width: each.naturalWidth, shown: each.getBoundingClientRect().width})),
    bars: panel.node.querySelectorAll(".jp-OutputArea-output .widget-hprogress").length,
    clipped: [...panel.node.querySelectorAll(
        ".jp-OutputArea, .jp-OutputArea-output, .jp-OutputArea-output *:not(option)")].filter(
        each => each.clientWidth > 0 && getComputedStyle(each).overflow !== "visible"
            && (each.scrollWidth > each.clientWidth + 1 || each.scrollHeight > each.clientHeight + 1)).map(
        each => `${each.tagName}.${each.className}: ${each.innerText.slice(0, 80)}`),
    scrolled: panel.node.querySelectorAll(".jp-mod-outputsScrolled").length,
    beyond: [...panel.node.querySelectorAll(".jp-OutputArea-output table, .jp-OutputArea-output img")].filter(
        each => each.getBoundingClientRect().right
            > each.closest(".jp-OutputArea").getBoundingClientRect().right + 1).map(
        each => (each.alt || each.innerText).slice(0, 80)),
    height: panel.content.node.querySelector(".jp-WindowedPanel-inner, .jp-Notebook") ?
        Math.max(...panel.content.widgets.map(each => each.node.offsetTop + each.node.offsetHeight)) : 0,
};
"""


@dataclass(frozen=True)
class Seen:
    """What the browser shows of a notebook that was run.

    Attributes:
        counts: the execution count of each code cell.
        outputs: each code cell's outputs, as the notebook stores them.
        tables: how many tables are shown.
        plots: for each image its text for those who cannot see it, its width and the width it is shown at.
        bars: how many progress bars are shown.
        clipped: outputs of which a part is cut off or has to be scrolled to.
        scrolled: how many outputs are folded into a scrolling area.
        beyond: tables and images that reach beyond their output area.
        height: of the whole notebook, in pixels.
        status: of the kernel.
    """

    counts: list[int | None]
    outputs: list[list[dict[str, Any]]]
    tables: int
    plots: list[dict[str, Any]]
    bars: int
    clipped: list[str]
    scrolled: int
    beyond: list[str]
    height: float
    status: str

    def stored(self, kind: str, pattern: str) -> int:
        """Count what the outputs of a kind hold."""
        texts = [
            "".join(each["data"].get(kind, "")) for cell in self.outputs for each in cell if "data" in each
        ]
        return sum(len(re.findall(pattern, text)) for text in texts)


@contextmanager
def jupyter_lab(folder: Path, work: Path) -> Iterator[str]:
    """Serve a folder of notebooks, and give the URL, with its token.

    Args:
        folder: the notebooks; they are written to.
        work: an empty folder for everything else that JupyterLab keeps.
    """
    port, token = _free_port(), secrets.token_hex(16)
    places = {
        name: str(work / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
                     "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    }  # fmt: skip
    for plugin, values in _SETTINGS.items():
        file = Path(places["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", f"{plugin}.jupyterlab-settings")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.allow_root": True,
        "ServerApp.root_dir": folder,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        *(f"--{k}={v}" for k, v in options.items()),
    ]
    with (work / "jupyter.log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(server, f"{url}/api?token={token}", work / "jupyter.log")
        yield f"{url}/doc/tree/{{name}}?token={token}"
    finally:
        server.terminate()
        server.wait(30)


class Browser:
    """One headless Chromium. Use it as a context manager.

    Args:
        work: an empty folder for its profile.
    """

    def __init__(self, work: Path) -> None:
        self._driver = open_chromium(work)
        self._driver.set_script_timeout(LONGEST_SECONDS)
        # JupyterLab has no current notebook in a window without focus, as a headless one may be.
        self._driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()

    def open(self, url: str) -> None:
        """Open a notebook and wait until its kernel is there."""
        self._driver.get(url)
        self._until("return !!(window.jupyterapp && window.jupyterapp.shell.currentWidget"
                    " && window.jupyterapp.shell.currentWidget.sessionContext"
                    " && window.jupyterapp.shell.currentWidget.sessionContext.session"
                    " && window.jupyterapp.shell.currentWidget.sessionContext.session.kernel)")  # fmt: skip

    def restart_and_run_all(self) -> float:
        """Restart the kernel, run all cells, wait until the last has ended; give the seconds."""
        started = time.monotonic()
        self._driver.execute_script(_RUN)
        self._until("return window.ran !== undefined")
        assert self._driver.execute_script("return window.ran") == ""
        self._until("const s = window.jupyterapp.shell.currentWidget.sessionContext.session;"
                    "return s.kernel.status === 'idle'")  # fmt: skip
        return time.monotonic() - started

    def look(self) -> Seen:
        """Tell what is shown."""
        return Seen(**self._driver.execute_script(_LOOK))

    def complaints(self) -> list[str]:
        """Give the errors of the console since the last call."""
        return [str(each["message"]) for each in self._driver.get_log("browser") if each["level"] == "SEVERE"]

    def change_theme(self, theme: str) -> None:
        """Change to ``JupyterLab Light`` or ``JupyterLab Dark``."""
        done = "arguments[arguments.length - 1]"
        script = (
            f"window.jupyterapp.commands.execute('apputils:change-theme', {{theme: '{theme}'}}).then({done})"
        )
        self._driver.execute_async_script(script)
        self._until(f"return document.body.dataset.jpThemeName === '{theme}'")
        time.sleep(0.5)  # the theme's styles are drawn

    def picture(self, file: Path, height: float) -> None:
        """Write a picture of the whole notebook."""
        size = {"width": WIDTH, "height": round(height), "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.5)  # it is laid out anew
        self._driver.save_screenshot(str(file))
        self._driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def _until(self, condition: str, seconds: float = LONGEST_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self._driver.execute_script(condition):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} seconds: {condition}"
            time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        assert time.monotonic() < deadline, "JupyterLab did not answer in time"
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server on loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Browser]]:
    """JupyterLab and a browser; without Chromium the run ends with a sentence."""
    require_chromium()
    work = tmp_path_factory.mktemp("laboratory")
    folder = work / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns(".*"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    with jupyter_lab(folder, work) as url, Browser(work) as browser:
        yield url, browser


@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_notebook_in_the_browser(
    name: str, laboratory: tuple[str, Browser], capsys: pytest.CaptureFixture[str]
) -> None:
    """After Restart Kernel and Run All Cells everything is shown, whole, and nothing went wrong."""
    url, browser = laboratory
    browser.open(url.format(name=f"{name}.ipynb"))
    seconds = browser.restart_and_run_all()
    for theme in THEMES:
        browser.change_theme(theme)
        seen = browser.look()
        browser.picture(PICTURES / f"{name}-{theme.split()[1].lower()}.png", seen.height + 150)
        assert seen.clipped == [], theme
        assert seen.scrolled == 0, theme
        assert seen.beyond == [], theme
    with capsys.disabled():
        print(f"\n{name}: {seconds:.1f} s, {seen.tables} tables, {len(seen.plots)} plots, {seen.bars} bars")
    assert seen.counts == list(range(1, len(seen.counts) + 1))
    outputs = [each for cell in seen.outputs for each in cell]
    assert not [each for each in outputs if each["output_type"] == "error" or each.get("name") == "stderr"]
    assert seen.tables == seen.stored("text/html", "<table") > 0
    assert len(seen.plots) == seen.stored("text/html", "<img alt=")
    assert all(each["alt"] and each["width"] and each["shown"] for each in seen.plots)
    assert seen.bars == sum(_WIDGET in each.get("data", {}) for each in outputs) > 0
    assert [each for each in browser.complaints() if not any(known in each for known in NOT_OURS)] == []
