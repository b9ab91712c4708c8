"""A policy of your own: one class, one method. This one keeps guests from cancelling orders.

Run it: ``python examples/custom_policy.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox).
"""

from __future__ import annotations

import os

from openai import OpenAI

from assistantguard import Assistant, AssistantGuard, Policy, default_policies
from assistantguard.policies import Decision, View, WrapUp
from assistantguard.sandbox import FunctionCall, Sandbox, Script


class MembersOnly(Policy):
    """Runs the named tools only on threads of members; a guest gets an answer without them."""

    def __init__(self, *tools: str) -> None:
        self.tools = frozenset(tools)

    def on_step(self, view: View) -> Decision | None:
        asked = self.tools.intersection(call.name for call in view.calls)
        if asked and view.thread.id.startswith("guest:"):
            return WrapUp(f"{', '.join(sorted(asked))} is for members")
        return None


def cancel_order(order_id: str) -> str:
    """Cancel an order.

    Args:
        order_id: The order's number.
    """
    return f"{order_id} is cancelled"


def main(client: OpenAI) -> None:
    bot = AssistantGuard(
        client,
        Assistant(
            model="gpt-6-luna",
            instructions="You help with orders. Where you cannot cancel one, ask the user to log in.",
            tools=[cancel_order],
        ),
        policies=[MembersOnly("cancel_order"), *default_policies()],
    )
    for user in ("guest:4711", "member:maren"):
        reply = bot.thread(user).chat("Please cancel order W2378156.")
        print(f"{user}: {reply.text} ({reply.run.calls} tool calls ran)")


SCRIPT = Script(
    [
        FunctionCall("cancel_order", {"order_id": "W2378156"}),
        "Please log in first, then I can cancel it.",
        FunctionCall("cancel_order", {"order_id": "W2378156"}),
        "Order W2378156 is cancelled.",
    ]
)

if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        main(OpenAI())
    else:
        with Sandbox(SCRIPT) as sandbox:
            main(sandbox.client())
