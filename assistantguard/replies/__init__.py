"""What `ReplyCache` keeps replies in: memory, the ledger's database, Redis or Valkey."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from assistantguard.models.cached import CachedQuestion, CachedReply, ReplyStore

if TYPE_CHECKING:
    from assistantguard.replies.memory import MemoryReplies
    from assistantguard.replies.opening import open_store
    from assistantguard.replies.redis import RedisReplies
    from assistantguard.replies.sql import SqlReplies

__all__ = [
    "CachedQuestion",
    "CachedReply",
    "MemoryReplies",
    "RedisReplies",
    "ReplyStore",
    "SqlReplies",
    "open_store",
]

_MODULES = {"MemoryReplies": "memory", "RedisReplies": "redis", "SqlReplies": "sql", "open_store": "opening"}


def __getattr__(name: str) -> Any:
    """A store is imported when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
