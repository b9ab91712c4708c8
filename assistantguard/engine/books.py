"""Paid requests: each is admitted and reserved, sent, and settled with what it really used."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from assistantguard import tokens
from assistantguard.engine.admission import Admission, Expectation, framing
from assistantguard.events import RequestSettled
from assistantguard.ledger import Entry
from assistantguard.models import Failure, RunState, ThreadState, Usage

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Backend, Driver, ModelAnswer, ModelRequest
    from assistantguard.engine.session import Session

__all__ = ["Books", "Outcome", "Purpose"]

Purpose = Literal["run", "summary"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a paid request, all of it on the books: an answer, a failure, or an answer that failed."""

    answer: ModelAnswer | None = None
    failure: Failure | None = None
    error: Exception | None = None
    """The SDK's own exception, where there was one."""
    usage: Usage = field(default_factory=Usage)
    """What was booked."""
    fixed_tokens: int | None = None
    """What instructions and tools cost, where this request was the first to tell."""
    context_at_most: int = 0
    """A bound on what the conversation holds after an answer, instructions and tools included."""


@dataclass(frozen=True, slots=True, eq=False)
class _InFlight:
    """A request that was sent and is not settled."""

    thread: ThreadState
    request: ModelRequest
    expectation: Expectation
    purpose: Purpose


class Books:
    """Sends and settles paid requests."""

    def __init__(self, session: Session, driver: Driver, backend: Backend, asking: Asking) -> None:
        self._session = session
        self._driver = driver
        self._backend = backend
        self._admission = Admission(session, driver, backend, asking)
        self._in_flight: dict[str, _InFlight] = {}

    async def ask(
        self, thread: ThreadState, run: RunState, request: ModelRequest, message: str, purpose: Purpose = "run"
    ) -> Outcome:
        """Reserve, send, settle.

        Raises:
            Refused: A policy or a cap does not allow the request; nothing was sent.
            RunTimedOut: The run's deadline has passed; nothing was sent.
        """
        first = purpose == "run" and not thread.context_known
        content = self._admission.content(thread, request).tokens if first else 0
        expectation = await self._admission.admit(thread, run, request, message)
        assert run.hold_id is not None
        time_left = self._admission.time_left(run)
        self._in_flight[run.hold_id] = _InFlight(thread, request, expectation, purpose)
        try:
            answer = await self._backend.respond(request, time_left)
        except Exception as error:
            failure = self._backend.classify(error)
            if failure is None:
                raise
            return Outcome(None, failure, error, await self._settle(run, None, failure))
        usage = await self._settle(run, answer, answer.failure)
        fixed_tokens = max(0, usage.input_tokens - content) if first and not usage.estimated else None
        return Outcome(answer, answer.failure, None, usage, fixed_tokens, _context_at_most(answer, usage, expectation))

    async def settle_unknown(self, run: RunState) -> None:
        """End the hold of a run that was interrupted.

        A request that was sent commits its whole hold, marked as an estimate; one that was not sent gives it back.
        """
        hold_id = run.hold_id
        if hold_id is None:
            return
        if hold_id in self._in_flight:
            await self._settle(run, None, None)
        else:
            run.hold_id = None
            ledger = self._session.ledger
            await self._driver.blocking(lambda: ledger.release(hold_id), at_once=ledger.in_process)

    async def _settle(self, run: RunState, answer: ModelAnswer | None, failure: Failure | None) -> Usage:
        """End the hold by what is known, keep the row, tell the world. Not to be interrupted half-way."""
        if self._session.ledger.in_process:
            return await self._settle_now(run, answer, failure)
        return await self._driver.protect(self._settle_now(run, answer, failure))

    async def _settle_now(self, run: RunState, answer: ModelAnswer | None, failure: Failure | None) -> Usage:
        session, driver = self._session, self._driver
        hold_id = run.hold_id
        assert hold_id is not None
        sent = self._in_flight[hold_id]
        thread, request, expectation = sent.thread, sent.request, sent.expectation
        ledger = session.ledger
        if answer is None and failure is not None and failure.kind != "ambiguous":
            await driver.blocking(lambda: ledger.release(hold_id), at_once=ledger.in_process)
            usage, status = Usage(), "error"
            cost: Decimal | None = Decimal(0)
            price_source = None
        else:
            usage = _usage(answer, expectation, request)
            tier = answer.service_tier if answer is not None else session.assistant.service_tier
            cost = session.prices.cost(
                usage, request.model, tier, tool_calls=None if answer is None else answer.builtin_calls
            )
            price = session.prices.price(request.model, tier)
            price_source = None if price is None else price.origin
            entry = Entry(
                driver.now(),
                thread.id,
                run.id,
                run.attempt,
                request.model,
                usage,
                cost,
                sent.purpose,
                None if answer is None else answer.id,
                price_source,
            )
            await driver.blocking(lambda: ledger.commit(hold_id, entry), at_once=ledger.in_process)
            status = "unknown" if answer is None else answer.status
        del self._in_flight[hold_id]
        run.hold_id = None
        run.usage += usage
        run.cost = None if run.cost is None or cost is None else run.cost + cost
        thread.usage += usage
        session.emit(
            RequestSettled(
                driver.now(),
                session.id,
                thread.id,
                run.id,
                request.model,
                sent.purpose,
                run.attempt,
                status,
                usage,
                cost,
                driver.now() - expectation.sent_at,
                expectation.input.tokens,
                expectation.input.exact,
                None if answer is None else answer.id,
                answer.request_id if answer is not None else failure.request_id if failure is not None else None,
                None if answer is None else answer.service_tier,
                price_source,
            )
        )
        return usage


def _usage(answer: ModelAnswer | None, expectation: Expectation, request: ModelRequest) -> Usage:
    """What was billed; where the server does not say, a bound marked as an estimate."""
    if answer is not None and answer.usage is not None:
        return answer.usage
    if answer is not None and answer.status == "completed" and not answer.hidden_output:
        wrote = tokens.estimate(answer.text, request.model)
        for text in _call_texts(answer):
            wrote += tokens.estimate(text, request.model)
        shown = wrote.tokens + framing(answer.output_items).at_most
        read, written = expectation.input.at_most, min(shown, expectation.output_at_most)
    else:
        read, written = expectation.input.at_most, expectation.output_at_most
    return Usage(input_tokens=read, output_tokens=written, estimated_tokens=read + written, requests=1)


def _context_at_most(answer: ModelAnswer, usage: Usage, expectation: Expectation) -> int:
    """A bound on what the conversation holds after `answer`, from its usage or, where that is unknown, its text."""
    items = framing(answer.output_items + 1).at_most
    if not usage.estimated:
        return usage.total_tokens + items
    written = sum(len(text.encode("utf-8", "replace")) for text in (answer.text, *_call_texts(answer)))
    if answer.hidden_output:
        written = expectation.output_at_most
    return max(expectation.input.at_most + min(written, expectation.output_at_most), usage.total_tokens) + items


def _call_texts(answer: ModelAnswer) -> list[str]:
    return [call.name + call.arguments_json for call in answer.tool_calls]
