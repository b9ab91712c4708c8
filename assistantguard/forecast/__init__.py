"""What traffic will cost: from the books' own history, or from assumptions; and how much of it fits through at once."""

from __future__ import annotations

from assistantguard.forecast.thread_cost import (
    CallShape,
    PromptCaching,
    RunCost,
    RunShape,
    ThreadCost,
    ThreadMeter,
    ThreadTerms,
    thread_cost,
)

__all__ = [
    "CallShape",
    "PromptCaching",
    "RunCost",
    "RunShape",
    "ThreadCost",
    "ThreadMeter",
    "ThreadTerms",
    "thread_cost",
]
