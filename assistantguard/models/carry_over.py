"""TEMPORARY."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from assistantguard.carryover.settings import CarryOver
from assistantguard.models.items import Item

__all__ = ["CarryOver", "CarryOverFunction"]

CarryOverFunction = Callable[[Sequence[Item]], Sequence[Item]]
"""A user's own carry-over: the old generation's items, oldest first, to the messages that the new one starts with."""
