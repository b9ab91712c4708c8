"""Replies that live and end with the process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from assistantguard.models.cached import CachedReply

__all__ = ["MemoryReplies"]

_TIDIED_AFTER = 1_000
"""Claims that are made between two looks for those whose time is over."""


class MemoryReplies:
    """`ReplyStore` in a dictionary under one lock. The reply that nobody asked for the longest makes room first.

    Guards that are given one object share it: ``ReplyCache(store=MemoryReplies())``.
    """

    in_process = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._replies: OrderedDict[str, CachedReply] = OrderedDict()
        """By key, the one that was asked for last at the end."""
        self._groups: dict[str, dict[str, None]] = {}
        """The keys of a group whose replies have a question, in the order in which they came."""
        self._threads: dict[str, set[str]] = {}
        self._claims: dict[str, tuple[str, float]] = {}
        self._claimed = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._replies)

    def get(self, key: str, now: float) -> CachedReply | None:
        """See `ReplyStore.get`."""
        with self._lock:
            reply = self._replies.get(key)
            if reply is None:
                return None
            if reply.expires_at <= now:
                self._drop(key)
                return None
            self._replies.move_to_end(key)
            return reply

    def put(self, reply: CachedReply, most: int) -> None:
        """See `ReplyStore.put`; there are never more than `most`."""
        with self._lock:
            if reply.key in self._replies:
                self._drop(reply.key)
            self._replies[reply.key] = reply
            self._threads.setdefault(reply.thread_id, set()).add(reply.key)
            if reply.question:
                self._groups.setdefault(reply.group, {})[reply.key] = None
            while len(self._replies) > most:
                self._drop(next(iter(self._replies)))

    def of_group(self, group: str, now: float, limit: int) -> Sequence[CachedReply]:
        """See `ReplyStore.of_group`."""
        with self._lock:
            replies = [self._replies[key] for key in self._groups.get(group, ())]
        good = [reply for reply in reversed(replies) if reply.expires_at > now]
        return good[:limit]

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        """See `ReplyStore.claim`."""
        with self._lock:
            self._claimed += 1
            if self._claimed >= _TIDIED_AFTER:
                self._tidy(now)
            claim = self._claims.get(key)
            if claim is not None and claim[0] != owner and claim[1] > now:
                return False
            self._claims[key] = owner, until
            return True

    def release(self, key: str, owner: str) -> None:
        """See `ReplyStore.release`."""
        with self._lock:
            claim = self._claims.get(key)
            if claim is not None and claim[0] == owner:
                del self._claims[key]

    def forget(self, thread_id: str) -> int:
        """See `ReplyStore.forget`."""
        with self._lock:
            keys = tuple(self._threads.get(thread_id, ()))
            for key in keys:
                self._drop(key)
            return len(keys)

    def expire(self, now: float) -> int:
        """See `ReplyStore.expire`. A reply that is asked for too late is deleted by that."""
        with self._lock:
            self._tidy(now)
            over = [key for key, reply in self._replies.items() if reply.expires_at <= now]
            for key in over:
                self._drop(key)
            return len(over)

    def close(self) -> None:
        """See `ReplyStore.close`."""

    def _tidy(self, now: float) -> None:
        self._claimed = 0
        for key in [key for key, (_, until) in self._claims.items() if until <= now]:
            del self._claims[key]

    def _drop(self, key: str) -> None:
        reply = self._replies.pop(key, None)
        if reply is None:
            return
        for kept, name in ((self._threads, reply.thread_id), (self._groups, reply.group)):
            keys = kept.get(name)
            if keys is None:
                continue
            if isinstance(keys, set):
                keys.discard(key)
            else:
                keys.pop(key, None)
            if not keys:
                del kept[name]
