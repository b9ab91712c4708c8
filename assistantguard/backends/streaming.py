"""Reading a streamed answer: pieces of output, and the whole answer at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from assistantguard.backends.port import END
from assistantguard.backends.problems import StreamCutError, StreamErrorEvent
from assistantguard.backends.rates import rates_told
from assistantguard.backends.reading import answer_of, get
from assistantguard.engine.ports import ModelAnswer, Piece

if TYPE_CHECKING:
    from assistantguard.backends.port import EventStream

__all__ = ["ENDS", "ResponseStream", "next_event", "told_error"]

_SHOWN = frozenset({"response.output_text.delta", "response.refusal.delta"})
ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "response.cancelled"})


class ResponseStream:
    """`AnswerStream` over the events of ``responses.create(stream=True)``.

    Unknown events are passed over. Servers differ in which they send; only the last one is needed.

    Args:
        events: The server's events.
        response_id: The answer's id, where it is known.
        after: The number of the newest event that is known; pieces up to it are passed over.
        tells_rates: Whether the answer shall bring what the server told of its rate limits.
    """

    def __init__(
        self,
        events: EventStream,
        response_id: str | None = None,
        after: int | None = None,
        *,
        tells_rates: bool = False,
    ) -> None:
        self._events = events
        self._headers = events.headers
        self._tells_rates = tells_rates
        self.response_id = response_id
        """See `AnswerStream.response_id`."""
        self.sequence_number = after
        """See `AnswerStream.sequence_number`."""
        self._message: Any = None
        """What tells the message that the newest text belongs to."""

    async def next(self) -> Piece | ModelAnswer:
        """See `AnswerStream.next`."""
        while True:
            event = await next_event(self._events)
            kind = get(event, "type")
            number = get(event, "sequence_number")
            known = False
            if isinstance(number, int):
                known = self.sequence_number is not None and number <= self.sequence_number
                self.sequence_number = number if not known else self.sequence_number
            if isinstance(kind, str) and kind.endswith(".delta"):
                delta = get(event, "delta")
                if isinstance(delta, str) and delta and not known:
                    return self._piece(event, kind, delta)
                continue
            if kind == "error":
                raise told_error(event)
            response = get(event, "response")
            if response is not None:
                self.response_id = get(response, "id") or self.response_id
                if kind in ENDS:
                    await self._events.finish()
                    rates = rates_told(self._headers) if self._tells_rates else None
                    return answer_of(response, self._headers.get("x-request-id"), rates)

    def _piece(self, event: Any, kind: str, delta: str) -> Piece:
        """A piece of output. The texts of several messages are set apart as they are in the whole answer."""
        if kind not in _SHOWN:
            return Piece(delta, shown=False)
        message, self._message = self._message, get(event, "output_index")
        return Piece(delta if message is None or message == self._message else f"\n\n{delta}", shown=True)

    async def close(self) -> None:
        """See `AnswerStream.close`."""
        await self._events.close()


async def next_event(events: EventStream) -> Any:
    """Read the next event.

    Raises:
        StreamCutError: The stream ended, or broke off in the middle of one.
    """
    try:
        event = await events.next()
    except json.JSONDecodeError as error:
        raise StreamCutError("the stream broke off in a chunk that is no JSON") from error
    if event is END:
        raise StreamCutError("the stream ended before its answer")
    return event


def told_error(event: Any) -> StreamErrorEvent:
    """What an ``error`` event says."""
    code, message = get(event, "code"), get(event, "message") or "the stream ended in an error"
    return StreamErrorEvent(str(message), str(code) if code else "server_error")
