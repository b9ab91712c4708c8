"""What surrounds the engine, scripted: a clock, a driver in either colour, and a ledger that watches its caps.

Every await of the driver and the server is a numbered *point*, so that a test can raise an exception or cancel the task
at each of them in turn, or let another coroutine go on there. Nothing here does I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any, Literal, TypeVar, cast

from assistantguard import MemoryLedger, ToolCall, ToolOutput
from assistantguard._asyncio import AsyncioDriver
from assistantguard._blocking import BlockingDriver
from assistantguard.ledger import Claim, Entry, Hold
from assistantguard.policies import Metric
from assistantguard.telemetry.tracing import Around

__all__ = ["Colour", "ScriptedDriver", "Stage", "WatchingLedger", "switch"]

T = TypeVar("T")
Colour = Literal["blocking", "asyncio", "stepped"]
"""The two of the product, and one whose coroutines a test takes from point to point by hand."""


@types.coroutine
def switch() -> Generator[None, None, None]:
    """Let whoever takes the steps decide who goes on."""
    yield


class WatchingLedger(MemoryLedger):
    """A ledger that checks every cap after every change."""

    in_process = True

    def __init__(self) -> None:
        super().__init__()
        self.caps: dict[tuple[str, Metric], Decimal] = {}
        self.reserved: list[str] = []
        self.expired: dict[str, Hold] = {}
        """Holds whose own amounts stand on the books."""

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        hold = super().reserve(hold_id, claims, expires_at)
        self.reserved.append(hold_id)
        for claim in claims:
            if claim.limit is not None:
                self.caps[claim.account, claim.metric] = claim.limit
        self._watch()
        return hold

    def commit(self, hold_id: str, entry: Entry) -> None:
        super().commit(hold_id, entry)
        self.expired.pop(hold_id, None)
        self._watch()

    def correct(self, hold_id: str, entry: Entry) -> bool:
        done = super().correct(hold_id, entry)
        self.expired.pop(hold_id, None)
        self._watch()
        return done

    def expire(self, now: float) -> Sequence[Hold]:
        ended = super().expire(now)
        self.expired.update({hold.id: hold for hold in ended})
        self._watch()
        return ended

    def _watch(self) -> None:
        for (account, metric), limit in self.caps.items():
            balance = self.balance(account, metric)
            taken = balance.committed + balance.held
            if taken > limit:
                raise AssertionError(f"{account}: {balance} passes the cap of {limit} {metric}")


class Stage:
    """The clock, and the points at which something may strike."""

    def __init__(self, colour: Colour) -> None:
        self.colour = colour
        self.now = 1_000_000.0
        self.points: list[str] = []
        self.breaks: dict[int, BaseException] = {}
        self.down_from: int | None = None
        """From this point on, everything fails: the cleaning up too."""
        self.cancels: frozenset[int] = frozenset()
        self.cancelled = False
        self.task: asyncio.Task[Any] | None = None

    async def point(self, name: str, *, suspends: bool = True) -> None:
        """Raise, cancel, or let others run, as the test wants it here."""
        number = len(self.points)
        self.points.append(name)
        self.now += 0.001
        if self.colour == "asyncio":
            if number in self.cancels and self.task is not None and suspends:
                self.cancelled = self.task.cancel() or self.cancelled
            if suspends:
                await asyncio.sleep(0)
        elif self.colour == "stepped" and suspends:
            await switch()
        if number in self.breaks:
            raise self.breaks[number]
        if self.down_from is not None and number >= self.down_from:
            raise RuntimeError(f"{name} is down")


class ScriptedDriver:
    """`Driver` with a clock of its own; what protects is the real driver of the colour."""

    def __init__(self, stage: Stage, cleanup_timeout: float) -> None:
        nothing = cast("Any", None)
        self._stage = stage
        self._real = AsyncioDriver(nothing, cleanup_timeout) if stage.colour == "asyncio" else BlockingDriver(nothing)
        self.steps: list[tuple[str, ...]] = []
        """The call ids of every step that reached the tools."""

    def now(self) -> float:
        return self._stage.now

    async def sleep(self, seconds: float) -> None:
        await self._stage.point("sleep")
        if self._stage.colour == "stepped":
            until = self._stage.now + seconds
            while self._stage.now < until:
                await switch()
        else:
            self._stage.now += seconds

    async def blocking(self, work: Callable[[], T], *, at_once: bool) -> T:
        await self._stage.point("ledger", suspends=not at_once)
        result = work()
        await self._stage.point("ledger done", suspends=not at_once)
        return result

    async def protect(self, work: Coroutine[Any, Any, T]) -> T:
        if self._stage.colour == "stepped":
            return await _to_the_end(work)
        return await self._real.protect(work)

    def exclusive(self, key: str) -> AbstractAsyncContextManager[None]:
        return contextlib.nullcontext()

    async def call_tools(
        self, calls: Sequence[ToolCall], deadline: float | None, around: Around | None = None
    ) -> list[ToolOutput]:
        assert deadline is not None
        await self._stage.point("tools")
        self.steps.append(tuple(call.id for call in calls))
        await self._stage.point("tools done")
        return [ToolOutput(call.id, f"found {call.arguments['n']}") for call in calls]


async def _to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Take `work` to its end whatever cancels the caller."""
    cancelled: asyncio.CancelledError | None = None
    while True:
        try:
            work.send(None)
        except StopIteration as stop:
            if cancelled is not None:
                raise cancelled from None
            result: T = stop.value
            return result
        try:
            await switch()
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
