"""A help desk written for the Assistants API in 2024, at work again with one line: ``assistantguard.drop_in(…)``.

Functions are called in a loop on ``requires_action``, a file is searched through an attachment, answers are streamed
to an ``AssistantEventHandler``, threads are paged through and a run is cancelled. Nothing here was written for a guard.

Run it: ``python examples/legacy_app.py`` (with OPENAI_API_KEY it talks to OpenAI, without it to the sandbox).
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from openai import AssistantEventHandler, OpenAI
from openai.types.beta import Assistant, AssistantStreamEvent
from openai.types.beta.threads import Message, Run, Text, TextDelta
from typing_extensions import override

import assistantguard
from assistantguard.sandbox import Answer, FileSearch, FunctionCall, ModelRequest, Sandbox

MODEL = "gpt-6-luna"
INSTRUCTIONS = "You answer questions about orders. Use the tools, never invent a number."
ORDERS: dict[str, dict[str, str | None]] = {
    "W2378156": {"status": "sent", "parcel": "JD-8841-2207"},
    "W4817420": {"status": "packed", "parcel": None},
}
TERMS = b"Returns: within 30 days, in the original box. The refund is made to the card that was charged."


def function(name: str, description: str) -> Any:
    parameters = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    function("look_up_order", "Look up an order by its number."),
    function("cancel_order", "Cancel an order. Needs a confirmation."),
    {"type": "file_search"},
]


def call_tools(run: Run) -> list[Any]:
    """The outputs of all functions that a run waits for."""
    assert run.required_action is not None
    outputs = []
    for call in run.required_action.submit_tool_outputs.tool_calls:
        arguments = json.loads(call.function.arguments)
        outputs.append({"tool_call_id": call.id, "output": json.dumps(ORDERS[arguments["order_id"]])})
    return outputs


class Printer(AssistantEventHandler):
    """Prints an answer while it arrives, and goes on where functions are called."""

    def __init__(self, client: OpenAI) -> None:
        super().__init__()
        self.client = client

    @override
    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        print(delta.value or "", end="")

    @override
    def on_text_done(self, text: Text) -> None:
        print()

    @override
    def on_event(self, event: AssistantStreamEvent) -> None:
        if event.event == "thread.run.requires_action":
            run = event.data
            with self.client.beta.threads.runs.submit_tool_outputs_stream(
                thread_id=run.thread_id,
                run_id=run.id,
                tool_outputs=call_tools(run),
                event_handler=Printer(self.client),
            ) as stream:
                stream.until_done()


class HelpDesk:
    def __init__(self, client: OpenAI) -> None:
        self.client = client
        self.assistant: Assistant = client.beta.assistants.create(
            name="Help desk", model=MODEL, instructions=INSTRUCTIONS, tools=TOOLS
        )
        self.thread = client.beta.threads.create(metadata={"user": "maren"})

    def say(self, text: str, attachments: Any = None) -> None:
        self.client.beta.threads.messages.create(
            self.thread.id, role="user", content=text, attachments=attachments or []
        )

    def ask(self, question: str) -> str:
        """Ask, poll by hand, and call the functions."""
        self.say(question)
        run = self.client.beta.threads.runs.create(thread_id=self.thread.id, assistant_id=self.assistant.id)
        while run.status in {"queued", "in_progress", "requires_action"}:
            if run.status == "requires_action":
                run = self.client.beta.threads.runs.submit_tool_outputs(
                    run.id, thread_id=self.thread.id, tool_outputs=call_tools(run)
                )
            time.sleep(0.05)
            run = self.client.beta.threads.runs.retrieve(run.id, thread_id=self.thread.id)
        if run.status != "completed":
            raise RuntimeError(f"the run is {run.status}: {run.last_error}")
        return self.answer(run)

    def ask_about_file(self, question: str, name: str, content: bytes) -> str:
        """Attach a file, and let the SDK poll."""
        file = self.client.files.create(file=(name, content), purpose="assistants")
        self.say(question, [{"file_id": file.id, "tools": [{"type": "file_search"}]}])
        run = self.client.beta.threads.runs.create_and_poll(
            thread_id=self.thread.id, assistant_id=self.assistant.id, max_completion_tokens=2000, poll_interval_ms=50
        )
        return self.answer(run)

    def stream(self, question: str) -> None:
        self.say(question)
        with self.client.beta.threads.runs.stream(
            thread_id=self.thread.id, assistant_id=self.assistant.id, event_handler=Printer(self.client)
        ) as stream:
            stream.until_done()

    def ask_and_withdraw(self, question: str) -> str:
        """Cancel a run that waits for a function that nobody confirms."""
        self.say(question)
        run = self.client.beta.threads.runs.create_and_poll(
            thread_id=self.thread.id, assistant_id=self.assistant.id, poll_interval_ms=50
        )
        if run.status == "requires_action":
            run = self.client.beta.threads.runs.cancel(run.id, thread_id=self.thread.id)
            while run.status == "cancelling":
                time.sleep(0.05)
                run = self.client.beta.threads.runs.retrieve(run.id, thread_id=self.thread.id)
        return run.status

    def answer(self, run: Run) -> str:
        messages = self.client.beta.threads.messages.list(self.thread.id, run_id=run.id, limit=1)
        return text_of(messages.data[0])

    def history(self) -> list[Message]:
        """All messages, in pages of two."""
        return list(self.client.beta.threads.messages.list(self.thread.id, order="asc", limit=2))

    def close(self) -> None:
        self.client.beta.threads.delete(self.thread.id)
        self.client.beta.assistants.delete(self.assistant.id)


def text_of(message: Message) -> str:
    return "".join(block.text.value for block in message.content if block.type == "text")


def main(client: OpenAI) -> None:
    desk = HelpDesk(client)
    print(desk.ask("Where is order W2378156?"))
    print(desk.ask_about_file("How long may I return it?", "terms.md", TERMS))
    desk.stream("Has W4817420 left you?")
    print(f"The run is {desk.ask_and_withdraw('Then please cancel W4817420.')}.")
    print(desk.ask("And where is W2378156 now?"))
    messages = desk.history()
    print(f"{len(messages)} messages, the first: {text_of(messages[0])}")
    desk.close()


def model(request: ModelRequest) -> Answer | FunctionCall | str:
    """What the sandbox's model says."""
    question = request.last_user_text
    if "return it" in question:
        return Answer(text="For 30 days, in the original box.", file_search=[FileSearch("returns")])
    order = "W4817420" if "W4817420" in question else "W2378156"
    if request.items[-1]["type"] != "function_call_output":
        return FunctionCall("cancel_order" if "cancel" in question else "look_up_order", {"order_id": order})
    return f"{order} is {ORDERS[order]['status']}."


if __name__ == "__main__":
    if os.environ.get("OPENAI_API_KEY"):
        client = assistantguard.drop_in(OpenAI())
        main(client)
    else:
        with Sandbox(model) as sandbox:
            main(assistantguard.drop_in(sandbox.client()))
