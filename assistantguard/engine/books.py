"""The books: each paid request is settled with what it really used, and corrected when the server tells it late."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from assistantguard import tokens
from assistantguard.engine.admission import Expectation, framing
from assistantguard.engine.budgets import BudgetWatch
from assistantguard.engine.healing import mark_of
from assistantguard.errors import LeaseLost
from assistantguard.events import RequestSettled, UsageCorrected
from assistantguard.ledger import Entry
from assistantguard.models import Failure, RunState, ThreadState, Usage
from assistantguard.models.thread import LateUsage
from assistantguard.policies.base import run_account

if TYPE_CHECKING:
    from assistantguard.engine.modes import Mode
    from assistantguard.engine.pacing import Pacer
    from assistantguard.engine.ports import Backend, Driver, ModelAnswer, ModelRequest
    from assistantguard.engine.session import Session
    from assistantguard.models.rates import RatesTold
    from assistantguard.policies.ruling import PlacedCap

__all__ = ["Books", "Purpose", "Sent", "context_bound", "usage_of"]

Purpose = Literal["run", "summary"]

_LOOKS = 3
"""How often an answer is asked for its usage, one turn after another."""
_VAIN_LOOKS = 5
"""After so many looks in a row that brought nothing, a server is taken to be one that never tells."""
_MOST_LATE = 16


@dataclass(slots=True, eq=False, repr=False)
class Sent:
    """A request that was admitted, until it is settled."""

    thread: ThreadState
    run: RunState
    request: ModelRequest
    expectation: Expectation
    purpose: Purpose
    mode: Mode
    hold_id: str
    seen_tokens: int = 0
    """Output that arrived, where it arrived in pieces and was counted."""
    rates: RatesTold | None = None
    """What the server told of its rate limits when it took the request up."""


@dataclass(slots=True, eq=False, repr=False)
class _Owed:
    """A hold whose end is written together with the end of its turn."""

    hold_id: str
    entry: Entry
    caps: Sequence[PlacedCap]


class Books:
    """Settles paid requests."""

    def __init__(self, session: Session, driver: Driver, backend: Backend, pacer: Pacer | None = None) -> None:
        self._session = session
        self._pacer = pacer
        self._driver = driver
        self._backend = backend
        self._vain_looks = 0
        self._budgets = BudgetWatch(session, driver)
        self._owed: dict[str, _Owed] = {}
        """By run."""

    async def save(self, thread: ThreadState, run: RunState, *, last: bool = False) -> None:
        """Keep what a thread and its run have become, where another process may have to go on with them.

        `last` says that the turn is over, and others may have the thread.

        Raises:
            LeaseLost: Another process drives the thread by now.
        """
        owed = self._owed.pop(run.id, None)
        if owed is not None:
            await self._driver.protect(self._pay(thread, run, owed, last=last))
            return
        states = self._session.states
        await self._driver.blocking(lambda: states.save(thread, run, last=last), at_once=states.in_process)

    async def confirm(self, thread: ThreadState, run: RunState) -> None:
        """Make sure, before something is sent, that the thread was not given to another process meanwhile.

        Raises:
            LeaseLost: It was: this process stood still for longer than its lease.
        """
        states = self._session.states
        if states.overdue(thread):
            await self._driver.blocking(lambda: states.confirm(thread, run), at_once=states.in_process)

    async def _pay(self, thread: ThreadState, run: RunState, owed: _Owed, *, last: bool) -> None:
        await self._end(thread, run, owed.hold_id, owed.entry, last=last)
        await self._budgets.look(thread, run, owed.caps)

    async def release(self, thread: ThreadState, run: RunState) -> None:
        """End the hold of a request that was not sent."""
        hold_id = run.hold_id
        assert hold_id is not None
        run.hold_id = None
        if self._pacer is not None:
            await self._pacer.released(hold_id)
        await self._end(thread, run, hold_id, None)

    def close(self, run: RunState) -> None:
        """The run has ended: nobody asks for the balance of its account again. A database keeps it all the same."""
        ledger = self._session.ledger
        if ledger.in_process:
            ledger.forget(run_account(run))

    async def settle(self, sent: Sent, answer: ModelAnswer | None, failure: Failure | None) -> Usage:
        """End the hold by what is known, keep the row, tell the world. Not to be interrupted half-way.

        Without an answer, a failure that is not ambiguous was billed nothing; everything else may have been.
        """
        if self._session.ledger.in_process and self._session.states.in_process:
            return await self._settle(sent, answer, failure)
        return await self._driver.protect(self._settle(sent, answer, failure))

    async def _settle(self, sent: Sent, answer: ModelAnswer | None, failure: Failure | None) -> Usage:
        session, driver, run, thread, request = self._session, self._driver, sent.run, sent.thread, sent.request
        hold_id = sent.hold_id
        price_source = None
        if answer is None and failure is not None and failure.kind != "ambiguous":
            entry, usage, status = None, Usage(), "error"
            cost: Decimal | None = Decimal(0)
        else:
            usage = usage_of(answer, sent.expectation, request, sent.seen_tokens)
            entry = self._entry(sent, usage, answer)
            cost, price_source = entry.cost, entry.price_source
            status = "unknown" if answer is None else answer.status
        response_id = (answer.id if answer is not None else None) or run.open_response_id
        before = run.usage, run.cost, thread.usage, thread.cost, [*thread.late]
        counted = run.message_counted
        run.message_counted = counted or (entry is not None and sent.purpose == "run")
        run.hold_id = None
        run.usage += usage
        run.cost = None if run.cost is None or cost is None else run.cost + cost
        thread.usage += usage
        thread.cost = None if thread.cost is None or cost is None else thread.cost + cost
        if usage.estimated or (answer is not None and answer.status == "cancelled"):
            self._note_late(sent, usage, cost, response_id)
        if self._pacer is not None:
            rates = sent.rates if failure is None or failure.rates is None else failure.rates
            await self._pacer.settled(hold_id, usage, rates, failure, was_sent=entry is not None)
        owed = None if entry is None else self._owed_until_the_end(sent, answer, entry)
        try:
            if owed is None:
                await self._end(thread, run, hold_id, entry)
            else:
                self._owed[run.id] = owed
        except BaseException:
            run.hold_id, run.message_counted = hold_id, counted
            run.usage, run.cost, thread.usage, thread.cost, thread.late = before
            raise
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
                driver.now() - sent.expectation.sent_at,
                sent.expectation.input.tokens,
                sent.expectation.input.exact,
                response_id,
                answer.request_id if answer is not None else failure.request_id if failure is not None else None,
                None if answer is None else answer.service_tier,
                price_source,
                sent.mode.background,
                sent.mode.reason,
                None if answer is None else answer.model,
                None if failure is None else failure.code or str(failure.status_code or failure.kind),
                thread.user,
            )
        )
        if owed is None:
            await self._budgets.look(thread, run, sent.expectation.caps)
        return usage

    def _owed_until_the_end(self, sent: Sent, answer: ModelAnswer | None, entry: Entry) -> _Owed | None:
        """What is left to write, where the turn ends with this answer: that takes one transaction then, not two.

        A process that dies before leaves an open hold and a request in flight behind, as one that dies a moment sooner.
        """
        thread, run = sent.thread, sent.run
        if self._session.ledger.in_process or self._session.states.in_process or sent.purpose != "run":
            return None
        if answer is None or answer.status != "completed" or answer.tool_calls or thread.strays or run.doubtful:
            return None
        return _Owed(sent.hold_id, entry, sent.expectation.caps)

    async def _end(
        self, thread: ThreadState, run: RunState, hold_id: str, entry: Entry | None, *, last: bool = False
    ) -> None:
        """End a hold, with nothing used where `entry` is None, and save what thread and run have become: both or none.

        Where another process has taken the thread over, the books are written all the same: they are about money that
        was spent, and the other process can only have estimated it.

        Raises:
            LeaseLost: It has, and this was to be the turn's last word.
        """
        ledger, states = self._session.ledger, self._session.states

        def end() -> None:
            if entry is None:
                ledger.release(hold_id)
            else:
                ledger.commit(hold_id, entry)

        def end_and_save() -> None:
            try:
                with states.together():
                    end()
                    states.save(thread, run, last=last)
            except LeaseLost:
                end()
                if entry is not None and not entry.correctable:
                    ledger.correct(hold_id, entry)
                if last:
                    raise

        await self._driver.blocking(end_and_save, at_once=ledger.in_process and states.in_process)

    def _entry(self, sent: Sent, usage: Usage, answer: ModelAnswer | None) -> Entry:
        request = sent.request
        cost, price_source = self._priced(request.model, self._session.tier_of(request), usage, answer)
        return Entry(
            self._driver.now(),
            sent.thread.id,
            sent.run.id,
            sent.run.attempt,
            request.model,
            usage,
            cost,
            sent.purpose,
            None if answer is None else answer.id or None,
            price_source,
            provisional=answer is not None and answer.status == "cancelled",
            user=sent.thread.user,
            tenant=sent.thread.tenant,
        )

    def _priced(
        self, model: str, tier: str | None, usage: Usage, answer: ModelAnswer | None
    ) -> tuple[Decimal | None, str | None]:
        """What `usage` costs, and by whose price. `tier` was asked for; the answer tells which it was."""
        session = self._session
        tier = answer.service_tier if answer is not None else tier
        cost = session.prices.cost(usage, model, tier, tool_calls=None if answer is None else answer.builtin_calls)
        price = session.prices.price(model, tier)
        return cost, None if price is None else price.origin

    def _note_late(self, sent: Sent, usage: Usage, cost: Decimal | None, response_id: str | None) -> None:
        """Remember an estimate that the server may yet replace."""
        run, late = sent.run, sent.thread.late
        in_flight_marks = () if run.in_flight is None else run.in_flight.marks
        late.append(
            LateUsage(
                sent.hold_id,
                response_id or "",
                run.id,
                run.attempt,
                sent.request.model,
                sent.purpose,
                usage,
                cost,
                [mark_of(item) for item in sent.request.input] or [*in_flight_marks],
            )
        )
        del late[:-_MOST_LATE]

    async def ask_late(self, thread: ThreadState, timeout: float) -> None:
        """Ask the server for usage that it did not tell, and correct the books.

        Args:
            thread: Whose answers are asked for.
            timeout: Seconds for all of them.
        """
        until = self._driver.now() + timeout
        for late in tuple(thread.late):
            if not late.response_id or late.looks >= _LOOKS or self._vain_looks >= _VAIN_LOOKS:
                thread.late.remove(late)
                continue
            left = until - self._driver.now()
            if left <= 0:
                return
            late.looks += 1
            try:
                answer = await self._backend.look_up(late.response_id, left)
            except Exception as error:
                failure = self._backend.classify(error)
                if failure is None:
                    raise
                if failure.status_code == 404:  # also said of one that is still being made
                    self._vain_looks += 1
                continue
            if answer.usage is None or (answer.status == "cancelled" and not late.booked.estimated):
                self._vain_looks += answer.usage is None
                continue
            self._vain_looks = 0
            if answer.status == "completed":  # after it was given up: its items may stand in the conversation
                thread.strays += late.marks
            await self.correct(thread, late, answer)

    async def correct(
        self,
        thread: ThreadState,
        late: LateUsage,
        answer: ModelAnswer,
        usage: Usage | None = None,
        run: RunState | None = None,
    ) -> None:
        """Replace an estimate on the books.

        Args:
            thread: Whose estimate it is.
            late: The estimate.
            answer: What the server told; its usage is what counts.
            usage: A better estimate, where `answer` carries no usage.
            run: The run, while it lasts.
        """
        session, ledger = self._session, self._session.ledger
        better = answer.usage or usage
        assert better is not None
        cost, price_source = self._priced(late.model, None, better, answer)
        entry = Entry(
            self._driver.now(),
            thread.id,
            late.run_id,
            late.attempt,
            late.model,
            better,
            cost,
            late.purpose,
            answer.id or None,
            price_source,
            user=thread.user,
            tenant=thread.tenant,
        )
        if late in thread.late:
            thread.late.remove(late)
        at_once = ledger.in_process
        if not await self._driver.blocking(lambda: ledger.correct(late.hold_id, entry), at_once=at_once):
            return  # it was corrected before
        more = None if cost is None or late.cost is None else cost - late.cost
        thread.usage += better - late.booked
        thread.cost = None if thread.cost is None or more is None else thread.cost + more
        if run is not None:
            run.usage += better - late.booked
            run.cost = None if run.cost is None or more is None else run.cost + more
        session.emit(
            UsageCorrected(
                self._driver.now(),
                session.id,
                thread.id,
                late.run_id,
                late.model,
                answer.id,
                better,
                late.booked,
                cost,
                late.cost,
                thread.user,
            )
        )


def usage_of(
    answer: ModelAnswer | None, expectation: Expectation, request: ModelRequest, seen_tokens: int = 0
) -> Usage:
    """What was billed; where the server does not say, a bound marked as an estimate.

    Args:
        answer: What arrived; None where nothing did.
        expectation: What was expected when it was sent.
        request: What was sent.
        seen_tokens: Output that arrived all the same.
    """
    if answer is not None and answer.usage is not None:
        return answer.usage
    read = expectation.input.at_most
    if answer is not None and answer.status == "completed" and not answer.hidden_output:
        shown = tokens.estimate(answer.text, request.model)
        for text in _call_texts(answer):
            shown += tokens.estimate(text, request.model)
        written = min(shown.at_most + framing(answer.output_items).at_most, expectation.output_at_most)
        if shown.exact or shown.tokens > expectation.output_at_most * 5 // 4 + 16:
            written = max(written, shown.tokens)  # a server that wrote more than it was allowed
    else:
        written = max(expectation.output_at_most, seen_tokens)
    return Usage(input_tokens=read, output_tokens=written, estimated_tokens=read + written, requests=1)


def context_bound(answer: ModelAnswer, usage: Usage, expectation: Expectation) -> int:
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
