"""The rows of a replay: which guard, if any, each one plays with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard.models.carry_over import CarryOver, CarryOverFunction
from assistantguard.models.items import assistant_message
from assistantguard.policies import Policy, ThreadRotation
from assistantguard.policies.defaults import default_policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.models.items import Item

__all__ = ["LastReply", "RowSettings", "custom_row", "standard_rows"]


@dataclass(frozen=True, slots=True)
class LastReply:
    """The carry-over of the sketches on the web: the beginning of the last reply, and nothing else.

    Args:
        characters: How many characters of it.
    """

    characters: int = 500

    def __call__(self, items: Sequence[Item]) -> list[Item]:
        """Return the one message that the new generation starts with; none where there was no reply."""
        replies = (item.text for item in reversed(items) if item.type == "message" and item.role == "assistant")
        last = next((text for text in replies if text), "")
        return [assistant_message(last[: self.characters])] if last else []


@dataclass(frozen=True, slots=True)
class RowSettings:
    """One row. Plain data, so that it can be sent to another process."""

    name: str
    guarded: bool = True
    """Without a guard, all else is ignored."""
    rotation_only: bool = False
    """Whether `ThreadRotation` is the only policy. Otherwise it is one of the default policies."""
    max_turns: int | None = None
    max_history_tokens: int | None = None
    max_context_tokens: int | None = None
    carry_over: CarryOver | CarryOverFunction | None = None
    """None carries the default."""
    max_steps: int | None = None
    """Tool steps in a run; None keeps the default."""

    def policies(self) -> list[Policy]:
        """Build the policies.

        Raises:
            ConfigurationError: A value is outside its limits.
        """
        limits = (self.max_turns, self.max_history_tokens, self.max_context_tokens)
        changes_rotation = self.carry_over is not None or any(limit is not None for limit in limits)
        policies = default_policies(max_tool_call_steps=self.max_steps)
        if not changes_rotation:
            return policies
        default = next(policy for policy in policies if isinstance(policy, ThreadRotation))
        rotation = ThreadRotation(
            self.max_turns,
            max_history_tokens=self.max_history_tokens,
            max_context_tokens=self.max_context_tokens,
            carry_over=self.carry_over,
        )
        if self.rotation_only:
            return [rotation]
        return [rotation, *(policy for policy in policies if policy is not default)]


def standard_rows() -> list[RowSettings]:
    """List the rows of every replay: no guard, the web's sketches, the default, and three other settings."""
    return [
        RowSettings("none", guarded=False),
        RowSettings("sketch-30", rotation_only=True, max_turns=30, carry_over=LastReply()),
        RowSettings("sketch-8", rotation_only=True, max_turns=8, carry_over=LastReply()),
        RowSettings("default"),
        RowSettings("turns-15", max_turns=15),
        RowSettings("short-tail", carry_over=CarryOver(tail_turns=1, tail_tokens=500)),
        RowSettings("long-tail", carry_over=CarryOver(tail_turns=6, tail_tokens=5_000)),
    ]


def custom_row(
    *,
    max_turns: int | None = None,
    max_history_tokens: int | None = None,
    max_context_tokens: int | None = None,
    tail_turns: int | None = None,
    tail_tokens: int | None = None,
    digest_tokens: int | None = None,
    max_steps: int | None = None,
) -> RowSettings | None:
    """Make the row of a user's own settings; None where every one is None.

    Args:
        max_turns: Turns before a rotation.
        max_history_tokens: History before a rotation, instructions and tools not counted.
        max_context_tokens: Context before a rotation. With none of the three, the default rule stays.
        tail_turns: See `CarryOver`, as the next two.
        tail_tokens: See above.
        digest_tokens: See above.
        max_steps: Tool steps in a run.

    Raises:
        ConfigurationError: A value is outside its limits.
    """
    tail = {"tail_turns": tail_turns, "tail_tokens": tail_tokens, "digest_tokens": digest_tokens}
    given: dict[str, Any] = {name: value for name, value in tail.items() if value is not None}
    if not given and all(value is None for value in (max_turns, max_history_tokens, max_context_tokens, max_steps)):
        return None
    return RowSettings(
        "custom",
        max_turns=max_turns,
        max_history_tokens=max_history_tokens,
        max_context_tokens=max_context_tokens,
        carry_over=CarryOver(**given) if given else None,
        max_steps=max_steps,
    )
