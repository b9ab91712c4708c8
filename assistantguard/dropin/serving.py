"""The drop-in's routes over HTTP: an ASGI application in front of a service, with its own keys and limits."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
from starlette.requests import ClientDisconnect, Request

from assistantguard._connections import ABORT
from assistantguard._refusals import ApiProblem
from assistantguard.dropin.refusals import retry_after
from assistantguard.dropin.wire import DONE, Service, WireAnswer, WireRequest, event_bytes
from assistantguard.errors import AssistantGuardError, ConfigurationError, Refused, TooManyRequests
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

__all__ = ["KEYS_VARIABLE", "AssistantsApp", "Keys", "Limits", "is_loopback", "keys_in_file", "keys_in_text"]

BASE = "/v1"
"""What the service's own paths are below."""
KEYS_VARIABLE = "ASSISTANTGUARD_SERVER_KEYS"
"""The environment variable with the server's own keys, separated by commas."""

_RETRY_AFTER = "1"
"""Seconds."""
_JSON = "application/json"
_log = logging.getLogger("assistantguard.server")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Limits(Value):
    """What a server takes upon itself."""

    max_body: int = 16 << 20
    """Bytes of a request's body; 1 or more."""
    max_concurrent: int = 1000
    """Requests that are answered at once, streams and waiting polls among them; 1 or more."""
    read_seconds: float = 30.0
    """Seconds within which the head of a request must have arrived, and then its body."""
    write_seconds: float = 60.0
    """Seconds for which a reader may take nothing."""


class Keys:
    """The server's own keys. What is kept of them are hashes.

    Args:
        keys: The keys; with none of them every request is let in.

    Raises:
        ConfigurationError: A key cannot stand in a header.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        for number, key in enumerate(keys, start=1):
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise ConfigurationError(
                    f"the server's key number {number} is empty or has blanks or characters beyond ASCII, and cannot be"
                    " sent in a header: give letters, digits and signs"
                )
        self._hashes = [_hash(key) for key in keys]

    def __len__(self) -> int:
        return len(self._hashes)

    def allow(self, authorization: Sequence[str]) -> bool:
        """Whether these ``Authorization`` headers are one, and it has a key of ours. Takes as long for each key."""
        scheme, _, given = authorization[0].partition(" ") if len(authorization) == 1 else ("", "", "")
        hashed = _hash(given.strip())
        found = [hmac.compare_digest(hashed, each) for each in self._hashes]
        return scheme.lower() == "bearer" and any(found)


def keys_in_text(text: str) -> list[str]:
    """The keys in a text that are separated by commas."""
    return [key for each in text.split(",") if (key := each.strip())]


def keys_in_file(text: str) -> list[str]:
    """The keys in the text of a file, one a line; lines that begin with ``#`` are remarks."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


