"""Photograph a report for the docs: `python docs/screenshot.py report.html report.png [width] [height]`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def photograph(page: Path, picture: Path, *, width: int = 1120, height: int = 1400, scheme: str = "light") -> None:
    """Write the top of a page as PNG, twice as dense as the screen."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        window = chromium.new_page(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            device_scale_factor=2,
        )
        window.goto(page.absolute().as_uri())
        window.screenshot(path=str(picture))
        chromium.close()


if __name__ == "__main__":
    size = [int(text) for text in sys.argv[3:5]] or [1120]
    photograph(Path(sys.argv[1]), Path(sys.argv[2]), width=size[0], height=size[1] if len(size) > 1 else 1400)
