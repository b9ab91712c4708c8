"""Admitting a request: estimating its input, bounding its output by the caps, and reserving both.

The bounds are exact where a cap is near: the input is then counted by the API, the output is bounded by
``max_output_tokens``, and the sum cannot pass the cap.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard import tokens
from assistantguard.engine.failing import timed_out
from assistantguard.engine.healing import mark_of
from assistantguard.engine.input import text_of
from assistantguard.errors import BudgetBusy, BudgetExceeded, PolicyRefused
from assistantguard.events import BudgetRefusedEvent
from assistantguard.ledger import Balance, Claim, LedgerRefusal
from assistantguard.model_limits import largest_output
from assistantguard.models import RunState, ThreadState
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS
from assistantguard.models.run import InFlight
from assistantguard.policies import Cap, View
from assistantguard.policies.base import run_account
from assistantguard.policies.ruling import PlacedCap
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Backend, Driver, ModelRequest
    from assistantguard.engine.session import Session

__all__ = ["FILE_SEARCH_TOOL", "Admission", "Expectation", "framing"]

_FRAMING = 16
"""Tokens that an item costs beside its text, at the very most; a message really costs about four."""
FILE_SEARCH_TOOL = Estimate(64, 1_024, exact=False)
"""What the file search tool adds to the tools, where it is added for a thread's own store."""
_ENOUGH_OUTPUT = 1_024
"""While other requests hold the rest of a cap, an answer that could not reach this length is not begun."""
_BUSY_POLL = 0.05
_RACE_POLL = 0.002
_COUNT_TIMEOUT = 30.0
_HOLD_GRACE = 300.0
"""Seconds past a run's own limit until its hold expires."""


@dataclass(slots=True, eq=False, repr=False)
class Expectation:
    """What a request was expected to use when it was sent."""

    input: Estimate
    output_at_most: int
    sent_at: float


@dataclass(slots=True, eq=False, repr=False)
class _Room:
    """How much output the tightest cap leaves."""

    output: int
    """May be negative."""
    without_holds: int
    """The same if nothing else were in flight."""
    cap: PlacedCap | None = None
    balance: Balance = field(default_factory=Balance)


