"""The HTTP client of a drop-in: the user's own, whose requests to some paths are answered by a service."""

from __future__ import annotations

import functools
import importlib
import json
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from assistantguard._blocking import block_on
from assistantguard.dropin.ids import new_id
from assistantguard.dropin.wire import Service, WireAnswer, WireRequest, event_bytes
from assistantguard.models.values import Value

__all__ = ["Desk", "Exchange", "Watcher", "failed", "library_of", "response_of", "transport_class", "view_of"]

Exchange = Callable[[Any, bytes], Coroutine[Any, Any, Any]]
"""Takes a request and its body, and returns the response."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Desk(Value):
    """Where requests are answered by a service, and by which one."""

    service: Service
    origin: tuple[str, str, int | None]
    """Scheme, host and port; a request to another one is never answered here."""
    bases: tuple[str, ...]
    """The paths that the service's own are below, without a slash at the end."""

    @classmethod
    def below(cls, base_url: Any, service: Service) -> Desk:
        """Return the desk below a client's base URL, an ``httpx.URL`` or ``httpx2.URL``.

        An Azure client that is bound to a deployment sends some requests below the deployment and others beside it:
        both are below this desk.
        """
        base = base_url.path.rstrip("/")
        beside = base.partition("/deployments/")[0]
        return cls(service, _origin(base_url), (base,) if beside == base else (base, beside))

    def path_of(self, url: Any) -> str | None:
        """Return the path that the service knows a URL by; None where it does not serve it."""
        if _origin(url) != self.origin:
            return None
        whole: str = url.path
        for base in self.bases:
            if whole.startswith(f"{base}/") and self.service.serves(path := whole.removeprefix(base)):
                return path
        return None


class Watcher(Protocol):
    """Stands between a client and the transports that it sends requests with."""

    def around(self, transport: Any, path: str) -> Any:
        """Return what requests to a path are sent with: the transport itself, or something around it."""
        ...


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def view_of(http_client: Any, desk: Desk, watcher: Watcher | None = None) -> Any:
    """Return a view of an HTTP client that answers some requests itself.

    The view is of the same class and shares all of the client's state: what is set, opened or closed on one is so on
    the other, and hooks, authentication, redirects, proxies and mounts are the client's. Only the transport that it
    sends a request with differs, and only where the desk serves the URL or the watcher watches it.

    Args:
        http_client: An ``httpx`` or ``httpx2`` ``Client`` or ``AsyncClient``, or of a subclass.
        desk: What is answered, and by which service.
        watcher: Watches what the desk does not answer.
    """
    http = library_of(type(http_client))
    is_async = isinstance(http_client, http.AsyncClient)
    transport, events_class = transport_class(http, is_async=is_async), _events_class(http, is_async=is_async)

    class View(type(http_client)):  # type: ignore[misc]  # known only at run time
        def __del__(self) -> None:
            # The SDK's own clients close themselves here. The one that is viewed may have other users.
            pass

        def _transport_for_url(self, url: Any) -> Any:
            path = desk.path_of(url)
            if path is not None:
                return transport(_Served(http, events_class, desk.service, path).exchange)
            inner = http_client._transport_for_url(url)  # noqa: SLF001 - the hook that httpx has for this
            return inner if watcher is None else watcher.around(inner, url.path)

    View.__name__ = type(http_client).__name__
    View.__qualname__ = type(http_client).__qualname__
    view: Any = object.__new__(View)
    view.__dict__ = http_client.__dict__
    return view


def library_of(kind: type) -> Any:
    """The library that an HTTP client is of: httpx, or httpx2."""
    roots = (base.__module__.partition(".")[0] for base in kind.__mro__)
    return importlib.import_module(next(root for root in roots if root in {"httpx", "httpx2"}))


def transport_class(http: Any, *, is_async: bool) -> Any:
    """The class of transports that give a request and its body, which is read, to an asynchronous `Exchange`."""
    return (_async_transport if is_async else _transport)(http)


@functools.cache
def _transport(http: Any) -> Any:
    class Transport(http.BaseTransport):  # type: ignore[misc]  # known only at run time
        def __init__(self, exchange: Exchange) -> None:
            self._exchange = exchange

        def handle_request(self, request: Any) -> Any:
            return block_on(self._exchange(request, request.read()))

    return Transport


