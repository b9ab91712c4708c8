"""Replies in the ledger's database."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.models.cached import CachedReply
from assistantguard.models.usage import Usage

if TYPE_CHECKING:
    from assistantguard.storage import Database, Transaction
    from assistantguard.storage.database import Row

__all__ = ["SqlReplies", "body_of", "reply_of"]

_AT_ONCE = 500
"""Replies that one statement deletes."""
_COUNTS = 7
_MOST = 10**12
"""Of tokens and dollars: what is above was never spent."""
_COLUMNS = "key, reply_group, thread_id, stored_at, expires_at, body"
_GET = f"SELECT {_COLUMNS} FROM guard_replies WHERE key = ? AND expires_at > ?"  # noqa: S608  columns of our own
_PUT = (
    "INSERT INTO guard_replies (key, reply_group, thread_id, stored_at, expires_at, has_question, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET reply_group = excluded.reply_group, thread_id = excluded.thread_id,"
    " stored_at = excluded.stored_at, expires_at = excluded.expires_at, has_question = excluded.has_question,"
    " body = excluded.body"
)
_OF_GROUP = (
    f"SELECT {_COLUMNS} FROM guard_replies"  # noqa: S608
    " WHERE reply_group = ? AND has_question = 1 AND expires_at > ? ORDER BY stored_at DESC, key LIMIT ?"
)
_CLAIM = (
    "INSERT INTO guard_reply_claims AS kept (key, owner, until) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, until = excluded.until"
    " WHERE kept.until <= ? OR kept.owner = excluded.owner RETURNING key"
)
_TOO_MANY = (
    "DELETE FROM guard_replies WHERE key IN"
    " (SELECT key FROM guard_replies ORDER BY stored_at DESC, key DESC LIMIT ? OFFSET ?)"
)
_OLD = (
    "DELETE FROM guard_replies WHERE expires_at <= ? AND key IN"
    " (SELECT key FROM guard_replies WHERE expires_at <= ? ORDER BY key LIMIT ?) RETURNING key"
)


class SqlReplies:
    """`ReplyStore` in a database of guards. It keeps the text of replies there, in the clear.

    A thread that is deleted takes the replies with it that were given on it; `sweep` deletes those whose time is over.

    Args:
        database: From `assistantguard.storage.open_database`. It stays open.
    """

    in_process = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._puts = 0

    def get(self, key: str, now: float) -> CachedReply | None:
        """See `ReplyStore.get`."""
        rows = self._database.query(_GET, (key, now))
        return _reply(rows[0]) if rows else None

    def put(self, reply: CachedReply, most: int) -> None:
        """See `ReplyStore.put`. There may be a hundredth more than `most` for each process."""
        row = (
            reply.key,
            reply.group,
            reply.thread_id,
            reply.stored_at,
            reply.expires_at,
            int(bool(reply.question)),
            body_of(reply),
        )
        self._database.execute(_PUT, row)
        with self._lock:
            self._puts += 1
            due = self._puts % max(1, most // 100) == 0
        if due:
            self.expire(reply.stored_at)
            self._database.execute(_TOO_MANY, (_AT_ONCE, most))

    def of_group(self, group: str, now: float, limit: int) -> Sequence[CachedReply]:
        """See `ReplyStore.of_group`."""
        replies = [_reply(row) for row in self._database.query(_OF_GROUP, (group, now, limit))]
        return [reply for reply in replies if reply is not None]

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        """See `ReplyStore.claim`."""
        return bool(self._database.execute(_CLAIM, (key, owner, until, now)))

    def release(self, key: str, owner: str) -> None:
        """See `ReplyStore.release`."""
        self._database.execute("DELETE FROM guard_reply_claims WHERE key = ? AND owner = ?", (key, owner))

    def forget(self, thread_id: str) -> int:
        """See `ReplyStore.forget`."""
        return len(self._database.execute("DELETE FROM guard_replies WHERE thread_id = ? RETURNING key", (thread_id,)))

    def count_expired(self, now: float) -> int:
        """How many replies `expire` would delete."""
        ((count,),) = self._database.query("SELECT COUNT(*) FROM guard_replies WHERE expires_at <= ?", (now,))
        return int(count)

    def expire(self, now: float) -> int:
        """See `ReplyStore.expire`."""

        def work(transaction: Transaction) -> int:
            return len(transaction.execute(_OLD, (now, now, _AT_ONCE)))

        self._database.execute("DELETE FROM guard_reply_claims WHERE until <= ?", (now,))
        deleted = 0
        while some := self._database.run(work, repeatable=True):
            deleted += some
            if some < _AT_ONCE:
                break
        return deleted

    def close(self) -> None:
        """See `ReplyStore.close`. The database is its owner's to close."""


def body_of(reply: CachedReply) -> str:
    """What of a reply is not looked up by, as JSON."""
    usage = reply.usage
    counts = [
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.estimated_tokens,
        usage.requests,
    ]
    cost = None if reply.cost is None else str(reply.cost)
    return json.dumps([reply.text, reply.model, counts, cost, reply.question], separators=(",", ":"))


def reply_of(key: Any, group: Any, thread_id: Any, stored_at: Any, expires_at: Any, body: Any) -> CachedReply | None:
    """The reply of which `body_of` made `body`; None where these are not what was kept of any reply."""
    try:
        text, model, counts, cost, question = json.loads(body)
        names = key, group, thread_id, text, model, question
        if not all(isinstance(name, str) for name in names) or not all(_is_time(at) for at in (stored_at, expires_at)):
            return None
        spent = None if cost is None else Decimal(cost)
        if spent is not None and not 0 <= spent < _MOST:
            return None
        if len(counts) != _COUNTS or not all(type(count) is int and 0 <= count < _MOST for count in counts):
            return None
        usage = Usage(*counts)
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return None
    return CachedReply(key, group, thread_id, text, model, usage, spent, stored_at, expires_at, question)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _reply(row: Row) -> CachedReply | None:
    return reply_of(*row)
