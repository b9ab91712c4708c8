"""Users' threads of a guard of either colour, without waiting for anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from tests.support.world import Bot, Thread

__all__ = ["NASTY", "Threads", "of_user"]

NASTY = (
    "'; DROP TABLE guard_threads; --",
    "x' OR '1'='1",
    '"quoted" `and` \\ [more]',
    "100 % of_it",
    "%",
    "_",
    "naïve café",
    "ТОПИК",
    "\U0001f9fe\u200d\U0001f4b3",
    "\u202egnillib",
    "../../etc/passwd",
    "{}{0}%s",
    "x" * 256,
)
"""Names that are allowed, and must be nothing but names."""


def of_user(bot: Bot, user: str | None, topic: str | None = None, **options: Any) -> Thread:
    """A user's thread, looked up."""
    return cast("Thread", bot.world.wait(bot.guard.thread(user=user, topic=topic, **options)))


class Threads:
    """``guard.threads``, with every call waited for."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._bot.guard.threads, name)
        return lambda *args, **kwargs: self._bot.world.wait(method(*args, **kwargs))
