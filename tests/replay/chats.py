"""Small conversations for the replay's tests, in our own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Message = dict[str, Any]


def user(text: str | None) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str | None = None, *calls: Message) -> Message:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {})}


def call(number: int, name: str = "find_order", **arguments: Any) -> Message:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def tool(number: int, output: Any) -> Message:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": json.dumps(output)}


def order_chat(number: int) -> list[Message]:
    """Two tool steps and a plain turn; every conversation has identifiers of its own."""
    order, parcel = f"W{number:05d}", f"PX-{number * 7:04d}-Q"
    return [
        {"role": "system", "content": "You help with orders of a small bicycle shop. " * 30},
        user(f"Hello, where is my order {order}?"),
        assistant(None, call(1, order_id=order)),
        tool(1, {"order_id": order, "parcel": parcel, "items": ["bell", "chain"], "note": "left the shop " * 20}),
        assistant(None, call(2, "track", parcel=parcel)),
        tool(2, {"parcel": parcel, "state": "on its way", "arrives": f"2031-02-{number % 28 + 1:02d}"}),
        assistant(f"Parcel {parcel} is on its way."),
        user("Thank you! Do you also repair saddles?"),
        assistant("We do, on weekdays from nine to five. " * 8),
        user("Please send the bill again."),
        assistant(None, call(3, "send_bill", order_id=order)),
        tool(3, {"sent": True}),
        assistant("I have sent it."),
    ]


def write_lines(path: Path, *conversations: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in conversations), encoding="utf-8")
    return path


def order_file(folder: Path, count: int = 4) -> Path:
    return write_lines(
        folder / "orders.jsonl",
        *({"id": f"chat-{number}", "messages": order_chat(number)} for number in range(1, count + 1)),
    )
