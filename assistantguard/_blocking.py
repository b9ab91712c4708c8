"""The blocking colour: coroutines whose bodies block, so that they never suspend and need no event loop."""

from __future__ import annotations

import concurrent.futures
import operator
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from assistantguard._calling import ToolCalling, answered, inside, limit_of, outputs_of_step
from assistantguard._threads import FairLock, in_thread
from assistantguard._watch import watch
from assistantguard.backends.port import END, RAW_ANSWER, HttpAnswer, Method, is_object, object_of
from assistantguard.models import ToolCall, ToolOutput

if TYPE_CHECKING:
    from assistantguard.telemetry.tracing import Around

__all__ = ["BlockingDriver", "BlockingEvents", "BlockingPort", "BlockingTurns", "block_on"]

T = TypeVar("T")


def block_on(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end.

    Raises:
        RuntimeError: It suspended: something in it really awaits.
    """
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    raise RuntimeError("the blocking driver must not suspend: something awaited an event loop")


class BlockingPort:
    """`ClientPort` over an ``openai.OpenAI``.

    A transport's limit bounds each wait for the server and begins anew with every byte: a server that pads its answer
    with spaces keeps a reader waiting for ever. So bodies are read under watch; see `watch`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._methods: dict[str, Callable[..., Any]] = {}
        self._raw_methods: dict[str, Callable[..., Any] | None] = {}

    async def call(self, path: str, timeout: float, /, *args: Any, **params: Any) -> Any:
        """See `ClientPort.call`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        return (await self.ask(path, timeout, *args, **params)).data

    async def ask(self, path: str, timeout: float, /, *args: Any, **params: Any) -> HttpAnswer:
        """See `ClientPort.ask`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        raw = self._raw_methods[path] if path in self._raw_methods else self._find_raw(path)
        if raw is None:
            if path != "post":
                params["timeout"] = timeout
            return HttpAnswer(self._method(path)(*args, **params))
        deadline = time.monotonic() + timeout
        with raw(*args, timeout=timeout, **params) as response:
            return HttpAnswer(_read(response.http_response, response.parse, timeout, deadline), response.headers)

    def _method(self, path: str) -> Callable[..., Any]:
        method = self._methods.get(path)
        if method is None:
            method = self._methods[path] = operator.attrgetter(path)(self._client)
        return method

    def _find_raw(self, path: str) -> Callable[..., Any] | None:
        """The method whose answer is not read yet; None where the client does not have it."""
        resource, _, name = path.rpartition(".")
        owner = operator.attrgetter(resource)(self._client) if resource else None
        method = getattr(getattr(owner, "with_streaming_response", None), name, None)
        self._raw_methods[path] = method
        return method

    async def open(self, path: str, timeout: float, /, *args: Any, **params: Any) -> BlockingEvents:
        """See `ClientPort.open`."""
        deadline = time.monotonic() + timeout
        stream = self._method(path)(*args, stream=True, timeout=timeout, **params)
        return BlockingEvents(stream, deadline)

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
        options = {"headers": {**(headers or {}), RAW_ANSWER: "stream"}, "timeout": timeout, "params": query or {}}
        params = {} if body is None else {"body": body}
        deadline = time.monotonic() + timeout
        answer = self._method(method)(path, cast_to=object, options=options, **params)
        with closing(answer) as response:
            data = _read(response.http_response, response.parse, timeout, deadline)
            return HttpAnswer(data, response.headers)

    async def listen(
        self, path: str, timeout: float, /, *, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> BlockingEvents | HttpAnswer:
        """See `ClientPort.listen`.

        Raises:
            TimeoutError: The whole call took longer than `timeout`.
        """
        deadline = time.monotonic() + timeout
        options = {"headers": {"Accept": "text/event-stream", **(headers or {})}, "timeout": timeout}
        stream = self._method("post")(
            path, cast_to=object, body=body, options=options, stream=True, stream_cls=openai.Stream[object]
        )
        response = stream.response
        if not is_object(response.headers):
            return BlockingEvents(stream, deadline)
        with closing(stream):
            return object_of(_read(response, response.read, timeout, deadline), response.headers)


def _read(response: Any, read: Callable[[], T], timeout: float, deadline: float) -> T:
    """Read an answer to its end, until `deadline` by `time.monotonic`."""
    with watch(response, deadline) as watched:
        try:
            return read()
        except Exception as error:
            if watched.late:
                raise TimeoutError(f"the answer did not end in {timeout:.3g} s") from error
            raise


class BlockingEvents:
    """`EventStream` over an ``openai.Stream``.

    Args:
        stream: The SDK's stream.
        deadline: Until when it must have ended, by `time.monotonic`. The transport's own limit bounds each wait and
            begins anew with every byte, so the socket of a stream that is late is shut down, which ends the wait.
    """

    def __init__(self, stream: Any, deadline: float) -> None:
        self._stream = stream
        self._watched = watch(stream.response, deadline)

    @property
    def headers(self) -> Mapping[str, str]:
        """See `EventStream.headers`."""
        found: Mapping[str, str] = self._stream.response.headers
        return found

    async def next(self) -> Any:
        """See `EventStream.next`."""
        try:
            event = next(self._stream, END)
        except Exception as error:
            if self._watched.late:
                raise TimeoutError("the stream did not end in time") from error
            raise
        if event is END and self._watched.late:
            raise TimeoutError("the stream did not end in time")
        return event

    async def finish(self) -> None:
        """See `EventStream.finish`."""
        await self.close()

    async def close(self) -> None:
        """See `EventStream.close`."""
        self._watched.over()
        self._stream.close()


class BlockingTurns:
    """A thread's turns: one after another, in the order they came."""

    def __init__(self) -> None:
        self._lock = FairLock()

    async def take(self, seconds: float | None) -> bool:
        """Wait for the turn, for `seconds` at most; return whether it came."""
        return self._lock.acquire(seconds)

    def release(self) -> None:
        """Hand the thread to the next turn."""
        self._lock.release()


class BlockingDriver:
    """`Driver` for plain threads."""

    def __init__(self, calling: ToolCalling) -> None:
        self._calling = calling
        self._locks: dict[str, FairLock] = {}
        self._locks_guard = threading.Lock()

    def now(self) -> float:
        """See `Driver.now`."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See `Driver.sleep`."""
        time.sleep(seconds)

    async def blocking(self, work: Callable[[], T], *, at_once: bool) -> T:  # noqa: ARG002
        """See `Driver.blocking`."""
        return work()

    async def protect(self, work: Coroutine[Any, Any, T]) -> T:
        """See `Driver.protect`. Nothing cancels a plain thread."""
        return await work

    @asynccontextmanager
    async def exclusive(self, key: str) -> AsyncGenerator[None, None]:
        """See `Driver.exclusive`."""
        with self._locks_guard:
            lock = self._locks.setdefault(key, FairLock())
        with lock:
            yield

    async def call_tools(
        self, calls: Sequence[ToolCall], deadline: float | None, around: Around | None = None
    ) -> list[ToolOutput]:
        """See `Driver.call_tools`. Calls run in threads of their own, at most `ToolCalling.parallel` at once."""
        calling = inside(self._calling, around)
        if calling.step is not None:
            began = time.perf_counter()
            step = calling.step
            results = _bounded(lambda: step(calls), limit_of(calling, None, deadline))
            return outputs_of_step(calling, calls, results, time.perf_counter() - began)
        if len(calls) == 1 or calling.parallel == 1:
            return [_answer(calling, call, deadline) for call in calls]
        places = threading.BoundedSemaphore(calling.parallel)

        def answer(call: ToolCall) -> ToolOutput:
            with places:
                return _answer(calling, call, deadline)

        return [future.result() for future in [in_thread(lambda call=call: answer(call)) for call in calls]]  # type: ignore[misc]


def _answer(calling: ToolCalling, call: ToolCall, deadline: float | None) -> ToolOutput:
    began = time.perf_counter()
    result = _bounded(lambda: calling.one(call), limit_of(calling, call, deadline))
    return answered(calling, call, result, time.perf_counter() - began)


def _bounded(work: Callable[[], Any], limit: float | None) -> Any:
    """What `work` returns, or the exception that it raised, or a `TimeoutError` after `limit` seconds.

    Without a limit it runs in the caller's thread. A thread cannot be ended: work that is out of time goes on, and
    its result is dropped.
    """
    try:
        if limit is None:
            return work()
        return in_thread(work).result(limit)
    except concurrent.futures.TimeoutError as error:
        # On Python 3.10 the future's own time-out is no TimeoutError; a tool may also have raised one.
        return error if str(error) else TimeoutError(f"not done after {limit:.3g} s")
    except Exception as error:  # noqa: BLE001 - a tool's failure is an answer to the model
        return error
