"""Replies in a Redis or Valkey server."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.models.cached import CachedReply
from assistantguard.replies.sql import body_of, reply_of

if TYPE_CHECKING:
    import redis

__all__ = ["RedisReplies"]

_TIMEOUT = 1.0
"""Seconds for which a server is waited for."""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
_CLAIM = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('pexpire', KEYS[1], ARGV[2]) return 1 end"
    " if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 else return 0 end"
)
_AT_ONCE = 500
_PARTS = 6
_MOST_QUESTIONS = 1_000
"""Of a group, the newest: nobody looks at more."""


class RedisReplies:
    """`ReplyStore` in a Redis or Valkey server. It keeps the text of replies there, in the clear.

    The server ends replies and claims by its own clock. A reply that is forgotten with its thread is forgotten where
    guards with this store delete the thread; elsewhere it ends with its lifetime.

    Args:
        url: ``redis://[[user]:password@]host[:port]/database``, ``rediss://`` with TLS, ``unix://`` with a socket's
            path; ``valkey://`` and ``valkeys://`` mean the first two. One server, no cluster.
        prefix: What all keys begin with.

    Raises:
        ConfigurationError: The URL is malformed, or the extra ``redis`` is missing.
    """

    in_process = False

    def __init__(self, url: str, prefix: str = "assistantguard:reply") -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise ConfigurationError(
                f"a {url.partition('://')[0]}:// URL needs the package redis ({error}): pip install"
                ' "assistantguard[redis]"'
            ) from None
        try:
            self._client: redis.Redis = redis.Redis.from_url(
                re.sub("^valkey", "redis", url, flags=re.IGNORECASE),
                decode_responses=True,
                encoding_errors="replace",
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 1),  # a connection that the server closed meanwhile is made anew
            )
        except (ValueError, TypeError) as error:
            # Its text may have the password.
            raise ConfigurationError(
                f"ReplyCache store is a malformed {url.partition('://')[0]}:// URL ({type(error).__name__}): give one"
                " such as redis://user:password@host:6379/0"
            ) from None
        self._prefix = prefix
        self._release = self._client.register_script(_RELEASE)
        self._claim = self._client.register_script(_CLAIM)

    def get(self, key: str, now: float) -> CachedReply | None:
        """See `ReplyStore.get`."""
        reply = _reply(key, self._client.get(self._name("reply", key)))
        return None if reply is None or reply.expires_at <= now else reply

    def put(self, reply: CachedReply, most: int) -> None:
        """See `ReplyStore.put`; there are never more than `most`."""
        milliseconds = max(1, round((reply.expires_at - reply.stored_at) * 1000))
        index, thread = self._name("index"), self._name("of_thread", reply.thread_id)
        value = json.dumps([reply.key, reply.group, reply.thread_id, reply.stored_at, reply.expires_at, body_of(reply)])
        with self._client.pipeline() as pipe:
            pipe.set(self._name("reply", reply.key), value, px=milliseconds)
            pipe.zadd(index, {reply.key: reply.expires_at})
            pipe.zadd(thread, {reply.key: reply.expires_at})
            pipe.zremrangebyscore(thread, "-inf", reply.stored_at)
            pipe.pexpire(thread, milliseconds, gt=True)
            pipe.pexpire(thread, milliseconds, nx=True)
            if reply.question:
                group = self._name("group", reply.group)
                pipe.zadd(group, {reply.key: reply.stored_at})
                pipe.zremrangebyrank(group, 0, -_MOST_QUESTIONS - 1)
                pipe.pexpire(group, milliseconds, gt=True)
                pipe.pexpire(group, milliseconds, nx=True)
            pipe.zremrangebyscore(index, "-inf", reply.stored_at)
            pipe.zcard(index)
            count = int(pipe.execute()[-1])
        if count > most:
            oldest: Any = self._client.zpopmin(index, min(count - most, _AT_ONCE))
            self._client.delete(*(self._name("reply", key) for key, _ in oldest))

    def of_group(self, group: str, now: float, limit: int) -> Sequence[CachedReply]:
        """See `ReplyStore.of_group`."""
        name = self._name("group", group)
        keys: Any = self._client.zrange(name, 0, limit - 1, desc=True)
        if not keys:
            return []
        values: Any = self._client.mget([self._name("reply", key) for key in keys])
        replies = [_reply(key, value) for key, value in zip(keys, values, strict=True)]
        over = [key for key, reply in zip(keys, replies, strict=True) if reply is None]
        if over:
            self._client.zrem(name, *over)
        return [reply for reply in replies if reply is not None and reply.expires_at > now and reply.question]

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        """See `ReplyStore.claim`."""
        milliseconds = max(1, round((until - now) * 1000))
        return bool(self._claim(keys=[self._name("claim", key)], args=[owner, milliseconds]))

    def release(self, key: str, owner: str) -> None:
        """See `ReplyStore.release`."""
        self._release(keys=[self._name("claim", key)], args=[owner])

    def forget(self, thread_id: str) -> int:
        """See `ReplyStore.forget`."""
        thread = self._name("of_thread", thread_id)
        keys: Any = self._client.zrange(thread, 0, -1)
        if not keys:
            return 0
        with self._client.pipeline() as pipe:
            pipe.delete(*(self._name("reply", key) for key in keys))
            pipe.zrem(self._name("index"), *keys)
            pipe.delete(thread)
            return int(pipe.execute()[0])

    def expire(self, now: float) -> int:  # noqa: ARG002 - the server goes by its own clock
        """See `ReplyStore.expire`. The server does so by itself."""
        return 0

    def close(self) -> None:
        """See `ReplyStore.close`."""
        self._client.close()

    def _name(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def _reply(key: str, value: Any) -> CachedReply | None:
    """The reply that was kept as `value`; None where it is none, or another's."""
    if value is None or not value.isascii():
        return None
    try:
        parts = json.loads(value)
        reply = reply_of(*parts) if isinstance(parts, list) and len(parts) == _PARTS else None
    except (ValueError, RecursionError):
        return None
    return reply if reply is not None and reply.key == key else None
