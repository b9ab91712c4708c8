"""What the scripted server may do: with a paid request, with an unpaid call, and with the bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assistantguard import Usage
from assistantguard.failures import Facts

__all__ = ["Act", "Appended", "Billed", "Cancelling", "Chore", "Refusal", "Status", "Vanish"]

Status = Literal["completed", "incomplete", "failed", "in_progress"]
Appended = Literal["all", "input", "nothing"]
Cancelling = Literal["cancelled", "refused", "flips"]


@dataclass(frozen=True, slots=True)
class Act:
    """One paid answer of the scripted server."""

    text: str = "done"
    calls: tuple[int, ...] = ()
    """One function call for each, with the number as its argument."""
    status: Status = "completed"
    """One that is ``in_progress`` never ends by itself."""
    code: str = "server_error"
    """Of a failed answer."""
    share: float = 0.01
    """How much of the output that the request allows is written."""
    reports: bool = True
    """Whether the answer ever carries `usage`."""
    billed: bool = True
    appends: Appended = "all"
    """What stands in the conversation where the answer did not complete; a completed one always appends all."""
    lost: bool = False
    """The connection breaks before anything of the answer arrives, and the work is done."""
    cut: int | None = None
    """A stream breaks after so many pieces; -1 is before the answer's id is told."""
    survives: bool = False
    """Whether an answer in the foreground is made to its end although its stream broke, or was closed."""
    looks: int = 1
    """How many calls of the server an answer takes that no one holds a connection for."""
    cancels: Cancelling = "cancelled"
    """What cancelling it does; ``flips`` is cancelled at first, and completed `looks` calls later."""
    silent_looks: int = 0
    """How often the answer comes without its usage before it comes with it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that no model sees: nothing is billed and nothing is stored."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Vanish:
    """The conversation is deleted behind our back, just before the request arrives."""


@dataclass(frozen=True, slots=True)
class Chore:
    """What becomes of one unpaid call."""

    facts: Facts
    done: bool = False
    """Whether the server did it before the error."""


@dataclass(slots=True)
class Billed:
    """A line of the server's own bill."""

    response_id: str
    usage: Usage
    told: bool = False
    """Whether an answer arrived that carried this usage."""
    model: str = ""
