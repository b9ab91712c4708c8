"""The routes of the Assistants API, over a `ClientPort`.

They are called by their paths: the SDK's own methods warn of their deprecation at each call, and may go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from assistantguard.backends.port import HttpAnswer
from assistantguard.backends.problems import UnreadableAnswerError
from assistantguard.backends.reading import get

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort, EventStream, Method

__all__ = ["Routes", "path_of", "request_id_of"]

_HEADERS = {"OpenAI-Beta": "assistants=v2"}
_PER_PAGE = 100
_MOST_PAGES = 200
"""A server whose lists never end must not hold a turn up for ever."""


class Routes:
    """Calls of one server."""

    def __init__(self, port: ClientPort) -> None:
        self._port = port

    async def get(self, path: str, timeout: float) -> HttpAnswer:
        """An object."""
        return await self._send("get", path, timeout)

    async def post(
        self, path: str, timeout: float, body: Mapping[str, Any] | None = None, request_id: str = ""
    ) -> HttpAnswer:
        """Make or change an object. `request_id` goes with it as ``X-Client-Request-Id``."""
        return await self._send("post", path, timeout, body or {}, request_id)

    async def delete(self, path: str, timeout: float) -> HttpAnswer:
        """Delete an object."""
        return await self._send("delete", path, timeout)

    async def events(
        self, path: str, timeout: float, body: Mapping[str, Any], request_id: str = ""
    ) -> EventStream | HttpAnswer:
        """Post, and read the events of the run that it begins or goes on with; or the run, where that is the answer."""
        body = {**body, "stream": True}
        return await self._port.listen(path, timeout, body=body, headers=_headers(request_id))

    async def listed(
        self, path: str, timeout: float, *, order: str, limit: int | None = None, **query: str
    ) -> list[Any]:
        """The objects of a list, at most `limit`. Servers may ignore cursors, limits and order.

        Args:
            path: The list's.
            timeout: Seconds that a page may take.
            order: ``"asc"`` or ``"desc"``.
            limit: How many are wanted; None for all.
            query: Further parameters.
        """
        found: list[Any] = []
        seen: set[Any] = set()
        after: str | None = None
        for _ in range(_MOST_PAGES):
            wanted = _PER_PAGE if limit is None else min(_PER_PAGE, limit - len(found))
            params: dict[str, Any] = {"order": order, "limit": wanted, **query}
            if after is not None:
                params["after"] = after
            page = (await self._send("get", path, timeout, query=params)).data
            data = get(page, "data")
            if not isinstance(data, list):
                raise UnreadableAnswerError(f"the server's answer to GET {path} is no list: check the base URL")
            fresh = [each for each in data if get(each, "id") not in seen]
            seen.update(get(each, "id") for each in fresh)
            found += fresh
            after = get(fresh[-1], "id") if fresh else None
            if after is None or get(page, "has_more") is not True or (limit is not None and len(found) >= limit):
                break
        return _in_order(found, order)[:limit]

    async def _send(
        self,
        method: Method,
        path: str,
        timeout: float,
        body: Mapping[str, Any] | None = None,
        request_id: str = "",
        query: Mapping[str, Any] | None = None,
    ) -> HttpAnswer:
        answer = await self._port.send(method, path, timeout, body=body, query=query, headers=_headers(request_id))
        if not isinstance(answer.data, dict):
            raise UnreadableAnswerError(f"the server's answer to {method.upper()} {path} is no object: check the URL")
        return answer


def path_of(*parts: str) -> str:
    """A path of names, of which ids may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


def request_id_of(answer: HttpAnswer) -> str | None:
    """The ``x-request-id`` of an answer."""
    return answer.headers.get("x-request-id")


def _headers(request_id: str) -> dict[str, str]:
    return {**_HEADERS, "X-Client-Request-Id": request_id} if request_id else _HEADERS


def _in_order(found: list[Any], order: str) -> list[Any]:
    """Reversed where the server's own times tell that it ignored the order."""
    first, last = (get(found[at], "created_at") if found else None for at in (0, -1))
    if not isinstance(first, (int, float)) or not isinstance(last, (int, float)) or first == last:
        return found
    return found if (first < last) == (order == "asc") else found[::-1]