@functools.cache
def _async_transport(http: Any) -> Any:
    class AsyncTransport(http.AsyncBaseTransport):  # type: ignore[misc]  # known only at run time
        def __init__(self, exchange: Exchange) -> None:
            self._exchange = exchange

        async def handle_async_request(self, request: Any) -> Any:
            return await self._exchange(request, await request.aread())

    return AsyncTransport


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Served:
    """Answers a request by a service."""

    http: Any
    events_class: Any
    service: Service
    path: str

    async def exchange(self, request: Any, body: bytes) -> Any:
        try:
            answer = await self.service.handle(_asked(request, self.path, body))
        except Exception as error:  # noqa: BLE001 - raised where the SDK does not try again
            return failed(self.http, error)
        return response_of(self.http, answer, self.events_class)


def _asked(request: Any, path: str, body: bytes) -> WireRequest:
    url = request.url
    query = tuple(url.params.multi_items()) if url.query else ()
    return WireRequest(request.method.upper(), path, query, request.headers, body)


def response_of(http: Any, answer: WireAnswer, stream_class: Any = None) -> Any:
    """The response of an HTTP library that gives this answer; its events are sent by the class given."""
    content = b"" if answer.body is None else json.dumps(dict(answer.body)).encode()
    headers = {"x-request-id": new_id("req")}
    if answer.events is not None:
        headers["content-type"] = "text/event-stream"
    elif answer.body is not None:
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(content))
    headers.update((name.lower(), value) for name, value in answer.headers.items())
    stream = http.ByteStream(content) if answer.events is None else stream_class(answer.events)
    return http.Response(answer.status, headers=headers, stream=stream)


def failed(http: Any, error: Exception) -> Any:
    """A response that raises this error when its status is asked for.

    What a transport raises the SDK takes for a lost connection: it sends the request again, and at last raises an
    `APIConnectionError`. What raises afterwards it leaves as it is.
    """

    class Failed(http.Response):  # type: ignore[misc]  # known only at run time
        def raise_for_status(self) -> Any:
            raise error

    return Failed(500, content=b"")


class _Ending:
    """Closes a generator of events once, and never while it runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = False
        self._over = False

    def begin(self) -> bool:
        """Note that the generator runs on; return False where it is closed."""
        with self._lock:
            self._running = not self._over
            return self._running

    def pause(self) -> bool:
        """Note that the generator has stopped; return whether it was to be closed meanwhile, and now must be."""
        with self._lock:
            self._running = False
            return self._over

    def end(self) -> bool:
        """Note that no more is wanted; return whether the generator must be closed now.

        Not where that was noted before, and not where it runs: who runs it closes it.
        """
        with self._lock:
            now = not self._over and not self._running
            self._over = True
            return now


def _events_class(http: Any, *, is_async: bool) -> Any:
    """The class of bodies that send events one by one."""
    return (_async_events if is_async else _blocking_events)(http)


@functools.cache
def _blocking_events(http: Any) -> Any:
    """The class of bodies that send events to a blocking reader, one by one."""

    class Events(http.SyncByteStream):  # type: ignore[misc]  # known only at run time
        def __init__(self, events: AsyncGenerator[tuple[str, Any], None]) -> None:
            self._events = events
            self._ending = _Ending()

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            if not self._ending.begin():
                raise StopIteration
            try:
                return event_bytes(block_on(self._events.__anext__()))
            except StopAsyncIteration:
                raise StopIteration from None
            finally:
                if self._ending.pause():
                    block_on(self._events.aclose())

        def close(self) -> None:
            if self._ending.end():
                block_on(self._events.aclose())

    return Events


@functools.cache
def _async_events(http: Any) -> Any:
    """The class of bodies that send events to an asynchronous reader, one by one."""

    class AsyncEvents(http.AsyncByteStream):  # type: ignore[misc]  # known only at run time
        def __init__(self, events: AsyncGenerator[tuple[str, Any], None]) -> None:
            self._events = events
            self._ending = _Ending()

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> bytes:
            if not self._ending.begin():
                raise StopAsyncIteration
            try:
                return event_bytes(await self._events.__anext__())
            finally:
                if self._ending.pause():
                    await self._events.aclose()

        async def aclose(self) -> None:
            if self._ending.end():
                await self._events.aclose()

    return AsyncEvents
