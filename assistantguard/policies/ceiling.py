"""Bounding how long a run may go on calling tools."""

from __future__ import annotations

from typing import Literal

from assistantguard.errors import ConfigurationError, ToolStepCeilingReached
from assistantguard.policies.base import Decision, Limit, Policy, Stop, View, WrapUp
from assistantguard.policies.checks import at_least, one_of

__all__ = ["ToolStepCeiling"]


class ToolStepCeiling(Policy):
    """At most `max_steps` tool steps and `max_calls` tool calls in a run.

    One step is one model answer that asks for tools, however many calls it holds. With ``ToolStepCeiling(3)`` three
    such answers get their tools run; the fourth does not reach a tool. No parameter of the API does this for function
    tools: its ``max_tool_calls`` bounds only the built-in ones, and is set from this ceiling.

    Args:
        max_steps: Steps whose tools are run; None leaves them open.
        max_calls: Calls, over all steps; a step that would pass it is not run at all. None leaves them open.
        then: ``"stop"`` ends the run with `ToolStepCeilingReached`; ``"wrap_up"`` asks the model for one last
            answer without tools.

    Raises:
        ConfigurationError: A limit is below 1, both are None, or `then` is unknown.
    """

    def __init__(
        self,
        max_steps: int | None = 10,
        *,
        max_calls: int | None = None,
        then: Literal["stop", "wrap_up"] = "stop",
    ) -> None:
        self.max_steps = at_least("ToolStepCeiling max_steps", max_steps, 1)
        self.max_calls = at_least("ToolStepCeiling max_calls", max_calls, 1)
        one_of("ToolStepCeiling then", then, ("stop", "wrap_up"))
        self.then: Literal["stop", "wrap_up"] = then
        if max_steps is None and max_calls is None:
            raise ConfigurationError(
                "ToolStepCeiling has neither max_steps nor max_calls, so it bounds nothing: give one, or leave it out"
            )

    def before_request(self, view: View) -> Decision | None:
        """Bound the built-in tools, which run inside the request."""
        if view.run is None:
            return None
        left = [
            limit - done
            for limit, done in ((self.max_steps, view.run.steps), (self.max_calls, view.run.calls))
            if limit is not None
        ]
        return Limit("built-in tools are bounded by the ceiling", max_tool_calls=max(1, min(left)))

    def on_step(self, view: View) -> Decision | None:
        """Let step N run and step N + 1 not."""
        run = view.run
        assert run is not None
        if self.max_steps is not None and run.steps >= self.max_steps:
            reason = f"the model asked for tool step {run.steps + 1}, the ceiling is {self.max_steps}"
        elif self.max_calls is not None and run.calls + len(view.calls) > self.max_calls:
            reason = f"the model asked for tool call {run.calls + len(view.calls)}, the ceiling is {self.max_calls}"
        else:
            return None
        return WrapUp(reason) if self.then == "wrap_up" else Stop(reason, ToolStepCeilingReached)
