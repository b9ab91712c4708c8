"""Threads for tools: daemons, so that a tool that never returns cannot keep the program from ending."""

from __future__ import annotations

import contextlib
import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from queue import SimpleQueue

__all__ = ["FairLock", "begin_in_thread", "in_thread"]

T = TypeVar("T")


class _Worker:
    """A daemon thread that does one piece of work after another, and rests among the idle ones in between."""

    def __init__(self) -> None:
        from queue import SimpleQueue

        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._serve, name="assistantguard-tool", daemon=True).start()

    def give(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def _serve(self) -> None:
        while True:
            self._work.get()()
            if len(_idle) >= _MOST_IDLE:
                return
            _idle.append(self)


_idle: deque[_Worker] = deque()
_MOST_IDLE = 32


def in_thread(work: Callable[[], T]) -> Future[T]:
    """Run `work` in a daemon thread with a copy of the caller's context variables.

    Threads that have finished are used again, the last one first. One whose work never ends is simply lost.
    """
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

    _give(run)
    return future


def begin_in_thread(work: Callable[[], object]) -> None:
    """Run `work` as `in_thread` does where nobody waits for it: what it returns or raises is dropped."""
    context = contextvars.copy_context()

    def run() -> None:
        with contextlib.suppress(BaseException):
            context.run(work)

    _give(run)


def _give(run: Callable[[], None]) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    worker.give(run)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)


class FairLock:
    """A lock whose waiters get it in the order they came."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiters: deque[threading.Event] = deque()
        self._taken = False

    def acquire(self, timeout: float | None = None) -> bool:
        """Take the lock when it is free and one's turn has come.

        Args:
            timeout: Seconds to wait; None waits without end.

        Returns:
            Whether it was taken.
        """
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Event()
            self._waiters.append(turn)
        try:
            came = turn.wait(timeout)
        except BaseException:
            if not self._leave(turn):
                self.release()
            raise
        return came or not self._leave(turn)

    def release(self) -> None:
        """Hand the lock to the next waiter."""
        with self._guard:
            if self._waiters:
                self._waiters.popleft().set()
            else:
                self._taken = False

    def _leave(self, turn: threading.Event) -> bool:
        """Stop waiting; return False where the lock was handed over just then."""
        with self._guard:
            if turn not in self._waiters:
                return False
            self._waiters.remove(turn)
            return True

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
