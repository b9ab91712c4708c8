"""Objects that the tests of the drop-in's pure functions share."""

from __future__ import annotations

import json
from typing import Any

from openai.types import beta
from openai.types.beta import threads
from openai.types.beta.threads import runs
from pydantic import TypeAdapter

from assistantguard.dropin import objects
from tests.support.contract import contract_problems

__all__ = [
    "ASSISTANT",
    "FUNCTION",
    "MODELS",
    "NOW",
    "SCHEMAS",
    "assistant",
    "broken",
    "run",
    "strictly_read",
    "thread",
]

NOW = 1_800_000_000.75
FUNCTION: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look an order up.",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
        "strict": True,
    },
}
ASSISTANT: dict[str, Any] = {
    "model": "gpt-4o",
    "name": "Shop",
    "description": "Answers about orders.",
    "instructions": "Be kind.",
    "reasoning_effort": "low",
    "tools": [
        FUNCTION,
        {"type": "code_interpreter"},
        {
            "type": "file_search",
            "file_search": {
                "max_num_results": 7,
                "ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.5},
            },
        },
    ],
    "tool_resources": {
        "code_interpreter": {"file_ids": ["file_1"]},
        "file_search": {"vector_store_ids": ["vs_1"]},
    },
    "metadata": {"team": "sales"},
    "temperature": 0.2,
    "top_p": 0.9,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "order", "schema": {"type": "object"}, "strict": False},
    },
}
MODELS: dict[str, Any] = {
    "assistant": beta.Assistant,
    "assistant.deleted": beta.AssistantDeleted,
    "thread": beta.Thread,
    "thread.deleted": beta.ThreadDeleted,
    "thread.message": threads.Message,
    "thread.message.deleted": threads.MessageDeleted,
    "thread.run": threads.Run,
    "thread.run.step": runs.RunStep,
}
SCHEMAS = {
    "assistant": "AssistantObject",
    "assistant.deleted": "DeleteAssistantResponse",
    "thread": "ThreadObject",
    "thread.deleted": "DeleteThreadResponse",
    "thread.message": "MessageObject",
    "thread.message.deleted": "DeleteMessageResponse",
    "thread.run": "RunObject",
    "thread.run.step": "RunStepObject",
}


def assistant(**parameters: Any) -> dict[str, Any]:
    return objects.new_assistant("asst_1", NOW, {"model": "gpt-4o", **parameters})


def thread(**parameters: Any) -> dict[str, Any]:
    return objects.new_thread("thread_1", NOW, parameters)


def run(of: dict[str, Any] | None = None, **parameters: Any) -> dict[str, Any]:
    return objects.new_run("run_1", NOW, "thread_1", assistant() if of is None else of, parameters)


def strictly_read(body: dict[str, Any]) -> Any:
    """The body as the SDK's own model reads it, strictly; the model lacks nothing of it that it names."""
    model = MODELS[body["object"]]
    missing = model.model_fields.keys() - body.keys()
    assert not missing, f"{body['object']} lacks {missing}"
    return TypeAdapter(model).validate_json(json.dumps(body), strict=True)


def broken(body: dict[str, Any]) -> list[str]:
    """Where a body breaks the official contract."""
    return contract_problems(SCHEMAS[body["object"]], body)
