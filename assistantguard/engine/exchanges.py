"""Beginning exchanges with the server, ending those that are abandoned, and taking in what was accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.engine.admission import Expectation
from assistantguard.engine.books import Books, Purpose, Sent, context_bound, usage_of
from assistantguard.engine.exchange import OPEN_STATUSES, Exchange, ExchangeTools, Outcome
from assistantguard.engine.modes import Mode, Modes
from assistantguard.engine.ports import ModelRequest
from assistantguard.model_limits import largest_output
from assistantguard.models import RunState, ThreadState
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Backend, Driver, ModelAnswer

__all__ = ["Earlier", "Exchanges", "take_in"]


class Earlier:
    """An exchange that an earlier attempt made: there is nothing to send."""

    shown_characters = 0

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._text = "" if outcome.answer is None else outcome.answer.text

    async def next(self) -> str | None:
        """The answer's text at once, then None."""
        text, self._text = self._text, ""
        return text or None

    async def drain(self) -> Outcome:
        """What came of it."""
        return self.outcome


class Exchanges:
    """Begins exchanges, and ends those that are abandoned."""

    def __init__(
        self,
        driver: Driver,
        backend: Backend,
        asking: Asking,
        admission: Admission,
        books: Books,
        modes: Modes,
        run_timeout: float,
    ) -> None:
        self._tools = ExchangeTools(driver, backend, asking, admission, books, modes, run_timeout)
        self._open: dict[str, Exchange] = {}

    async def begin(
        self,
        thread: ThreadState,
        run: RunState,
        request: ModelRequest,
        message: str,
        purpose: Purpose = "run",
        *,
        streamed: bool = False,
    ) -> Exchange:
        """Admit a request; it is sent when the first piece of it is asked for.

        Raises:
            Refused: A policy or a cap does not allow the request.
            RunTimedOut: The run's deadline has passed.
        """
        admission = self._tools.admission
        first = purpose == "run" and not thread.context_known
        content = admission.content(thread, request).tokens if first else None
        expectation = await admission.admit(thread, run, request, message, purpose)
        assert run.hold_id is not None
        mode = self._tools.modes.choose(request)
        sent = Sent(thread, run, request, expectation, purpose, mode, run.hold_id)
        exchange = Exchange(self._tools, sent, content, self._forget, streamed=streamed)
        self._open[run.hold_id] = exchange
        return exchange

    async def ask(
        self, thread: ThreadState, run: RunState, request: ModelRequest, message: str, purpose: Purpose = "run"
    ) -> Outcome:
        """Admit a request, send it and wait for its end. Raises what `begin` does."""
        exchange = await self.begin(thread, run, request, message, purpose)
        return await exchange.drain()

    async def abandon(self, thread: ThreadState, run: RunState, until: float) -> None:
        """End the request that a run has in flight: cancel it at the server, learn what it used, settle it.

        Args:
            thread: Whose run it is.
            run: The run.
            until: Unix time at which to stop asking the server.
        """
        if run.hold_id is None:
            return
        exchange = self._open.get(run.hold_id)
        if exchange is None:
            await self._tools.books.release(thread, run)
        else:
            await exchange.abandon(thread, run, until)

    async def adopt(self, thread: ThreadState, run: RunState, request: ModelRequest) -> Outcome | None:
        """Look once more for the answer to an attempt whose outcome was not found; None where there is none.

        Raises:
            RunTimedOut: The run's deadline has passed.
        """
        found = await self._tools.answer_in_tail(thread, run, request)
        if found is None:
            return None
        books = self._tools.books
        earlier = next((late for late in reversed(thread.late) if late.run_id == run.id), None)
        expected = self._tools.admission.expect(thread, request)
        bound = largest_output(request.model)
        if earlier is not None:  # what it was admitted with may have been counted, which is never below the truth
            read, bound = earlier.booked.input_tokens, earlier.booked.output_tokens
            expected = Estimate(min(expected.tokens, read), min(expected.at_most, read), exact=False)
        expectation = Expectation(expected, bound, self._tools.driver.now())
        usage = usage_of(found, expectation, request)
        if earlier is not None:
            await books.correct(thread, earlier, found, usage, run)
        return Outcome(found, usage=usage, context_at_most=context_bound(found, usage, expectation))

    async def take_over(self, thread: ThreadState, run: RunState, until: float) -> Outcome | None:
        """Learn what became of the request that a process had in flight when it died, and settle it.

        Args:
            thread: Whose run it is.
            run: The run, as it was saved.
            until: Unix time at which to stop asking the server.

        Returns:
            What came of it; None where nothing was sent, or nothing can be learned of it.
        """
        sent, tools = run.in_flight, self._tools
        if sent is None or sent.purpose == "reply_cache":  # nothing that is billed
            if run.hold_id is not None:
                await tools.books.release(thread, run)
            return None
        request = ModelRequest(sent.model, None, "", [], sent.generation_id, background=run.background)
        request.service_tier = sent.service_tier
        answer = None
        if run.open_response_id is not None:
            answer = await tools.end_at_server(run.open_response_id, until, background=run.background)
            if answer is None or answer.status in OPEN_STATUSES:
                answer = None
                thread.at_work = run.open_response_id if run.background else None
        if answer is None and sent.generation_id is not None and sent.generation_id == thread.generation_id:
            answer = await tools.answer_in_tail(thread, run, request, sent.marks)
        input_tokens = Estimate(sent.input_tokens, sent.input_at_most, exact=False)
        expectation = Expectation(input_tokens, sent.output_at_most, sent.sent_at)
        if run.hold_id is not None:
            mode = Mode(run.background, "it was begun by another process")
            purpose: Purpose = "run" if sent.purpose == "run" else "summary"
            settled = Sent(thread, run, request, expectation, purpose, mode, run.hold_id)
            usage = await tools.books.settle(settled, answer, None)
        elif answer is None:
            return None
        else:
            usage = usage_of(answer, expectation, request)
        if answer is None or sent.purpose != "run":
            return None
        return Outcome(answer, answer.failure, usage=usage, context_at_most=context_bound(answer, usage, expectation))

    async def end_left_over(self, thread: ThreadState, until: float) -> None:
        """Cancel once more what could not be cancelled before; afterwards ``thread.at_work`` says what is left.

        Args:
            thread: Whose answer it is.
            until: Unix time at which to stop asking.
        """
        assert thread.at_work is not None
        answer = await self._tools.end_at_server(thread.at_work, until, background=True)
        if answer is not None and answer.status not in OPEN_STATUSES:
            thread.at_work = None

    def time_left(self, run: RunState) -> float:
        """Seconds until the run's deadline. Raises `RunTimedOut` where it has passed."""
        return self._tools.admission.time_left(run)

    def _forget(self, hold_id: str) -> None:
        self._open.pop(hold_id, None)


def take_in(thread: ThreadState, run: RunState, answer: ModelAnswer, outcome: Outcome) -> None:
    """An answer was accepted: its input and output are in the conversation now."""
    if answer.id:
        run.response_ids.append(answer.id)
    run.answers += 1
    run.attempt = 1
    run.attempts_elsewhere = 0
    run.doubtful = []
    run.input = []
    run.in_flight = None
    if answer.text:
        run.text = answer.text
    thread.backlog = []
    thread.answered_by = run.model
    if run.keeps_model:
        thread.model = run.model
    thread.last_item_id, thread.seed_items, thread.context_digest = answer.last_item_id, None, None
    thread.adopted = thread.locked = False
    thread.context_tokens = outcome.usage.total_tokens
    thread.context_at_most = outcome.context_at_most
    thread.context_known = True
    if outcome.fixed_tokens is not None:
        thread.fixed_tokens = outcome.fixed_tokens