class Admission:
    """Lets requests pass, or refuses them."""

    def __init__(self, session: Session, driver: Driver, backend: Backend, asking: Asking) -> None:
        self._session = session
        self._driver = driver
        self._backend = backend
        self._asking = asking

    async def admit(
        self, thread: ThreadState, run: RunState, request: ModelRequest, message: str, purpose: str = "run"
    ) -> Expectation:
        """Ask the policies, bound `request` by what they say, and reserve: afterwards ``run.hold_id`` is open.

        The run is saved in the same transaction, so that whoever finds the hold finds what it was for.

        Raises:
            Refused: A policy or a cap does not allow the request.
            RunTimedOut: The run's deadline has passed.
        """
        driver = self._driver
        time_left = self.time_left(run)
        expected = self.expect(thread, request)
        view = replace(self._asking.view(thread, run, message, request.model), input=expected)
        ruling = self._asking.rule("before_request", view)
        if ruling.max_tool_calls is not None and any(tool.get("type") != "function" for tool in request.tools):
            request.max_tool_calls = ruling.max_tool_calls
        caps = [placed for placed in ruling.caps if not placed.observed]
        asked = request.max_output_tokens
        wanted = largest_output(request.model) if asked is None else asked
        if ruling.max_output_tokens is not None:
            wanted = max(MIN_OUTPUT_TOKENS, min(wanted, ruling.max_output_tokens))
        may_count = ruling.counting != "never" and request.generation_id is not None
        if may_count and (ruling.counting == "always" or thread.adopted):
            expected, may_count = await self._count(request, expected, run), False
        wait_until = driver.now() + min(ruling.busy_wait, time_left)
        while True:
            room = await self._room(caps, expected, request.model, wanted)
            if room.output < wanted and may_count:
                expected, may_count = await self._count(request, expected, run), False
                continue
            waits = room.output < min(wanted, _ENOUGH_OUTPUT) and room.without_holds > room.output
            if waits and driver.now() < wait_until:
                await driver.sleep(_BUSY_POLL)
                continue
            if waits or room.output < MIN_OUTPUT_TOKENS:
                raise self._refusal(thread, run, room, expected, request)
            output = min(wanted, room.output)
            claims = self._claims(view, ruling.caps, expected, output, request.model)
            run.hold_id = f"hold_{uuid.uuid4().hex}"
            run.open_response_id = None
            run.in_flight = self._in_flight(run, request, expected, output, purpose)
            try:
                await self._reserve(thread, run, claims, time_left)
            except LedgerRefusal:  # another request was quicker: look again at what is left
                run.hold_id = None
                await driver.sleep(_RACE_POLL)
                continue
            if caps or asked is not None or ruling.max_output_tokens is not None:
                request.max_output_tokens = output
            if len(caps) < len(ruling.caps):
                await self._report_observed(view, ruling.caps)
            return Expectation(expected, output, driver.now())

    async def _reserve(self, thread: ThreadState, run: RunState, claims: Sequence[Claim], time_left: float) -> None:
        """Reserve, once holds whose owner never came back are ended."""
        ledger, states, now, hold_id = self._session.ledger, self._session.states, self._driver.now(), run.hold_id
        assert hold_id is not None

        def expire_and_reserve() -> None:
            ledger.expire(now)
            with states.together():
                ledger.reserve(hold_id, claims, now + time_left + _HOLD_GRACE)
                states.save(thread, run)

        await self._driver.blocking(expire_and_reserve, at_once=ledger.in_process and states.in_process)

    def _in_flight(
        self, run: RunState, request: ModelRequest, expected: Estimate, output: int, purpose: str
    ) -> InFlight | None:
        """What another process must know of the request; None where there can be none."""
        if self._session.states.in_process:
            return None
        return InFlight(
            purpose,
            request.model,
            run.attempt,
            request.generation_id,
            [mark_of(item) for item in request.input],
            expected.tokens,
            expected.at_most,
            output,
            self._driver.now(),
        )

    def expect(self, thread: ThreadState, request: ModelRequest) -> Estimate:
        """Estimate the input of `request`."""
        estimate = self.content(thread, request)
        if request.generation_id is None or thread.context_known:
            return estimate
        return estimate + self.fixed(thread)

    def content(self, thread: ThreadState, request: ModelRequest) -> Estimate:
        """Estimate the input of `request` beside the instructions and tools of the assistant."""
        estimate = framing(1)
        for item in request.input:
            estimate += tokens.estimate(text_of(item), request.model) + framing(1)
        if request.generation_id is None:
            return estimate + tokens.estimate(request.instructions, request.model) + framing(1)
        return estimate + Estimate(thread.context_tokens, thread.context_at_most, exact=False)

    def fixed(self, thread: ThreadState) -> Estimate:
        """What every request reads before any conversation: instructions and tools."""
        session = self._session
        estimate = tokens.estimate(session.assistant.instructions, session.assistant.model)
        estimate += tokens.estimate(session.tools_text, session.assistant.model)
        if thread.vector_store_id is not None:
            estimate += FILE_SEARCH_TOOL
        return estimate + framing(1 + len(session.tools))

    def time_left(self, run: RunState) -> float:
        """Seconds until the run's deadline.

        Raises:
            RunTimedOut: It has passed.
        """
        if run.deadline is None:
            return self._session.run_timeout
        left = run.deadline - self._driver.now()
        if left <= 0:
            raise timed_out(run, self._session.run_timeout)
        return left

    async def _count(self, request: ModelRequest, expected: Estimate, run: RunState) -> Estimate:
        """The API's own count, or `expected` where there is none."""
        try:
            counted = await self._backend.count_input(request, min(_COUNT_TIMEOUT, self.time_left(run)))
        except Exception as error:
            if self._backend.classify(error) is None:
                raise
            return expected
        return expected if counted is None else Estimate(counted, counted, exact=True)

    async def _room(self, caps: Sequence[PlacedCap], expected: Estimate, model: str, wanted: int) -> _Room:
        """How much output the tightest of `caps` leaves."""
        tightest = _Room(wanted, wanted)
        for placed, balance in zip(caps, await self._balances(caps), strict=True):
            cap = placed.cap
            free = cap.limit - balance.committed
            output = self._affords(cap, free - balance.held, expected.at_most, model)
            if output < tightest.output:
                tightest = _Room(output, self._affords(cap, free, expected.at_most, model), placed, balance)
        return tightest

    async def _balances(self, caps: Sequence[PlacedCap]) -> list[Balance]:
        ledger = self._session.ledger
        if not caps:
            return []
        return await self._driver.blocking(
            lambda: [ledger.balance(placed.cap.account, placed.cap.metric) for placed in caps],
            at_once=ledger.in_process,
        )

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
        )
        if busy:
            text += "ask again when they have settled"
        elif cap.account == run_account(run):
            text += "raise the cap, or rotate earlier with ThreadRotation(max_context_tokens=…)"
        else:
            text += "raise the cap, or begin a new session"
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

    async def _report_observed(self, view: View, caps: Sequence[PlacedCap]) -> None:
        """Report the observed caps that the request just reserved would not have fitted."""
        observed = [placed for placed in caps if placed.observed]
        for placed, balance in zip(observed, await self._balances(observed), strict=True):
            if balance.committed + balance.held > placed.cap.limit:
                cap = placed.cap
                reason = f"{cap.account} would pass its {cap.limit} {cap.metric}"
                self._asking.report(view, placed.policy, "before_request", "refuse", reason)


def framing(items: int) -> Estimate:
    """What so many items cost beside their text."""
    return Estimate(4 * items, _FRAMING * items, exact=False)
