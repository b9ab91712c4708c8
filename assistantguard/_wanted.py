"""What callers say about threads, checked: names, tags, ids, and what goes together."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.models.names import check_name
from assistantguard.models.values import Value

__all__ = [
    "MOST_TAGS",
    "Wanted",
    "check_limit",
    "check_tags",
    "check_thread",
    "check_topic",
    "check_user",
    "wanted_thread",
]

MOST_TAGS = 50
"""How many a thread may have."""
_MOST_LISTED = 1_000


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Wanted(Value):
    """Which thread is asked for."""

    thread_id: str | None = None
    user: str | None = None
    name: str | None = None
    tenant: str | None = None
    tags: tuple[str, ...] = ()
    conversation_id: str | None = None


def wanted_thread(
    thread_id: str | None,
    conversation_id: str | None,
    user: str | None,
    topic: str | None,
    tenant: str | None,
    tags: Collection[str],
) -> Wanted:
    """Check what ``thread(…)`` was given.

    Raises:
        ConfigurationError: A name is none, or two of them do not go together.
    """
    if thread_id is not None:
        check_name("thread id", thread_id)
    if topic is not None and thread_id is not None:
        raise ConfigurationError(
            f"both the thread id {thread_id!r} and the topic {topic!r} are given: a thread is found by one of them"
        )
    if topic is not None and user is None:
        raise ConfigurationError(f"the topic is {topic!r}, and no user is given: say whose thread it is, with user=…")
    if conversation_id is not None:
        check_name("conversation id", conversation_id)
    if tenant is not None:
        check_name("tenant", tenant)
    name = None if topic is None else check_topic(topic)
    return Wanted(thread_id, check_user(user), name, tenant, check_tags(tags), conversation_id)


def check_user(user: Any) -> str | None:
    """A user's name, or None for the application itself. They are equal when their characters are.

    Raises:
        ConfigurationError: It is no name.
    """
    return None if user is None else check_name("user", user)


def check_thread(thread: Any) -> str:
    """A thread's id or name, given as such or by an object that has the id.

    Raises:
        ConfigurationError: It is neither.
    """
    return check_name("thread", getattr(thread, "id", thread))


def check_topic(name: Any) -> str:
    """A thread's name, in one of the ways in which Unicode writes its accents.

    Raises:
        ConfigurationError: It is no name.
    """
    return _composed("thread name", name)


def check_tags(tags: Any) -> tuple[str, ...]:
    """Tags, each once, sorted.

    Raises:
        ConfigurationError: They are no collection of texts, or too many.
    """
    if isinstance(tags, str) or not isinstance(tags, Collection):
        raise ConfigurationError(f"tags is {tags!r}: give a list of texts, for example ['urgent', 'billing']")
    checked = tuple(sorted({_composed("tag", tag) for tag in tags}))
    if len(checked) > MOST_TAGS:
        raise ConfigurationError(f"{len(checked)} tags are given, a thread has at most {MOST_TAGS}: leave some out")
    return checked


def check_limit(limit: Any) -> int:
    """How many threads to list.

    Raises:
        ConfigurationError: It is no whole number from 1 to 1,000.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_LISTED:
        raise ConfigurationError(
            f"limit is {limit!r}, it must be a whole number from 1 to {_MOST_LISTED:,}: ask for the rest with after=…"
        )
    return limit


def _composed(kind: str, value: Any) -> str:
    checked = check_name(kind, value)
    return check_name(kind, unicodedata.normalize("NFC", checked))
