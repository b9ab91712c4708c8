"""A real Chromium without a window, and what every page must bear: no error, no request to elsewhere, axe's rules."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

__all__ = ["NAMES", "PHONE", "WIDE", "Visitor", "assert_accessible", "find_chromium", "open_visitor"]

T = TypeVar("T")

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What distributions call it."""
WIDE = (1280, 900)
PHONE = (360, 740)
_HERE = ("data", "blob", "about", "chrome-error")
"""Schemes that ask nobody."""


def find_chromium() -> str | None:
    """The path of the distribution's Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Visitor:
    """Opens pages in one browser, which lives in a thread of its own since its driver keeps an event loop there."""

    def __init__(self, browser: Browser, thread: ThreadPoolExecutor) -> None:
        self._browser = browser
        self._thread = thread

    def visit(
        self,
        url: str,
        look: Callable[[Page], T],
        *,
        dark: bool = False,
        size: tuple[int, int] = WIDE,
        scripts: bool = True,
        expected_errors: tuple[str, ...] = (),
    ) -> T:
        """Load a page in a session of its own, and do something with it.

        Args:
            url: Of a file, or of a server on this machine. A request to any other scheme, host or port fails the test.
            look: Called with the page in the browser's thread; it uses the page and nothing of the package's, and has
                the page write no files: their threads would stay.
            dark: Whether the system asks for dark colours.
            size: Of the window: width and height.
            scripts: Whether scripts run.
            expected_errors: Parts of messages on the console that do not fail the test.

        Returns:
            What `look` returned.

        Raises:
            AssertionError: There was an error on the console, an exception in a script, or a request to elsewhere.
        """

        def work() -> T:
            context = self._browser.new_context(
                color_scheme="dark" if dark else "light",
                viewport={"width": size[0], "height": size[1]},
                java_script_enabled=scripts,
                service_workers="block",
            )
            try:
                faults = _faults(context, url, expected_errors)
                page = context.new_page()
                page.goto(url)
                seen = look(page)
            finally:
                context.close()
            assert not faults, "\n".join(faults)
            return seen

        return self._thread.submit(work).result()


def _faults(context: BrowserContext, url: str, expected: tuple[str, ...]) -> list[str]:
    """A list that fills with what is wrong."""
    faults: list[str] = []
    home = _origin(url)

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(part in message.text for part in expected):
            faults.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if urlsplit(request.url).scheme not in _HERE and _origin(request.url) != home:
            faults.append(f"request to {request.url}")

    context.on("console", heard)
    context.on("request", asked)
    context.on("page", lambda page: page.on("pageerror", lambda error: faults.append(f"exception: {error}")))
    return faults


def assert_accessible(page: Page) -> None:
    """See to it that axe finds nothing wrong with a page as it stands; for use within `Visitor.visit`.

    Raises:
        AssertionError: It does.
    """
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no types

    found = Axe().run(page)
    assert not found.violations_count, found.generate_report()


@contextmanager
def open_visitor(path: str) -> Iterator[Visitor]:
    """Start the browser at `path`."""
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with ThreadPoolExecutor(1, "chromium") as thread:
        driver = thread.submit(lambda: sync_playwright().start()).result()
        try:
            start = driver.chromium.launch
            browser = thread.submit(lambda: start(executable_path=path, args=arguments)).result()
            yield Visitor(browser, thread)
            thread.submit(browser.close).result()
        finally:
            thread.submit(driver.stop).result()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
