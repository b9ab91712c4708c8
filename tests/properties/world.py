"""An engine on a scripted stage, and what must be true of its books whatever happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hypothesis import currently_in_test_context, note

from assistantguard import (
    Assistant,
    AttemptFailed,
    Policy,
    Price,
    PriceBook,
    Reply,
    ReplyReady,
    StreamEvent,
    TextDelta,
    ThreadState,
    Usage,
)
from assistantguard._blocking import block_on
from assistantguard.engine import Engine, Session
from assistantguard.events import Event, RequestSettled, RunSettled, RunStarted, UsageCorrected
from assistantguard.policies import PolicySet
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.server import ScriptedServer
from tests.properties.shelf import TOOLS
from tests.properties.stage import Colour, ScriptedDriver, Stage, WatchingLedger

__all__ = ["MODEL", "PLAIN", "Manner", "World", "check_story"]

T = TypeVar("T")
MODEL = "scripted-model"
"""A name with no known encoding, so that the engine may rely on nothing but the bound of UTF-8 bytes."""
PRICE = Price(input="1", output="4")


@dataclass(frozen=True)
class Manner:
    """How requests are made, and how their answers are read."""

    streamed: bool = False
    background: bool | None = None
    long: bool = False
    """Whether the assistant thinks hard, so that background mode is chosen where that is left open."""
    backgrounds: bool = True
    """Whether the server has background mode."""


PLAIN = Manner()


@dataclass
class World:
    """An engine on a scripted stage."""

    acts: Sequence[Act | Refusal | Vanish] = ()
    chores: Sequence[Chore | None] = ()
    policies: Sequence[Policy] = ()
    colour: Colour = "blocking"
    density: float = 0.3
    obedient: bool = True
    counts: bool = True
    in_process: bool = True
    run_timeout: float = 300.0
    manner: Manner = PLAIN
    prices: Mapping[str, Price] = field(default_factory=lambda: {MODEL: PRICE})
    events: list[Event] = field(default_factory=list)
    ledger: WatchingLedger = field(default_factory=WatchingLedger)

    def __post_init__(self) -> None:
        for policy in self.policies if currently_in_test_context() else ():
            note(f"{policy.name} {vars(policy)}")
        self.stage = Stage(self.colour)
        self.raised: BaseException | None = None
        """What came out of the last turn. (Before Python 3.11 a task hands on another CancelledError than it got.)"""
        self.server = ScriptedServer(
            self.stage,
            self.acts,
            self.chores,
            density=self.density,
            obedient=self.obedient,
            counts=self.counts,
            backgrounds=self.manner.backgrounds,
        )
        self.ledger.in_process = self.in_process
        prices = PriceBook(self.prices)
        prices.load()
        session = Session(
            "s",
            Assistant(model=MODEL, instructions="You answer.", reasoning_effort="high" if self.manner.long else None),
            TOOLS,
            json.dumps(TOOLS),
            PolicySet(self.policies),
            prices,
            self.ledger,
            self.events.append,
            self.run_timeout,
            background=self.manner.background,
        )
        self.driver = ScriptedDriver(self.stage, session.cleanup_timeout)
        self.engine = Engine(session, self.driver, self.server)
        self.thread = self.new_thread("thread_1")

    def new_thread(self, thread_id: str) -> ThreadState:
        """A conversation that begins."""
        return ThreadState(thread_id, created_at=self.stage.now, last_used_at=self.stage.now)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end in this world's colour."""
        self.raised = None
        if self.colour == "blocking":
            try:
                return block_on(work)
            except BaseException as error:
                self.raised = error
                raise

        async def main() -> T:
            self.stage.task = asyncio.current_task()
            try:
                return await work
            except BaseException as error:
                self.raised = error
                raise

        return asyncio.run(main())

    def chat(self, message: str) -> Reply:
        """One turn on the first thread."""
        return self.run(self.answer(self.thread, message))

    async def answer(self, thread: ThreadState, message: str) -> Reply:
        """One turn in this world's manner; a streamed one tells the reply's text on its way."""
        if not self.manner.streamed:
            return await self.engine.turn(thread, message)
        async with aclosing(self.engine.stream(thread, message)) as stream:
            return check_story([event async for event in stream])

    def leave(self, message: str, after: int) -> None:
        """A streamed turn on the first thread that is left after so many events."""

        async def read() -> None:
            async with aclosing(self.engine.stream(self.thread, message)) as stream:
                left = after
                async for _ in stream:
                    left -= 1
                    if left < 0:
                        return

        self.run(read())

    def check_recovery(self) -> None:
        """The books are right after something struck, and the next turn is answered on a thread that is whole."""
        self.check_books(interrupted=True)
        self.stage.breaks.clear()
        self.stage.cancels = frozenset()
        self.server.recover()
        assert self.chat("After.").text == "done"
        generation = self.thread.generation_id
        assert generation is not None
        assert self.server.open_calls(generation) == []
        assert self.server.user_texts(generation)[-1] == "After."
        if self.thread.turns == 2:
            assert "Now." not in self.server.user_texts(generation), "half a turn was left behind"
        self.check_books(interrupted=True)

    def check_books(self, *, interrupted: bool = False) -> None:
        """Every hold has ended, every run that began was settled once, and all that was billed is booked once.

        Args:
            interrupted: Whether something struck while the books were being kept, so that a bill that was known may
                stand there as its estimate.
        """
        assert self.ledger.open_holds() == ()
        started = [event.run_id for event in self.events if isinstance(event, RunStarted)]
        settled = [event.run_id for event in self.events if isinstance(event, RunSettled)]
        assert sorted(settled) == sorted(started)
        entries = list(self.ledger.entries())
        known = {entry.response_id: entry for entry in entries if entry.response_id is not None}
        nameless = [entry for entry in entries if entry.response_id is None]
        assert len(known) + len(nameless) == len(entries)
        unmatched = 0
        for billed in self.server.bill:
            entry = known.get(billed.response_id)
            if entry is None:
                unmatched += 1
                continue
            assert entry.usage.total_tokens >= billed.usage.total_tokens
            if entry.usage.estimated:
                assert interrupted or not billed.told, f"{billed.response_id} was told and stands as an estimate"
                assert entry.usage.estimated_tokens == entry.usage.total_tokens > 0
            else:
                assert entry.usage == billed.usage
        expired = list(self.ledger.expired.values())
        assert unmatched <= len(nameless) + len(expired)
        assert all(entry.usage.estimated_tokens == entry.usage.total_tokens > 0 for entry in nameless)
        booked = sum((entry.usage for entry in entries), Usage())
        uncorrected = sum(
            int(claim.amount)
            for hold in expired
            for claim in hold.claims
            if (claim.account, claim.metric) == ("session:s", "tokens")
        )
        spent = self.ledger.balance("session:s", "tokens").committed
        assert spent == booked.total_tokens + uncorrected
        assert spent >= sum(billed.usage.total_tokens for billed in self.server.bill)
        if not interrupted:
            told = [event.usage for event in self.events if isinstance(event, RequestSettled)]
            corrected = [event for event in self.events if isinstance(event, UsageCorrected)]
            assert sum((event.usage - event.before for event in corrected), sum(told, Usage())) == booked
            of_runs = sum((event.usage for event in self.events if isinstance(event, RunSettled)), Usage())
            ended: set[str] = set()
            for event in self.events:
                if isinstance(event, RunSettled):
                    ended.add(event.run_id)
                elif isinstance(event, UsageCorrected) and event.run_id in ended:
                    of_runs += event.usage - event.before
            assert of_runs == booked


def check_story(events: Sequence[StreamEvent]) -> Reply:
    """The reply at the end of a stream, whose text was told on the way."""
    told: dict[int, str] = {}
    for event in events:
        if isinstance(event, TextDelta):
            told[event.step] = told.get(event.step, "") + event.text
        elif isinstance(event, AttemptFailed) and event.discarded_characters:
            assert len(told.popitem()[1]) == event.discarded_characters
    last = events[-1]
    assert isinstance(last, ReplyReady)
    assert not any(isinstance(event, ReplyReady) for event in events[:-1])
    assert (list(told.values()) or [""])[-1] == last.reply.text
    return last.reply
