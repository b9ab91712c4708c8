"""Calling a dashboard without a network, and reading its pages."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx

from assistantguard.dashboard import Dashboard
from assistantguard.dashboard.listening import Stop, serve

__all__ = ["ADDRESS", "Caller", "serving", "tables"]

ADDRESS = "http://127.0.0.1:8765"
LONGEST = 60.0
"""Seconds that a server may take to begin, and to end."""


class Caller:
    """A browser of sorts: it keeps cookies, and sends a page's own token with its forms."""

    def __init__(self, dashboard: Dashboard, *, admitted: bool = True) -> None:
        self.dashboard = dashboard
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(dashboard), base_url=ADDRESS)
        if admitted:
            assert self.get(dashboard.address("")).status_code == 303

    def get(self, address: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._client.get(address, **options))

    def page(self, address: str, code: int = 200) -> str:
        answer = self.get(address)
        assert answer.status_code == code, answer.text
        return answer.text

    def post(self, address: str, fields: dict[str, str], **options: Any) -> httpx.Response:
        """Send a form as the page would."""
        return self.send(address, {"form_token": self.dashboard.admission.form_token, **fields}, **options)

    def send(self, address: str, fields: dict[str, str], **options: Any) -> httpx.Response:
        """Send a form just as it is given."""
        return asyncio.run(self._client.post(address, data=fields, **options))


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th", "caption"}:
            self._text = []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = " ".join("".join(self._text or ()).split())
        if tag == "caption":
            self.found[text] = self._rows
        elif tag in {"td", "th"}:
            self._rows[-1].append(text)


def tables(page: str) -> dict[str, list[list[str]]]:
    """The rows of the tables that have a caption, without their heads, by the caption's first word or words."""
    parser = _Tables()
    parser.feed(page)
    return {caption.partition(",")[0]: rows[1:] for caption, rows in parser.found.items()}


@contextlib.contextmanager
def serving(database: str, **options: Any) -> Iterator[str]:
    """A dashboard that listens, on a thread of its own; its link."""
    begun, stop, links, failures = threading.Event(), Stop(), list[str](), list[BaseException]()

    def started(link: str) -> None:
        links.append(link)
        begun.set()

    def run() -> None:
        try:
            serve(database, port=0, on_start=started, stop=stop, **options)
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            failures.append(error)
            begun.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert begun.wait(LONGEST)
        if failures:
            raise failures[0]
        yield links[0]
    finally:
        stop()
        thread.join(LONGEST)
    assert not thread.is_alive()
    assert not failures
