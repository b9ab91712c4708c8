"""The asyncio colour: coroutines that really await."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import openai

from assistantguard._calling import ToolCalling, answered, inside, is_async, limit_of, outputs_of_step
from assistantguard._threads import in_thread
from assistantguard._unwinding import Unwinding
from assistantguard.backends.port import END, RAW_ANSWER, HttpAnswer, Method, is_object, object_of
from assistantguard.models import ToolCall, ToolOutput

if TYPE_CHECKING:
    from assistantguard.telemetry.tracing import Around

__all__ = ["AsyncioDriver", "AsyncioEvents", "AsyncioPort", "AsyncioTurns"]

T = TypeVar("T")
_LAST_READ = 0.5
"""Seconds that the end of a stream may take once its answer is complete."""
_GRACE = 1.0
"""Seconds that protected work has beyond its own limit before it is ended from outside."""


class AsyncioPort:
    """`ClientPort` over an ``openai.AsyncOpenAI``."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._getters: dict[str, operator.attrgetter[Any]] = {}

    async def call(self, path: str, timeout: float, /, *args: Any, **params: Any) -> Any:
        """See `ClientPort.call`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        getter = self._getters.get(path)
        if getter is None:
            getter = self._getters[path] = operator.attrgetter(path)
        if path != "post":
            params["timeout"] = timeout
        with anyio.fail_after(timeout):
            return await Unwinding(getter(self._client)(*args, **params))

    async def ask(self, path: str, timeout: float, /, *args: Any, **params: Any) -> HttpAnswer:
        """See `ClientPort.ask`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        headers = {**params.pop("extra_headers", {}), RAW_ANSWER: "true"}
        response = await self.call(path, timeout, *args, extra_headers=headers, **params)
        return HttpAnswer(response.parse(), response.headers)

    async def open(self, path: str, timeout: float, /, *args: Any, **params: Any) -> AsyncioEvents:
        """See `ClientPort.open`."""
        deadline = time.monotonic() + timeout
        return AsyncioEvents(await self.call(path, timeout, *args, stream=True, **params), deadline)

    async def send(
        self,
        method: Method,
        path: str,
        timeout: float,
        /,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """See `ClientPort.send`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        options = {"headers": {**(headers or {}), RAW_ANSWER: "true"}, "timeout": timeout, "params": query or {}}
        params = {} if body is None else {"body": body}
        with anyio.fail_after(timeout):
            work = getattr(self._client, method)(path, cast_to=object, options=options, **params)
            response = await Unwinding(work)
        return HttpAnswer(response.parse(), response.headers)

    async def listen(
        self, path: str, timeout: float, /, *, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncioEvents | HttpAnswer:
        """See `ClientPort.listen`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        deadline = time.monotonic() + timeout
        options = {"headers": {"Accept": "text/event-stream", **(headers or {})}, "timeout": timeout}
        with anyio.fail_after(timeout):
            work = self._client.post(
                path, cast_to=object, body=body, options=options, stream=True, stream_cls=openai.AsyncStream[object]
            )
            stream = await Unwinding(work)
            response = stream.response
            if not is_object(response.headers):
                return AsyncioEvents(stream, deadline)
            try:
                return object_of(await Unwinding(response.aread()), response.headers)
            finally:
                await Unwinding(stream.close())


class AsyncioEvents:
    """`EventStream` over an ``openai.AsyncStream``.

    Args:
        stream: The SDK's stream.
        deadline: Until when it must have ended, by `time.monotonic`.
    """

    def __init__(self, stream: Any, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    @property
    def headers(self) -> Mapping[str, str]:
        """See `EventStream.headers`."""
        found: Mapping[str, str] = self._stream.response.headers
        return found

    async def next(self) -> Any:
        """See `EventStream.next`."""
        with anyio.fail_after(self._deadline - time.monotonic()):
            try:
                return await Unwinding(self._stream.__anext__())
            except StopAsyncIteration:
                return END

    async def finish(self) -> None:
        """See `EventStream.finish`. The generators that the SDK nests end then, and are not left to the collector."""
        with contextlib.suppress(Exception), anyio.move_on_after(_LAST_READ):  # the answer is there already
            while await self.next() is not END:
                continue
        await self.close()

    async def close(self) -> None:
        """See `EventStream.close`."""
        await Unwinding(self._stream.close())


class AsyncioTurns:
    """A thread's turns: one after another, in the order they came."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, seconds: float | None) -> bool:
        """Wait for the turn, for `seconds` at most; return whether it came."""
        try:
            with anyio.fail_after(seconds):
                await self._lock.acquire()
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        """Hand the thread to the next turn."""
        self._lock.release()


class AsyncioDriver:
    """`Driver` for an event loop.

    Args:
        calling: How tool calls are answered.
        cleanup_timeout: Seconds that protected work may take after an interruption.
    """

    def __init__(self, calling: ToolCalling, cleanup_timeout: float) -> None:
        self._calling = calling
        self._cleanup_timeout = cleanup_timeout
        self._locks: dict[str, asyncio.Lock] = {}

    def now(self) -> float:
        """See `Driver.now`."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See `Driver.sleep`."""
        await asyncio.sleep(seconds)

    async def blocking(self, work: Callable[[], T], *, at_once: bool) -> T:
        """See `Driver.blocking`."""
        return work() if at_once else await asyncio.to_thread(work)

    async def protect(self, work: Coroutine[Any, Any, T]) -> T:
        """See `Driver.protect`: a task of its own, which neither ``task.cancel()`` nor an anyio scope reaches.

        Raises:
            TimeoutError: `work` took longer than the clean-up's limit.
            asyncio.CancelledError: The caller was cancelled meanwhile; `work` is done.
        """
        task = asyncio.ensure_future(asyncio.wait_for(work, self._cleanup_timeout + _GRACE))
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError as error:
                    cancelled = cancelled or error
        if cancelled is not None:
            raise cancelled
        try:
            return task.result()
        except asyncio.TimeoutError as error:  # before Python 3.11 another class than TimeoutError
            raise TimeoutError("protected work took too long") from error

    def exclusive(self, key: str) -> asyncio.Lock:
        """See `Driver.exclusive`."""
        return self._locks.setdefault(key, asyncio.Lock())

    async def call_tools(
        self, calls: Sequence[ToolCall], deadline: float | None, around: Around | None = None
    ) -> list[ToolOutput]:
        """See `Driver.call_tools`. Coroutines run on the loop, plain functions in threads of their own."""
        calling = inside(self._calling, around)
        if calling.step is not None:
            began = time.perf_counter()
            results = await _bounded(calling.step, calls, limit_of(calling, None, deadline))
            return outputs_of_step(calling, calls, results, time.perf_counter() - began)
        places = asyncio.Semaphore(calling.parallel)

        async def answer(call: ToolCall) -> ToolOutput:
            async with places:
                began = time.perf_counter()
                result = await _bounded(calling.one, call, limit_of(calling, call, deadline))
                return answered(calling, call, result, time.perf_counter() - began)

        if len(calls) == 1:
            return [await answer(calls[0])]
        return list(await asyncio.gather(*map(answer, calls)))


async def _bounded(function: Callable[[Any], Any], argument: Any, limit: float | None) -> Any:
    """What `function` gives, or the exception that it raised, or a `TimeoutError` after `limit` seconds."""
    try:
        with anyio.fail_after(limit):
            if is_async(function):
                return await function(argument)
            return await asyncio.wrap_future(in_thread(lambda: function(argument)))
    except TimeoutError as error:
        return error if str(error) else TimeoutError(f"not done after {limit or 0:.3g} s")
    except Exception as error:  # noqa: BLE001 - a tool's failure is an answer to the model
        return error
