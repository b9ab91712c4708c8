"""Events as a file of JSON lines."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import threading
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType

from pydantic_core import PydanticSerializationError, to_json
from typing_extensions import Self

from assistantguard.errors import ConfigurationError
from assistantguard.events import Event

__all__ = ["JsonLinesSink"]

_GATHER = 0.02
"""Seconds for which events are gathered: a thread that wakes for each takes more CPU time than the writing."""


class JsonLinesSink:
    """Appends each event to a file as one JSON object a line. A thread of its own writes, so no caller waits.

    Read it with ``assistantguard report FILE``. Close it, or use it as a context manager, to be sure that all is
    written; the interpreter's exit closes it too.

    Args:
        path: The file; made if missing, appended to otherwise.

    Raises:
        ConfigurationError: The file cannot be opened for writing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise ConfigurationError(
                f"the events file {str(self.path)!r} cannot be written ({error.strerror}): name a file in a folder"
                " that exists and may be written"
            ) from error
        self._queue: SimpleQueue[Event | threading.Event | None] = SimpleQueue()
        self._closed = False
        self._in_haste = threading.Event()
        """Whether somebody waits for what is queued."""
        self._writer = threading.Thread(target=self._write, name="assistantguard-events", daemon=True)
        self._writer.start()
        atexit.register(self.close)

    def __call__(self, event: Event) -> None:
        """Queue one event. Without effect once closed."""
        if not self._closed:
            self._queue.put(event)

    def flush(self) -> None:
        """Wait until everything that was queued so far is in the file."""
        if self._closed:
            return
        written = threading.Event()
        self._queue.put(written)
        self._in_haste.set()
        while not written.wait(1.0) and self._writer.is_alive():  # unless another thread closes it meanwhile
            continue

    def close(self) -> None:
        """Write what is queued and close the file. May be called twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._queue.put(None)
        self._in_haste.set()
        self._writer.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self) -> None:
        with self._file as file:
            goes_on = True
            while goes_on:
                items = [self._queue.get()]
                if isinstance(items[0], Event):
                    self._in_haste.wait(_GATHER)
                self._in_haste.clear()
                with contextlib.suppress(Empty):
                    while True:
                        items.append(self._queue.get_nowait())
                file.writelines(_line(item) for item in items if isinstance(item, Event))
                file.flush()
                for item in items:
                    if isinstance(item, threading.Event):
                        item.set()
                goes_on = None not in items


def _line(event: Event) -> bytes:
    record = event.record()
    try:
        return to_json(record, fallback=str) + b"\n"
    except PydanticSerializationError:  # half of a surrogate pair, which UTF-8 cannot hold
        return json.dumps(record, default=str).encode() + b"\n"
