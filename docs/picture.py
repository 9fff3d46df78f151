"""Create docs/result.png: a screenshot in headless Chromium of the page at the end of ``make backfill``.

python docs/picture.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import chromium  # noqa: E402

_WITHOUT_TABLES = (
    "document.querySelector('table').closest('section').remove(); document.querySelector('details').remove()"
)
_HEIGHT = "return Math.ceil(document.body.getBoundingClientRect().bottom)"


def _backfill(work: Path) -> Path:
    """Run the product on its sample, and return the page."""
    command = [sys.executable, "-m", "chatlio_kit"]
    subprocess.run([*command, "sample", "captures", "--events", "5000"], cwd=work, check=True)
    subprocess.run([*command, "backfill", "captures"], cwd=work, check=True)
    return next(work.glob(".chatlio-kit/reports/*/report.html"))


def main() -> None:
    """Write the picture: headline figures and months, at double resolution."""
    with tempfile.TemporaryDirectory() as folder:
        page = _backfill(Path(folder))
        with tempfile.TemporaryDirectory() as profile:
            browser = chromium.open_chromium(Path(profile))
            size = {"width": 960, "height": 720, "deviceScaleFactor": 2, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.get(page.as_uri())
            browser.execute_script(_WITHOUT_TABLES)
            size["height"] = browser.execute_script(_HEIGHT)
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            browser.save_screenshot(str(ROOT / "docs" / "result.png"))
            browser.quit()


if __name__ == "__main__":
    main()
