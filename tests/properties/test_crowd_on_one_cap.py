"""Several threads on one cap, taken from await to await in any order, while holds expire and the server tells late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator, Sequence
from typing import Any, cast

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tenacity import wait_fixed

from assistantguard import AssistantGuardError, ReplyReady, StreamEvent, ThreadState, TokenCap, TransientRetry
from assistantguard.policies.base import Counting
from tests.properties.acts import Act, Chore, Refusal, Vanish
from tests.properties.strategies import REFUSALS, acts, answers, manners
from tests.properties.world import Manner, World, check_story

Script = Sequence[Act | Refusal | Vanish]
_THREADS = 3
_MOST_ROUNDS = 5_000
_LOST = REFUSALS[-1]
_threads = st.integers(0, _THREADS - 1)
_many = st.integers(1, 5)
_scripts = st.one_of(st.lists(answers, max_size=3), st.lists(answers, max_size=3), acts.map(lambda script: script[:3]))
_countings: st.SearchStrategy[Counting] = st.sampled_from(["always", "always", "near", "never"])


class Turn:
    """One turn of a thread, taken from point to point."""

    def __init__(self, stream: AsyncGenerator[StreamEvent, None], *, in_pieces: bool) -> None:
        self._stream = stream
        self._awaited: Generator[Any, None, Any] | None = None
        self._closing = False
        self._in_pieces = in_pieces
        self.events: list[StreamEvent] = []
        self.ended = False

    @property
    def rests(self) -> bool:
        """Whether its reader has an event in hand, or none yet."""
        return self._awaited is None and not self.ended

    def step(self) -> None:
        """Go on to the next point."""
        if self._awaited is None:
            self._await(self._stream.__anext__())
        self._go_on(lambda awaited: awaited.send(None))

    def cancel(self) -> None:
        """Cancel it where it is; a stream that rests is closed."""
        if self._awaited is None:
            self.close()
        else:
            self._go_on(lambda awaited: awaited.throw(asyncio.CancelledError()))

    def close(self) -> None:
        """Close its stream, which rests."""
        self._closing = True
        self._await(self._stream.aclose())
        self.step()

    def _await(self, work: Awaitable[Any]) -> None:
        self._awaited = cast("Generator[Any, None, Any]", work.__await__())

    def _go_on(self, take: Any) -> None:
        try:
            take(self._awaited)
        except StopIteration as stop:
            self._awaited = None
            if self._closing:
                self.ended = True
            else:
                self.events.append(stop.value)
        except StopAsyncIteration:
            self.ended = True
            if self._in_pieces:
                check_story(self.events)
            assert isinstance(self.events[-1], ReplyReady)
        except (AssistantGuardError, asyncio.CancelledError) as error:
            note(f"ended: {error!r}")
            self.ended = True


class CrowdOnOneCap(RuleBasedStateMachine):
    """The three promises: no cap is passed, every hold ends, no usage is lost or counted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: dict[int, Turn] = {}

    @initialize(
        cap=st.sampled_from([2_500, 6_000, 20_000, 60_000, 120_000]),
        counting=_countings,
        manner=manners,
        density=st.sampled_from([0.05, 0.3, 1.0]),
        attempts=st.integers(1, 3),
        in_process=st.booleans(),
        script=_scripts,
    )
    def open_shop(
        self,
        cap: int,
        counting: Counting,
        manner: Manner,
        density: float,
        attempts: int,
        in_process: bool,
        script: Script,
    ) -> None:
        policies = [TransientRetry(attempts, wait=wait_fixed(0.5)), TokenCap(cap, counting=counting, wait=2.0)]
        self.cap = cap
        self.in_process = in_process
        self.world = World(policies=policies, colour="stepped", manner=manner, density=density, in_process=in_process)
        self.threads = [self.world.new_thread(f"thread_{number}") for number in range(_THREADS)]
        self.world.server.script(script)
        self.begin_all()

    def begin_all(self) -> None:
        for number in range(_THREADS):
            self.begin(number, [], in_pieces=number > 0, text="Hello?")

    @rule(number=_threads, script=_scripts, in_pieces=st.booleans(), text=st.sampled_from(["Hello?", "x" * 300]))
    def begin(self, number: int, script: Script, in_pieces: bool, text: str) -> None:
        if number not in self.turns:
            self.world.server.script(script)
            stream = self.world.engine.stream(self.threads[number], text, in_pieces=in_pieces)
            self.turns[number] = Turn(stream, in_pieces=in_pieces)

    @precondition(lambda self: self.turns)
    @rule(number=_threads, times=st.sampled_from([1, 2, 3, 5, 8, 20]))
    def go_on(self, number: int, times: int) -> None:
        for _ in range(times):
            turn = self.turns.get(number)
            if turn is not None:
                turn.step()
                self._forget_ended()

    @precondition(lambda self: self.turns)
    @rule(times=st.sampled_from([2, 5, 10, 20]))
    def go_on_side_by_side(self, times: int) -> None:
        for _ in range(times):
            for turn in [*self.turns.values()]:
                turn.step()
            self._forget_ended()

    @precondition(lambda self: self.turns)
    @rule(number=_threads, closes=st.booleans())
    def end_early(self, number: int, closes: bool) -> None:
        """Cancel a turn, or close its stream where its reader has an event in hand."""
        turn = self.turns.get(number)
        if turn is not None and closes and turn.rests:
            turn.close()
        elif turn is not None:
            turn.cancel()
        self._forget_ended()

    @rule(what=st.sampled_from(["time", "time", "expiry", "lost call", "lost answer", "told", "work"]), many=_many)
    def meanwhile(self, what: str, many: int) -> None:
        """Something happens outside."""
        server = self.world.server
        if what == "time":
            self.world.stage.now += many**4  # up to where runs end, and then holds
        elif what == "expiry":
            self.world.ledger.expire(self.world.stage.now)
        elif what == "lost call":
            server.script_chores([Chore(_LOST, done=many > 1)])
        elif what == "lost answer":
            server.script([Act(lost=True) if many > 1 else Refusal(_LOST)])
        elif what == "told":
            server.jobs.tell_all()
        else:
            for _ in range(many):
                server.jobs.tick()

    @invariant()
    def no_cap_is_passed(self) -> None:
        if hasattr(self, "world"):
            balance = self.world.ledger.balance("session:s", "tokens")
            assert balance.committed + balance.held <= self.cap
            assert sum(billed.usage.total_tokens for billed in self.world.server.bill) <= self.cap
            assert len(self.world.ledger.open_holds()) <= len(self.turns)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self._finish()
        self.world.check_books(interrupted=not self.in_process)
        self.world.server.recover()
        for number, thread in enumerate(self.threads):
            self.turns[number] = Turn(self._healing(thread), in_pieces=False)
        self._finish()
        self.world.check_books(interrupted=not self.in_process)
        for thread in self.threads:
            if thread.generation_id in self.world.server.shelf.conversations:
                assert self.world.server.open_calls(str(thread.generation_id)) == []
            late = {entry.response_id for entry in thread.late if entry.booked.estimated}
            assert not late & {billed.response_id for billed in self.world.server.bill if billed.told}

    async def _healing(self, thread: ThreadState) -> AsyncGenerator[StreamEvent, None]:
        await self.world.engine.upkeep.heal(thread)
        yield ReplyReady(cast("Any", None))

    def _finish(self) -> None:
        """Take every turn to its end."""
        for _ in range(_MOST_ROUNDS):
            if not self.turns:
                return
            for turn in [*self.turns.values()]:
                turn.step()
            self._forget_ended()
            self.world.stage.now += 1.0
        raise AssertionError("a turn does not end")

    def _forget_ended(self) -> None:
        self.turns = {number: turn for number, turn in self.turns.items() if not turn.ended}


TestCrowdOnOneCap = CrowdOnOneCap.TestCase
