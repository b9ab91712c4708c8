"""Faults of what the server keeps: conversations that others work on, vector stores that are not as hoped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import Self, Unpack

from assistantguard.sandbox.effects import Embed, Expire, Refusal, Tamper
from assistantguard.sandbox.problems import locked
from assistantguard.sandbox.schedule import Schedule, Scheduled, When
from assistantguard.sandbox.stores import Embedding

if TYPE_CHECKING:
    from assistantguard.sandbox.effects import Effect

__all__ = ["StateFaults"]


class StateFaults(Scheduled):
    """Faults of conversations and vector stores. `when` is the schedule, as keyword arguments: see `Scheduled`."""

    __slots__ = ()

    @classmethod
    def conversation_locked(cls, seconds: float | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 400 ``conversation_locked``: another process works on the conversation.

        Args:
            seconds: It works so long by the sandbox's clock, and whatever changes the conversation is refused
                meanwhile. None refuses this request only; give ``at=[1, 2, 3]`` for three in a row.
            **when: The schedule; with `seconds` counted over requests that name a conversation.
        """
        effect: Effect
        if seconds is None:
            error = locked().body()["error"]
            effect = Refusal(400, error["message"], error["type"], error["code"], error["param"])
        else:
            effect = Tamper("lock", seconds)
        return cls(effect=effect, kind="conversation_locked", **when)

    @classmethod
    def conversation_gone(cls, **when: Unpack[Schedule]) -> Self:
        """Delete the request's conversation just before the request is looked at.

        Args:
            **when: The schedule, counted over requests that name a conversation.
        """
        return cls(effect=Tamper("delete"), kind="conversation_gone", **when)

    @classmethod
    def unanswered_call(cls, **when: Unpack[Schedule]) -> Self:
        """Add a function call without an output to the request's conversation just before the request is looked at.

        Every response is then refused until someone answers or deletes it.

        Args:
            **when: The schedule, counted over requests that name a conversation.
        """
        return cls(effect=Tamper("open_call"), kind="unanswered_call", **when)

    @classmethod
    def store_expired(cls, **when: Unpack[Schedule]) -> Self:
        """Let the vector stores that a request uses expire just before; one that it makes expires as it is made.

        Args:
            **when: The schedule, counted over requests with a vector store.
        """
        return cls(effect=Expire(), kind="store_expired", **when)

    @classmethod
    def store_slow(cls, seconds: float, **when: Unpack[When]) -> Self:
        """Embed the files of a request slowly.

        Args:
            seconds: How long each stays ``in_progress``, by the sandbox's clock.
            **when: The schedule, counted over requests that put files into a vector store.
        """
        return cls(effect=Embed(Embedding(seconds)), kind="store_slow", endpoint="*", **when)

    @classmethod
    def store_failed(cls, code: str = "server_error", *, seconds: float = 0.0, **when: Unpack[When]) -> Self:
        """Let the files of a request fail; the vector store is ``completed`` with failed files.

        Args:
            code: ``server_error``, ``unsupported_file`` or ``invalid_file``.
            seconds: How long each stays ``in_progress`` before, by the sandbox's clock.
            **when: The schedule, counted over requests that put files into a vector store.
        """
        effect = Embed(Embedding(seconds, failing=("*",), error_code=code))
        return cls(effect=effect, kind="store_failed", endpoint="*", **when)
