"""`/conversations` and their items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard._parameters import array, metadata
from assistantguard.sandbox.items import as_items
from assistantguard.sandbox.paging import page
from assistantguard.sandbox.state import ConversationState
from assistantguard.sandbox.validation import check_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard._parameters import Check
    from assistantguard.sandbox.state import Item, State

__all__ = ["Conversations"]

_ITEMS = array(of="input items", maximum=20)
_CREATE: dict[str, Check] = {"items": _ITEMS, "metadata": metadata}
_UPDATE: dict[str, Check] = {"metadata": metadata}
_ADD: dict[str, Check] = {"items": _ITEMS}


class Conversations:
    """Serves `/conversations`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def create(self, body: Any) -> dict[str, Any]:
        """Answer `POST /conversations`."""
        checked = check_body(body, _CREATE)
        conversation = ConversationState(
            self._state.ids.make("conv_"), int(self._state.now()), checked.get("metadata", {})
        )
        self._add(conversation, checked.get("items", []))
        self._state.conversations[conversation.id] = conversation
        return conversation.document

    def update(self, conversation_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /conversations/{id}`."""
        conversation = self._state.conversation(conversation_id)
        conversation.metadata = check_body(body, _UPDATE, required=("metadata",), not_nullable=("metadata",))[
            "metadata"
        ]
        return conversation.document

    def delete(self, conversation_id: str) -> dict[str, Any]:
        """Answer `DELETE /conversations/{id}`."""
        conversation = self._state.conversation(conversation_id)
        del self._state.conversations[conversation.id]
        return {"id": conversation.id, "object": "conversation.deleted", "deleted": True}

    def add_items(self, conversation_id: str, body: Any) -> dict[str, Any]:
        """Answer `POST /conversations/{id}/items`."""
        conversation = self._state.conversation(conversation_id)
        checked = check_body(body, _ADD, required=("items",), not_nullable=("items",))
        conversation.check_free(self._state.now())
        added = self._add(conversation, checked["items"])
        return {
            "object": "list",
            "data": [item.data for item in added],
            "first_id": added[0].data["id"] if added else "",
            "last_id": added[-1].data["id"] if added else "",
            "has_more": False,
        }

    def list_items(self, conversation_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /conversations/{id}/items`."""
        items = self._state.conversation(conversation_id).items
        return page([item.data for item in items], query)

    def item(self, conversation_id: str, item_id: str) -> dict[str, Any]:
        """Answer `GET /conversations/{id}/items/{item_id}`."""
        return self._state.conversation(conversation_id).item(item_id).data

    def delete_item(self, conversation_id: str, item_id: str) -> dict[str, Any]:
        """Answer `DELETE /conversations/{id}/items/{item_id}`."""
        conversation = self._state.conversation(conversation_id)
        conversation.check_free(self._state.now())
        conversation.remove(item_id)
        return conversation.document

    def _add(self, conversation: ConversationState, given: list[Any]) -> list[Item]:
        items = as_items(
            given,
            self._state.ids,
            known=lambda _: None,
            taken=lambda item_id: item_id in conversation.ids,
            param="items",
        )
        conversation.append(items)
        if any(item.data["type"] in {"function_call_output", "reasoning"} for item in items):
            conversation.whole = False
        return items
