"""What policies look at, made by hand."""

from __future__ import annotations

from typing import Any

from assistantguard import Failure, RunState, ThreadState, ToolCall
from assistantguard.policies import View
from assistantguard.tokens import Estimate

__all__ = ["NOW", "calls", "estimate", "failed", "make_view"]

NOW = 1_700_000_000.0


def make_view(**values: Any) -> View:
    """A view of a run on a thread; fields of `RunState` and `ThreadState` are given with ``run_`` and ``thread_``."""
    run = {key.removeprefix("run_"): values.pop(key) for key in list(values) if key.startswith("run_")}
    thread = {key.removeprefix("thread_"): values.pop(key) for key in list(values) if key.startswith("thread_")}
    state = ThreadState("thread_1", **{"generation_id": "conv_1", "generation_turns": 1, **thread})
    made = RunState("run_1", "thread_1", "gpt-6-luna", **{"started_at": NOW, **run})
    return View(NOW, "session_1", state, "gpt-6-luna", made, **values)


def failed(kind: Any = "transient", **values: Any) -> Failure:
    return Failure(kind, "it failed", **values)


def calls(*names: str, arguments: str = "{}") -> tuple[ToolCall, ...]:
    return tuple(ToolCall(f"call_{index}", name, {}, arguments) for index, name in enumerate(names))


def estimate(tokens: int) -> Estimate:
    return Estimate(tokens, tokens, exact=True)
