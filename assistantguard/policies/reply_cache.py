"""Answering a question that was answered before without asking the model again."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.errors import ConfigurationError
from assistantguard.policies.base import Policy, View
from assistantguard.policies.checks import one_of, required

if TYPE_CHECKING:
    from assistantguard.models.cached import CachedQuestion, ReplyStore

__all__ = ["ReplyCache", "ScopeOf", "Similar"]

ScopeOf = Callable[[View], "str | None"]
"""Names those who may be given each other's replies; None where a turn has no part in the cache."""
Similar = Callable[[str, "Sequence[CachedQuestion]"], "CachedQuestion | None"]
"""Chooses the question whose reply answers another one, too; None where none does."""

_SCHEMES = ("redis", "rediss", "unix", "valkey", "valkeys")
_STORES = "'memory', 'ledger', the URL of a server such as 'redis://localhost:6379/0', or a ReplyStore"
_NEEDED = ("get", "put", "of_group", "claim", "release", "forget", "expire", "close")


class ReplyCache(Policy):
    """Answers a question that was answered before with the same reply, at no cost.

    A question is the same where the account, the assistant (model, instructions, tools, settings), what the
    conversation holds, and the normalised message are the same. So most hits are first messages of a conversation. What
    a conversation holds is known for those that this policy saw from their beginning: what was said in each turn
    (compared as messages are), or what a rotation carried over. It is not known after a turn that used tools, was cut
    short or had to be repaired, for a conversation that the application named, and with files attached; such turns are
    neither answered nor kept. Nothing must be added to a conversation behind the guard's back. A reply is kept for the
    model that was asked: not where a `Fallback` answered, the model declined, or had to go without its tools.

    Runs of `drop_in` are answered, too: they end ``completed``, with the reply as the assistant's message and a usage
    of zero. Not kept are those whose tools the application runs, and the calls that it makes itself have no part in it.

    A hit sends nothing that is billed: message and reply are added to the conversation, so that it goes on. The reply
    says `cached`; budgets count its message, and no tokens or dollars. The ledger gets an entry of the purpose
    ``reply_cache`` at cost zero, with the tokens and dollars that were saved.

    What fails in the cache fails no turn: it goes on without, and ``reply_cache.failed`` says why.

    Args:
        lifetime: Seconds for which a reply is good, or a timedelta.
        max_entries: How many replies are kept. In memory the one that nobody asked for the longest makes room,
            elsewhere the oldest, and there may be a hundredth more.
        store: ``"memory"`` (of this guard), ``"ledger"`` (the database of the guard's ledger), the URL of a Redis or
            Valkey server (``redis://``, ``rediss://``, ``unix://``, ``valkey://``; needs the extra ``redis``), or a
            store of your own. The last three keep the text of replies outside the process, in the clear, until their
            time is over or their thread is deleted; with `similar` that of questions, too. Guards that share a store
            take each other's users and servers for their own: give other applications, and other servers, another
            database, or ``RedisReplies(url, prefix=…)``.
        scope: Who is given whose replies. ``"user"``: each user those that were given to the same user of the same
            tenant. ``"tenant"``: users of one tenant each other's. ``"everyone"``: all. Or a function of the view that
            names the account. A thread without a user is given its own replies only, and so is a user without a tenant
            with ``"tenant"``.
        tools: Whether replies of turns that used tools are kept, too. They told what was so then, and what the tools
            did is not done again.
        normalise: Makes a text what it is compared as. None takes away blanks at its ends and doubled ones, and writes
            accents one way; it keeps case and line breaks.
        similar: Chooses, for a question (a text without other parts) that is not found, one of the newest hundred
            questions of the same account, assistant and context whose reply answers it, too. It may block. What it
            chooses, the user is told: it must be sure.
        single_flight: Whether a question that is being answered waits for that answer, in this process and in others
            that share the store. Where that fails, one of those who wait asks.
        max_characters: The longest reply that is kept.

    Raises:
        ConfigurationError: A value cannot work.
    """

    keeps_replies = True

    def __init__(
        self,
        lifetime: float | timedelta = 3600.0,
        *,
        max_entries: int = 10_000,
        store: str | ReplyStore = "memory",
        scope: Literal["user", "tenant", "everyone"] | ScopeOf = "user",
        tools: bool = False,
        normalise: Callable[[str], str] | None = None,
        similar: Similar | None = None,
        single_flight: bool = True,
        max_characters: int = 100_000,
    ) -> None:
        self.lifetime = _seconds(lifetime)
        self.max_entries: int = _whole("max_entries", max_entries)
        self.store = _store(store)
        if not callable(scope):
            one_of("ReplyCache scope", scope, ("user", "tenant", "everyone"))
        self.scope: str | ScopeOf = scope
        self.tools = _flag("tools", tools)
        self.normalise = _function("normalise", normalise)
        self.similar: Similar | None = _function("similar", similar)
        self.single_flight = _flag("single_flight", single_flight)
        self.max_characters: int = _whole("max_characters", max_characters)


def _seconds(value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise ConfigurationError(
            f"ReplyCache lifetime is {value!r}, it must be a number of seconds above 0, or a timedelta: give one, or"
            " leave the policy out"
        )
    return float(seconds)


def _whole(name: str, value: Any) -> Any:
    return required(f"ReplyCache {name}", value, 1)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigurationError(f"ReplyCache {name} is {value!r}: give True or False")


def _function(name: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    raise ConfigurationError(f"ReplyCache {name} is {value!r}: give a plain function, or None")


def _store(value: Any) -> str | ReplyStore:
    if not isinstance(value, str):
        missing = [name for name in _NEEDED if not callable(getattr(value, name, None))]
        if missing:
            raise ConfigurationError(f"ReplyCache store is {value!r}, which has no {missing[0]}(): give {_STORES}")
        if not isinstance(getattr(value, "in_process", None), bool):
            raise ConfigurationError(
                f"ReplyCache store is {value!r}, whose in_process is not True or False: say whether its calls return at"
                " once"
            )
        store: ReplyStore = value
        return store
    if value in {"memory", "ledger"}:
        return value
    scheme, separator, _ = value.partition("://")
    if not separator or scheme.lower() not in _SCHEMES:
        shown = scheme + separator + "…" if separator else repr(value[:40])
        raise ConfigurationError(f"ReplyCache store is {shown}: give {_STORES}")
    if importlib.util.find_spec("redis") is None:
        raise ConfigurationError(
            f'ReplyCache store is a {scheme}:// URL, which needs the package redis: pip install "assistantguard[redis]"'
        )
    return value
