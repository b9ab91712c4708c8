"""The story of a turn, top to bottom.

A run advances through four transitions, each callable on its own with nothing but the thread's and the run's plain
state: **start** (policies, rotation, what the first request carries), **advance** (reserve, send, learn the outcome,
settle, decide what follows), **submit** (tool outputs), **abandon** (settle what is open, heal the thread).

`Engine.turn` drives them for one message. Whatever ends it, the books are settled and the thread takes the next
message: that is `abandon`, which runs to its end however often it is interrupted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from assistantguard.engine.admission import Admission
from assistantguard.engine.asking import Asking
from assistantguard.engine.attempts import Attempts
from assistantguard.engine.books import Books
from assistantguard.engine.exchanges import Earlier, Exchanges, take_in
from assistantguard.engine.failing import ending, leaves_doubt, note, stopped
from assistantguard.engine.files import Files
from assistantguard.engine.input import Message, message_text, model_request, new_run, output_item, user_text
from assistantguard.engine.modes import Modes
from assistantguard.engine.pacing import Pacer
from assistantguard.engine.ports import AnswerTaken, ModelAnswer
from assistantguard.engine.recovery import NOT_RUN, Recovery
from assistantguard.engine.rotation import Rotation, has_outgrown
from assistantguard.engine.steady import Steady
from assistantguard.engine.telling import Telling
from assistantguard.engine.upkeep import LATE_TIMEOUT, Upkeep
from assistantguard.errors import (
    AssistantGuardError,
    BudgetExceeded,
    LeaseLost,
    OutcomeUnknown,
    RunFailed,
    RunIncomplete,
    RunStopped,
    RunTimedOut,
)
from assistantguard.models import (
    TERMINAL_STATUSES,
    AttemptFailed,
    Reply,
    ReplyReady,
    RunState,
    StreamEvent,
    TextDelta,
    ThreadState,
    ToolCall,
    ToolCallRequested,
    ToolCallSettled,
    ToolOutput,
)
from assistantguard.policies import Rotate, Stop, WrapUp
from assistantguard.policies.repeated import note_calls, note_errors

if TYPE_CHECKING:
    from assistantguard.engine.cached import Cached
    from assistantguard.engine.exchange import Exchange, Outcome
    from assistantguard.engine.ports import Backend, Driver
    from assistantguard.engine.routing import Routing
    from assistantguard.engine.session import Session

__all__ = ["Engine"]


class Engine:
    """Drives runs through their transitions. One engine serves all threads of a guard."""

    def __init__(self, session: Session, driver: Driver, backend: Backend) -> None:
        self.backend = backend
        self.session = session
        self.driver = driver
        self._asking = Asking(session, driver)
        self._telling = Telling(session, driver)
        self._steady = Steady(session, driver, backend, self._asking)
        pacer = Pacer(session, driver)
        self._books = Books(session, driver, backend, pacer)
        admission = Admission(session, driver, backend, self._asking, pacer)
        self._exchanges = Exchanges(
            driver, backend, self._asking, admission, self._books, Modes(session), session.run_timeout
        )
        self._rotation = Rotation(self._exchanges, self._steady)
        self.files = Files(self._asking, self._steady)
        self._recovery = Recovery(self._steady, self._rotation, self.files)
        self.upkeep = Upkeep(self._steady, self._books, self._recovery, self.files, self._exchanges)
        self._routing: Routing | None = None
        if session.policies.asks("route"):
            from assistantguard.engine.routing import Routing

            self._routing = Routing(session, driver, self._asking)
        self._attempts = Attempts(session, driver, self._asking, self._recovery, self._routing)
        self.cached: Cached | None = None
        if any(policy.keeps_replies for policy in session.policies.policies):
            from assistantguard.engine.cached import Cached

            self.cached = Cached(self._asking, self._steady, self._rotation, admission)

    async def turn(self, thread: ThreadState, message: Message, deadline: float | None = None) -> Reply:
        """Answer one message. The caller sees to it that a thread has one turn at a time.

        Args:
            thread: Whose turn it is.
            message: The user's message.
            deadline: Unix time at which the turn must have ended; None leaves the run's own limit.
        """
        async with aclosing(self.stream(thread, message, deadline, in_pieces=False)) as events:
            async for event in events:
                if isinstance(event, ReplyReady):
                    return event.reply
        raise AssertionError("a turn ended without a reply or an error")

    def stream(
        self,
        thread: ThreadState,
        message: Message,
        deadline: float | None = None,
        *,
        in_pieces: bool = True,
        key: str | None = None,
        begun: RunState | None = None,
        parks: bool = False,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Answer one message and tell what happens; see `turn`.

        Args:
            thread: As for `turn`.
            message: As for `turn`.
            deadline: As for `turn`.
            in_pieces: Whether the server is asked for text as it arises.
            key: The caller's name for the turn.
            begun: The run to use, with its input: one that was made for this turn, or that is to be gone on with.
            parks: Whether tools are the caller's: a run that asks for some is saved, and the stream ends without a
                reply. `submit` and another stream go on with it, in this process or another. Each answer of the model
                is told, too.
        """
        run = new_run(thread, self.session, message, self.driver.now(), deadline)
        run.key = key
        if begun is not None:
            begun.deadline, run = run.deadline, begun
        in_pieces = in_pieces or self.session.policies.asks("on_progress")
        events = self._events(thread, run, message, in_pieces=in_pieces, parks=parks)
        tracing = self.session.tracing
        if tracing is None:
            return events
        from assistantguard.engine.traced import traced

        return traced(self.session, tracing, thread, run, events)

    async def _events(
        self, thread: ThreadState, run: RunState, message: Message, *, in_pieces: bool, parks: bool
    ) -> AsyncGenerator[StreamEvent, None]:
        tracing = self.session.tracing
        around = None if tracing is None else tracing.tools(run)
        goes_on = run.announced
        try:
            if not goes_on:
                await self.start(thread, run, message)
            if self.cached is not None and not (parks and goes_on) and await self.cached.answer(thread, run):
                self.finish(thread, run, None)
            while run.status not in TERMINAL_STATUSES:
                if run.status == "requires_action":
                    if parks:
                        if self.cached is not None:
                            await self.cached.leave(run)
                        await self._books.save(thread, run, last=True)
                        return
                    for call in run.tool_calls:
                        yield ToolCallRequested(call)
                    outputs = await self.driver.call_tools(run.tool_calls, run.deadline, around)
                    await self.submit(thread, run, outputs)
                    for output in outputs:
                        yield ToolCallSettled(output)
                    continue
                exchange = await self.send(thread, run, in_pieces=in_pieces)
                while (text := await exchange.next()) is not None:
                    yield TextDelta(text, run.steps + run.wrapping_up)
                attempt = run.attempt
                await self.conclude(thread, run, exchange.outcome)
                outcome = exchange.outcome
                if self.cached is not None:
                    self.cached.saw(run, outcome)
                if parks and outcome is not None and outcome.answer is not None and outcome.failure is None:
                    yield AnswerTaken(outcome.answer)
                failure = outcome.failure if outcome is not None else None
                if failure is not None and run.status == "queued":
                    wait = max(0.0, (run.retry_at or 0.0) - self.driver.now())
                    yield AttemptFailed(attempt, failure.kind, failure.code, wait, exchange.shown_characters)
        except BaseException as cause:
            try:
                await self.driver.protect(self.abandon(thread, run, cause))
            except TimeoutError:
                note(cause, f"cleaning up after the run {run.id} took too long, the thread's next turn goes on with it")
            raise
        run.answer_item_id = thread.last_item_id
        keep = None if self.cached is None else self.cached.conclude(thread, run)
        try:
            await self._books.save(thread, run, last=True)
        except BaseException:
            if keep is not None:
                await self.driver.protect(keep())
            raise
        if keep is not None:
            await keep()
        if run.cached:
            yield TextDelta(run.text, 0)
        yield ReplyReady(Reply(run.text, run.usage, run.cost, run, thread.id, cached=run.cached))

    async def adopt(self, thread: ThreadState, run: RunState, *, go_on: bool = False, parks: bool = False) -> None:
        """Go on for a process that died: settle the run that it had in flight, and make the thread usable.

        An answer that had been given is taken in, and the run is completed; else the run is cancelled. Tools that it
        asked for do not run: it is not known whether they did. Nothing that was billed is forgotten.

        With `go_on`, a run that has come beyond its message is queued instead, to be gone on with by `stream`. With
        `parks`, tools that it asked for are the caller's to run: it requires action.
        """
        from assistantguard.engine.adoption import Adoption

        await self.driver.protect(Adoption(self, self._exchanges).adopt(thread, run, go_on=go_on, parks=parks))

    async def text_of(self, thread: ThreadState, run: RunState) -> str | None:
        """What a completed run said, asked of the server; None where it has it no more."""
        from assistantguard.engine.adoption import Adoption

        return run.text or await Adoption(self, self._exchanges).text_of(thread, run)

    async def start(self, thread: ThreadState, run: RunState, message: Message) -> None:
        """Ask the policies, rotate or heal the thread, and queue the first request.

        Raises:
            Refused: A policy does not allow the turn.
            RunFailed: The thread could not be made ready.
        """
        session, now = self.session, self.driver.now()
        if not session.prices.loaded:
            await self.driver.blocking(session.prices.load, at_once=False)
        routed = None if self._routing is None else await self._routing.choose(thread, run, message_text(message))
        self._telling.started(thread, run)
        if routed is not None:
            session.emit(routed)
        ruling = self._asking.rule("before_turn", self._asking.view(thread, run, message_text(message), run.model))
        thread.last_used_at = now
        if thread.generation_id is None:
            if self.cached is None:  # else it may begin with the reply
                await self._rotation.begin(thread, run)
        else:
            if thread.at_work is not None:
                await self.upkeep.leave_or_end(thread, run)
            if thread.late:
                await self._books.ask_late(thread, min(LATE_TIMEOUT, self._exchanges.time_left(run) / 5))
            if thread.suspect:
                await self._recovery.heal_or_leave(
                    thread, run, "a former run's outcome was not learned", whole=thread.adopted
                )
                if thread.adopted:  # what it holds is known only now
                    view = self._asking.view(thread, run, message_text(message), run.model)
                    ruling = self._asking.rule("before_turn", view)
            elif thread.strays:
                await self._recovery.remove_strays(thread, run, thread.last_item_id)
                thread.strays = []
            if isinstance(ruling.decision, Rotate):
                await self._recovery.rotate(thread, run, ruling.decision, ruling.policy)
        await self.files.keep_alive(thread, run)

    async def advance(self, thread: ThreadState, run: RunState) -> None:
        """Make the next request of a queued run, settle it, and decide what follows.

        Afterwards the run is terminal, or requires tool outputs, or is queued for another attempt.

        Raises:
            Refused: A cap or a policy does not allow the request.
            RunStopped: A policy, or the deadline, ended the run.
            RunFailed: The server ended it.
        """
        exchange = await self.send(thread, run)
        await self.conclude(thread, run, await exchange.drain())

    async def send(self, thread: ThreadState, run: RunState, *, in_pieces: bool = False) -> Exchange | Earlier:
        """The first half of `advance`: admit the next request of a queued run. It is sent when it is asked for text.

        Raises:
            Refused: A cap or a policy does not allow the request.
            RunTimedOut: The run's deadline has passed.
            RunFailed: What an earlier attempt left behind could not be cleared up.
        """
        if thread.generation_id is None:
            await self._rotation.begin(thread, run)
        if run.retry_at is not None:
            await self.driver.sleep(max(0.0, run.retry_at - self.driver.now()))
            run.retry_at = None
        request = model_request(thread, run, self.session)
        if run.doubtful:
            outcome = await self._exchanges.adopt(thread, run, request)
            if outcome is not None:
                run.doubtful, run.status = [], "in_progress"
                return Earlier(outcome)
            await self._recovery.repair(thread, run, run.doubtful, "an attempt's outcome was not learned")
        run.status = "in_progress"
        try:
            return await self._exchanges.begin(thread, run, request, user_text(run), streamed=in_pieces)
        except BudgetExceeded as error:
            if not (has_outgrown(thread, run, error) and self.session.policies.may_rotate):
                raise
            reason = Rotate("the context alone does not fit the run's cap")
            await self._recovery.rotate(thread, run, reason, error.policy or "TokenCap")
        request = model_request(thread, run, self.session)
        return await self._exchanges.begin(thread, run, request, user_text(run), streamed=in_pieces)

    async def conclude(self, thread: ThreadState, run: RunState, outcome: Outcome | None) -> None:
        """The second half of `advance`: decide what follows from a request that is settled."""
        assert outcome is not None
        if outcome.failure is not None:
            await self._attempts.after_failure(thread, run, outcome, outcome.failure)
            return
        answer = outcome.answer
        assert answer is not None
        settled, seed_items, sent = thread.last_item_id, thread.seed_items, len(thread.backlog) + len(run.input)
        thread.strays += run.doubtful
        take_in(thread, run, answer, outcome)
        if thread.strays:
            own = sent + answer.output_items
            await self._recovery.remove_strays(thread, run, settled, own=own, seed_items=seed_items)
        if answer.status == "incomplete":
            await self._after_incomplete(thread, run, answer)
        elif answer.tool_calls:
            await self._after_tool_calls(thread, run, answer.tool_calls)
        else:
            run.status = "completed"
            self.finish(thread, run, None)

    async def submit(self, thread: ThreadState, run: RunState, outputs: Sequence[ToolOutput]) -> None:
        """Queue the outputs of all pending tool calls as the run's next request."""
        self._telling.tools_settled(thread, run, outputs)
        note_errors(run, outputs)
        self._queue_outputs(run, outputs)

    async def abandon(self, thread: ThreadState, run: RunState, cause: BaseException) -> None:
        """End a run that did not complete: settle its hold, answer its calls, heal the thread, tell the world.

        A failure in here becomes a note on `cause`, and leaves the thread marked so that the next turn heals it.
        """
        if self.cached is not None:
            await self.cached.give_up(thread, run, cause)
        if run.status in TERMINAL_STATUSES:
            return
        unsure = run.hold_id is not None or bool(run.doubtful) or isinstance(cause, (OutcomeUnknown, RunTimedOut))
        if run.status == "in_progress" and not isinstance(cause, AssistantGuardError):
            unsure = True
        run.status, policy = ending(cause)
        run.last_error = type(cause).__name__
        if isinstance(cause, AssistantGuardError):
            cause.run, cause.thread_id = run, thread.id
        if unsure or (isinstance(cause, RunFailed) and leaves_doubt(cause)):
            thread.suspect = thread.generation_id is not None
        try:
            await self._settle_and_heal(thread, run, cause, unsure=unsure)
        finally:
            if policy is not None:
                self._telling.cancelled(thread, run, policy, type(cause).__name__)
            self.finish(thread, run, type(cause).__name__)
            try:
                await self.save(thread, run)
            except Exception as error:  # noqa: BLE001 - it must not replace the cause
                note(
                    cause,
                    f"the thread {thread.id} could not be saved, its next turn finds the run unfinished: {error!r}",
                )

    async def _settle_and_heal(self, thread: ThreadState, run: RunState, cause: BaseException, *, unsure: bool) -> None:
        until = self.driver.now() + self.session.cleanup_timeout
        try:
            await self._exchanges.abandon(thread, run, until)
        except Exception as error:  # noqa: BLE001 - it must not replace the cause
            note(cause, f"settling the run {run.id} failed, its hold will expire: {error!r}")
        if thread.generation_id is None or isinstance(cause, LeaseLost):
            return
        try:
            await self._recovery.leave_usable(thread, run, until, unsure=unsure)
        except BaseException as error:
            thread.suspect = True
            if not isinstance(error, Exception):
                raise
            note(cause, f"healing the thread {thread.id} failed, its next turn tries again: {error!r}")

    async def _after_tool_calls(self, thread: ThreadState, run: RunState, calls: Sequence[ToolCall]) -> None:
        """The model asks for tools: step N runs, step N + 1 does not."""
        run.tool_calls = tuple(calls)
        if run.wrapping_up:
            raise stopped(RunStopped, "wrap_up", "the model asked for tools after it was told to answer without")
        view = replace(self._asking.view(thread, run, "", run.model), calls=run.tool_calls)
        ruling = self._asking.rule("on_step", view)
        if isinstance(ruling.decision, Stop):
            raise stopped(ruling.decision.error, ruling.policy, ruling.decision.reason)
        self._telling.step(thread, run, calls)
        if isinstance(ruling.decision, WrapUp):
            run.wrapping_up = True
            self._queue_outputs(run, [ToolOutput(call.id, NOT_RUN, failed=True) for call in calls])
            return
        run.steps += 1
        run.calls += len(calls)
        note_calls(run, calls)
        run.status = "requires_action"

    async def _after_incomplete(self, thread: ThreadState, run: RunState, answer: ModelAnswer) -> None:
        """The answer was cut short: what it said counts, what it asked for does not run."""
        run.incomplete_reason = answer.incomplete_reason
        run.tool_calls = ()
        await self._recovery.repair(thread, run, [], "the answer was cut short")
        if not answer.text:
            raise RunIncomplete(
                f"the answer was cut before it said anything ({answer.incomplete_reason or 'no reason given'}): allow"
                " more output with Assistant(max_output_tokens=…), or a larger cap"
            )
        run.status = "incomplete"
        self.finish(thread, run, None)

    def _queue_outputs(self, run: RunState, outputs: Sequence[ToolOutput]) -> None:
        run.input = [output_item(output) for output in outputs]
        run.tool_calls = ()
        run.status = "queued"

    async def save(self, thread: ThreadState, run: RunState) -> None:
        """Keep what a thread and its run have become. See `Books.save`."""
        await self._books.save(thread, run)

    def finish(self, thread: ThreadState, run: RunState, error: str | None) -> None:
        """The run has ended: count the turn and tell the world."""
        run.finished_at = self.driver.now()
        self._books.close(run)
        if run.answers:
            thread.turns += 1
            thread.generation_turns += 1
        self._telling.settled(thread, run, error)
