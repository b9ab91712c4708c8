"""The policies of a guard that was given none, and those of the short form."""

from __future__ import annotations

from assistantguard.policies.base import Policy
from assistantguard.policies.caps import TokenCap
from assistantguard.policies.ceiling import ToolStepCeiling
from assistantguard.policies.repeated import RepeatedCallBreaker
from assistantguard.policies.retry import TransientRetry
from assistantguard.policies.rotation import ThreadRotation
from assistantguard.policies.vector_stores import VectorStoreReuse

__all__ = ["DEFAULT_RUN_TOKENS", "default_policies"]

DEFAULT_RUN_TOKENS = 500_000
"""What one run may use by default: far above an honest run, far below a runaway one."""


def default_policies(
    *,
    max_turns: int | None = None,
    max_tool_call_steps: int | None = None,
    max_transient_retries: int | None = None,
    session_token_ceiling: int | None = None,
) -> list[Policy]:
    """Build the policies that are on when a guard is given none.

    Args:
        max_turns: Turns before a rotation; None keeps the default rotation.
        max_tool_call_steps: Tool steps in a run; None keeps 10.
        max_transient_retries: Retries after the first attempt; None keeps 2.
        session_token_ceiling: Tokens over the guard's lifetime; None leaves them open (runs are capped all the same).

    Raises:
        ConfigurationError: A value is below its minimum.
    """
    return [
        ThreadRotation() if max_turns is None else ThreadRotation(max_turns),
        ToolStepCeiling() if max_tool_call_steps is None else ToolStepCeiling(max_tool_call_steps),
        RepeatedCallBreaker(),
        TransientRetry() if max_transient_retries is None else TransientRetry(max_transient_retries + 1),
        VectorStoreReuse(),
        TokenCap(session=session_token_ceiling, run=DEFAULT_RUN_TOKENS),
    ]
