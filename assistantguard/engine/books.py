"""Money: what a request may use is reserved before it is sent, and what it used is committed after.

The bounds are exact where a cap is near: the input is then counted by the API, the output is bounded by
``max_output_tokens``, and the sum cannot pass the cap.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from assistantguard import tokens
from assistantguard.engine.healing import text_of
from assistantguard.errors import BudgetBusy, BudgetExceeded, PolicyRefused, RunTimedOut
from assistantguard.events import BudgetRefusedEvent, PolicyObserved, RequestSettled
from assistantguard.ledger import Balance, Claim, Entry, LedgerRefusal
from assistantguard.model_limits import largest_output
from assistantguard.models import Failure, RunState, ThreadState, Usage
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS
from assistantguard.policies import Cap, Refuse, Ruling, View
from assistantguard.policies.ruling import PlacedCap
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.engine.ports import Backend, Driver, ModelAnswer, ModelRequest
    from assistantguard.engine.session import Session

__all__ = ["Books", "Expectation", "Outcome", "Purpose"]

Purpose = Literal["run", "summary"]

_FRAMING = 16
"""Tokens that an item costs beside its text, at the very most; a message really costs about four."""
_ENOUGH_OUTPUT = 1_024
"""While other requests hold the rest of a cap, an answer that could not reach this length is not begun."""
_BUSY_POLL = 0.05
_HOLD_GRACE = 300.0
"""Seconds past a request's own limit until its hold expires."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a request was expected to use when it was sent."""

    input: Estimate
    output_at_most: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a paid request, all of it on the books: an answer, a failure, or an answer that failed."""

    answer: ModelAnswer | None = None
    failure: Failure | None = None
    error: Exception | None = None
    """The SDK's own exception, where there was one."""


@dataclass(frozen=True, slots=True)
class _Room:
    """How much output the tightest cap leaves."""

    output: int
    """May be negative."""
    without_holds: int
    """The same if nothing else were in flight."""
    cap: PlacedCap | None = None
    balance: Balance = field(default_factory=Balance)


