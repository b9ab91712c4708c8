"""What both sides of a comparison share: the assistant, the parameters of its requests, and that they are the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from assistantguard import Assistant
from assistantguard.tools import FunctionTool
from benchmarks.canned import CannedServer

__all__ = ["BATCH", "MODEL", "WARM_UP", "assistant", "check_same", "outputs", "parameters"]

MODEL = "gpt-6-luna"
INSTRUCTIONS = (
    "You are the support assistant of a kitchen shop. Answer in a few plain sentences. Use the tools for orders and"
    " parcels. Never invent a number; where a tool finds nothing, say so and ask for the order's number again."
)
BATCH = 10
"""Turns of a batch. A thread lives for one batch, so that no policy rotates it."""
WARM_UP = 2
"""Rounds that are not counted."""


def look_up_order(order_id: str) -> dict[str, Any]:
    """Look up an order: what is in it, what it cost, where it is.

    Args:
        order_id: The order's number, for example W1000001.
    """
    return {"order_id": order_id, "status": "sent", "total": "144.30", "parcel": "JD-8841-2207", "due": "Thursday"}


def track_parcel(tracking_number: str, with_events: bool = False) -> dict[str, Any]:
    """Say where a parcel is.

    Args:
        tracking_number: The carrier's number.
        with_events: Whether to list all scans.
    """
    return {"tracking_number": tracking_number, "status": "in depot", "events": [] if with_events else None}


TOOLS: list[Callable[..., Any]] = [look_up_order, track_parcel]
FUNCTIONS = {function.__name__: function for function in TOOLS}
SCHEMAS = [FunctionTool(function).schema for function in TOOLS]


def assistant() -> Assistant:
    """The assistant of the guarded side."""
    return Assistant(model=MODEL, instructions=INSTRUCTIONS, tools=TOOLS)


def parameters(conversation: str, items: list[Any], thread: str, run: str, number: int) -> dict[str, Any]:
    """What the raw side passes to ``responses.create``: the same as the guard does."""
    return {
        "model": MODEL,
        "instructions": INSTRUCTIONS,
        "conversation": conversation,
        "input": items,
        "tools": SCHEMAS,
        "max_output_tokens": 32_768,
        "prompt_cache_key": thread,
        "metadata": {"assistantguard_run": run},
        "extra_headers": {"X-Client-Request-Id": f"{run}-{number}-1"},
        "timeout": 300.0,
    }


def outputs(response: Any) -> list[dict[str, Any]]:
    """Run the functions that a response asks for."""
    return [
        {
            "type": "function_call_output",
            "call_id": item.call_id,
            "output": json.dumps(FUNCTIONS[item.name](**json.loads(item.arguments)), separators=(",", ":")),
        }
        for item in response.output
        if item.type == "function_call"
    ]


def check_same(server: CannedServer, raw: Callable[[], Any], guard: Callable[[], Any]) -> None:
    """See to it that both sides send the same, apart from ids.

    Raises:
        RuntimeError: They do not, so that a comparison would be worth nothing.
    """
    sent: list[list[dict[str, Any]]] = []
    for side in (raw, guard):
        server.bodies = []
        side()
        sent.append([_without_ids(body) for body in server.bodies])
    server.bodies = None
    if sent[0] != sent[1]:
        raise RuntimeError(f"the two sides do not send the same requests:\nraw   {sent[0]}\nguard {sent[1]}")


def _without_ids(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "prompt_cache_key": "thread", "metadata": sorted(body.get("metadata", ()))}
