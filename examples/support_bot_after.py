"""The bot of ``support_bot_before.py``, bounded: the loop, the retries and the JSON are gone, the limits are there.

Run it: ``python examples/support_bot_after.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox).
"""

from __future__ import annotations

import os
from typing import Any

from openai import OpenAI

from assistantguard import Assistant, AssistantGuard, Refused, RunFailed, RunStopped, ToolCall
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


class SupportBot(AssistantGuard):
    def dispatch_tool(self, call: ToolCall) -> Any:
        if call.name == "look_up_order":
            return ORDERS[call.arguments["order_id"]]
        raise ValueError(call.name)


def answer(bot: SupportBot, question: str) -> str:
    try:
        return bot.chat(question).text
    except RunStopped:
        return "I could not find that out. Could you ask in another way?"
    except Refused:
        return "This conversation has reached its limit."
    except RunFailed:
        return "OpenAI does not answer right now. Please try again later."


def main(client: OpenAI) -> None:
    bot = SupportBot(
        client,
        Assistant(model=MODEL, instructions=INSTRUCTIONS, tools=TOOLS),
        max_tool_call_steps=5,
        session_token_ceiling=500_000,
    )
    for question in QUESTIONS:
        print(f"> {question}\n{answer(bot, question)}")
    summary = bot.summary()
    print(f"{summary['run_count']} runs, {summary['session_tokens_used']['total']} tokens, ${summary['cost']}")


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
