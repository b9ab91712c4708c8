"""What outlives the process: threads with their runs in flight, and the databases that hold them."""

from __future__ import annotations

from assistantguard.storage.memory_threads import MemoryThreads
from assistantguard.storage.threads import (
    GenerationRecord,
    Opened,
    RunRecord,
    Taken,
    ThreadFilter,
    ThreadInfo,
    ThreadStore,
    Unfinished,
    VectorStoreRecord,
)

__all__ = [
    "GenerationRecord",
    "MemoryThreads",
    "Opened",
    "RunRecord",
    "Taken",
    "ThreadFilter",
    "ThreadInfo",
    "ThreadStore",
    "Unfinished",
    "VectorStoreRecord",
]
