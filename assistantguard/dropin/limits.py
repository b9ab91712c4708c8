"""A run's own limits, as policies: ``max_prompt_tokens``, ``max_completion_tokens`` and ``last_messages``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.errors import Refused
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS
from assistantguard.policies import Decision, Limit, Policy, Refuse, Rotate, View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from assistantguard.models import Item
    from assistantguard.models.carry_over import CarryOverFunction

__all__ = ["CompletionTokensSpent", "PromptTokensSpent", "RunLimits", "TokensOfRunSpent", "limits_of"]


class TokensOfRunSpent(Refused):
    """The run's own limit leaves no room for its next request; `reason` is the official word for it."""

    reason = ""


class CompletionTokensSpent(TokensOfRunSpent):
    """``max_completion_tokens`` is used up."""

    reason = "max_completion_tokens"


class PromptTokensSpent(TokensOfRunSpent):
    """The next request would read more than ``max_prompt_tokens`` leaves."""

    reason = "max_prompt_tokens"


class RunLimits(Policy):
    """Keeps one run within what its caller allowed, over all its requests.

    Args:
        prompt: The most input tokens, or None.
        completion: The most output tokens, or None.
        messages: How many of the thread's last messages the model is to read, or None for all.
    """

    def __init__(self, prompt: int | None, completion: int | None, messages: int | None = None) -> None:
        self._prompt = prompt
        self._completion = completion
        self._messages = messages

    def before_turn(self, view: View) -> Decision | None:
        """See `Policy.before_turn`: a thread with more messages goes on in a conversation that begins with the last."""
        if self._messages is None or view.thread.generation_id is None or view.run is None:
            return None
        new = sum("role" in item for item in view.run.input)
        kept = max(0, self._messages - new)
        # Those that a rotation carried are not counted among the turns; they were allowed then, and are too many now.
        if not view.thread.generation_turns and kept:
            return None
        return Rotate("the run's truncation_strategy", _last_messages(kept))

    def before_request(self, view: View) -> Decision | None:
        """See `Policy.before_request`."""
        used = None if view.run is None else view.run.usage
        if self._prompt is not None and view.input is not None:
            read = view.input.tokens + (0 if used is None else used.input_tokens)
            if read > self._prompt:
                return Refuse(f"the run would read {read} of {self._prompt} prompt tokens", PromptTokensSpent)
        if self._completion is not None:
            left = self._completion - (0 if used is None else used.output_tokens)
            if left < MIN_OUTPUT_TOKENS:
                return Refuse(f"the run has {left} of {self._completion} completion tokens left", CompletionTokensSpent)
            return Limit("the run's max_completion_tokens", max_output_tokens=left)
        return None


def limits_of(run_body: Mapping[str, Any]) -> RunLimits | None:
    """The limits that a run was created with; None where it has none."""
    prompt, completion = run_body.get("max_prompt_tokens"), run_body.get("max_completion_tokens")
    strategy = run_body.get("truncation_strategy") or {}
    messages = strategy.get("last_messages") if strategy.get("type") == "last_messages" else None
    if prompt is None and completion is None and messages is None:
        return None
    return RunLimits(prompt, completion, messages)


def _last_messages(count: int) -> CarryOverFunction:
    def carry(items: Sequence[Item]) -> Sequence[Item]:
        messages = [item for item in items if item.type == "message" and item.role in ("user", "assistant")]
        return messages[-count:] if count else []

    return carry
