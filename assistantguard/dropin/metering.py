"""Calls of the application on their way to the server and back: refused, bounded, counted as they arrive, cut."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import openai

from assistantguard._blocking import block_on
from assistantguard.dropin.answers import Events, read_document, reader_for
from assistantguard.dropin.bodies import dialect_of, with_usage
from assistantguard.dropin.refusals import cut_event, refusal_of, unreadable
from assistantguard.dropin.transport import failed, response_of, transport_class
from assistantguard.errors import AssistantGuardError, ConfigurationError, Refused

if TYPE_CHECKING:
    from assistantguard.dropin.admission import Call, GuardedCalls
    from assistantguard.dropin.bodies import Dialect

__all__ = ["Metering"]

_ONE_RESPONSE = re.compile(r".*/responses/([^/]+)(/cancel)?")
_REFUSES_USAGE = re.compile(rb"stream_options|include_usage", re.IGNORECASE)


class _Line(Protocol):
    """A transport of either colour."""

    async def send(self, request: Any) -> Any:
        """Send a request; return the response, its body not read yet."""
        ...

    async def read(self, response: Any) -> bytes:
        """The bytes of a body as they were sent."""
        ...

    def follow(self, response: Any, following: _Following) -> Any:
        """A body that is followed as it is read."""
        ...


class Metering:
    """`Watcher` of the calls that spend tokens.

    Args:
        calls: Admits and settles them.
        http: The library of the HTTP client: httpx, or httpx2.
        is_async: Whether the client is asynchronous.
    """

    def __init__(self, calls: GuardedCalls, http: Any, *, is_async: bool) -> None:
        self._calls = calls
        self._http = http
        self._line = _async_line(http) if is_async else _line(http)
        self._transport = transport_class(http, is_async=is_async)
        self._refuses_usage = False

    def around(self, transport: Any, path: str) -> Any:
        """See `Watcher.around`."""
        if dialect_of(path) is None and _ONE_RESPONSE.fullmatch(path) is None:
            return transport
        return self._transport(functools.partial(self._exchange, self._line(transport)))

    async def _exchange(self, line: _Line, request: Any, body: bytes) -> Any:
        """Send a request, where it may be; return the response that the application gets."""
        path = request.url.path
        dialect = dialect_of(path) if request.method.upper() == "POST" else None
        if dialect is not None:
            return await self._call(request, line, dialect, body)
        one = _ONE_RESPONSE.fullmatch(path)
        call = None if one is None else self._calls.open_call(one[1])
        response = await line.send(request)
        return response if call is None or not response.is_success else await self._look(response, line, call)

    async def _call(self, request: Any, line: _Line, dialect: Dialect, raw: bytes) -> Any:
        http, calls = self._http, self._calls
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return response_of(http, unreadable(request.url.path))
        try:
            call = await calls.admit(dialect, request.url.path, body)
        except (ConfigurationError, Refused) as error:
            if calls.on_refusal == "raise":
                return failed(http, error)
            return response_of(http, refusal_of(error, calls.driver.now()))
        except AssistantGuardError as error:  # the books cannot be reached
            return failed(http, error)
        wants_usage = dialect in {"chat", "completions"} and not self._refuses_usage
        with_its_usage = with_usage(call.body) if wants_usage else None
        try:
            response = await line.send(self._request(request, body, with_its_usage or call.body))
            if with_its_usage is not None and response.status_code in {400, 422}:
                held = await self._hold(response, line)
                if _REFUSES_USAGE.search(held.content) is None:
                    return await self._end(call, held, request)
                with_its_usage, self._refuses_usage = None, True
                response = await line.send(self._request(request, body, call.body))
            if response.is_success and _is_stream(response):
                return self._followed(response, line, _Following(calls, call, hides_usage=with_its_usage is not None))
            return await self._end(call, await self._hold(response, line), request)
        except Exception as error:
            await calls.failed(call, _connection_error(request, error))
            raise
        except BaseException:
            await calls.left(call)
            raise

    async def _look(self, response: Any, line: _Line, call: Call) -> Any:
        """Settle a call in the background by what the application reads of it."""
        if _is_stream(response):
            return self._followed(response, line, _Following(self._calls, call, hides_usage=False))
        held = await self._hold(response, line)
        answer = read_document(call.request, held.document)
        if answer is not None:
            try:
                await self._calls.answered(call, answer)
            except AssistantGuardError as error:
                return failed(self._http, error)
        return held.response

    async def _end(self, call: Call, held: _Held, request: Any) -> Any:
        """Settle a call by a response that is read; return the response."""
        response, calls = held.response, self._calls
        try:
            if response.is_success:
                await calls.answered(call, read_document(call.request, held.document))
            elif response.is_error:
                response.request = request
                await calls.failed(call, _status_error(response, held.document))
            else:
                await calls.withdrawn(call)
        except AssistantGuardError as error:  # raised where the SDK does not send the request again
            return failed(self._http, error)
        return response

    def _request(self, request: Any, body: Any, allowed: Any) -> Any:
        """The request with the body that is allowed; itself where that is the one it has."""
        if allowed is body:
            return request
        headers = self._http.Headers(request.headers)
        for name in ("content-length", "transfer-encoding"):
            headers.pop(name, None)
        return self._http.Request(
            request.method,
            request.url,
            headers=headers,
            content=json.dumps(allowed, separators=(",", ":")).encode(),
            extensions=request.extensions,
        )

    async def _hold(self, response: Any, line: _Line) -> _Held:
        """The same response with its body, which is as it was sent."""
        raw = await line.read(response)
        same, plain = (
            self._http.Response(
                response.status_code,
                headers=response.headers,
                stream=self._http.ByteStream(raw),
                extensions=response.extensions,
            )
            for _ in range(2)
        )
        try:
            content = plain.read()
        except self._http.DecodingError:  # the SDK will meet it, too
            content = b""
        return _Held(same, content)

    def _followed(self, response: Any, line: _Line, following: _Following) -> Any:
        """The same response, its body followed as it is read; a compressed one arrives as plain text."""
        headers = self._http.Headers(response.headers)
        if "content-encoding" in headers:
            for name in ("content-encoding", "content-length"):
                headers.pop(name, None)
        return self._http.Response(
            response.status_code,
            headers=headers,
            stream=line.follow(response, following),
            extensions=response.extensions,
        )


@dataclass(slots=True, eq=False, repr=False)
class _Held:
    """A response, and what it says."""

    response: Any
    content: bytes

    @property
    def document(self) -> Any:
        """Its JSON document; None where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


