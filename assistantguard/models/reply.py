"""What a turn gives back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from assistantguard.models.run import RunState
from assistantguard.models.usage import Usage
from assistantguard.models.values import Value

__all__ = ["Reply"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reply(Value):
    """The assistant's answer to one message. ``str(reply)`` is its text."""

    text: str
    usage: Usage
    """All model calls of the turn together, failed attempts and summaries included."""
    cost: Decimal | None
    """US dollars, or None where the model has no known price."""
    run: RunState
    thread_id: str
    suggestion: Literal["new_thread"] | None = None
    """What a `TopicCheck` suggests for the message, which was answered all the same."""
    cached: bool = False
    """Whether it came out of a `ReplyCache`: no model was asked."""

    @property
    def complete(self) -> bool:
        """False where the model was cut short; ``run.incomplete_reason`` says by what."""
        return self.run.status == "completed"

    def __str__(self) -> str:
        return self.text
