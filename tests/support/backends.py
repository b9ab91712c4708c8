"""Guards of either colour on each backend that there is, for the same story."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import openai

from assistantguard import Assistant, AssistantGuard, AsyncAssistantGuard, drop_in
from assistantguard.events import Event
from assistantguard.sandbox import Sandbox
from assistantguard.tools import Toolbox
from tests.support.assistants_server import AssistantsServer
from tests.support.serving import KEY, serving
from tests.support.stories import Shop, Story
from tests.support.world import MODEL, Bot, WatchedLedger, World

__all__ = ["on_another_server", "on_responses", "on_the_drop_in", "on_the_served_drop_in"]

_INSTRUCTIONS = "You answer questions about orders."
_SEARCH = {"type": "file_search", "max_num_results": 20}
"""With the number of chunks that the Assistants API gives a model if it is not told otherwise."""


def on_responses(world: World, stack: ExitStack, story: Story, shop: Shop, sandbox: Sandbox) -> Bot:
    """A guard that speaks with the sandbox itself."""
    tools = [*_functions(story, shop), *([_SEARCH] if story.files else [])]
    assistant = Assistant(MODEL, _INSTRUCTIONS, tools, max_output_tokens=story.max_output_tokens)
    return _bot(world, stack, story, world.client(sandbox), assistant)


def on_the_served_drop_in(world: World, stack: ExitStack, story: Story, shop: Shop, sandbox: Sandbox) -> Bot:
    """A guard that speaks with the drop-in over HTTP, as with any Assistants server; the drop-in has no policies."""
    served = stack.enter_context(serving(sandbox, policies=[]))
    client = stack.enter_context(served.client())
    if not world.is_async:
        return _on_assistant(world, stack, story, shop, client, _created(client, story, shop))
    asynchronous = openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0)
    stack.callback(lambda: world.wait(asynchronous.close()))
    return _on_assistant(world, stack, story, shop, asynchronous, _created(client, story, shop))


def on_the_drop_in(world: World, stack: ExitStack, story: Story, shop: Shop, sandbox: Sandbox) -> Bot:
    """A guard that speaks with the drop-in in its own process, whose client passes all other calls to the sandbox."""
    inner: Any = world.client(sandbox)
    client: Any = drop_in(inner, policies=[], sinks=[])
    stack.callback(lambda: world.wait(client.close()))
    return _on_assistant(world, stack, story, shop, client, world.wait(_created(client, story, shop)))


def on_another_server(world: World, stack: ExitStack, story: Story, shop: Shop, server: AssistantsServer) -> Bot:
    """A guard that speaks with a server whose ways are its own."""
    server.assistant["model"], server.assistant["instructions"] = MODEL, _INSTRUCTIONS
    server.assistant["tools"] = _nested(story, shop)
    client: Any = server.async_client(max_retries=0) if world.is_async else server.client(max_retries=0)
    if world.is_async:
        stack.callback(lambda: world.wait(client.close()))
    return _on_assistant(world, stack, story, shop, client, server.assistant)


def _created(client: Any, story: Story, shop: Shop) -> Any:
    return client.beta.assistants.create(model=MODEL, instructions=_INSTRUCTIONS, tools=_nested(story, shop))


def _on_assistant(world: World, stack: ExitStack, story: Story, shop: Shop, client: Any, created: Any) -> Bot:
    name = created["id"] if isinstance(created, dict) else created.id
    tools = _functions(story, shop)
    if story.max_output_tokens is None:
        return _bot(world, stack, story, client, None, assistant_id=name, tools=tools)
    own = Assistant(MODEL, _INSTRUCTIONS, tools, max_output_tokens=story.max_output_tokens)
    return _bot(world, stack, story, client, own, assistant_id=name)


def _bot(world: World, stack: ExitStack, story: Story, client: Any, assistant: Assistant | None, **options: Any) -> Bot:
    events: list[Event] = []
    ledger = WatchedLedger()
    kind: Any = AsyncAssistantGuard if world.is_async else AssistantGuard
    guard = kind(client, assistant, list(story.policies()), sinks=[events.append], ledger=ledger, **options)
    bot = Bot(world, guard, events, ledger)
    stack.callback(bot.close)
    return bot


def _functions(story: Story, shop: Shop) -> list[Any]:
    return shop.tools if story.tools else []


def _nested(story: Story, shop: Shop) -> list[dict[str, Any]]:
    """The functions in the shape of the Assistants API, and the search where there are files."""
    functions = [
        {"type": "function", "function": {name: value for name, value in schema.items() if name != "type"}}
        for schema in Toolbox(_functions(story, shop)).schemas
    ]
    return [*functions, *([{"type": "file_search"}] if story.files else [])]