class Books:
    """Reserves, sends and settles paid requests."""

    def __init__(self, session: Session, driver: Driver, backend: Backend) -> None:
        self._session = session
        self._driver = driver
        self._backend = backend
        self._in_flight: dict[str, tuple[ThreadState, ModelRequest, Expectation, Purpose]] = {}

    async def ask(
        self,
        thread: ThreadState,
        run: RunState,
        request: ModelRequest,
        message: str,
        purpose: Purpose = "run",
    ) -> Outcome:
        """Reserve, send, settle.

        Raises:
            Refused: A policy or a cap does not allow the request; nothing was sent.
            RunTimedOut: The run's deadline has passed; nothing was sent.
        """
        expectation = await self._admit(thread, run, request, message)
        assert run.hold_id is not None
        self._in_flight[run.hold_id] = (thread, request, expectation, purpose)
        try:
            answer = await self._backend.respond(request, self.time_left(run))
        except Exception as error:
            failure = self._backend.classify(error)
            if failure is None:
                raise
            await self._settle(run, None, failure)
            return Outcome(None, failure, error)
        await self._settle(run, answer, answer.failure)
        return Outcome(answer, answer.failure)

    async def settle_unknown(self, run: RunState) -> None:
        """Commit the whole hold of a request whose outcome was not learned, marked as an estimate."""
        if run.hold_id is not None and run.hold_id in self._in_flight:
            await self._settle(run, None, None)
        elif run.hold_id is not None:
            hold_id, run.hold_id = run.hold_id, None
            ledger = self._session.ledger
            await self._driver.blocking(lambda: ledger.release(hold_id), at_once=ledger.in_process)

    def time_left(self, run: RunState) -> float:
        """Seconds until the run's deadline.

        Raises:
            RunTimedOut: It has passed.
        """
        if run.deadline is None:
            return self._session.run_timeout
        left = run.deadline - self._driver.now()
        if left <= 0:
            error = RunTimedOut(
                f"the run {run.id} took longer than its {self._session.run_timeout:g} s: raise run_timeout, or let it"
                " do less"
            )
            error.policy = "run_timeout"
            raise error
        return left

    def fixed(self) -> Estimate:
        """What every request reads before any conversation: instructions and tools."""
        session = self._session
        estimate = tokens.estimate(session.assistant.instructions, session.assistant.model)
        estimate += tokens.estimate(session.tools_text, session.assistant.model)
        return estimate + _framing(1 + len(session.tools))

    def expect(self, thread: ThreadState, request: ModelRequest) -> Estimate:
        """Estimate the input of `request`."""
        estimate = _framing(1)
        for item in request.input:
            estimate += tokens.estimate(text_of(item), request.model) + _framing(1)
        if request.generation_id is None:
            return estimate + tokens.estimate(request.instructions, request.model) + _framing(1)
        estimate += Estimate(thread.context_tokens, thread.context_at_most, exact=False)
        return estimate if thread.context_known else estimate + self.fixed()

    def view(self, thread: ThreadState, run: RunState | None, message: str, model: str) -> View:
        """What policies may see."""
        session = self._session
        return View(
            self._driver.now(),
            session.id,
            thread,
            model,
            run,
            message,
            session.prices.price(model, session.assistant.service_tier),
        )

    def report_observed(self, thread: ThreadState, run: RunState | None, checkpoint: str, ruling: Ruling) -> None:
        """Emit what policies under `observe` would have done."""
        for observation in ruling.observed:
            self._session.emit(
                PolicyObserved(
                    self._driver.now(),
                    self._session.id,
                    thread.id,
                    observation.policy,
                    checkpoint,
                    observation.decision.verb,
                    observation.decision.reason,
                    None if run is None else run.id,
                )
            )

    async def _admit(self, thread: ThreadState, run: RunState, request: ModelRequest, message: str) -> Expectation:
        """Ask the policies, bound the output by the caps, and reserve."""
        session, driver = self._session, self._driver
        time_left = self.time_left(run)
        view = self.view(thread, run, message, request.model)
        expected = self.expect(thread, request)
        ruling = session.policies.rule("before_request", replace(view, input=expected))
        self.report_observed(thread, run, "before_request", ruling)
        if isinstance(ruling.decision, Refuse):
            refusal = ruling.decision.error(f"{ruling.policy} refused the request: {ruling.decision.reason}")
            refusal.policy = ruling.policy
            raise refusal
        if session.has_builtin_tools and ruling.max_tool_calls is not None:
            request.max_tool_calls = ruling.max_tool_calls
        caps = [placed for placed in ruling.caps if not placed.observed]
        asked = request.max_output_tokens
        wanted = min(value for value in (asked, largest_output(request.model)) if value is not None)
        if asked is not None:
            wanted = asked
        if ruling.max_output_tokens is not None:
            wanted = min(wanted, ruling.max_output_tokens)
        wanted = max(wanted, MIN_OUTPUT_TOKENS)
        may_count = ruling.counting != "never" and request.generation_id is not None
        counted = False
        wait_until = driver.now() + min(ruling.busy_wait, time_left)
        if ruling.counting == "always" and may_count:
            expected, counted = await self._count(request, expected, run), True
        while True:
            room = await self._room(caps, expected, request.model, wanted)
            if room.output < wanted and may_count and not counted and not expected.exact:
                expected, counted = await self._count(request, expected, run), True
                continue
            waits = room.output < min(wanted, _ENOUGH_OUTPUT) and room.without_holds > room.output
            if waits and driver.now() < wait_until:
                await driver.sleep(_BUSY_POLL)
                continue
            if room.output < MIN_OUTPUT_TOKENS or waits:
                raise self._refusal(thread, run, room, expected, request)
            output = min(wanted, room.output)
            hold_id = f"hold_{uuid.uuid4().hex}"
            claims = self._claims(view, ruling.caps, expected, output, request.model)
            try:
                run.hold_id = hold_id
                await driver.blocking(
                    lambda: session.ledger.reserve(hold_id, claims, driver.now() + time_left + _HOLD_GRACE),  # noqa: B023
                    at_once=session.ledger.in_process,
                )
            except LedgerRefusal:
                run.hold_id = None
                await driver.sleep(_BUSY_POLL / 10)
                continue
            if caps or asked is not None or ruling.max_output_tokens is not None:
                request.max_output_tokens = output
            self._observe_caps(thread, run, ruling)
            return Expectation(expected, output, driver.now())

    async def _count(self, request: ModelRequest, expected: Estimate, run: RunState) -> Estimate:
        """The API's own count, or `expected` where there is none."""
        try:
            counted = await self._backend.count_input(request, min(30.0, self.time_left(run)))
        except Exception as error:
            if self._backend.classify(error) is None:
                raise
            return expected
        return expected if counted is None else Estimate(counted, counted, exact=True)

    async def _room(self, caps: Sequence[PlacedCap], expected: Estimate, model: str, wanted: int) -> _Room:
        """How much output the tightest of `caps` leaves."""
        ledger = self._session.ledger
        tightest = _Room(wanted, wanted)
        for placed in caps:
            cap = placed.cap
            balance = await self._driver.blocking(
                lambda cap=cap: ledger.balance(cap.account, cap.metric),  # type: ignore[misc]
                at_once=ledger.in_process,
            )
            free = cap.limit - balance.committed
            output = self._affords(cap, free - balance.held, expected.at_most, model)
            if output < tightest.output or tightest.cap is None:
                tightest = _Room(output, self._affords(cap, free, expected.at_most, model), placed, balance)
        return tightest

    def _affords(self, cap: Cap, free: Decimal, input_tokens: int, model: str) -> int:
        """The largest output that `free` on a cap pays for beside `input_tokens`."""
        if cap.metric == "tokens":
            return int(free) - input_tokens
        affordable = self._session.prices.affordable_output(
            free, input_tokens, model, self._session.assistant.service_tier
        )
        if affordable is None:
            raise PolicyRefused(
                f"a cap in US dollars stands on {cap.account}, and the model {model!r} has no known price: give it with"
                " prices={…}, or use a TokenCap"
            )
        return affordable

    def _claims(
        self, view: View, caps: Sequence[PlacedCap], expected: Estimate, output: int, model: str
    ) -> list[Claim]:
        """The claims of a request: on every account of a cap, and on the session's and the run's in any case."""
        limits: dict[tuple[str, str], Decimal | None] = {
            (view.session_account, "tokens"): None,
            (view.session_account, "cost"): None,
            (view.run_account, "tokens"): None,
            (view.run_account, "cost"): None,
        }
        for placed in caps:
            key = (placed.cap.account, placed.cap.metric)
            limit = limits.setdefault(key, None)
            if not placed.observed:
                limits[key] = placed.cap.limit if limit is None else min(limit, placed.cap.limit)
        amount_tokens = Decimal(expected.at_most + output)
        amount_cost = self._session.prices.at_most(
            expected.at_most, output, model, self._session.assistant.service_tier
        )
        return [
            Claim(account, "tokens", amount_tokens, limit)
            if metric == "tokens"
            else Claim(account, "cost", amount_cost or Decimal(0), limit)
            for (account, metric), limit in limits.items()
        ]

    def _refusal(
        self, thread: ThreadState, run: RunState, room: _Room, expected: Estimate, request: ModelRequest
    ) -> BudgetBusy | BudgetExceeded:
        """The error and the event of a request that no longer fits."""
        assert room.cap is not None
        cap, balance = room.cap.cap, room.balance
        busy = room.without_holds >= MIN_OUTPUT_TOKENS
        unit = "tokens" if cap.metric == "tokens" else "US dollars"
        free = cap.limit - balance.committed - balance.held
        needs = (
            f"the request needs {expected.at_most} input and at least {MIN_OUTPUT_TOKENS} output tokens"
            f" on {request.model}"
        )
        text = (
            f"{room.cap.policy}: {cap.account} has {max(free, Decimal(0))} of {cap.limit} {unit} left"
            f" ({balance.committed} spent, {balance.held} held by requests in flight), {needs}: "
        ) + ("ask again when they have settled" if busy else "raise the cap, or begin a new session")
        kind = BudgetBusy if busy else BudgetExceeded
        error = kind(
            text,
            account=cap.account,
            metric=cap.metric,
            limit=cap.limit,
            committed=balance.committed,
            held=balance.held,
        )
        error.policy = room.cap.policy
        self._session.emit(
            BudgetRefusedEvent(
                self._driver.now(),
                self._session.id,
                thread.id,
                cap.account,
                cap.metric,
                "busy" if busy else "exceeded",
                cap.limit,
                balance.committed,
                balance.held,
                room.cap.policy,
                needs,
                run.id,
            )
        )
        return error

    def _observe_caps(self, thread: ThreadState, run: RunState, ruling: Ruling) -> None:
        """Report the observed caps that the request just reserved would not have fitted."""
        ledger = self._session.ledger
        for placed in ruling.caps:
            if not placed.observed:
                continue
            balance = ledger.balance(placed.cap.account, placed.cap.metric)
            if balance.committed + balance.held > placed.cap.limit:
                self._session.emit(
                    PolicyObserved(
                        self._driver.now(),
                        self._session.id,
                        thread.id,
                        placed.policy,
                        "before_request",
                        "refuse",
                        f"{placed.cap.account} would pass its {placed.cap.limit} {placed.cap.metric}",
                        run.id,
                    )
                )

    async def _settle(self, run: RunState, answer: ModelAnswer | None, failure: Failure | None) -> None:
        """End the hold by what is known, keep the row, tell the world. Not to be interrupted half-way."""
        if self._session.ledger.in_process:
            await self._settle_now(run, answer, failure)
        else:
            await self._driver.protect(self._settle_now(run, answer, failure))

    async def _settle_now(self, run: RunState, answer: ModelAnswer | None, failure: Failure | None) -> None:
        session, driver = self._session, self._driver
        hold_id = run.hold_id
        assert hold_id is not None
        thread, request, expectation, purpose = self._in_flight.pop(hold_id)
        run.hold_id = None
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
                purpose,
                None if answer is None else answer.id,
                price_source,
            )
            await driver.blocking(lambda: ledger.commit(hold_id, entry), at_once=ledger.in_process)
            status = "unknown" if answer is None else answer.status
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
                purpose,
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


def _framing(items: int) -> Estimate:
    return Estimate(4 * items, _FRAMING * items, exact=False)


def _usage(answer: ModelAnswer | None, expectation: Expectation, request: ModelRequest) -> Usage:
    """What was billed; where the server does not say, a bound marked as an estimate."""
    if answer is not None and answer.usage is not None:
        return answer.usage
    if answer is not None and answer.status == "completed":
        wrote = tokens.estimate(answer.text, request.model)
        for call in answer.tool_calls:
            wrote += tokens.estimate(call.name + call.arguments_json, request.model)
        read, written = expectation.input.at_most, wrote.tokens
    else:
        read, written = expectation.input.at_most, expectation.output_at_most
    return Usage(input_tokens=read, output_tokens=written, estimated_tokens=read + written, requests=1)
