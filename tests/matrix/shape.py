"""What the matrix is made of: ways to call, transitions, rows, and the combinations of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.sandbox import Fault
from tests.support.world import COLOURS, Colour

if TYPE_CHECKING:
    from tests.matrix.moments import Moment
    from tests.matrix.scene import Scene

__all__ = ["ALL_WAYS", "PLAIN_WAYS", "Combination", "Often", "Row", "Transition", "Way", "only"]

Often = Literal["once", "stays"]


@dataclass(frozen=True, slots=True)
class Way:
    """How the guard is called, and how its requests are sent."""

    colour: Colour
    streamed: bool = False
    background: bool = False

    @property
    def is_async(self) -> bool:
        return self.colour == "async"

    def __str__(self) -> str:
        streamed, background = "streamed" if self.streamed else "whole", "background" if self.background else "front"
        return f"{self.colour}-{streamed}-{background}"


ALL_WAYS: tuple[Way, ...] = tuple(
    Way(colour, streamed, background)
    for colour in COLOURS
    for streamed in (False, True)
    for background in (False, True)
)
PLAIN_WAYS: tuple[Way, ...] = tuple(Way(colour) for colour in COLOURS)
"""For calls that make no answer."""


def only(
    *, colour: Colour | None = None, streamed: bool | None = None, background: bool | None = None
) -> tuple[Way, ...]:
    """The ways that are so."""
    return tuple(
        way
        for way in ALL_WAYS
        if colour in {None, way.colour} and streamed in {None, way.streamed} and background in {None, way.background}
    )


@dataclass(frozen=True, slots=True, eq=False)
class Transition:
    """A request of the guard that something can happen to, and the story that leads there."""

    name: str
    endpoint: str
    at: int = 1
    """Which request to the endpoint it is, counted from where the story begins to matter."""
    ways: tuple[Way, ...] = ALL_WAYS
    leads: Callable[[Way], Sequence[Fault]] = lambda _: ()
    """Faults that lead there."""
    ends: frozenset[str] = frozenset({"Reply"})
    """What the call ends in when the request is made well."""
    refused: frozenset[str] | None = None
    """What the call ends in when the request is refused; None is the refusal's own error."""
    refused_again: bool = True
    """Whether that is so too where every such request is refused."""
    stays: frozenset[str] | None = None
    """What it ends in when a fault that would pass does not; None is the fault's own error."""
    stays_deadline: float | None = None
    """Seconds that the turn gets where it is tried until the run's end."""
    late: frozenset[str] = frozenset({"RunTimedOut"})
    """What the call ends in when it is out of time."""
    matters: Literal["paid", "appends", "needed", "little"] = "needed"
    """``paid``: it makes an answer. ``appends``: it adds to the conversation, so that it is not sent again blindly.
    ``needed``: the call cannot do without it. ``little``: it can."""
    leaves: bool = False
    """Whether the thread leaves a conversation that refuses it: not where the refusal may pass."""
    prepare: Callable[[Scene], None] | None = None
    """What happens before."""
    call: Callable[[Scene], Any] | None = None
    """The call itself, where it is not a turn."""
    moment: Moment | None = None
    """When someone walks away, where it is no fault of the server."""
    message: str = "Where is order 1?"
    deadline: float | None = None
    """Seconds, where the story is about time, or the call has a limit of its own."""
    often: tuple[Often, ...] = ("once", "stays")
    """``once`` only, where what stays would strike other requests too."""
    options: Callable[[], dict[str, Any]] = dict
    """For the guard: `policies`, and whatever else it takes."""
    sandbox: dict[str, Any] = field(default_factory=dict)
    """For the sandbox."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Something that goes wrong: how it is made, where it can be, and what it may end in."""

    name: str
    transitions: tuple[Transition, ...]
    ends: Callable[[Transition, Often, Way], frozenset[str]]
    faults: Callable[[Transition, Often], Sequence[Fault]] = lambda _transition, _often: ()
    often: tuple[Often, ...] = ("once",)
    ways: tuple[Way, ...] = ALL_WAYS
    deadline: float | None = None
    """Seconds that the turn gets, where the row is about time."""
    call: Callable[[Scene], Any] | None = None
    """How the turn is made, where it is interrupted."""
    sandbox: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """One row at one transition in one way."""

    row: Row
    transition: Transition
    often: Often
    way: Way

    @property
    def id(self) -> str:
        """As pytest shows it."""
        often = " stays" if self.often == "stays" else ""
        return f"{self.row.name}{often}-{self.transition.name}-{self.way}"

    @property
    def ends(self) -> frozenset[str]:
        """What it may end in."""
        return self.row.ends(self.transition, self.often, self.way)

    @property
    def deadline(self) -> float | None:
        """Seconds that the call gets."""
        if self.often == "stays" and self.transition.stays_deadline is not None and "RunTimedOut" in self.ends:
            return self.transition.stays_deadline
        return self.transition.deadline or self.row.deadline
