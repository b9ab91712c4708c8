"""Scripted models and tools that several tests share."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator

from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox

__all__ = ["Lookups", "SlowModel", "order_desk"]


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


class SlowModel:
    """An order desk that answers what begins with "Slowly" only when it is let go."""

    longest = 10.0
    """Seconds after which it answers all the same."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.release = threading.Event()

    def __call__(self, request: ModelRequest) -> str | FunctionCall:
        if request.last_user_text.startswith("Slowly"):
            self.asked.set()
            self.release.wait(self.longest)
        return order_desk(request)

    @contextlib.contextmanager
    def released_after(self) -> Iterator[None]:
        """Let it go at the end, whatever happens."""
        try:
            yield
        finally:
            self.release.set()

    def wait_until_answered(self, sandbox: Sandbox, answers: int = 1) -> None:
        """Wait until so many answers are on the bill, whether or not anyone still listens."""
        until = time.monotonic() + self.longest
        while sandbox.billing.requests < answers:
            assert time.monotonic() < until, "the sandbox never answered"
            time.sleep(0.005)
