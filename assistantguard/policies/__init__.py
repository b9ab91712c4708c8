"""The policies, one small file each, and what is needed to write another.

Subclass `Policy`, override one checkpoint, return a decision with a reason.
"""

from __future__ import annotations

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
from assistantguard.policies.budget import Budget
from assistantguard.policies.caps import CostCap, TokenCap
from assistantguard.policies.ceiling import ToolStepCeiling
from assistantguard.policies.defaults import default_policies
from assistantguard.policies.repeated import RepeatedCallBreaker
from assistantguard.policies.retry import TransientRetry
from assistantguard.policies.rotation import ThreadRotation
from assistantguard.policies.ruling import PolicySet, Ruling, observe
from assistantguard.policies.topics import TopicCheck, TopicJudge
from assistantguard.policies.vector_stores import VectorStoreReuse

__all__ = [
    "Budget",
    "BudgetTerms",
    "Cap",
    "CostCap",
    "Decision",
    "EmbedFiles",
    "Limit",
    "Metric",
    "Policy",
    "PolicySet",
    "Refuse",
    "RepeatedCallBreaker",
    "Retry",
    "Rotate",
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
