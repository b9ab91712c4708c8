"""A web application that streams answers: text as it arises, tools while they run, and the bill at the end.

A visitor who leaves ends the run: it is cancelled, put on the books, and the conversation takes the next message.

Run it: ``python examples/streaming_web_app.py`` lets one visitor read to the end and another leave; with ``--serve`` it
listens on port 8000: ``curl -N 'http://127.0.0.1:8000/chat?user=maren&message=Where+is+W2378156'``.
With OPENAI_API_KEY it talks to OpenAI, without it to the sandbox.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from assistantguard import (
    Assistant,
    AssistantGuardError,
    AsyncAssistantGuard,
    AttemptFailed,
    ReplyReady,
    TextDelta,
    ToolCallRequested,
)
from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Sandbox


async def look_up_order(order_id: str) -> dict[str, Any]:
    """Look up an order.

    Args:
        order_id: The order's number.
    """
    await asyncio.sleep(0.01)
    return {"order_id": order_id, "status": "sent"}


def make_bot(client: AsyncOpenAI) -> AsyncAssistantGuard:
    assistant = Assistant(model="gpt-6-luna", instructions="You answer questions about orders.", tools=[look_up_order])
    return AsyncAssistantGuard(client, assistant, max_tool_call_steps=5, session_token_ceiling=2_000_000)


async def events(bot: AsyncAssistantGuard, user: str, message: str) -> AsyncIterator[str]:
    """The answer as server-sent events. Leaving the ``async with`` block, however it is left, ends the run."""
    try:
        async with bot.thread(user).stream(message, deadline=60) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    yield server_sent("text", event.text)
                elif isinstance(event, ToolCallRequested):
                    yield server_sent("tool", event.call.name)
                elif isinstance(event, AttemptFailed) and event.discarded_characters:
                    yield server_sent("again", "what was shown does not count")
                elif isinstance(event, ReplyReady):
                    yield server_sent("done", f"{event.reply.usage.total_tokens} tokens")
    except AssistantGuardError as error:
        yield server_sent("error", type(error).__name__)


def server_sent(event: str, data: str) -> str:
    return f"event: {event}\ndata: {json.dumps(data)}\n\n"


def make_app(bot: AsyncAssistantGuard) -> Starlette:
    async def chat(request: Request) -> StreamingResponse:
        told = events(bot, request.query_params["user"], request.query_params["message"])
        return StreamingResponse(told, media_type="text/event-stream")

    return Starlette(routes=[Route("/chat", chat)])


async def visit(url: str, user: str, message: str, *, leave_at: str | None = None) -> None:
    """Read an answer as a browser would, and print it; leave at the first event of a kind."""
    kind = data = text = ""
    tools: list[str] = []
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as browser,
        browser.stream("GET", f"{url}/chat", params={"user": user, "message": message}) as response,
    ):
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = json.loads(value)
                text += data if kind == "text" else ""
                tools += [data] if kind == "tool" else []
                if kind == leave_at:
                    print(f"{user} leaves after {text!r}")
                    return
    print(f"{user}: {', '.join(tools) or 'no tool'}: {text} ({data})")


@asynccontextmanager
async def served(app: Starlette, port: int) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def main(client: AsyncOpenAI) -> None:
    bot = make_bot(client)
    async with client:
        if "--serve" in sys.argv:
            await uvicorn.Server(uvicorn.Config(make_app(bot), port=8000)).serve()
            return
        async with served(make_app(bot), 0) as url:
            await visit(url, "maren", "Where is W2378156?")
            await visit(url, "ilse", "Tell me a long story.", leave_at="text")
            await visit(url, "ilse", "Where is W2378156?")
    summary = bot.summary()
    print(f"{summary['run_count']} runs, {summary['cancelled_runs']} cancelled")


def model(request: ModelRequest) -> Answer | FunctionCall | str:
    """What the sandbox's model says: a long story, slowly, or it looks the order up and answers."""
    if "story" in request.last_user_text:
        return Answer(text="Once upon a time there was an order that nobody would take. " * 20, pace=0.2)
    if request.items[-1]["type"] == "function_call_output":
        return "Your order is sent."
    return FunctionCall("look_up_order", {"order_id": "W2378156"})


if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        asyncio.run(main(AsyncOpenAI()))
    else:
        with Sandbox(model) as sandbox:
            asyncio.run(main(sandbox.async_client()))
