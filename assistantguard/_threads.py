"""Threads for tools: daemons, so that a tool that never returns cannot keep the program from ending."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TypeVar

__all__ = ["FairLock", "in_thread"]

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread with a copy of the caller's context variables."""
    future: Future[T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001 - it is raised where the future is read
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name="assistantguard-tool", daemon=True).start()
    return future


class FairLock:
    """A lock whose waiters get it in the order they came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiters: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            turn = threading.Event()
            self._waiters.append(turn)
        try:
            turn.wait()
        except BaseException:
            with self._guard:
                if turn in self._waiters:
                    self._waiters.remove(turn)
                    raise
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._guard:
            if self._waiters:
                self._waiters.popleft().set()
            else:
                self._taken = False
