"""Rates: how much was sent in the last minute, who may send next, and where processes agree on it."""

from __future__ import annotations

from assistantguard.pacing.lane import Lane
from assistantguard.pacing.lanes import Lanes, lanes_beside
from assistantguard.pacing.terms import Ask, Limits, NoRoom, Permit

__all__ = ["Ask", "Lane", "Lanes", "Limits", "NoRoom", "Permit", "lanes_beside"]
