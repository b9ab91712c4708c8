"""One page of a list, as the API cuts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard._parameters import enumeration, query_integer
from assistantguard.sandbox.problems import not_found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["page"]

_ORDER = enumeration("asc", "desc")


def page(
    documents: Sequence[dict[str, Any]],
    query: Mapping[str, str],
    *,
    default: int = 20,
    maximum: int = 100,
) -> dict[str, Any]:
    """Return one page: newest first, unless asked otherwise.

    Args:
        documents: All of the list, oldest first.
        query: `limit`, `order`, `after` and `before` of the request.
        default: Entries of a page where `limit` is not given.
        maximum: Largest `limit`.

    Raises:
        ApiProblem: 400 for a limit or an order that is none, 404 for a cursor that is not in the list.
    """
    limit = query_integer(query.get("limit"), "limit", default, minimum=1, maximum=maximum)
    order = query.get("order", "desc")
    _ORDER(order, "order")
    listed = documents if order == "asc" else documents[::-1]
    start, end = 0, len(listed)
    if "after" in query:
        start = _position(listed, query["after"], "after") + 1
    if "before" in query:
        end = _position(listed, query["before"], "before")
        start = max(start, end - limit)
    shown = listed[start : min(end, start + limit)]
    return {
        "object": "list",
        "data": list(shown),
        "first_id": shown[0]["id"] if shown else "",
        "last_id": shown[-1]["id"] if shown else "",
        "has_more": start + limit < end if "before" not in query else start > 0,
    }


def _position(documents: Sequence[dict[str, Any]], wanted: str, param: str) -> int:
    for position, document in enumerate(documents):
        if document["id"] == wanted:
            return position
    raise not_found(f"Item with id '{wanted}' not found.", param=param)
