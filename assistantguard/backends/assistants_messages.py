"""Messages of an Assistants server's threads: put there once, and taken back where their run could not be begun."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import openai

from assistantguard.backends.assistants_reading import message_text
from assistantguard.backends.assistants_requests import message_of
from assistantguard.backends.assistants_routes import path_of
from assistantguard.backends.assistants_runs import NOT_THERE, NotTakenUpError, classify_assistants
from assistantguard.backends.reading import get
from assistantguard.models.marks import mark_of, text_of

if TYPE_CHECKING:
    from assistantguard.backends.assistants_runs import Runs
    from assistantguard.engine.ports import ModelRequest

__all__ = ["Messages"]


class Messages:
    """Puts messages into threads.

    Args:
        runs: The runs of the same server.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._placed: dict[str, dict[str, str]] = {}
        """Ids of messages whose run could not be begun and that could not be deleted, by their marks, by thread."""

    def forget(self, thread_id: str) -> None:
        """The thread's messages belong to a run by now, or the thread is gone."""
        self._placed.pop(thread_id, None)

    async def delete(self, thread_id: str, message_ids: Sequence[str], until: float) -> None:
        """Delete messages; those that the server does not delete are used again where the same is to be sent."""
        placed = self._placed.get(thread_id, {})
        for message_id in message_ids:
            if await self._delete(thread_id, message_id, until):
                for mark in [mark for mark, placed_id in placed.items() if placed_id == message_id]:
                    del placed[mark]

    async def place(self, request: ModelRequest, messages: Sequence[dict[str, Any]], until: float) -> None:
        """Put messages into the thread, but for those that stand there from an attempt whose run was not begun."""
        thread_id, request_id = request.generation_id, request.client_request_id
        assert thread_id is not None
        placed = self._placed.setdefault(thread_id, {})
        marks = [mark_of(item) for item in messages]
        for mark in [mark for mark in placed if mark not in marks]:
            await self._delete(thread_id, placed.pop(mark), until)
        for item, mark in zip(messages, marks, strict=True):
            if mark not in placed:
                placed[mark] = await self._place_one(thread_id, item, request_id, until)

    async def add(self, thread_id: str, items: Sequence[Mapping[str, Any]], until: float) -> str | None:
        """Put messages into the thread that no run is to answer; return the last one's id.

        Where it fails half-way, what stands there is used again by the next try, or by the next run.
        """
        placed, last_id = self._placed.setdefault(thread_id, {}), None
        marks = [mark_of(item) for item in items]
        for mark in [mark for mark in placed if mark not in marks]:
            await self._delete(thread_id, placed.pop(mark), until)
        for item, mark in zip(items, marks, strict=True):
            if mark not in placed:
                placed[mark] = await self._place_one(thread_id, item, "", until)
            last_id = placed[mark]
        self.forget(thread_id)
        return last_id

    async def _place_one(self, thread_id: str, item: Mapping[str, Any], request_id: str, until: float) -> str:
        path, message = path_of("threads", thread_id, "messages"), message_of(item, request_id)
        try:
            found = await self._runs.routes.post(path, self._runs.left(until), message)
        except openai.APIStatusError as error:
            if not await self._runs.unlock(thread_id, error, until):
                raise
            found = await self._runs.routes.post(path, self._runs.left(until), message)
        except Exception as error:
            failure = classify_assistants(error)
            if failure is None or failure.kind != "ambiguous":
                raise
            newest = await self._runs.routes.listed(path, self._runs.left(until), order="desc", limit=1)
            if not newest or get(newest[0], "role") != message["role"] or message_text(newest[0]) != text_of(item):
                raise NotTakenUpError(f"the message did not arrive: {error}") from error
            return str(get(newest[0], "id") or "")
        return str(get(found.data, "id") or "")

    async def take_back(self, thread_id: str, until: float) -> None:
        """Delete the messages of a run that could not be begun; those that stay are used again."""
        placed = self._placed.get(thread_id, {})
        for mark, message_id in list(placed.items()):
            with contextlib.suppress(openai.OpenAIError, TimeoutError):
                if await self._delete(thread_id, message_id, until):
                    del placed[mark]

    async def _delete(self, thread_id: str, message_id: str, until: float) -> bool:
        """Delete a message; return False where the server has no such route. One that is gone is as good as deleted."""
        path = path_of("threads", thread_id, "messages", message_id)
        try:
            await self._runs.routes.delete(path, self._runs.left(until))
        except openai.APIStatusError as error:
            if error.status_code in NOT_THERE:
                return error.status_code == 404
            if not await self._runs.unlock(thread_id, error, until):
                raise
            await self._runs.routes.delete(path, self._runs.left(until))
        return True