class AssistantsApp:
    """An ASGI application: ``/v1/assistants…``, ``/v1/threads…`` and ``/health``.

    No request without a valid key reaches the service, and its key does not either.

    Args:
        service: Answers the requests. Asynchronous.
        keys: Those that are let in.
        limits: What it takes upon itself.
    """

    def __init__(self, service: Service, keys: Keys, limits: Limits | None = None) -> None:
        self._service = service
        self._keys = keys
        self.limits = limits or Limits()
        """What it takes upon itself."""
        self.running = 0
        """Requests that are being answered now."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def begin(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        request = Request(scope, receive)
        try:
            await self._answer(request, begin)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:  # the server ends, and its grace is over
            if begun:
                raise
            await _send(begin, _refusal(503, "The server is stopping.", "server_error", "stopping"))
        except Exception as error:
            _log.error("a request failed: %s", type(error).__name__)
            if begun:
                raise
            await _send(begin, _failure(error))

    async def _answer(self, request: Request, send: Send) -> None:
        try:
            path = self._admitted(request)
        except ApiProblem as problem:
            challenge = {"www-authenticate": "Bearer"} if problem.status == 401 else {}
            await _send(send, WireAnswer(problem.status, problem.body(), challenge))
            return
        if path is None:
            await _send(send, WireAnswer(200, {"status": "ok"}))
            return
        if self.running >= self.limits.max_concurrent:
            message = f"The server answers {self.running:,} requests already. Please try again."
            await _send(send, _refusal(503, message, "server_error", "overloaded", {"retry-after": _RETRY_AFTER}))
            return
        self.running += 1
        try:
            answer = await self._answered(request, path)
            if answer.events is None:
                await _send(send, answer)
            else:
                await self._stream(request, send, answer, answer.events)
        finally:
            self.running -= 1

    def _admitted(self, request: Request) -> str | None:
        """The path of a request as the service knows it; None for the health of the server.

        Raises:
            ApiProblem: It has no valid key, or the path is not served.
        """
        path: str = request.scope["path"]
        if path == "/health":
            if request.method not in ("GET", "HEAD"):
                raise ApiProblem(405, f"Not allowed to {request.method} on {path}: it takes GET.")
            return None
        if len(self._keys):
            _check_key(self._keys, request.headers.getlist("authorization"))
        elif "origin" in request.headers or not is_loopback(_host_of(request.headers.get("host", ""))):
            raise ApiProblem(
                403,
                "A server without keys takes no requests from web pages, nor for other hosts than this one: give it"
                f" keys ({KEYS_VARIABLE}, or --key-file).",
                code="no_keys",
            )
        below = path.removeprefix(BASE)
        if not path.startswith(f"{BASE}/") or not self._service.serves(below):
            raise ApiProblem(
                404,
                f"Invalid URL ({request.method} {path}): this server answers {BASE}/assistants, {BASE}/threads and what"
                " is below them, and /health. Send other calls to the model's provider.",
                code="unknown_url",
            )
        return below

    async def _answered(self, request: Request, path: str) -> WireAnswer:
        try:
            body = await self._body(request)
            headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
            headers.pop("authorization", None)
            query = tuple(request.query_params.multi_items())
            return await self._service.handle(WireRequest(request.method, path, query, headers, body))
        except ApiProblem as problem:
            return WireAnswer(problem.status, problem.body())
        except AssistantGuardError as error:
            return _failure(error)

    async def _body(self, request: Request) -> bytes:
        """A request's body.

        Raises:
            ApiProblem: It is too large, no JSON by its own account, or does not arrive.
        """
        most = self.limits.max_body
        told = request.headers.get("content-length", "")
        pieces: list[bytes] = []
        size = int(told) if told.isdecimal() and len(told) < 20 else 0
        if size <= most:
            size = 0
            try:
                with anyio.fail_after(self.limits.read_seconds):
                    async for piece in request.stream():
                        size += len(piece)
                        if size > most:
                            break
                        pieces.append(piece)
            except TimeoutError:
                message = f"The body of the request did not arrive within {self.limits.read_seconds:g} seconds."
                raise ApiProblem(408, message, code="timeout") from None
        if size > most:
            message = f"The body of the request is too large: the most that this server takes are {most:,} bytes."
            raise ApiProblem(413, message, code="request_too_large")
        body = b"".join(pieces)
        if body.strip():
            _check_content(request.headers.getlist("content-type"), request.headers.get("content-encoding"))
        return body

    async def _stream(
        self, request: Request, send: Send, answer: WireAnswer, events: AsyncGenerator[tuple[str, Any], None]
    ) -> None:
        """Send events as they come, until they end, the reader leaves, or takes nothing for too long."""
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", **answer.headers}
        async with contextlib.aclosing(events), anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    continue
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                await send(_start(answer.status, headers))
                async for piece in _pieces(events):
                    with anyio.fail_after(self.limits.write_seconds):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await asyncio.sleep(0)  # a reader that has left is noticed before the next piece
                await send({"type": "http.response.body", "body": b""})
            except TimeoutError:
                abort: Callable[[], None] | None = request.scope.get("extensions", {}).get(ABORT)
                if abort is not None:
                    abort()
            tasks.cancel_scope.cancel()


async def _pieces(events: AsyncGenerator[tuple[str, Any], None]) -> AsyncGenerator[bytes, None]:
    """Events as they are sent; what goes wrong is told by an event, too."""
    try:
        async for event in events:
            yield event_bytes(event)
    except Exception as error:  # noqa: BLE001 - the reader is told
        if not isinstance(error, AssistantGuardError):
            _log.error("a stream failed: %s", type(error).__name__)
        yield event_bytes(("error", _failure(error).body))
        yield event_bytes(DONE)


def _check_key(keys: Keys, authorization: Sequence[str]) -> None:
    if not authorization:
        raise ApiProblem(
            401,
            "You didn't provide an API key. You need to provide one of this server's keys in an Authorization header"
            " using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    if not keys.allow(authorization):
        raise ApiProblem(401, "Incorrect API key provided. Give one of this server's own keys.", code="invalid_api_key")


def _host_of(header: str) -> str:
    """The name or address in a ``Host`` header."""
    return header.partition("]")[0] if header.startswith("[") else header.partition(":")[0]


def _check_content(types: Sequence[str], encoding: str | None) -> None:
    kind = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
    if kind != _JSON:
        got = f"'{kind[:80]}'" if kind else "none, or more than one"
        raise ApiProblem(
            415, f"Unsupported content type: {_JSON} is expected, and the request has {got}.", code="unsupported_type"
        )
    if encoding is not None and encoding.strip().lower() != "identity":
        raise ApiProblem(415, "Unsupported content encoding: send the body as it is.", code="unsupported_encoding")


def _failure(error: Exception) -> WireAnswer:
    """The answer where a policy refuses, or something went wrong. It is not to be tried again by itself."""
    headers = {"x-should-retry": "false"}
    if isinstance(error, TooManyRequests):
        headers.update(retry_after(error, time.time()))
        return _refusal(429, str(error), "rate_limit_exceeded", "too_many_requests", headers)
    if isinstance(error, Refused):
        return _refusal(429, str(error), "insufficient_quota", "refused_by_assistantguard", headers)
    if isinstance(error, AssistantGuardError):
        return _refusal(500, str(error), "server_error", None, headers)
    message = "The server had an error while processing your request."
    return _refusal(500, message, "server_error", None, headers)


def _refusal(
    status: int, message: str, kind: str, code: str | None, headers: Mapping[str, str] | None = None
) -> WireAnswer:
    return WireAnswer(status, ApiProblem(status, message, kind, code=code).body(), headers or {})


async def _send(send: Send, answer: WireAnswer) -> None:
    """Send an answer that is no stream."""
    body = b"" if answer.body is None else json.dumps(dict(answer.body)).encode()
    headers = {"content-type": _JSON, "content-length": str(len(body)), **answer.headers}
    await send(_start(answer.status, headers))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, headers: Mapping[str, str]) -> Message:
    given = {"x-request-id": f"req_{uuid.uuid4().hex}", **headers}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
