"""A headless Chromium, as the browser tests share it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).parent.parent.parent
PICTURES = ROOT / "build" / "screenshots"
CHROMIUM, DRIVER = "chromium", "chromedriver"
MISSING = (
    "The browser test needs Chromium and its driver, and did not find {}. "
    "On Debian: apt-get install chromium chromium-driver."
)
WIDTH, HEIGHT = 1280, 900
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--force-device-scale-factor=1", "--hide-scrollbars", f"--window-size={WIDTH},{HEIGHT}",
)  # fmt: skip


def require_chromium() -> None:
    """End the run with a sentence where Chromium is not installed."""
    missing = [name for name in (CHROMIUM, DRIVER) if shutil.which(name) is None]
    if missing:
        pytest.exit(MISSING.format(" and ".join(missing)), returncode=1)


def open_chromium(work: Path) -> webdriver.Chrome:
    """Start a Chromium that keeps its console's messages.

    Args:
        work: an empty folder for its profile.
    """
    options = Options()
    options.binary_location = str(shutil.which(CHROMIUM))
    for flag in (*_FLAGS, f"--user-data-dir={work / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, Service(shutil.which(DRIVER)))
