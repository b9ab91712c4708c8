"""The drop-in as a server on loopback, on a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import openai

from assistantguard.dropin.listening import Stop, serve
from assistantguard.sandbox import Sandbox

__all__ = ["KEY", "Served", "serving"]

KEY = "sk-server-1"
LONGEST = 60.0
"""Seconds that it may take to begin, and to end."""


class Served:
    """A server that runs."""

    def __init__(self, sandbox: Sandbox, **options: Any) -> None:
        self._begun = threading.Event()
        self._stop = Stop()
        self.base_url = ""
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(sandbox, options))
        self._thread.start()
        assert self._begun.wait(LONGEST)
        if self.failed is not None:
            self._thread.join()
            raise self.failed

    def _run(self, sandbox: Sandbox, options: dict[str, Any]) -> None:
        try:
            serve(sandbox.async_client(), on_start=self._started, stop=self._stop, **options)
        except BaseException as error:  # noqa: BLE001 - raised where the test waits
            self.failed = error
            self._begun.set()

    def _started(self, base_url: str) -> None:
        self.base_url = base_url
        self._begun.set()

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.base_url, api_key=key, max_retries=0)

    def stop(self) -> None:
        """Ask it to end."""
        self._stop()

    def ended(self) -> None:
        """Wait until it has ended."""
        self._thread.join(LONGEST)
        assert not self._thread.is_alive()
        if self.failed is not None:
            raise self.failed


@contextlib.contextmanager
def serving(sandbox: Sandbox, **options: Any) -> Iterator[Served]:
    """A server before the sandbox, with one key unless told otherwise."""
    served = Served(sandbox, **{"keys": [KEY], "port": 0, "sinks": [], **options})
    try:
        yield served
    finally:
        served.stop()
        served.ended()
