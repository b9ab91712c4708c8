"""What both drivers share about answering tool calls: who answers, how long it may take, what comes of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from assistantguard.models import ToolCall, ToolOutput

if TYPE_CHECKING:
    from assistantguard.telemetry.tracing import Around
    from assistantguard.tools import Toolbox

__all__ = ["ToolCalling", "answered", "inside", "is_async", "limit_of", "outputs_of_step"]


@dataclass(slots=True, eq=False, repr=False)
class ToolCalling:
    """How a guard answers tool calls."""

    toolbox: Toolbox
    one: Callable[[ToolCall], Any]
    """Answers one call: the guard's ``dispatch_tool``."""
    step: Callable[[Sequence[ToolCall]], Any] | None
    """Answers a whole step at once: the guard's ``dispatch_tools`` where it is overridden."""
    timeout: float | None
    """Seconds for each call; None for no limit but the run's."""
    parallel: int
    """How many calls of a step run at once."""


def inside(calling: ToolCalling, around: Around | None) -> ToolCalling:
    """`calling`, where each call, or each step, is answered inside of `around`."""
    if around is None:
        return calling
    step = None if calling.step is None else _inside(calling.step, around)
    return replace(calling, one=_inside(calling.one, lambda call: around((call,))), step=step)


def _inside(function: Callable[[Any], Any], around: Callable[[Any], AbstractContextManager[object]]) -> Any:
    if is_async(function):

        async def answer_async(asked: Any) -> Any:
            with around(asked):
                return await function(asked)

        return answer_async

    def answer(asked: Any) -> Any:
        with around(asked):
            return function(asked)

    return answer


def limit_of(calling: ToolCalling, call: ToolCall | None, deadline: float | None) -> float | None:
    """Seconds that a call (or a whole step) may take: its own limit, and what is left of the run."""
    own = calling.toolbox.timeout(call.name) if call is not None else None
    limits = [own if own is not None else calling.timeout]
    if deadline is not None:
        limits.append(max(0.0, deadline - time.time()))
    return min((limit for limit in limits if limit is not None), default=None)


def answered(calling: ToolCalling, call: ToolCall, result: Any, seconds: float) -> ToolOutput:
    """The output of a call, from what its tool returned or the exception that it raised."""
    from assistantguard.tools import failure_of, output_of

    if isinstance(result, ToolOutput):
        return replace(result, call_id=call.id, seconds=seconds)
    if isinstance(result, Exception):
        return replace(failure_of(call, result), seconds=seconds)
    output = output_of(call, result, max_characters=calling.toolbox.max_tool_output_characters)
    return replace(output, seconds=seconds)


def outputs_of_step(calling: ToolCalling, calls: Sequence[ToolCall], results: Any, seconds: float) -> list[ToolOutput]:
    """The outputs of a step whose ``dispatch_tools`` returned `results`, or raised it.

    `results` are as many values as there are calls, in their order, or a mapping from call id to value. A call that
    got none is answered with a failure.
    """
    if isinstance(results, Exception):
        return [answered(calling, call, results, seconds) for call in calls]
    if isinstance(results, Mapping):
        missing = LookupError("dispatch_tools gave no output for this call")
        return [answered(calling, call, results.get(call.id, missing), seconds) for call in calls]
    values = list(results) if isinstance(results, Sequence) and not isinstance(results, (str, bytes)) else None
    if values is None or len(values) != len(calls):
        count = "no list" if values is None else f"{len(values)}"
        wrong = TypeError(f"dispatch_tools returned {count} for {len(calls)} calls")
        return [answered(calling, call, wrong, seconds) for call in calls]
    return [answered(calling, call, value, seconds) for call, value in zip(calls, values, strict=True)]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
