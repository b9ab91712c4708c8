"""Telling the server which trace a request belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort, EventStream, HttpAnswer, Method
    from assistantguard.telemetry.tracing import Tracing

__all__ = ["PropagatingPort", "propagating"]


def propagating(port: ClientPort, tracing: Tracing | None) -> ClientPort:
    """A port whose requests carry the current trace, where that is wanted; else `port` itself."""
    return port if tracing is None or not tracing.propagates else PropagatingPort(port, tracing)


class PropagatingPort:
    """`ClientPort` whose requests carry the headers of the current trace, such as ``traceparent``.

    Args:
        port: The port that makes the requests.
        tracing: What knows the current trace.
    """

    def __init__(self, port: ClientPort, tracing: Tracing) -> None:
        self._port = port
        self._headers = tracing.headers

    async def call(self, path: str, timeout: float, /, *args: Any, **params: Any) -> Any:
        """See `ClientPort.call`."""
        return await self._port.call(path, timeout, *args, **self._carried(params))

    async def ask(self, path: str, timeout: float, /, *args: Any, **params: Any) -> HttpAnswer:
        """See `ClientPort.ask`."""
        return await self._port.ask(path, timeout, *args, **self._carried(params))

    async def open(self, path: str, timeout: float, /, *args: Any, **params: Any) -> EventStream:
        """See `ClientPort.open`."""
        return await self._port.open(path, timeout, *args, **self._carried(params))

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
        carried = {**self._headers(), **(headers or {})}
        return await self._port.send(method, path, timeout, body=body, query=query, headers=carried)

    async def listen(
        self, path: str, timeout: float, /, *, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> EventStream | HttpAnswer:
        """See `ClientPort.listen`."""
        return await self._port.listen(path, timeout, body=body, headers={**self._headers(), **(headers or {})})

    def _carried(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a method of the SDK with the headers; its plain verbs take them among their options."""
        if "options" in params:
            options = params["options"]
            return {**params, "options": {**options, "headers": {**self._headers(), **options.get("headers", {})}}}
        return {**params, "extra_headers": {**self._headers(), **params.get("extra_headers", {})}}
