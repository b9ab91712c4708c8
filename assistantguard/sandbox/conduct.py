"""How the making of a response goes, apart from what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assistantguard.errors import ConfigurationError

__all__ = ["After", "Conduct"]


@dataclass(frozen=True, slots=True)
class After:
    """A moment after a response ended: so many seconds later, or so many reads of it, whichever comes first.

    Raises:
        ConfigurationError: Neither is given, or one is out of range.
    """

    seconds: float | None = None
    """By the sandbox's clock, which `Sandbox.advance` puts forward."""
    reads: int | None = None
    """How many ``GET /responses/{id}`` still see what was before."""

    def __post_init__(self) -> None:
        if self.seconds is None and self.reads is None:
            raise ConfigurationError("After() names no moment; give seconds, reads or both")
        if self.seconds is not None and self.seconds < 0:
            raise ConfigurationError(f"seconds={self.seconds} is below 0")
        if self.reads is not None and self.reads < 1:
            raise ConfigurationError(f"reads={self.reads} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How the making of a response goes, and what is left when it is stopped.

    A response is stopped when it is cancelled, or when the client of a foreground request leaves. What the API then
    bills, reports and keeps is not documented; the defaults follow what users report.
    """

    stuck: Literal["queued", "in_progress"] | None = None
    """Stay in this status until stopped. In the foreground: no answer, or no delta, comes until the client leaves."""
    endless: Literal["deltas", "comments"] | None = None
    """Send text, or keep-alive comments, without end. `max_output_tokens` ends the text; the comments are for streams,
    and an answer that is not streamed never comes."""
    survives_disconnect: bool | None = None
    """Whether the work goes on to its end when the client leaves; None is what the sandbox's `on_disconnect` says."""
    stopped_billed: bool = True
    """Whether what was made until the stop costs anything. Unconfirmed; users report that it does."""
    stopped_usage: bool = False
    """Whether a stopped response reports its usage. OpenAI's own examples show null."""
    stopped_appended: bool = False
    """Whether input and output so far are added to the conversation. Unconfirmed."""
    completes_after_cancel: After | None = None
    """A cancelled response turns completed at this moment, with its whole output billed, reported and added to the
    conversation. Reported of Azure."""
    usage_after: After | None = None
    """`usage` is null until this moment, however the response ended."""

    def __post_init__(self) -> None:
        if self.stuck not in {None, "queued", "in_progress"}:
            raise ConfigurationError(f"stuck={self.stuck!r} is not one of queued, in_progress")
        if self.endless not in {None, "deltas", "comments"}:
            raise ConfigurationError(f"endless={self.endless!r} is not one of deltas, comments")
