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

from assistantguard import events, tokens
from assistantguard.engine.budgets import HOLD_GRACE, Standing, has_renewed, mend_of, standings
from assistantguard.engine.failing import timed_out
from assistantguard.engine.healing import mark_of
from assistantguard.engine.input import text_of
from assistantguard.engine.ports import ModelRequest
from assistantguard.errors import BudgetBusy, BudgetExceeded, PolicyRefused
from assistantguard.ledger import Balance, Claim, LedgerRefusal
from assistantguard.model_limits import largest_output
from assistantguard.models import RunState, ThreadState
from assistantguard.models.assistant import MIN_OUTPUT_TOKENS
from assistantguard.models.run import InFlight
from assistantguard.policies import Cap, Metric, View
from assistantguard.policies.base import UNITS
from assistantguard.policies.ruling import PlacedCap
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.pacing import Pacer, Turn
    from assistantguard.engine.ports import Backend, Driver
    from assistantguard.engine.session import Session

__all__ = ["FILE_SEARCH_TOOL", "Admission", "Expectation", "framing"]

_FRAMING = 16
"""Tokens that an item costs beside its text, at the very most; a message really costs about four."""
FILE_SEARCH_TOOL = Estimate(64, 1_024, exact=False)
"""What the file search tool adds to the tools, where it is added for a thread's own store."""
_ENOUGH_OUTPUT = 1_024
"""While other requests hold the rest of a cap, an answer that could not reach this length is not begun."""
_EXPIRE_EVERY = 1.0
"""Seconds. Looking for holds that are due costs a database a statement, and they outlive their runs by minutes."""
_BUSY_POLL = 0.05
_RACE_POLL = 0.002
_COUNT_TIMEOUT = 30.0
_UNBOUNDED = 1 << 40
"""Tokens; what a cap that does not count them leaves."""


@dataclass(slots=True, eq=False, repr=False)
class Expectation:
    """What a request was expected to use when it was sent."""

    input: Estimate
    output_at_most: int
    sent_at: float
    caps: Sequence[PlacedCap] = ()
    """What it was admitted under, observed ones too, with the limits that were in force."""


@dataclass(slots=True, eq=False, repr=False)
class _Room:
    """How much output the tightest cap leaves."""

    output: int
    """May be negative."""
    without_holds: int
    """The same if nothing else were in flight."""
    cap: PlacedCap | None = None
    balance: Balance = field(default_factory=Balance)

    @property
    def tightness(self) -> tuple[bool, int]:
        """The least is the tightest: first what does not fit even if nothing else were in flight."""
        return self.without_holds >= MIN_OUTPUT_TOKENS, self.output


