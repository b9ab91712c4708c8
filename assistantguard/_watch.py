"""Ending a blocking read that lasts too long.

A transport's read timeout begins anew with every byte, so that a server which sends a comment each second keeps a
reader waiting for ever. One thread watches all of them and shuts the socket of a late one
down, which wakes its reader.
"""

from __future__ import annotations

import heapq
import itertools
import os
import socket
import threading
import time
from types import TracebackType
from typing import Any

from typing_extensions import Self

__all__ = ["Watched", "watch"]


_CLEAR_AT = 1_024
"""How many entries are kept before those of streams that are over are dropped."""


class Watched:
    """One body that is watched until it is read."""

    __slots__ = ("_socket", "late")

    def __init__(self, waiting: socket.socket | None) -> None:
        self._socket = waiting
        self.late = False
        """Whether its socket was shut down."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to watch."""
        return self._socket is None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.over()

    def over(self) -> None:
        """Stop watching."""
        self._socket = None

    def end(self) -> None:
        """Shut the socket down, unless the stream is over."""
        waiting, self._socket = self._socket, None
        if waiting is None:
            return
        self.late = True
        try:
            # Not the method of an SSL socket, which would also take its cipher away under the reader's hands.
            socket.socket.shutdown(waiting, socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already


def watch(response: Any, deadline: float) -> Watched:
    """Watch an ``httpx.Response`` whose body must have ended at `deadline`, by `time.monotonic`.

    A transport without a socket, such as a mock, is not watched.
    """
    extensions = getattr(response, "extensions", None)
    network = extensions.get("network_stream") if isinstance(extensions, dict) else None
    found = network.get_extra_info("socket") if network is not None else None
    watched = Watched(found if isinstance(found, socket.socket) else None)
    if isinstance(found, socket.socket):
        _watcher.add(deadline, watched)
    return watched


class _Watcher:
    """The thread that watches, begun with the first stream."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Watched]] = []
        self._numbers = itertools.count()
        self._running = False
        self._clear_at = _CLEAR_AT

    def add(self, deadline: float, watched: Watched) -> None:
        with self._changed:
            if len(self._waiting) >= self._clear_at:
                self._waiting = [entry for entry in self._waiting if not entry[2].is_over]
                heapq.heapify(self._waiting)
                self._clear_at = max(_CLEAR_AT, 2 * len(self._waiting))
            heapq.heappush(self._waiting, (deadline, next(self._numbers), watched))
            if not self._running:
                self._running = True
                threading.Thread(target=self._serve, name="assistantguard-watch", daemon=True).start()
            elif self._waiting[0][2] is watched:
                self._changed.notify()

    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._changed.wait()
                    continue
                wait = self._waiting[0][0] - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                due = heapq.heappop(self._waiting)[2]
            due.end()


_watcher = _Watcher()


def _begin_again() -> None:
    global _watcher  # noqa: PLW0603 - a forked child has no watching thread
    _watcher = _Watcher()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
