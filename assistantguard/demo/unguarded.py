"""The same conversation as an application without a guard has it.

One conversation for everything, the files embedded for every message, the SDK's own retries, and a tool loop that ends
when the model does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai

from assistantguard.demo.story import Shop, Story
from assistantguard.tools import FunctionTool

__all__ = ["play_unguarded"]

_TEN = 10


def play_unguarded(
    client: openai.OpenAI, model: str, story: Story, file_ids: Sequence[str], after_ten: Callable[[int], None]
) -> None:
    """Play all turns.

    Args:
        client: The client to use, with the retries it has.
        model: The model's name.
        story: The conversation.
        file_ids: Ids of the uploaded files.
        after_ten: Called with the number of turns played after each ten.
    """
    functions = [FunctionTool(function).schema for function in story.shop.tools]
    conversation = client.conversations.create()
    for number, turn in enumerate(story.turns, 1):
        store = client.vector_stores.create(file_ids=list(file_ids))
        tools: list[Any] = [*functions, {"type": "file_search", "vector_store_ids": [store.id]}]
        pending: list[Any] = [{"role": "user", "content": turn.user}]
        while pending:
            response = client.responses.create(
                model=model,
                conversation=conversation.id,
                instructions=story.instructions,
                tools=tools,
                input=pending,
            )
            pending = [
                {"type": "function_call_output", "call_id": item.call_id, "output": _run(story.shop, item)}
                for item in response.output
                if item.type == "function_call"
            ]
        if number % _TEN == 0:
            after_ten(number)


def _run(shop: Shop, call: Any) -> str:
    function: Callable[..., Mapping[str, Any]] = getattr(shop, call.name)
    return json.dumps(function(**json.loads(call.arguments)))
