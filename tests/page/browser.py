"""A headless Chromium for tests, and what a page asked of the network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
REQUIRED = "RATEMATCH_BROWSER"
"""Environment variable under which a missing browser is a failure; CI sets it."""


def _paths() -> tuple[str | None, str | None]:
    return shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")


def needed() -> None:
    """Skips without a browser; fails where one must be there."""
    browser, driver = _paths()
    if browser is None or driver is None:
        text = "needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get(REQUIRED):
            pytest.fail(text)
        pytest.skip(text)
    pytest.importorskip("selenium", reason="needs selenium: pip install 'ratematch[test]'")


@contextmanager
def opened(profile: Path) -> Iterator[Any]:
    """A browser with a profile of its own."""
    from selenium import webdriver

    browser, driver = _paths()
    options = webdriver.ChromeOptions()
    options.binary_location = browser or ""
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}", "--window-size=1200,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


def look(browser: Any, file: Path, *, width: int, scheme: str = "light") -> None:
    """Opens a file at a width in px, in a colour scheme."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(file.as_uri())
    drawn = "return [...document.querySelectorAll('.figure')].every((f) => !f.querySelector('noscript'))"
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20, poll_frequency=0.05).until(lambda found: found.execute_script(drawn))


def requests(browser: Any) -> list[str]:
    """The addresses that pages asked for since the last call."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def complaints(browser: Any) -> list[str]:
    """What the console says since the last call."""
    return [entry["message"] for entry in browser.get_log("browser")]
