"""Deleting a thread, and what nothing refers to at the server, so that a crash at any moment loses nothing.

A thread is forgotten first; its conversations stay known, as unused, until the server has confirmed that they are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from assistantguard._blocking import BlockingPort, block_on
from assistantguard.backends import ResponsesBackend
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    import openai

    from assistantguard.models import Failure
    from assistantguard.storage import Opened, ThreadStore

__all__ = ["ServerDeletion", "delete_conversations_of", "forget_thread"]

_TIMEOUT = 30.0
"""Seconds that one call may take."""
_RETRIES = 3
_GONE = 404
_NO_ACCESS = (401, 403)


def forget_thread(store: ThreadStore, opened: Opened, now: float) -> None:
    """Delete a thread that is open from the database. Its conversations are known there until they are deleted.

    Raises:
        LeaseLost: Another has the thread.
        ThreadNotFound: It is gone.
    """
    thread = opened.thread
    with store.together():
        if thread.generation_id is not None:
            store.generation_begun(thread.id, thread.generation_id, thread.generation_started_at)
        store.delete(thread.id, thread.user, opened.fence, now)


def delete_conversations_of(
    store: ThreadStore, thread_id: str, server: ServerDeletion | None, now: Callable[[], float]
) -> tuple[list[str], list[str]]:
    """Delete at the server what a thread that was forgotten had there.

    Returns:
        The conversations that are gone now, and those that a sweep finds later.
    """
    gone: list[str] = []
    left: list[str] = []
    for record in store.generations(thread_id):
        if server is None or server.conversation(record.id) is not None:
            left.append(record.id)
        else:
            store.generation_deleted([record.id], now())
            gone.append(record.id)
    return gone, left


class ServerDeletion:
    """Deletes conversations and vector stores at the server.

    The SDK's own retries are used, since deleting twice does no harm and costs nothing.

    Args:
        client: The application's client.
        scrub: Whether the items of a conversation are deleted, too, which OpenAI otherwise keeps.
    """

    def __init__(self, client: openai.OpenAI, *, scrub: bool = False) -> None:
        self._backend = ResponsesBackend(BlockingPort(client.with_options(max_retries=_RETRIES)))
        self._scrub = scrub

    def conversation(self, generation_id: str) -> Failure | None:
        """Delete a conversation; return None where it is gone now, or why it is not.

        Raises:
            ConfigurationError: The key may not do so.
        """
        # What is gone while it is scrubbed may be one item, which another sweep was quicker to delete.
        for scrub in (True, True, False) if self._scrub else (False,):
            failure = self._failure(self._backend.delete_generation(generation_id, scrub=scrub, timeout=_TIMEOUT))
            if failure is None or failure.status_code != _GONE:
                return failure
        return None

    def vector_store(self, vector_store_id: str) -> Failure | None:
        """Delete a vector store, its files not. See `conversation`."""
        failure = self._failure(self._backend.delete_vector_store(vector_store_id, _TIMEOUT))
        return None if failure is None or failure.status_code == _GONE else failure

    def _failure(self, deletion: Coroutine[Any, Any, None]) -> Failure | None:
        try:
            block_on(deletion)
        except Exception as error:
            failure = self._backend.classify(error)
            if failure is None:
                raise
            if failure.status_code in _NO_ACCESS:
                raise ConfigurationError(
                    f"the server refuses the key with HTTP {failure.status_code}: give one of the project whose"
                    " conversations these are"
                ) from error
            return failure
        return None
