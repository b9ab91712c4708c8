"""How much memory a process has, and what it grows by."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

__all__ = ["MemoryWatch", "give_back", "resident_bytes"]

_STATM = Path("/proc/self/statm")
_SHOWN = 25


def resident_bytes() -> int:
    """Bytes of this process that are in memory now; the most there ever were, where the system does not tell."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back() -> None:
    """Collect garbage, and have the C library return what is free to the system, where it can be told to."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform.startswith("linux") else None
    if trim is not None:
        trim(0)


class MemoryWatch:
    """Samples of the memory of this process, each after garbage was collected and free memory was given back.

    Args:
        trace: Have `tracemalloc` tell where memory was allocated, too; slow.
    """

    def __init__(self, *, trace: bool = False) -> None:
        self.samples: list[int] = []
        """Bytes."""
        self.growth: list[str] = []
        """What there is more of than at the first sample, the most first."""
        self._counts: Counter[str] | None = None
        self._first: tracemalloc.Snapshot | None = None
        if trace:
            tracemalloc.start()

    def sample(self) -> None:
        """Measure."""
        give_back()
        self.samples.append(resident_bytes())
        if self._counts is None:
            self._counts = _objects()
            if tracemalloc.is_tracing():
                self._first = tracemalloc.take_snapshot()

    def compare(self) -> None:
        """Find out what there is more of than at the first sample: objects by class, and memory by line if traced."""
        if self._counts is None:
            return
        gc.collect()
        grown = (_objects() - self._counts).most_common(_SHOWN)
        self.growth = [f"{count:+} {name}" for name, count in grown]
        if self._first is not None:
            last = tracemalloc.take_snapshot()
            tracemalloc.stop()
            self.growth += [
                f"{entry.size_diff:+} bytes in {entry.count_diff:+} blocks at {entry.traceback}"
                for entry in last.compare_to(self._first, "lineno")[:_SHOWN]
            ]


def _objects() -> Counter[str]:
    """How many objects of each class the garbage collector knows."""
    return Counter(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
