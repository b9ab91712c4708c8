"""Reading files of JSON lines that others wrote: one line at a time, bad ones named and skipped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BadLine", "BadLines", "numbered_lines"]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was skipped."""

    source: str
    """The file it stands in."""
    number: int
    """From 1."""
    reason: str

    def __str__(self) -> str:
        return f"{self.source}:{self.number}: {self.reason}"


@dataclass(slots=True)
class BadLines:
    """All lines that were skipped, counted; the first ones kept, so that memory stays flat."""

    keep: int = 20
    count: int = 0
    first: list[BadLine] = field(default_factory=list)

    def add(self, line: BadLine) -> None:
        """Count a line, and keep it while there are few."""
        self.count += 1
        if len(self.first) < self.keep:
            self.first.append(line)


def numbered_lines(stream: BinaryIO, source: str, bad: BadLines, *, longest: int) -> Iterator[tuple[int, bytes]]:
    """The lines of a stream with their numbers; blank ones are left out.

    Args:
        stream: Open for reading bytes.
        source: What bad lines are named after.
        bad: Gets the lines that are too long.
        longest: The most bytes a line may have. A longer one is never held in memory.

    Yields:
        The line's number, from 1, and its bytes.
    """
    number = 0
    while chunk := stream.readline(longest + 1):
        number += 1
        if len(chunk) > longest and not chunk.endswith(b"\n"):
            while chunk and not chunk.endswith(b"\n"):
                chunk = stream.readline(longest)
            bad.add(BadLine(source, number, f"the line is longer than {longest:,} bytes"))
        elif chunk.strip():
            yield number, chunk
