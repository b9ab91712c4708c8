"""What is done about each failure: one table, and the page of it. ``python -m assistantguard.failures`` prints it."""

from __future__ import annotations

from assistantguard.failures.rules import RULES, Facts, Phase, Rule, classify

__all__ = ["RULES", "Facts", "Phase", "Rule", "classify"]
