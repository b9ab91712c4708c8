"""One guard behind a web application: a thread for each user, errors as HTTP statuses.

Run it: ``python examples/async_web_app.py`` lets three users talk at once; with ``--serve`` it listens on port 8000:
``curl -d '{"user": "maren", "message": "Where is W2378156?"}' http://127.0.0.1:8000/chat``.
With OPENAI_API_KEY it talks to OpenAI, without it to the sandbox.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from assistantguard import Assistant, AsyncAssistantGuard, Refused, RunFailed, RunStopped
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox


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


async def answer(bot: AsyncAssistantGuard, user: str, message: str) -> tuple[int, str]:
    try:
        reply = await bot.thread(user).chat(message)
    except Refused:
        return 429, "the budget is used up"
    except RunStopped:
        return 200, "I could not find that out. Could you ask in another way?"
    except RunFailed:
        return 502, "OpenAI does not answer"
    return 200, reply.text


def make_app(bot: AsyncAssistantGuard) -> Starlette:
    async def chat(request: Request) -> JSONResponse:
        body = await request.json()
        status, text = await answer(bot, str(body["user"]), str(body["message"]))
        return JSONResponse({"text": text}, status)

    return Starlette(routes=[Route("/chat", chat, methods=["POST"])])


async def main(client: AsyncOpenAI) -> None:
    bot = make_bot(client)
    async with client:
        if "--serve" in sys.argv:
            await uvicorn.Server(uvicorn.Config(make_app(bot), port=8000)).serve()
            return
        users = ("maren", "ilse", "tomas")
        answers = await asyncio.gather(*(answer(bot, user, f"Where is my order, asks {user}?") for user in users))
        for user, (status, text) in zip(users, answers, strict=True):
            print(f"{user}: {status} {text}")
    print(f"{bot.summary()['run_count']} runs")


def model(request: ModelRequest) -> FunctionCall | str:
    """What the sandbox's model says: it looks the order up, then answers the user by name."""
    if request.items[-1]["type"] == "function_call_output":
        return f"It is sent. ({request.last_user_text.removesuffix('?').split()[-1]})"
    return FunctionCall("look_up_order", {"order_id": "W2378156"})


if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        asyncio.run(main(AsyncOpenAI()))
    else:
        with Sandbox(model) as sandbox:
            asyncio.run(main(sandbox.async_client()))
