"""Lets a fault happen to a request on its way to its handler."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from assistantguard._refusals import ApiProblem
from assistantguard.sandbox.effects import RESPONSES, Embed, Expire, Lost, Refusal, Slow, Tamper, Traits
from assistantguard.sandbox.state import Item
from assistantguard.sandbox.streams import Dropped, EventStream, Silent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from assistantguard.sandbox.effects import Effect
    from assistantguard.sandbox.state import State
    from assistantguard.sandbox.vector_stores import VectorStores
    from assistantguard.sandbox.waiting import Signal

__all__ = ["Injection", "open_call_in", "traits_of"]

_RETRIEVE = "GET /responses/{id}"


def _conversation(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else None


def _searched(body: Mapping[str, Any]) -> tuple[str, ...]:
    tools = body.get("tools")
    ids: list[str] = []
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("vector_store_ids"), list):
            ids += [one for one in tool["vector_store_ids"] if isinstance(one, str)]
    return tuple(ids)


def traits_of(endpoint: str, ids: Mapping[str, str], query: Mapping[str, str], body: Any) -> Traits:
    """Return what a fault asks of a request, however malformed it is."""
    path = endpoint.partition(" ")[2]
    if path.startswith("/conversations/"):
        return Traits(endpoint=endpoint, conversation=ids["id"])
    if path.startswith("/vector_stores/"):
        return Traits(endpoint=endpoint, stores=(ids["id"],))
    if endpoint == _RETRIEVE:
        return Traits(endpoint=endpoint, streamed=query.get("stream") == "true")
    if path in {"/chat/completions", "/completions"}:
        return Traits(endpoint=endpoint, streamed=isinstance(body, dict) and body.get("stream") is True)
    if not path.startswith("/responses") or not isinstance(body, dict):
        return Traits(endpoint=endpoint)
    making = endpoint == RESPONSES
    return Traits(
        endpoint=endpoint,
        streamed=making and body.get("stream") is True,
        background=making and body.get("background") is True,
        conversation=_conversation(body.get("conversation")),
        stores=_searched(body),
    )


def open_call_in(state: State, conversation_id: str) -> str:
    """Add a function call without an output to a conversation, and return its call id.

    Raises:
        ApiProblem: 404 where there is none of that id.
    """
    call_id = state.ids.make("call_")
    data = {
        "id": state.ids.make("fc_"),
        "type": "function_call",
        "call_id": call_id,
        "name": "someone_elses_tool",
        "arguments": "{}",
        "status": "completed",
    }
    state.conversation(conversation_id).append([Item.of(data)])
    return call_id


class Injection:
    """Lets effects happen.

    Args:
        state: Conversations.
        stores: Vector stores.
    """

    def __init__(self, state: State, stores: VectorStores) -> None:
        self._state = state
        self._stores = stores

    async def before(self, effect: Effect | None, traits: Traits, closing: Signal) -> Response | None:
        """Let happen what comes before the work. An answer stands in the place of the work.

        Raises:
            ApiProblem: The refusal.
            Stopped: The sandbox closes.
        """
        if isinstance(effect, Refusal):
            raise ApiProblem(
                effect.status,
                effect.message,
                kind=effect.type,
                param=effect.param,
                code=effect.code,
                headers=effect.headers,
            )
        if isinstance(effect, Lost) and not effect.after_work:
            return self._lost(effect, closing)
        if isinstance(effect, Slow) and traits.endpoint != RESPONSES:
            await closing.wait(effect.seconds)
        elif isinstance(effect, Tamper):
            self._tamper(effect, traits.conversation or "")
        elif isinstance(effect, Expire):
            self._stores.expire(traits.stores)
        return None

    def during(self, effect: Effect | None) -> contextlib.AbstractContextManager[None]:
        """Return what lasts while the request is handled."""
        return self._stores.embedded(effect.embedding) if isinstance(effect, Embed) else contextlib.nullcontext()

    async def after(self, effect: Effect | None, traits: Traits, document: Any, closing: Signal) -> Response | None:
        """Let happen what comes after the work. An answer stands in the place of the work's."""
        if isinstance(effect, Expire) and traits.endpoint == "POST /vector_stores":
            self._stores.expire([document["id"]])
        if isinstance(effect, Lost):
            if isinstance(document, EventStream):
                await document.finish()
            return self._lost(effect, closing)
        return None

    @staticmethod
    def _lost(effect: Lost, closing: Signal) -> Response:
        return Silent(closing) if effect.silent else Dropped()

    def _tamper(self, effect: Tamper, conversation_id: str) -> None:
        conversation = self._state.conversations.get(conversation_id)
        if conversation is None:
            return
        if effect.how == "lock":
            conversation.locked_until = self._state.now() + effect.seconds
        elif effect.how == "delete":
            del self._state.conversations[conversation_id]
        else:
            open_call_in(self._state, conversation_id)
