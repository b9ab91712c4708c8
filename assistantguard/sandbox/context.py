"""What a request puts before the model: the items before it, its input, its tools and instructions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard._refusals import invalid
from assistantguard.sandbox.counting import FRAME, REQUEST, text_tokens
from assistantguard.sandbox.items import as_items
from assistantguard.sandbox.parameters import conversation_id, tools_segment
from assistantguard.sandbox.script import ModelRequest
from assistantguard.sandbox.state import Chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from assistantguard.sandbox.state import ConversationState, Item, State

__all__ = ["Context", "make_context"]


@dataclass(slots=True)
class Context:
    """What a request puts before the model."""

    body: dict[str, Any]
    model: str
    conversation: ConversationState | None
    earlier: Sequence[Item]
    chain: Chain
    """`earlier`, to be shared."""
    inputs: list[Item]
    tools: tuple[str, int]
    instructions: str | None
    tokens: int

    @property
    def conversation_id(self) -> str | None:
        """Id of the conversation; None outside of one."""
        return None if self.conversation is None else self.conversation.id

    def segments(self) -> Iterator[tuple[str, int]]:
        """Yield the prompt's parts in order, for the prompt cache."""
        if self.tools[1]:
            yield self.tools
        if self.instructions is not None:
            yield f"instructions\x00{self.instructions}", FRAME + text_tokens(self.instructions)
        for item in self.earlier:
            yield item.key, item.tokens
        for item in self.inputs:
            yield item.key, item.tokens

    def request(self) -> ModelRequest:
        """Return what a function that answers is given."""
        body = self.body
        return ModelRequest(
            model=self.model,
            instructions=self.instructions,
            tools=body.get("tools", []),
            items=[item.data for item in (*self.earlier, *self.inputs)],
            conversation=self.conversation_id,
            tool_choice=body.get("tool_choice", "auto"),
            max_output_tokens=body.get("max_output_tokens"),
            input_tokens=self.tokens,
            body=body,
        )


def make_context(state: State, body: dict[str, Any]) -> Context:
    """Look up what a checked body refers to, and count it.

    Raises:
        ApiProblem: 400 or 404: an item, a conversation or an earlier response is wrong or not there.
    """
    conversation: ConversationState | None = None
    wanted = conversation_id(body)
    if wanted is not None:
        conversation = state.conversation(wanted)
        chain = conversation.chain
        earlier: Sequence[Item] = conversation.items
    else:
        chain = _chain(state, body.get("previous_response_id"))
        earlier = chain.all()

    def taken(item_id: str) -> bool:
        if conversation is not None:
            return item_id in conversation.ids
        return any(item.data["id"] == item_id for item in earlier)

    inputs = as_items(body.get("input", []), state.ids, known=lambda item_id: _find(state, item_id), taken=taken)
    tools = tools_segment(body.get("tools", ()))
    instructions = body.get("instructions")
    tokens = REQUEST + tools[1] + chain.tokens + sum(item.tokens for item in inputs)
    if instructions is not None:
        tokens += FRAME + text_tokens(instructions)
    return Context(body, body.get("model", ""), conversation, earlier, chain, inputs, tools, instructions, tokens)


def _chain(state: State, previous: str | None) -> Chain:
    if previous is None:
        return Chain(None, ())
    stored = state.responses.get(previous)
    if stored is None:
        raise invalid(
            "previous_response_id",
            f"Previous response with id '{previous}' not found.",
            "previous_response_not_found",
        )
    return stored.context


def _find(state: State, item_id: str) -> Item | None:
    for conversation in state.conversations.values():
        if item_id in conversation.ids:
            return conversation.item(item_id)
    for stored in state.responses.values():
        for item in stored.context.all():
            if item.data["id"] == item_id:
                return item
    return None
