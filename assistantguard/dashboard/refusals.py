"""The last refusals and stops, read from the end of a file of events while programs append to it.

The database keeps what was spent, and not what was refused: that is told to telemetry only.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Refusal", "RefusalFile"]

READ_AT_MOST = 16 << 20
"""Bytes that are read at once. Of a file that has grown by more, only its end is."""
_LONGEST_LINE = 1 << 20
_KINDS = (b'"budget.refused"', b'"pacing.refused"', b'"run.cancelled"')
"""What a line must contain to be looked at closely."""


class Refusal(BaseModel):
    """A request that was not sent, or a run that was ended before its time."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    event: Literal["budget.refused", "pacing.refused", "run.cancelled"]
    time: float
    """Unix time, seconds."""
    policy: str
    reason: str = ""
    thread_id: str = ""
    run_id: str | None = None
    user: str | None = None
    model: str | None = None
    account: str | None = None
    metric: str | None = None
    kind: str | None = None
    limit: Decimal | None = None
    committed: Decimal | None = None
    held: Decimal | None = None
    lane: str | None = None
    renews_at: float | None = None
    available_at: float | None = None

    @property
    def what(self) -> str:
        """What happened, in a word or two."""
        if self.event == "run.cancelled":
            return "run stopped"
        return "rate limit" if self.event == "pacing.refused" else "budget busy" if self.kind == "busy" else "refused"


class RefusalFile:
    """The newest refusals in a file of JSON lines. Safe to ask from several threads.

    Memory and work are bounded whatever the file's size: only what was appended since the last time is read, and of
    that its end. A file that was replaced or cut is begun anew. Lines that are no event are passed over.

    Args:
        path: The file; there need not be one yet.
        keep: How many refusals are kept.
        at_most: Bytes that are read at once.
    """

    def __init__(self, path: Path, *, keep: int = 200, at_most: int = READ_AT_MOST) -> None:
        self.path = path
        self._kept: deque[Refusal] = deque(maxlen=keep)
        self._at_most = at_most
        self._lock = threading.Lock()
        self._begin(None)

    def _begin(self, file: tuple[int, int] | None) -> None:
        self._file = file
        """Device and number of the file that was read."""
        self._read_to = 0
        self._kept.clear()

    def newest(self) -> Sequence[Refusal]:
        """Those that are kept, the newest first.

        Raises:
            OSError: The file is there and cannot be read.
        """
        with self._lock:
            try:
                with self.path.open("rb") as stream:
                    self._read(stream)
            except FileNotFoundError:
                self._begin(None)
            return list(reversed(self._kept))

    def _read(self, stream: BinaryIO) -> None:
        status = os.fstat(stream.fileno())
        file = (status.st_dev, status.st_ino)
        if file != self._file or status.st_size < self._read_to:
            self._begin(file)
        first = max(self._read_to, status.st_size - self._at_most)
        stream.seek(max(0, first - 1))
        if first > self._read_to and stream.read(1) != b"\n":
            first += len(stream.readline(self._at_most))  # the rest of a line whose beginning is not read
        else:
            stream.seek(first)
        while line := stream.readline(_LONGEST_LINE):
            if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:  # it is just being written
                break
            first += len(line)
            self._add(line)
        self._read_to = first

    def _add(self, line: bytes) -> None:
        if any(kind in line for kind in _KINDS):
            try:
                self._kept.append(Refusal.model_validate_json(line))
            except ValidationError:
                return
