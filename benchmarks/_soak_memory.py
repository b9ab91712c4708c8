"""How much memory a process has, and what it grows by."""

from __future__ import annotations

import gc
import os
import resource
import sys
import tracemalloc
from pathlib import Path

__all__ = ["MemoryWatch", "resident_bytes"]

_STATM = Path("/proc/self/statm")
_SHOWN = 25


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; the most there ever were, where the system does not tell."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class MemoryWatch:
    """Samples of the memory of this process, each after garbage was collected.

    Args:
        trace: Compare what is allocated at the first and at the last sample, too.
    """

    def __init__(self, *, trace: bool = False) -> None:
        self.samples: list[int] = []
        """Bytes."""
        self.growth: list[str] = []
        """What was allocated since the first sample, the most first."""
        self._first: tracemalloc.Snapshot | None = None
        if trace:
            tracemalloc.start()

    def sample(self) -> None:
        """Measure."""
        gc.collect()
        self.samples.append(resident_bytes())
        if tracemalloc.is_tracing() and self._first is None:
            self._first = tracemalloc.take_snapshot()

    def compare(self) -> None:
        """Find out what was allocated since the first sample, if it is traced."""
        if self._first is None:
            return
        gc.collect()
        last = tracemalloc.take_snapshot()
        tracemalloc.stop()
        self.growth = [
            f"{entry.size_diff:+} bytes in {entry.count_diff:+} blocks at {entry.traceback}"
            for entry in last.compare_to(self._first, "lineno")[:_SHOWN]
        ]
