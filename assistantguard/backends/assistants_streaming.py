"""Reading a run's events: pieces of output, and the whole answer at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from assistantguard.backends.assistants_reading import ENDED, status_of
from assistantguard.backends.port import HttpAnswer
from assistantguard.backends.reading import get
from assistantguard.backends.streaming import next_event, told_error
from assistantguard.engine.ports import ModelAnswer, Piece

if TYPE_CHECKING:
    from assistantguard.backends.assistants_runs import Runs
    from assistantguard.backends.port import EventStream

__all__ = ["FollowedRun", "RunEvents"]

_RUN = "thread.run."
_STEP = "thread.run.step."
_OPEN = frozenset({"queued", "in_progress", "cancelling"})


class FollowedRun:
    """`AnswerStream` of a run that tells no events: it is asked for, and brings its answer at once.

    Args:
        look_up: Asks for an answer.
        answer: The answer as it was.
        timeout: Seconds that it may take in all.
    """

    sequence_number = None

    def __init__(
        self, look_up: Callable[[str, float], Awaitable[ModelAnswer]], answer: ModelAnswer, timeout: float
    ) -> None:
        self.response_id: str | None = answer.id
        self._look_up = look_up
        self._answer = answer
        self._timeout = timeout

    async def next(self) -> Piece | ModelAnswer:
        """See `AnswerStream.next`."""
        if self._answer.status in _OPEN:
            self._answer = await self._look_up(self._answer.id, self._timeout)
        return self._answer

    async def close(self) -> None:
        """See `AnswerStream.close`. The run goes on until it is cancelled."""


class RunEvents:
    """`AnswerStream` over the events of a run.

    Unknown events are passed over. Servers differ in which they send; only the run's last one is needed.

    Args:
        runs: Reads the run at its end.
        events: The server's events.
        thread_id: The run's thread.
        number: Which round of the run it is.
        timeout: Seconds that reading the run may take.
    """

    sequence_number = None

    def __init__(self, runs: Runs, events: EventStream, thread_id: str, number: int, timeout: float) -> None:
        self.response_id: str | None = None
        """See `AnswerStream.response_id`."""
        self._runs = runs
        self._events = events
        self._thread_id = thread_id
        self._number = number
        self._timeout = timeout
        self._message: Any = None
        """The message that the newest text belongs to."""

    async def next(self) -> Piece | ModelAnswer:
        """See `AnswerStream.next`."""
        while True:
            event = await next_event(self._events)
            kind, data = get(event, "event"), get(event, "data")
            if not isinstance(kind, str) or kind == "error":
                told = data if isinstance(data, dict) else event
                if kind == "error" or get(told, "message"):
                    raise told_error(told)
                continue
            piece = self._piece(kind, data)
            if piece is not None:
                return piece
            if kind.startswith(_RUN) and not kind.startswith(_STEP):
                answer = await self._run(data)
                if answer is not None:
                    return answer

    def _piece(self, kind: str, data: Any) -> Piece | None:
        text, shown = "", kind == "thread.message.delta"
        if shown:
            for part in get(data, "delta", "content") or []:
                value = get(part, "text", "value") or get(part, "refusal")
                text += value if isinstance(value, str) else ""
        elif kind == _STEP + "delta":
            for call in get(data, "delta", "step_details", "tool_calls") or []:
                value = get(call, "function", "arguments") or get(call, "code_interpreter", "input")
                text += value if isinstance(value, str) else ""
        if not text:
            return None
        if shown:
            message, self._message = self._message, get(data, "id")
            text = text if message is None or message == self._message else f"\n\n{text}"
        return Piece(text, shown=shown)

    async def _run(self, run: Any) -> ModelAnswer | None:
        """Note which run it is; return its answer where it has ended or wants outputs."""
        run_id = get(run, "id")
        if not isinstance(run_id, str) or not run_id:
            return None
        if self.response_id is None:
            self.response_id = self._runs.name(self._thread_id, run_id, self._number)
        status = status_of(run)
        if status not in ENDED and status != "requires_action":
            return None
        await self._events.finish()
        found = HttpAnswer(run, self._events.headers)
        return await self._runs.answer(self._thread_id, self.response_id, found, self._timeout)

    async def close(self) -> None:
        """See `AnswerStream.close`."""
        await self._events.close()
