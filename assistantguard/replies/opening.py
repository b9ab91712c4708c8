"""Opens what replies are kept in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.policies.ruling import Observed, observe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.ledger import Ledger
    from assistantguard.models.cached import ReplyStore
    from assistantguard.policies import Policy
    from assistantguard.policies.reply_cache import ReplyCache
    from assistantguard.storage import Database

__all__ = ["cache_in", "open_store", "with_one_store"]


def cache_in(policies: Sequence[Policy]) -> tuple[ReplyCache, bool] | None:
    """The cache of replies among policies, and whether it is only observed; None where there is none.

    Raises:
        ConfigurationError: There is more than one.
    """
    found = [policy for policy in policies if getattr(policy, "keeps_replies", False)]
    if not found:
        return None
    if len(found) > 1:
        raise ConfigurationError("policies has ReplyCache twice: leave one out")
    inner: Any = found[0].policy if isinstance(found[0], Observed) else found[0]
    return inner, inner is not found[0]


def with_one_store(policies: Sequence[Policy], ledger: Ledger) -> tuple[Sequence[Policy], ReplyStore | None]:
    """The same policies for several engines, whose replies are kept in one store; and that store, if there is one.

    Raises:
        ConfigurationError: There is more than one cache, or its store cannot be had.
    """
    found = cache_in(policies)
    if found is None:
        return policies, None
    cache, is_observed = found
    shared = copy.copy(cache)
    shared.store = store = open_store(cache.store, ledger)
    placed = observe(shared) if is_observed else shared
    return [placed if getattr(policy, "keeps_replies", False) else policy for policy in policies], store


def open_store(where: str | ReplyStore, ledger: Ledger) -> ReplyStore:
    """The store that `where` means.

    Args:
        where: ``"memory"``, ``"ledger"``, the URL of a Redis or Valkey server, or a store.
        ledger: The guard's books.

    Raises:
        ConfigurationError: The ledger is not in a database, the URL is malformed, or the extra ``redis`` is missing.
    """
    if not isinstance(where, str):
        return where
    if where == "memory":
        from assistantguard.replies.memory import MemoryReplies

        return MemoryReplies()
    if where == "ledger":
        database: Database | None = getattr(ledger, "database", None)
        if database is None:
            raise ConfigurationError(
                "ReplyCache store is 'ledger', and the guard's ledger is in no database: give the guard one,"
                " ledger='sqlite:///guard.db' or 'postgresql://…', or use store='memory'"
            )
        from assistantguard.replies.sql import SqlReplies

        return SqlReplies(database)
    from assistantguard.replies.redis import RedisReplies

    return RedisReplies(where)
