"""Leaving a generation before its re-reading costs more than it is worth."""

from __future__ import annotations

from datetime import timedelta

from assistantguard.errors import ConfigurationError
from assistantguard.models.carry_over import CarryOver, CarryOverFunction
from assistantguard.policies.base import Decision, OldGeneration, Policy, Rotate, View
from assistantguard.policies.checks import at_least, one_of

__all__ = ["ThreadRotation"]


class ThreadRotation(Policy):
    """Moves a thread to a fresh conversation before re-reading the old one costs more than it is worth.

    The thread's own id stays. Give one limit or several; the first that is reached decides. With none, a generation is
    left when its history (the context without instructions and tools) has grown to 1.35 times what a rotation may
    carry over, which is 3,240 tokens with the default carry-over. Context size is known exactly from the last
    request's usage. ``assistantguard replay`` measures what a setting saves on your own conversations.

    Args:
        max_turns: Turns a generation holds; the next turn begins a new one.
        max_history_tokens: The largest history a turn may begin with, instructions and tools not counted.
        max_context_tokens: The largest context a turn may begin with, instructions and tools included. Models with a
            long-context price step take it at 272,000 input tokens: stay well below.
        max_age: How old a generation may become (a timedelta, or seconds).
        min_turns: Turns a generation holds at least before `max_history_tokens` is looked at, so that one long
            answer does not cause a rotation at every turn.
        carry_over: What the new generation starts with: settings, or a function from the old items to the new ones.
        old: What becomes of the old conversation once the new one holds the carry-over: ``"delete"`` it,
            ``"scrub"`` it (delete its items too, which OpenAI otherwise keeps), or ``"keep"`` it.

    Raises:
        ConfigurationError: A limit is below its minimum, or `carry_over` or `old` is none of these.
    """

    def __init__(
        self,
        max_turns: int | None = None,
        *,
        max_history_tokens: int | None = None,
        max_context_tokens: int | None = None,
        max_age: timedelta | float | None = None,
        min_turns: int = 4,
        carry_over: CarryOver | CarryOverFunction | None = None,
        old: OldGeneration = "delete",
    ) -> None:
        self.max_turns = at_least("ThreadRotation max_turns", max_turns, 1)
        self.max_context_tokens = at_least("ThreadRotation max_context_tokens", max_context_tokens, 256)
        self.min_turns = at_least("ThreadRotation min_turns", min_turns, 1) or 1
        seconds = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
        self.max_age = at_least("ThreadRotation max_age", None if seconds is None else float(seconds), 1.0)
        if carry_over is not None and not isinstance(carry_over, CarryOver) and not callable(carry_over):
            raise ConfigurationError(
                f"ThreadRotation carry_over is {carry_over!r}: give CarryOver(…) or a function from items to items"
            )
        self.carry_over = carry_over
        if max_turns is None and max_history_tokens is None and max_context_tokens is None and max_age is None:
            max_history_tokens = _worth_leaving(carry_over if isinstance(carry_over, CarryOver) else CarryOver())
        self.max_history_tokens = at_least("ThreadRotation max_history_tokens", max_history_tokens, 256)
        one_of("ThreadRotation old", old, ("delete", "scrub", "keep"))
        self.old: OldGeneration = old

    def before_turn(self, view: View) -> Decision | None:
        """Rotate when a limit is reached."""
        thread = view.thread
        if thread.generation_id is None or (thread.generation_turns == 0 and not thread.adopted):
            return None
        age = view.now - thread.generation_started_at
        reason = self.reached(thread.generation_turns, thread.context_tokens, thread.fixed_tokens, age)
        return None if reason is None else Rotate(reason, self.carry_over, self.old)

    def reached(self, turns: int, context_tokens: int, fixed_tokens: int, age: float) -> str | None:
        """Which limit a generation has reached, in words; None where it has reached none.

        Args:
            turns: How many it holds.
            context_tokens: What the next request would read, before anything new.
            fixed_tokens: The part of them that is instructions and tools.
            age: Seconds.
        """
        history = context_tokens - fixed_tokens
        if self.max_turns is not None and turns >= self.max_turns:
            return f"{turns} turns, the limit is {self.max_turns}"
        if self.max_history_tokens is not None and turns >= self.min_turns and history >= self.max_history_tokens:
            return f"{history} history tokens, the limit is {self.max_history_tokens}"
        if self.max_context_tokens is not None and context_tokens > self.max_context_tokens:
            return f"{context_tokens} context tokens, the limit is {self.max_context_tokens}"
        if self.max_age is not None and age > self.max_age:
            return f"{age:.0f} s old, the limit is {self.max_age:.0f} s"
        return None


def _worth_leaving(carry_over: CarryOver) -> int:
    """The history from which a rotation saves more than it costs.

    A rotation writes the carry-over anew, uncached; what it saves is the re-reading of everything else, from then on
    at every request. Measured on recorded conversations, rotating at 1.35 times the carry-over is cheapest or near it
    at cached prices from 50 % to 5 % of input.
    """
    summary = carry_over.summary_tokens if carry_over.summary_model is not None else 0
    return max(256, round(1.35 * (carry_over.tail_tokens + carry_over.digest_tokens + summary)))
