"""Scripted models and tools that several tests share."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from assistantguard import AssistantGuardError
from assistantguard.sandbox import FunctionCall, ModelRequest, Sandbox
from tests.support.world import Bot, Thread

__all__ = ["Lookups", "SlowModel", "order_desk", "while_slow"]


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

    longest = 60.0
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


def while_slow(bot: Bot, slow: SlowModel, first: Thread, second: Thread) -> list[Any]:
    """A slow chat on one thread, and while the model works on it one on another; then let the model go."""
    if bot.world.is_async:

        async def both() -> list[Any]:
            one: Any = asyncio.ensure_future(first.chat("Slowly: one"))  # type: ignore[arg-type]
            await asyncio.to_thread(slow.asked.wait, 60)
            (two,) = await asyncio.gather(second.chat("Quickly: two"), return_exceptions=True)  # type: ignore[arg-type]
            slow.release.set()
            return [await one, two]

        return list(bot.world.wait(both()))
    results: list[Any] = []
    one = threading.Thread(target=lambda: results.append(first.chat("Slowly: one")))
    one.start()
    slow.asked.wait(60)
    two: Any
    try:
        two = second.chat("Quickly: two")
    except AssistantGuardError as error:
        two = error
    slow.release.set()
    one.join(60)
    return [results[0], two]