class _Following:
    """Counts an answer as its bytes go by, and says where it ends.

    Args:
        calls: Where it is settled.
        call: Whose answer it is.
        hides_usage: Whether the usage was asked for here, and the application shall not see it.
    """

    def __init__(self, calls: GuardedCalls, call: Call, *, hides_usage: bool) -> None:
        self.is_cut = False
        """Whether nothing of it may pass any more."""
        self._calls = calls
        self._call = call
        self._hides_usage = hides_usage
        self._events = Events()
        self._reader = reader_for(call.request)

    async def take(self, chunk: bytes) -> bytes:
        """Take what arrived; return what may pass, which is whole events."""
        passed: list[bytes] = []
        for event, data in self._events.feed(chunk):
            text, only_usage = self._reader.take(data)
            if self._reader.response_id is not None:
                self._calls.begun(self._call, self._reader.response_id)
            why = self._call.must_stop(text) if text else None
            if why is not None:
                self.is_cut = True
                await self.leave()
                passed.append(cut_event(why))
                break
            if self._reader.answer is not None:
                await self._calls.answered(self._call, self._reader.answer)
            if not (only_usage and self._hides_usage):
                passed.append(event)
        return b"".join(passed)

    async def finish(self) -> bytes:
        """The stream has ended; return what is left to pass."""
        rest, data = self._events.finish()
        if data:
            self._reader.take(data)
        self._reader.finish()
        if self._reader.answer is not None:
            await self._calls.answered(self._call, self._reader.answer)
        return rest

    async def leave(self) -> None:
        """Nothing more of it is read. May be called again."""
        await self._calls.left(self._call)


def _is_stream(response: Any) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.lower().startswith("text/event-stream")


def _connection_error(request: Any, error: Exception) -> openai.APIConnectionError:
    """What the SDK makes of an error of a transport."""
    lost = openai.APIConnectionError(request=request)
    lost.__cause__ = error
    return lost


def _status_error(response: Any, document: Any) -> openai.APIStatusError:
    """What the SDK makes of an answer that is an error."""
    body = document.get("error", document) if isinstance(document, dict) else None
    message = body.get("message") if isinstance(body, dict) else None
    return openai.APIStatusError(str(message or f"HTTP {response.status_code}"), response=response, body=body)


@functools.cache
def _line(http: Any) -> Any:
    """The class of `_Line` over a blocking transport."""

    class Body(http.SyncByteStream):  # type: ignore[misc]  # known only at run time
        def __init__(self, response: Any, following: _Following) -> None:
            self._response = response
            self._following = following

        def __iter__(self) -> Iterator[bytes]:
            try:
                for chunk in self._response.iter_bytes():
                    if passed := block_on(self._following.take(chunk)):
                        yield passed
                    if self._following.is_cut:
                        return
                if rest := block_on(self._following.finish()):
                    yield rest
            finally:
                self.close()

        def close(self) -> None:
            try:
                self._response.close()
            finally:
                block_on(self._following.leave())

    class Line:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def send(self, request: Any) -> Any:
            return self._inner.handle_request(request)

        async def read(self, response: Any) -> bytes:
            try:
                return b"".join(response.stream)
            finally:
                response.close()

        def follow(self, response: Any, following: _Following) -> Any:
            return Body(response, following)

    return Line


@functools.cache
def _async_line(http: Any) -> Any:
    """The class of `_Line` over an asynchronous transport."""

    class Body(http.AsyncByteStream):  # type: ignore[misc]  # known only at run time
        def __init__(self, response: Any, following: _Following) -> None:
            self._response = response
            self._following = following

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._response.aiter_bytes():
                    if passed := await self._following.take(chunk):
                        yield passed
                    if self._following.is_cut:
                        return
                if rest := await self._following.finish():
                    yield rest
            finally:
                await self.aclose()

        async def aclose(self) -> None:
            try:
                await self._response.aclose()
            finally:
                await self._following.leave()

    class Line:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        async def send(self, request: Any) -> Any:
            return await self._inner.handle_async_request(request)

        async def read(self, response: Any) -> bytes:
            try:
                return b"".join([chunk async for chunk in response.stream])
            finally:
                await response.aclose()

        def follow(self, response: Any, following: _Following) -> Any:
            return Body(response, following)

    return Line
