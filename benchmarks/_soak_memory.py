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
            tracemalloc.start(8)

    def sample(self) -> None:
        """Measure."""
        gc.collect()
        self.samples.append(resident_bytes())
        if tracemalloc.is_tracing():
            taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, tracemalloc.__file__)])
            if self._first is None:
                self._first = taken
            else:
                compared = taken.compare_to(self._first, "traceback")[:_SHOWN]
                self.growth = [
                    f"{entry.size_diff:+} bytes in {entry.count_diff:+} blocks\n" + "\n".join(entry.traceback.format())
                    for entry in compared
                ]
