"""Asking the Responses API for answers without the SDK's types in between, which cost more than all else of a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MethodType
from typing import Any

from assistantguard.backends.port import ClientPort, EventStream, HttpAnswer, Method

__all__ = ["DirectPort"]

_CREATE = "responses.create"


class DirectPort:
    """`ClientPort` whose ``responses.create`` sends its parameters as they are, and returns what the JSON says.

    A client whose method is not the SDK's own (it was instrumented, or is a stand-in), and one that is to check all
    answers against the SDK's types, is called as any other port would.

    Args:
        port: The port of the client's colour.
        client: The client.
    """

    def __init__(self, port: ClientPort, client: Any) -> None:
        self._port = port
        self._client = client

    async def call(self, path: str, timeout: float, /, *args: Any, **params: Any) -> Any:
        """See `ClientPort.call`."""
        if path != _CREATE or args or not _is_plain(self._client):
            return await self._port.call(path, timeout, *args, **params)
        headers, more = params.pop("extra_headers", None), params.pop("extra_body", None)
        answer = await self._port.send("post", "/responses", timeout, body={**params, **(more or {})}, headers=headers)
        return _response(answer)

    async def ask(self, path: str, timeout: float, /, *args: Any, **params: Any) -> HttpAnswer:
        """See `ClientPort.ask`."""
        return await self._port.ask(path, timeout, *args, **params)

    async def open(self, path: str, timeout: float, /, *args: Any, **params: Any) -> EventStream:
        """See `ClientPort.open`."""
        return await self._port.open(path, timeout, *args, **params)

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
        """See `ClientPort.send`."""
        return await self._port.send(method, path, timeout, body=body, query=query, headers=headers)

    async def listen(
        self, path: str, timeout: float, /, *, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> EventStream | HttpAnswer:
        """See `ClientPort.listen`."""
        return await self._port.listen(path, timeout, body=body, headers=headers)


def _is_plain(client: Any) -> bool:
    """Whether a client's ``responses.create`` is the SDK's own, and its answers are not checked."""
    method = client.responses.create
    return (
        type(method) is MethodType
        and method.__func__.__globals__.get("__name__", "").partition(".")[0] == "openai"
        and not getattr(client, "_strict_response_validation", False)
    )


def _response(answer: HttpAnswer) -> Any:
    data = answer.data
    if isinstance(data, str):  # JSON that was not declared as such, which the SDK's types would have read
        try:
            data = json.loads(data)
        except ValueError:
            return data
    request_id = answer.headers.get("x-request-id")
    if isinstance(data, dict) and request_id is not None:
        data["_request_id"] = request_id
    return data
