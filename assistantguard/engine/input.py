"""What a run sends: the user's message or tool outputs as input items, and the request around them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assistantguard.engine.ports import ModelRequest
from assistantguard.model_limits import takes_effort
from assistantguard.models import RunState, ThreadState, ToolOutput
from assistantguard.models.marks import text_of

if TYPE_CHECKING:
    from assistantguard.engine.session import Session
    from assistantguard.models import Assistant

__all__ = ["Message", "message_text", "model_request", "new_run", "output_item", "text_of", "user_text"]

Message = str | Sequence[dict[str, Any]]
"""A user's message: text, or content parts as the Responses API takes them."""

_MOST_METADATA = 16


def new_run(
    thread: ThreadState, session: Session, message: Message, now: float, deadline: float | None = None
) -> RunState:
    """A run that will answer `message`, by the session's limit and until `deadline` at the latest."""
    content = message if isinstance(message, str) else [*message]
    return RunState(
        f"run_{uuid.uuid4().hex}",
        thread.id,
        session.assistant.model,
        started_at=now,
        deadline=now + session.run_timeout if deadline is None else min(deadline, now + session.run_timeout),
        input=[{"type": "message", "role": "user", "content": content}],
    )


def model_request(thread: ThreadState, run: RunState, session: Session) -> ModelRequest:
    """The run's next request: what waits to be sent, with the assistant's settings."""
    assistant = session.assistant
    tools = session.tools
    if thread.vector_store_id is not None:
        tools = _with_vector_store(tools, thread.vector_store_id, adds=session.adds_file_search)
    metadata = assistant.metadata
    if len(metadata) < _MOST_METADATA:
        metadata = {**metadata, "assistantguard_run": run.id}
    return ModelRequest(
        run.model,
        assistant,
        assistant.instructions,
        [*thread.backlog, *run.input],
        thread.generation_id,
        tools,
        "none" if run.wrapping_up and tools else assistant.tool_choice,
        assistant.max_output_tokens,
        None,
        thread.id,
        f"{run.id}-{run.answers}-{run.attempt}",
        metadata,
        reasoning_effort=run.reasoning_effort or _own_effort(run, assistant),
        service_tier=session.tier_of(run),
    )


def _own_effort(run: RunState, assistant: Assistant) -> str | None:
    """The assistant's reasoning effort, where the model that was chosen in place of its own takes one."""
    return assistant.reasoning_effort if run.model == assistant.model or takes_effort(run.model) else None


def _with_vector_store(
    tools: Sequence[Mapping[str, Any]], vector_store_id: str, *, adds: bool
) -> list[Mapping[str, Any]]:
    """The tools with file search over the thread's store: in the one that is there, or in one more where it `adds`."""
    out: list[Mapping[str, Any]] = []
    found = False
    for tool in tools:
        if tool.get("type") == "file_search":
            found = True
            out.append({**tool, "vector_store_ids": [*tool.get("vector_store_ids", ()), vector_store_id]})
        else:
            out.append(tool)
    return out if found or not adds else [*out, {"type": "file_search", "vector_store_ids": [vector_store_id]}]


def output_item(output: ToolOutput) -> dict[str, Any]:
    """A tool output as the input item that carries it."""
    return {"type": "function_call_output", "call_id": output.call_id, "output": output.output}


def message_text(message: Message) -> str:
    """The text of a user's message, its parts joined."""
    if isinstance(message, str):
        return message
    return "".join(str(part.get("text", "")) for part in message)


def user_text(run: RunState) -> str:
    """The text of the user's message while it waits to be sent; empty once it was."""
    return "".join(text_of(item) for item in run.input if "role" in item)
