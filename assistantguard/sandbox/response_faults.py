"""Faults of a response: how it ends, how it is made, what is told of its usage, and how its stream goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import Self, Unpack

from assistantguard.sandbox.conduct import After
from assistantguard.sandbox.effects import Change, Cut, Ending
from assistantguard.sandbox.schedule import Schedule, Scheduled, When
from assistantguard.sandbox.script import Answer

if TYPE_CHECKING:
    from assistantguard.sandbox.effects import Effect

__all__ = ["ResponseFaults"]


class _Outcome(When, total=False):
    """What a response that ends badly made, and what becomes of it. The fields are those of `Answer`."""

    text: str | None
    billed: bool
    usage_reported: bool
    appended: bool | None


_SCHEDULE = {"at", "rate", "seed", "times"}


class ResponseFaults(Scheduled):
    """Faults of ``POST /responses``. `when` is the schedule, as keyword arguments: see `Scheduled`.

    The first three stand in the place of the model's answer and do not consume the script; the others change how the
    model's answer is made, told or reported, and consume it.
    """

    __slots__ = ()

    @classmethod
    def _ending(cls, kind: str, outcome: _Outcome, **fields: Any) -> Self:
        when: Any = {name: value for name, value in outcome.items() if name in _SCHEDULE}
        rest: Any = {name: value for name, value in outcome.items() if name not in _SCHEDULE}
        return cls(effect=Ending(Answer(**{**fields, **rest})), kind=kind, **when)

    @classmethod
    def failed_response(
        cls,
        code: str = "server_error",
        *,
        message: str = "The model failed to generate a response. (sandbox)",
        **outcome: Unpack[_Outcome],
    ) -> Self:
        """End a response with status ``failed``.

        Args:
            code: ``server_error``, ``rate_limit_exceeded``, ``invalid_prompt`` or another code of the API.
            message: Text of ``response.error``.
            **outcome: `text` (made before it failed; None), `billed` (True), `usage_reported` (True; OpenAI's own
                example shows null), `appended` (whether input and text are added to the conversation all the same;
                False), and the schedule.
        """
        fields: dict[str, Any] = {"error_code": code, "error_message": message, "appended": False}
        return cls._ending("failed_response", outcome, status="failed", **fields)

    @classmethod
    def incomplete(cls, reason: str = "max_output_tokens", **outcome: Unpack[_Outcome]) -> Self:
        """End a response with status ``incomplete``.

        Args:
            reason: ``max_output_tokens``, ``content_filter`` or another reason of the API.
            **outcome: `text` (made before it was cut; None), `billed` (True), `usage_reported` (True), `appended`
                (whether input and output are added to the conversation; True), and the schedule.
        """
        return cls._ending("incomplete", outcome, status="incomplete", incomplete_reason=reason, appended=True)

    @classmethod
    def cancelled_response(cls, **outcome: Unpack[_Outcome]) -> Self:
        """End a response with status ``cancelled``, by someone else's hand. A stream then has no last event.

        Args:
            **outcome: `text` (made before; None), `billed` (True), `usage_reported` (False, as in OpenAI's own
                example), `appended` (False), and the schedule.
        """
        return cls._ending("cancelled_response", outcome, status="cancelled", usage_reported=False, appended=False)

    @classmethod
    def no_usage(cls, **when: Unpack[When]) -> Self:
        """Answer well, and never report the usage, as some servers that imitate the API.

        Args:
            **when: The schedule.
        """
        return cls(effect=Change({"usage_reported": False}), kind="no_usage", **when)

    @classmethod
    def late_usage(
        cls, *, seconds: float | None = None, reads: int | None = None, on_cancel: bool = False, **when: Unpack[When]
    ) -> Self:
        """Report `usage` as null at first, and tell it later on ``GET /responses/{id}``.

        Args:
            seconds: Told so many seconds after the end, by the sandbox's clock.
            reads: Told after so many reads without it.
            on_cancel: Happens to background requests only, for a response that is to be cancelled.
            **when: The schedule.
        """
        moment = After(seconds, reads)
        effect = Change(conduct={"usage_after": moment}, only="background" if on_cancel else None)
        return cls(effect=effect, kind="late_usage", **when)

    @classmethod
    def unstoppable(cls, *, delay: float = 0.0, **when: Unpack[When]) -> Self:
        """Go on with a foreground response when its client leaves: billed, and added to the conversation.

        Args:
            delay: Seconds before the first delta.
            **when: The schedule.
        """
        effect = Change({"delay": delay}, {"survives_disconnect": True}, "foreground")
        return cls(effect=effect, kind="unstoppable", **when)

    @classmethod
    def stuck(cls, status: Literal["queued", "in_progress"] = "in_progress", **when: Unpack[When]) -> Self:
        """Leave a background response in a status until it is cancelled.

        Args:
            status: ``queued`` or ``in_progress``.
            **when: The schedule, counted over background requests.
        """
        return cls(effect=Change(conduct={"stuck": status}, only="background"), kind=f"stuck_{status}", **when)

    @classmethod
    def completes_after_cancel(
        cls, *, seconds: float | None = None, reads: int | None = None, delay: float = 3600.0, **when: Unpack[When]
    ) -> Self:
        """Let a background response take long; once cancelled it turns completed all the same (reported of Azure).

        Its whole output is then billed, reported and added to the conversation.

        Args:
            seconds: It turns so many seconds after it was cancelled, by the sandbox's clock.
            reads: It turns after so many reads that say ``cancelled``.
            delay: Seconds that it takes if nobody cancels it.
            **when: The schedule, counted over background requests.
        """
        conduct = {"completes_after_cancel": After(seconds, reads)}
        effect = Change({"delay": delay}, conduct, "background")
        return cls(effect=effect, kind="completes_after_cancel", **when)

    @classmethod
    def endless(
        cls, kind: Literal["deltas", "comments"] = "deltas", *, pace: float = 0.01, **when: Unpack[When]
    ) -> Self:
        """Stream without end: text that `max_output_tokens` alone bounds, or comments that keep the connection alive.

        Args:
            kind: ``deltas`` or ``comments``. For no byte at all see `silent`.
            pace: Seconds between two of them.
            **when: The schedule, counted over streams.
        """
        effect = Change({"pace": pace}, {"endless": kind}, "streamed")
        return cls(effect=effect, kind=f"endless_{kind}", **when)

    @classmethod
    def _cut(cls, effect: Effect, kind: str, when: Schedule) -> Self:
        return cls(effect=effect, kind=kind, **when)

    @classmethod
    def cut(cls, after: int = 4, *, clean: bool = False, goes_on: bool = False, **when: Unpack[Schedule]) -> Self:
        """Cut a stream between two events.

        Args:
            after: How many events are sent; at most all but the last two.
            clean: End the body as if it were whole, which OpenAI's client takes silently. False closes the connection.
            goes_on: Whether the server goes on with the response: billed and added to the conversation in full. False
                stops it, as when a client leaves.
            **when: The schedule, counted over streams; the endpoint may also be ``GET /responses/{id}``.
        """
        how: Literal["end", "drop"] = "end" if clean else "drop"
        kind = f"cut_{'clean' if clean else 'dropped'}{'_goes_on' if goes_on else ''}"
        return cls._cut(Cut(after, how, goes_on), kind, when)

    @classmethod
    def malformed(cls, after: int = 4, *, goes_on: bool = True, **when: Unpack[Schedule]) -> Self:
        """Put a chunk that is no JSON between two events of a stream.

        Args:
            after: How many events are sent before it.
            goes_on: Whether the stream goes on after it. False ends it and stops the response.
            **when: As with `cut`.
        """
        return cls._cut(Cut(after, "malformed", goes_on), "malformed", when)

    @classmethod
    def stream_error(
        cls,
        after: int = 4,
        *,
        nested: bool = False,
        code: str = "server_error",
        message: str = "The server had an error while processing your request. (sandbox)",
        goes_on: bool = False,
        **when: Unpack[Schedule],
    ) -> Self:
        """Send an ``error`` event in mid-stream, and end.

        Args:
            after: How many events are sent before it.
            nested: Send ``{"error": {…}}``, for which OpenAI's client raises `APIError`. False sends the documented
                flat event, which it hands on as any other.
            code: Code of the error.
            message: Its text.
            goes_on: Whether the server goes on with the response. False ends it as failed, its usage not reported.
            **when: As with `cut`.
        """
        effect = Cut(after, "nested_error" if nested else "error", goes_on, code, message, usage_reported=False)
        return cls._cut(effect, "stream_error_nested" if nested else "stream_error", when)

    @classmethod
    def stream_failed(
        cls,
        after: int = 4,
        *,
        code: str = "server_error",
        message: str = "The model failed to generate a response. (sandbox)",
        usage_reported: bool = True,
        **when: Unpack[When],
    ) -> Self:
        """End a foreground stream with ``response.failed`` before the model's answer is whole.

        Args:
            after: How many events are sent before it.
            code: Code of ``response.error``.
            message: Its text.
            usage_reported: Whether it carries `usage`, for what was made.
            **when: The schedule, counted over foreground streams.
        """
        effect = Cut(after, "failed", code=code, message=message, usage_reported=usage_reported)
        return cls(effect=effect, kind="stream_failed", **when)
