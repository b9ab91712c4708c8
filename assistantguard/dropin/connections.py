"""Connections that get nowhere: heads of requests that do not arrive, and readers that take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from assistantguard.dropin.serving import Limits

__all__ = ["close_stuck"]

_LOOKS = 4
"""How often within a limit."""
_LONGEST_PAUSE = 1.0
"""Seconds between two looks."""


async def close_stuck(connections: Collection[Any], limits: Limits) -> None:
    """Close what is stuck, until it is cancelled.

    The application sees requests only, so it can do neither: it learns of a request when its head is there, and what
    is left of an answer when it has ended it waits in the connection's buffer.

    Args:
        connections: Those of a uvicorn server, as they are at each time.
        limits: ``read_seconds`` for the head of a request, ``write_seconds`` for a reader that takes nothing.
    """
    loop = asyncio.get_running_loop()
    pause = min(_LONGEST_PAUSE, limits.read_seconds / _LOOKS, limits.write_seconds / _LOOKS)
    since: dict[Any, tuple[tuple[Any, ...], float]] = {}
    while True:
        now = loop.time()
        still: dict[Any, tuple[tuple[Any, ...], float]] = {}
        for connection in list(connections):
            standing = _standing(connection)
            if standing is None:
                continue
            before, began = since.get(connection, (None, now))
            still[connection] = (standing, began if standing == before else now)
            if now - still[connection][1] >= (limits.write_seconds if standing[0] else limits.read_seconds):
                connection.transport.abort()
        since = still
        await asyncio.sleep(pause)


def _standing(connection: Any) -> tuple[Any, ...] | None:
    """What must change for a connection to get on: the bytes that wait for its reader, and its last request.

    None where it waits for nobody, or by uvicorn's own clock for its next request.
    """
    waiting, cycle = connection.transport.get_write_buffer_size(), connection.cycle
    idle = cycle is None or cycle.response_complete
    return (waiting, cycle) if waiting or (idle and connection.timeout_keep_alive_task is None) else None
