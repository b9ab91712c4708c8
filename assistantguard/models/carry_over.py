"""What a rotation takes from the old generation into the new one: the settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistantguard.errors import ConfigurationError
from assistantguard.models.items import Item
from assistantguard.models.values import Value

__all__ = ["MIN_DIGEST_TOKENS", "CarryOver", "CarryOverFunction"]

CarryOverFunction = Callable[[Sequence[Item]], Sequence[Item]]
"""A user's own carry-over: the old generation's items, oldest first, to the messages that the new one starts with."""

MIN_DIGEST_TOKENS = 128
"""The least a digest needs: its frame takes about sixty tokens."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CarryOver(Value):
    """How much of the old generation the new one starts with. All bounds are in tokens of the thread's model.

    Args:
        tail_turns: How many of the last turns are carried word for word (their messages; tool results go
            through the digest). 0 carries none.
        tail_tokens: The most the tail may hold. The oldest turns that do not fit go through the digest; a last
            turn that does not fit alone is cut in the middle.
        digest_tokens: The most the digest of everything else may hold, frame included. 0 turns it off.
        summary_model: A cheap model that writes a summary at each rotation, or None for no summary.
        summary_tokens: The most the summary may hold.

    Raises:
        ConfigurationError: A bound is negative, or too small to hold anything.
    """

    tail_turns: int = 2
    tail_tokens: int = 800
    digest_tokens: int = 1_600
    summary_model: str | None = None
    summary_tokens: int = 400

    def __post_init__(self) -> None:
        for name in ("tail_turns", "tail_tokens", "digest_tokens", "summary_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigurationError(f"{name} is {value!r}: it must be a whole number, 0 or more")
        if 0 < self.digest_tokens < MIN_DIGEST_TOKENS:
            raise ConfigurationError(
                f"digest_tokens is {self.digest_tokens}, the least that holds anything is {MIN_DIGEST_TOKENS}:"
                " raise it, or set 0 for no digest"
            )
        if self.summary_model is not None and not self.summary_model.strip():
            raise ConfigurationError(
                f"summary_model is {self.summary_model!r}: name a model, or leave it out for no summary"
            )
        if self.summary_model is not None and self.summary_tokens < MIN_DIGEST_TOKENS:
            raise ConfigurationError(
                f"summary_tokens is {self.summary_tokens}, the least a summary needs is {MIN_DIGEST_TOKENS}:"
                " raise it, or leave summary_model out"
            )
