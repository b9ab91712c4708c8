"""A support bot on Responses + Conversations, as many are. It works, and nothing bounds what it spends.

Run it: ``python examples/support_bot_before.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox).
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from openai import OpenAI, RateLimitError

from assistantguard.sandbox import FunctionCall, Sandbox, Script

MODEL = "gpt-6-luna"
INSTRUCTIONS = "You answer questions about orders. Use the tool, never invent a number."
ORDERS = {
    "W2378156": {"status": "sent", "total": "144.30", "parcel": "JD-8841-2207"},
    "W4817420": {"status": "packed", "total": "59.00", "parcel": None},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "look_up_order",
        "description": "Look up an order by its number.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string"}},
            "required": ["order_id"],
            "additionalProperties": False,
        },
        "strict": True,
    }
]
QUESTIONS = ["Where is order W2378156?", "And what did it cost?", "Has W4817420 left you?"]


class SupportBot:
    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self.conversation = client.conversations.create()

    def dispatch(self, name: str, arguments: dict[str, Any]) -> Any:
        if name == "look_up_order":
            return ORDERS[arguments["order_id"]]
        raise ValueError(name)

    def chat(self, message: str) -> str:
        pending: list[Any] = [{"role": "user", "content": message}]
        while True:
            response = self.ask(pending)
            pending = [
                {
                    "type": "function_call_output",
                    "call_id": item.call_id,
                    "output": json.dumps(self.dispatch(item.name, json.loads(item.arguments))),
                }
                for item in response.output
                if item.type == "function_call"
            ]
            if not pending:
                return str(response.output_text)

    def ask(self, pending: list[Any]) -> Any:
        for attempt in range(5):
            try:
                return self.client.responses.create(
                    model=MODEL,
                    instructions=INSTRUCTIONS,
                    tools=TOOLS,
                    conversation=self.conversation.id,
                    input=pending,
                )
            except RateLimitError:
                time.sleep(2**attempt)
        raise RuntimeError("OpenAI is busy")


def main(client: OpenAI) -> None:
    bot = SupportBot(client)
    for question in QUESTIONS:
        print(f"> {question}\n{bot.chat(question)}")


SCRIPT = Script(
    [
        FunctionCall("look_up_order", {"order_id": "W2378156"}),
        "W2378156 was sent in parcel JD-8841-2207.",
        "It cost 144.30.",
        FunctionCall("look_up_order", {"order_id": "W4817420"}),
        "Not yet: W4817420 is packed.",
    ]
)

if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        main(OpenAI())
    else:
        with Sandbox(SCRIPT) as sandbox:
            main(sandbox.client())
