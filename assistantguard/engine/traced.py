"""A turn inside of a span, for sessions that trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from assistantguard.models import RunState, StreamEvent, ThreadState

if TYPE_CHECKING:
    from assistantguard.engine.session import Session
    from assistantguard.telemetry.tracing import Tracing

__all__ = ["traced"]


async def traced(
    session: Session,
    tracing: Tracing,
    thread: ThreadState,
    run: RunState,
    events: AsyncGenerator[StreamEvent, None],
) -> AsyncGenerator[StreamEvent, None]:
    """The events of a turn. Its span lasts from when the first is asked for until they end, however they do."""
    tracing.begin(session.id, thread, run, session.assistant.name)
    error: BaseException | None = None
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except BaseException as cause:
        error = cause
        raise
    finally:
        tracing.end(run, error)
