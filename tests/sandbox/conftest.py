"""One way to call the sandbox through the official SDK, blocking and asynchronous."""

from __future__ import annotations

import asyncio
import operator
import time
from collections.abc import Callable
from typing import Any

import pytest

from assistantguard.sandbox import Sandbox

Call = Callable[..., Any]


def _blocking(sandbox: Sandbox, method: str, /, *args: Any, **params: Any) -> Any:
    with sandbox.client(max_retries=0) as client:
        return operator.attrgetter(method)(client)(*args, **params)


def _asynchronous(sandbox: Sandbox, method: str, /, *args: Any, **params: Any) -> Any:
    async def call() -> Any:
        async with sandbox.async_client(max_retries=0) as client:
            return await operator.attrgetter(method)(client)(*args, **params)

    return asyncio.run(call())


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest) -> Call:
    """Call a method of the SDK by its path: ``call(sandbox, "responses.create", model=…)``."""
    return _blocking if request.param == "blocking" else _asynchronous


@pytest.fixture
def count_input(call: Call) -> Callable[..., int]:
    """Ask for the input tokens of a request; `openai` 1.101 has no method for it."""

    def count(sandbox: Sandbox, **asked: Any) -> int:
        return int(call(sandbox, "post", "/responses/input_tokens", body=asked, cast_to=object)["input_tokens"])

    return count


@pytest.fixture
def lookup() -> dict[str, Any]:
    """A function tool, as a request carries it."""
    return {
        "type": "function",
        "name": "lookup",
        "description": "Finds an order.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}},
            "required": ["order"],
            "additionalProperties": False,
        },
        "strict": True,
    }


@pytest.fixture
def output_for() -> Callable[[Any], dict[str, Any]]:
    """Make the output item that answers the first function call of a response."""

    def make(response: Any, output: str = "done") -> dict[str, Any]:
        (call, *_) = [item for item in response.output if item.type == "function_call"]
        return {"type": "function_call_output", "call_id": call.call_id, "output": output}

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait for something that another thread brings about."""

    def wait(holds: Callable[[], object]) -> None:
        give_up_at = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < give_up_at, "it did not happen within 60 seconds"
            time.sleep(0.005)

    return wait
