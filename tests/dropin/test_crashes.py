from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import assistantguard
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox, ToolCalls

PROGRAM = Path(__file__).with_name("crashing.py")
SLOW = 0.3


def slow_answer(_: ModelRequest) -> Any:
    time.sleep(SLOW)
    return "It is on its way."


def slow_tools(request: ModelRequest) -> Any:
    time.sleep(SLOW)
    if any(item.get("type") == "function_call_output" for item in request.items):
        return "It is on its way."
    return ToolCalls(FunctionCall("lookup", {}))


def crash(sandbox: Sandbox, ledger: str, seconds: float, *output: str) -> list[str]:
    """The thread and the run of a program that was killed so many seconds after it had done its part."""
    arguments = [sandbox.base_url, sandbox.api_key, ledger, str(seconds), *output]
    done = subprocess.run([sys.executable, str(PROGRAM), *arguments], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.stdout.split()


def texts(client: Any, thread_id: str) -> list[tuple[str, str]]:
    messages = client.beta.threads.messages.list(thread_id, order="asc")
    return [(message.role, message.content[0].text.value) for message in messages]


MOMENTS = pytest.mark.parametrize("seconds", [0.0, SLOW / 2, SLOW * 4])


@MOMENTS
def test_a_run_whose_process_was_killed_is_finished_by_the_one_that_polls_it(database_url: str, seconds: float) -> None:
    with Sandbox(slow_answer) as sandbox:
        thread_id, run_id = crash(sandbox, database_url, seconds)
        with assistantguard.drop_in(sandbox.client(), ledger=database_url, lease_seconds=0.5, sinks=[]) as client:
            run = client.beta.threads.runs.poll(run_id, thread_id=thread_id)

            assert (run.status, run.last_error) == ("completed", None)
            said = [("user", "Where is it?"), ("assistant", "It is on its way.")]
            assert texts(client, thread_id) == said
            assert (
                client.beta.threads.runs.create_and_poll(
                    thread_id=thread_id,
                    assistant_id=run.assistant_id,
                    additional_messages=[{"role": "user", "content": "And now?"}],
                ).status
                == "completed"
            )
            assert texts(client, thread_id) == [*said, ("user", "And now?"), said[1]]


@MOMENTS
def test_tools_are_asked_for_once_whoever_was_killed(database_url: str, seconds: float) -> None:
    with Sandbox(slow_tools) as sandbox:
        thread_id, run_id = crash(sandbox, database_url, seconds)
        with assistantguard.drop_in(sandbox.client(), ledger=database_url, lease_seconds=0.5, sinks=[]) as client:
            runs = client.beta.threads.runs
            run = runs.poll(run_id, thread_id=thread_id)

            assert run.status == "requires_action", run.last_error
            assert run.required_action is not None
            (call,) = run.required_action.submit_tool_outputs.tool_calls
            assert (call.function.name, call.function.arguments) == ("lookup", "{}")
            run = runs.submit_tool_outputs_and_poll(
                run_id=run_id, thread_id=thread_id, tool_outputs=[{"tool_call_id": call.id, "output": "shipped"}]
            )
            assert (run.status, run.last_error) == ("completed", None)
            assert texts(client, thread_id)[-1] == ("assistant", "It is on its way.")


@MOMENTS
def test_a_run_goes_on_with_the_outputs_that_a_killed_process_was_given(database_url: str, seconds: float) -> None:
    read: list[list[str]] = []

    def model(request: ModelRequest) -> Any:
        read.append([str(item.get("role") or item["type"]) for item in request.items])
        outputs = [str(item["output"]) for item in request.items if item["type"] == "function_call_output"]
        if not outputs:
            return ToolCalls(FunctionCall("lookup", {}))
        time.sleep(SLOW)
        return f"It is {outputs[-1]}."

    with Sandbox(model) as sandbox:
        thread_id, run_id = crash(sandbox, database_url, seconds, "shipped")
        with assistantguard.drop_in(sandbox.client(), ledger=database_url, lease_seconds=0.5, sinks=[]) as client:
            run = client.beta.threads.runs.poll(run_id, thread_id=thread_id)

            assert (run.status, run.last_error) == ("completed", None)
            assert texts(client, thread_id) == [("user", "Where is it?"), ("assistant", "It is shipped.")]
            assert all(items.count("user") == 1 for items in read), read
