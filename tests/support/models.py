"""Scripted models and tools that several tests share."""

from __future__ import annotations

import re
import threading
from collections import Counter

from assistantguard.sandbox import FunctionCall, ModelRequest

__all__ = ["Lookups", "order_desk"]


def order_desk(request: ModelRequest) -> str | FunctionCall:
    """Look the order up that the user asks for, then answer. It keeps no state, so faults cannot confuse it."""
    order = re.search(r"order (\w+)", request.last_user_text)
    answered = request.items[-1]["type"] == "function_call_output"
    if order and not answered and request.may_call_tools:
        return FunctionCall("lookup", {"order": order[1]})
    return f"Done: {request.last_user_text}"


class Lookups:
    """A tool that counts how often each order was looked up."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def lookup(self, order: str) -> str:
        """Find an order."""
        with self._lock:
            self.counts[order] += 1
        return f"order {order} was sent"
