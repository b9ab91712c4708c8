"""A program that creates a run and is killed. Arguments: URL of the server, its key, the ledger, when to die.

A further one is the output that it gives the run's tool call before that.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from typing import Any

import openai

import assistantguard

LOOKUP: dict[str, Any] = {
    "type": "function",
    "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}},
}


def main() -> None:
    warnings.simplefilter("ignore")
    url, key, ledger, seconds, *output = sys.argv[1:]
    client = assistantguard.drop_in(
        openai.OpenAI(base_url=url, api_key=key), ledger=ledger, lease_seconds=0.5, sinks=[]
    )
    assistant = client.beta.assistants.create(model="gpt-6-luna", tools=[LOOKUP])  # type: ignore[list-item]
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Where is it?"}])
    run = client.beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    if output:
        run = client.beta.threads.runs.poll(run.id, thread_id=thread.id)
        assert run.required_action is not None
        (call,) = run.required_action.submit_tool_outputs.tool_calls
        client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": call.id, "output": output[0]}]
        )
    sys.stdout.write(f"{thread.id} {run.id}\n")
    sys.stdout.flush()
    time.sleep(float(seconds))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
