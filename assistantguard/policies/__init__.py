"""The policies, one small file each, and what is needed to write another.

Subclass `Policy`, override one checkpoint, return a decision with a reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.policies.base import (
    BudgetTerms,
    Cap,
    Decision,
    EmbedFiles,
    Limit,
    Metric,
    Policy,
    Refuse,
    Retry,
    Rotate,
    Stop,
    View,
    WrapUp,
)
from assistantguard.policies.caps import CostCap, TokenCap
from assistantguard.policies.ceiling import ToolStepCeiling
from assistantguard.policies.defaults import default_policies
from assistantguard.policies.repeated import RepeatedCallBreaker
from assistantguard.policies.retry import TransientRetry
from assistantguard.policies.rotation import ThreadRotation
from assistantguard.policies.ruling import PolicySet, Ruling, observe
from assistantguard.policies.vector_stores import VectorStoreReuse

if TYPE_CHECKING:
    from assistantguard.policies.budget import Budget
    from assistantguard.policies.pacing import Pace, Pacing
    from assistantguard.policies.reply_cache import ReplyCache
    from assistantguard.policies.route import Route
    from assistantguard.policies.routing import ModelRouting
    from assistantguard.policies.topics import TopicCheck, TopicJudge

__all__ = [
    "Budget",
    "BudgetTerms",
    "Cap",
    "CostCap",
    "Decision",
    "EmbedFiles",
    "Limit",
    "Metric",
    "ModelRouting",
    "Pace",
    "Pacing",
    "Policy",
    "PolicySet",
    "Refuse",
    "RepeatedCallBreaker",
    "ReplyCache",
    "Retry",
    "Rotate",
    "Route",
    "Ruling",
    "Stop",
    "ThreadRotation",
    "TokenCap",
    "ToolStepCeiling",
    "TopicCheck",
    "TopicJudge",
    "TransientRetry",
    "VectorStoreReuse",
    "View",
    "WrapUp",
    "default_policies",
    "observe",
]


def __getattr__(name: str) -> Any:
    """What not every guard has is imported when it is first used."""
    if name == "Budget":
        from assistantguard.policies.budget import Budget

        return Budget
    if name in {"Pace", "Pacing"}:
        from assistantguard.policies import pacing

        return getattr(pacing, name)
    if name == "ReplyCache":
        from assistantguard.policies.reply_cache import ReplyCache

        return ReplyCache
    if name in {"TopicCheck", "TopicJudge"}:
        from assistantguard.policies import topics

        return getattr(topics, name)
    if name == "Route":
        from assistantguard.policies.route import Route

        return Route
    if name == "ModelRouting":
        from assistantguard.policies.routing import ModelRouting

        return ModelRouting
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
