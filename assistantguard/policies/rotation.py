"""Leaving a generation before its re-reading costs more than it is worth."""

from __future__ import annotations

from datetime import timedelta

from assistantguard.errors import ConfigurationError
from assistantguard.models.carry_over import CarryOver, CarryOverFunction
from assistantguard.policies.base import Decision, OldGeneration, Policy, Rotate, View
from assistantguard.policies.checks import at_least, one_of

__all__ = ["ThreadRotation"]


class ThreadRotation(Policy):
    """Moves a thread to a fresh conversation by turns, by context size or by age, and carries over what matters.

    The thread's own id stays. What is carried is measured by `assistantguard replay`.

    Args:
        max_turns: Turns a generation holds; the next turn begins a new one. None leaves them open.
        max_context_tokens: The largest context a turn may begin with. It is known exactly from the last request's
            usage. Models with a long-context price step take it at 272,000 input tokens: stay well below.
        max_age: How old a generation may become (a timedelta, or seconds).
        carry_over: What the new generation starts with: settings, or a function from the old items to the new ones.
        old: What becomes of the old conversation once the new one holds the carry-over: ``"delete"`` it,
            ``"scrub"`` it (delete its items too, which OpenAI otherwise keeps), or ``"keep"`` it.

    Raises:
        ConfigurationError: A limit is below its minimum, or none is given.
    """

    def __init__(
        self,
        max_turns: int | None = 30,
        *,
        max_context_tokens: int | None = None,
        max_age: timedelta | float | None = None,
        carry_over: CarryOver | CarryOverFunction | None = None,
        old: OldGeneration = "delete",
    ) -> None:
        self.max_turns = at_least("ThreadRotation max_turns", max_turns, 1)
        self.max_context_tokens = at_least("ThreadRotation max_context_tokens", max_context_tokens, 256)
        seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
        self.max_age = at_least("ThreadRotation max_age", None if seconds is None else float(seconds), 1.0)
        if max_turns is None and max_context_tokens is None and max_age is None:
            raise ConfigurationError(
                "ThreadRotation has neither max_turns nor max_context_tokens nor max_age, so it never rotates:"
                " give one, or leave it out"
            )
        if carry_over is not None and not isinstance(carry_over, CarryOver) and not callable(carry_over):
            raise ConfigurationError(
                f"ThreadRotation carry_over is {carry_over!r}: give CarryOver(…) or a function from items to items"
            )
        self.carry_over = carry_over
        one_of("ThreadRotation old", old, ("delete", "scrub", "keep"))
        self.old: OldGeneration = old

    def before_turn(self, view: View) -> Decision | None:
        """Rotate when a limit is reached."""
        thread = view.thread
        if thread.generation_id is None or thread.generation_turns == 0:
            return None
        if self.max_turns is not None and thread.generation_turns >= self.max_turns:
            reason = f"{thread.generation_turns} turns, the limit is {self.max_turns}"
        elif self.max_context_tokens is not None and thread.context_tokens > self.max_context_tokens:
            reason = f"{thread.context_tokens} context tokens, the limit is {self.max_context_tokens}"
        elif self.max_age is not None and view.now - thread.generation_started_at > self.max_age:
            reason = f"{view.now - thread.generation_started_at:.0f} s old, the limit is {self.max_age:.0f} s"
        else:
            return None
        return Rotate(reason, self.carry_over, self.old)