class Admission:
    """Lets requests pass, or refuses them. Without a pacer, they need not keep to rates."""

    def __init__(
        self, session: Session, driver: Driver, backend: Backend, asking: Asking, pacer: Pacer | None = None
    ) -> None:
        self._session = session
        self._pacer = pacer
        self._driver = driver
        self._backend = backend
        self._asking = asking
        self._expired_at = 0.0

    async def admit(
        self, thread: ThreadState, run: RunState, request: ModelRequest, message: str, purpose: str = "run"
    ) -> Expectation:
        """Ask the policies, bound `request` by what they say, and reserve: afterwards ``run.hold_id`` is open.

        The run is saved in the same transaction, so that whoever finds the hold finds what it was for.

        Raises:
            Refused: A policy or a cap does not allow the request.
            RunTimedOut: The run's deadline has passed.
        """
        turns: list[Turn] = []
        try:
            expectation = await self._fit(thread, run, request, message, purpose, turns)
        except BaseException:
            if turns and self._pacer is not None:
                await self._driver.protect(self._pacer.give_back(turns))
            raise
        if turns and run.hold_id is not None and self._pacer is not None:
            self._pacer.hold(run.hold_id, turns)
        return expectation

    async def _fit(
        self, thread: ThreadState, run: RunState, request: ModelRequest, message: str, purpose: str, turns: list[Turn]
    ) -> Expectation:
        """See `admit`. `turns` gets what the request was given in lanes, whatever becomes of it."""
        driver = self._driver
        time_left = self.time_left(run)
        expected = self.expect(thread, request)
        view = replace(self._asking.view(thread, run, message, request.model), input=expected)
        ruling = self._asking.rule("before_request", view)
        if ruling.max_tool_calls is not None and any(tool.get("type") != "function" for tool in request.tools):
            request.max_tool_calls = ruling.max_tool_calls
        asked = request.max_output_tokens
        wanted = largest_output(request.model) if asked is None else asked
        if ruling.max_output_tokens is not None:
            wanted = max(MIN_OUTPUT_TOKENS, min(wanted, ruling.max_output_tokens))
        may_count = ruling.counting != "never" and request.generation_id is not None
        if may_count and (ruling.counting == "always" or thread.adopted):
            expected, may_count = await self._count(request, expected, run), False
        wait_until = driver.now() + min(ruling.busy_wait, time_left)
        while True:
            if has_renewed(ruling.caps, driver.now()):
                view = replace(view, now=driver.now())
                ruling = self._asking.rule("before_request", view)
            standing = await self._standings(ruling.caps)
            caps = [each for each in standing if not each.placed.observed]
            room = self._room(caps, expected, request, wanted)
            if room.output < wanted and may_count:
                expected, may_count = await self._count(request, expected, run), False
                continue
            short = room.output < min(wanted, _ENOUGH_OUTPUT)
            waits = short and room.without_holds > max(room.output, MIN_OUTPUT_TOKENS - 1)
            if waits and driver.now() < wait_until:
                await driver.sleep(_BUSY_POLL)
                continue
            if waits or room.output < MIN_OUTPUT_TOKENS:
                raise self._refusal(thread, run, room, expected, request)
            output = min(wanted, room.output)
            if ruling.paces and not turns and self._pacer is not None:
                request.wants_rates = True
                until = driver.now() + self.time_left(run)
                entered, waited = await self._pacer.enter(view, ruling.paces, expected, output, until)
                turns += entered
                time_left = self.time_left(run)
                if waited:  # others may have spent meanwhile
                    continue
            placed = [each.placed for each in standing]
            claims = self._claims(view, placed, expected, output, request, purpose)
            run.hold_id = f"hold_{uuid.uuid4().hex}"
            run.open_response_id = None
            run.in_flight = self._in_flight(run, request, expected, output, purpose)
            try:
                await self._reserve(thread, run, claims, time_left)
            except LedgerRefusal:  # another request was quicker: look again at what is left
                run.hold_id = None
                await driver.sleep(_RACE_POLL)
                time_left = self.time_left(run)
                continue
            if caps or asked is not None or ruling.max_output_tokens is not None:
                request.max_output_tokens = output
            if len(caps) < len(standing):
                await self._report_observed(view, placed)
            return Expectation(expected, output, driver.now(), placed)

    async def _reserve(self, thread: ThreadState, run: RunState, claims: Sequence[Claim], time_left: float) -> None:
        """Reserve, once holds whose owner never came back are ended."""
        ledger, states, now, hold_id = self._session.ledger, self._session.states, self._driver.now(), run.hold_id
        assert hold_id is not None

        def expire_and_reserve() -> None:
            if ledger.in_process or not 0.0 <= now - self._expired_at < _EXPIRE_EVERY:
                self._expired_at = now
                ledger.expire(now)
            with states.together():
                ledger.reserve(hold_id, claims, now + time_left + HOLD_GRACE)
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
            self._session.tier_of(request),
        )

    def expect(self, thread: ThreadState, request: ModelRequest) -> Estimate:
        """Estimate the input of `request`."""
        estimate = self.content(thread, request)
        if request.generation_id is None or thread.context_known:
            return estimate
        return estimate + self.fixed(thread, request.model)

    def content(self, thread: ThreadState, request: ModelRequest) -> Estimate:
        """Estimate the input of `request` beside the instructions and tools of the assistant."""
        estimate = framing(1)
        for item in request.input:
            estimate += tokens.estimate(text_of(item), request.model) + framing(1)
        if request.generation_id is None:
            return estimate + tokens.estimate(request.instructions, request.model) + framing(1)
        return estimate + Estimate(thread.context_tokens, thread.context_at_most, exact=False)

    def fixed(self, thread: ThreadState, model: str) -> Estimate:
        """What every request reads before any conversation: instructions and tools."""
        session = self._session
        estimate = tokens.estimate(session.assistant.instructions, model)
        estimate += tokens.estimate(session.tools_text, model)
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

    def _room(self, caps: Sequence[Standing], expected: Estimate, request: ModelRequest, wanted: int) -> _Room:
        """How much output the tightest of `caps` leaves."""
        tightest = _Room(wanted, wanted)
        for standing in caps:
            cap, balance = standing.placed.cap, standing.balance
            free = cap.limit - balance.committed
            output = self._affords(cap, free - balance.held, expected.at_most, request)
            without_holds = output if not balance.held else self._affords(cap, free, expected.at_most, request)
            room = _Room(output, without_holds, standing.placed, balance)
            if output < wanted and room.tightness < tightest.tightness:
                tightest = room
        return tightest

    async def _standings(self, caps: Sequence[PlacedCap]) -> list[Standing]:
        ledger = self._session.ledger
        if not caps:
            return []
        return await self._driver.blocking(lambda: standings(ledger, caps), at_once=ledger.in_process)

    def _affords(self, cap: Cap, free: Decimal, input_tokens: int, request: ModelRequest) -> int:
        """The largest output that `free` on a cap pays for beside `input_tokens`."""
        if cap.metric == "messages":
            return _UNBOUNDED if free >= 1 else -_UNBOUNDED
        if cap.metric == "tokens":
            return int(free) - input_tokens
        model, tier = request.model, self._session.tier_of(request)
        affordable = self._session.prices.affordable_output(free, input_tokens, model, tier)
        if affordable is None:
            at = f" at service tier {tier!r}" if tier else ""
            raise PolicyRefused(
                f"a cap in US dollars stands on {cap.account}, and the model {model!r} has no known price{at}: give it"
                f" with prices={{{model!r}: Price(input='…', output='…')}}, or use a TokenCap"
            )
        return affordable

    def _claims(
        self,
        view: View,
        caps: Sequence[PlacedCap],
        expected: Estimate,
        output: int,
        request: ModelRequest,
        purpose: str,
    ) -> list[Claim]:
        """The claims of a request: on every account of a cap, and on the session's and the run's in any case.

        A summary answers no message, and holds none: it is only made where a message would fit.
        """
        limits: dict[tuple[str, Metric], Decimal | None] = {
            (view.session_account, "tokens"): None,
            (view.session_account, "cost"): None,
            (view.run_account, "tokens"): None,
            (view.run_account, "cost"): None,
        }
        needed_until: dict[str, float | None] = {}
        for placed in caps:
            cap = placed.cap
            if cap.metric == "messages" and purpose != "run":
                continue
            if cap.terms is not None:
                needed_until[cap.account] = cap.terms.renews_at
            key = (cap.account, cap.metric)
            limit = limits.setdefault(key, None)
            if not placed.observed:
                limits[key] = cap.limit if limit is None else min(limit, cap.limit)
        cost = self._session.prices.at_most(expected.at_most, output, request.model, self._session.tier_of(request))
        amounts: dict[Metric, Decimal] = {
            "tokens": Decimal(expected.at_most + output),
            "cost": cost or Decimal(0),
            "messages": Decimal(1),
        }
        return [
            Claim(account, metric, amounts[metric], limit, needed_until.get(account))
            for (account, metric), limit in limits.items()
        ]

    def _refusal(
        self, thread: ThreadState, run: RunState, room: _Room, expected: Estimate, request: ModelRequest
    ) -> BudgetBusy | BudgetExceeded:
        """The error and the event of a request that no longer fits."""
        assert room.cap is not None
        cap, balance = room.cap.cap, room.balance
        busy = room.without_holds >= MIN_OUTPUT_TOKENS
        renews_at = None if cap.terms is None else cap.terms.renews_at
        free = cap.limit - balance.committed - balance.held
        needs = (
            f"the request needs {expected.at_most} input and at least {MIN_OUTPUT_TOKENS} output tokens"
            f" on {request.model}"
            if cap.metric != "messages"
            else "the request answers one more"
        )
        kind = BudgetBusy if busy else BudgetExceeded
        error = kind(
            f"{'' if cap.terms is None else 'Budget '}{room.cap.policy}: {cap.account} has {max(free, Decimal(0))} of"
            f" {cap.limit} {UNITS[cap.metric]} left ({balance.committed} spent, {balance.held} held by requests in"
            f" flight), {needs}: {mend_of(cap, run, busy=busy)}",
            account=cap.account,
            metric=cap.metric,
            limit=cap.limit,
            committed=balance.committed,
            held=balance.held,
            renews_at=renews_at,
        )
        error.policy = room.cap.policy
        self._session.emit(
            events.BudgetRefusedEvent(
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
                renews_at,
                thread.user,
            )
        )
        return error

    def no_message_left(
        self, thread: ThreadState, run: RunState, placed: PlacedCap, balance: Balance
    ) -> BudgetBusy | BudgetExceeded:
        """The error and the event of a message that takes no request, and for which a budget has no room."""
        left = _UNBOUNDED if placed.cap.limit - balance.committed >= 1 else -_UNBOUNDED
        room = _Room(-_UNBOUNDED, left, placed, balance)
        return self._refusal(thread, run, room, Estimate(0, 0, exact=True), ModelRequest(run.model, None, "", []))

    async def _report_observed(self, view: View, caps: Sequence[PlacedCap]) -> None:
        """Report the observed caps that the request just reserved would not have fitted."""
        observed = [placed for placed in caps if placed.observed]
        for standing in await self._standings(observed):
            cap, balance = standing.placed.cap, standing.balance
            if balance.committed + balance.held > cap.limit:
                reason = f"{cap.account} would pass its {cap.limit} {cap.metric}"
                self._asking.report(view, standing.placed.policy, "before_request", "refuse", reason)


def framing(items: int) -> Estimate:
    """What so many items cost beside their text."""
    return Estimate(4 * items, _FRAMING * items, exact=False)
