"""Letting an await that was cancelled end as it must, however often its task is cancelled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Unwinding"]

T = TypeVar("T")
_LIMIT = 1.0
"""Seconds for which later cancellations wait."""


class Unwinding(Generic[T]):
    """Awaits `work`; after ``task.cancel()``, further ones wait until `work` has unwound, for a second at most.

    HTTP clients give a connection back while the cancellation passes through them, and wait on their way. They shield
    that from anyio's scopes and not from ``task.cancel()``: a second one would leave the connection open and counted as
    in use (seen with httpcore 1.0.9).

    Args:
        work: What is awaited, in the caller's own task.
    """

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, T]:
        """Await it.

        Raises:
            asyncio.CancelledError: The task was cancelled; `work` has ended.
        """
        inner: Any = self._work.__await__()
        thrown: BaseException | None = None
        until: float | None = None
        late: list[asyncio.CancelledError] = []
        while True:
            try:
                awaited = inner.send(None) if thrown is None else inner.throw(thrown)
            except StopIteration as ended:
                if late:
                    raise late[0] from None
                result: T = ended.value
                return result
            thrown = None
            try:
                if until is None:
                    yield awaited
                else:
                    yield from _held_back(awaited, until, late)
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the task is told is for `work`
                thrown = error
                if isinstance(error, asyncio.CancelledError) and not _of_a_scope(error):
                    until = time.monotonic() + _LIMIT


def _held_back(awaited: Any, until: float, late: list[asyncio.CancelledError]) -> Generator[Any, None, None]:
    """Wait for what a coroutine awaits, a future or the loop's next round (None), and put cancellations into `late`.

    Those of anyio's scopes go through: who opened the scope expects them, and shields itself where it must.
    """
    if awaited is not None:
        awaited._asyncio_future_blocking = False  # noqa: SLF001 - asyncio's protocol between tasks and futures
    while (left := until - time.monotonic()) > 0:
        try:
            if awaited is None:
                yield
            else:
                yield from asyncio.wait({awaited}, timeout=left).__await__()
        except asyncio.CancelledError as error:
            if _of_a_scope(error):
                raise
            late.append(error)
        if awaited is None or awaited.done():
            return
    if late:
        raise late.pop(0)
    if awaited is not None:
        awaited._asyncio_future_blocking = True  # noqa: SLF001 - as above
    yield awaited


def _of_a_scope(error: asyncio.CancelledError) -> bool:
    """Whether a cancellation is that of an anyio scope, which its message tells."""
    return bool(error.args) and "cancel scope" in str(error.args[0])
