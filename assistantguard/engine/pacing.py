"""Keeping to rates: a request waits for its turn before it is held, and gives back what it did not use."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from assistantguard.errors import TooManyRequests
from assistantguard.events import PolicyObserved
from assistantguard.models.values import Record

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import Failure, Usage
    from assistantguard.models.rates import RatesTold
    from assistantguard.pacing import Ask, Lane, Lanes, Limits, NoRoom, Permit
    from assistantguard.policies import View
    from assistantguard.policies.pacing import Pace
    from assistantguard.policies.ruling import PlacedPace
    from assistantguard.tokens import Estimate

__all__ = ["Pacer", "Turn"]

T = TypeVar("T")
_RATE_CODES = frozenset({"rate_limit_exceeded", "slow_down", "requests", "tokens"})
_OVERLOADED = 503


@dataclass(slots=True, eq=False, repr=False)
class Turn(Record):
    """A request's permit in a lane."""

    lane: str
    permit: Permit


class Pacer:
    """Keeps the requests of one session to their rates."""

    def __init__(self, session: Session, driver: Driver) -> None:
        self._session = session
        self._driver = driver
        self._turns: dict[str, Sequence[Turn]] = {}
        """By hold."""
        self._found: Lanes | None = None

    async def enter(
        self, view: View, paces: Sequence[PlacedPace], expected: Estimate, output_at_most: int, until: float
    ) -> tuple[list[Turn], bool]:
        """Wait for a request's turn in every lane.

        Args:
            view: What the policies saw.
            paces: What it has to keep to.
            expected: Its input.
            output_at_most: Its output.
            until: When it is of no use any more, a Unix time in seconds.

        Returns:
            Its turns, and whether it waited.

        Raises:
            TooManyRequests: It could not be sent in time.
        """
        turns: list[Turn] = []
        waited = False
        try:
            for placed in paces:
                turn, has_waited = await self._enter(view, placed, expected, output_at_most, until)
                turns.append(turn)
                waited = waited or has_waited
        except BaseException:
            await self._driver.protect(self.give_back(turns))
            raise
        return turns, waited

    def hold(self, hold_id: str, turns: Sequence[Turn]) -> None:
        """Keep the turns of a request under its hold, until it is settled or released."""
        self._turns[hold_id] = turns

    async def begun(self, hold_id: str, rates: RatesTold | None) -> None:
        """A request was taken up and will end too late to give anything back: what was held for it counts."""
        now = self._driver.now()
        for turn in self._turns.pop(hold_id, ()):
            await self._change(
                turn.lane,
                lambda lane, permit=turn.permit: lane.settle(permit, None, None, rates, now),  # type: ignore[misc]
            )

    async def released(self, hold_id: str) -> None:
        """A request was not sent."""
        turns = self._turns.pop(hold_id, None)
        if turns:
            await self.give_back(turns)

    async def settled(
        self, hold_id: str, usage: Usage, rates: RatesTold | None, failure: Failure | None, *, was_sent: bool
    ) -> None:
        """A request has ended.

        Args:
            hold_id: Its hold.
            usage: What is booked for it.
            rates: What the server told of its limits.
            failure: What went wrong.
            was_sent: Whether the server took it up: else nothing of it counts.
        """
        turns = self._turns.pop(hold_id, None)
        if not turns:
            return
        now = self._driver.now()
        for turn in turns:
            await self._change(turn.lane, _ended(turn.permit, usage, rates, failure, now, was_sent=was_sent))

    async def give_back(self, turns: Sequence[Turn]) -> None:
        """Requests were not sent after all."""
        for turn in turns:
            await self._change(turn.lane, lambda lane, permit=turn.permit: lane.give_back(permit))  # type: ignore[misc]

    async def _enter(
        self, view: View, placed: PlacedPace, expected: Estimate, output_at_most: int, until: float
    ) -> tuple[Turn, bool]:
        from assistantguard.pacing import Ask, Limits, NoRoom

        pace, driver, began = placed.pace, self._driver, self._driver.now()
        if pace.max_wait is not None:
            until = min(until, began + pace.max_wait)
        lanes, limits = self._lanes, Limits(pace.requests, pace.tokens, pace.burst)
        ask = Ask(uuid.uuid4().hex, lanes.owner, pace.account, expected.tokens, output_at_most, pace.priority, until)
        if placed.observed:
            return await self._observe(view, placed, ask, limits), False
        outcome = await self._ask(pace, ask, limits)
        try:
            while isinstance(outcome, (int, float)):
                left = until - driver.now()
                if left <= 0:
                    outcome = NoRoom(await self._leave(pace.lane, ask.id), "its turn did not come in time")
                else:
                    await driver.sleep(min(outcome, left))
                    outcome = await self._arrived(pace, ask, limits)
        except BaseException:
            await driver.protect(self._leave(pace.lane, ask.id))
            raise
        if isinstance(outcome, NoRoom):
            raise self._refusal(view, placed, outcome, driver.now())
        waited = driver.now() - began
        if waited:
            from assistantguard.events.traffic import PacingWaited

            self._session.emit(
                PacingWaited(
                    driver.now(),
                    self._session.id,
                    view.thread.id,
                    pace.lane,
                    waited,
                    placed.policy,
                    None if view.run is None else view.run.id,
                    view.thread.user,
                )
            )
        return Turn(pace.lane, outcome), waited > 0

    async def _ask(self, pace: Pace, ask: Ask, limits: Limits) -> Permit | float | NoRoom:
        now = self._driver.now()
        return await self._change(pace.lane, lambda lane: lane.ask(ask, limits, pace.max_queue, now))

    async def _arrived(self, pace: Pace, ask: Ask, limits: Limits) -> Permit | float | NoRoom:
        lanes, now = self._lanes, self._driver.now()
        try:
            return await self._driver.blocking(lambda: lanes.arrived(pace.lane, ask.id, now), at_once=lanes.in_process)
        except LookupError:  # this process stood still for so long that it was taken for dead
            return await self._ask(pace, ask, limits)

    async def _leave(self, name: str, ticket_id: str) -> float | None:
        permit, now = self._lanes.left(name, ticket_id), self._driver.now()
        if permit is not None:
            await self.give_back([Turn(name, permit)])
            return now
        return await self._change(name, lambda lane: lane.leave(ticket_id, now))

    async def _observe(self, view: View, placed: PlacedPace, ask: Ask, limits: Limits) -> Turn:
        """Let a request pass, and report that it would have waited."""
        now, name = self._driver.now(), f"observed:{placed.pace.lane}"
        permit, available_at = await self._change(name, lambda lane: lane.observe(ask, limits, now))
        if available_at > now:
            verb = "refuse" if available_at > ask.until else "wait"
            reason = f"{placed.pace.lane} is full for {available_at - now:.1f} s"
            run_id = None if view.run is None else view.run.id
            self._session.emit(
                PolicyObserved(
                    now, self._session.id, view.thread.id, placed.policy, "before_request", verb, reason, run_id
                )
            )
        return Turn(name, permit)

    def _refusal(self, view: View, placed: PlacedPace, room: NoRoom, now: float) -> TooManyRequests:
        pace, at = placed.pace, room.available_at
        when = (
            "make the message or its thread shorter, or ask for a higher limit"
            if at is None
            else f"ask again in {max(0.0, at - now):.0f} s, raise max_wait or max_queue, or ask for a higher limit"
        )
        limits = ", ".join(
            f"{number} {what} a minute"
            for number, what in ((pace.requests, "requests"), (pace.tokens, "tokens"))
            if number is not None
        )
        error = TooManyRequests(
            f"{placed.policy}: {pace.lane} has no room for this request within"
            f" {'the time of its run' if pace.max_wait is None else f'{pace.max_wait:g} s'}"
            f"{f' ({limits})' if limits else ''}: {room.reason}; {when}",
            lane=pace.lane,
            available_at=at,
        )
        error.policy = placed.policy
        from assistantguard.events.traffic import PacingRefused

        self._session.emit(
            PacingRefused(
                now,
                self._session.id,
                view.thread.id,
                pace.lane,
                placed.policy,
                at,
                None if view.run is None else view.run.id,
                view.thread.user,
            )
        )
        return error

    @property
    def _lanes(self) -> Lanes:
        if self._found is None:
            from assistantguard.pacing import lanes_beside

            self._found = lanes_beside(self._session.ledger)
        return self._found

    async def _change(self, name: str, work: Callable[[Lane], T]) -> T:
        lanes = self._lanes
        return await self._driver.blocking(lambda: lanes.change(name, work), at_once=lanes.in_process)


def _ended(
    permit: Permit, usage: Usage, rates: RatesTold | None, failure: Failure | None, now: float, *, was_sent: bool
) -> Callable[[Lane], None]:
    """What the end of a request means for a lane."""

    def tell(lane: Lane) -> None:
        if failure is not None and not was_sent and _is_of_rate(failure):
            overloaded = failure.status_code == _OVERLOADED
            lane.refused(permit, failure.retry_after, rates, now, overloaded=overloaded)
        elif not was_sent:
            lane.settle(permit, 0, None, rates, now)
        elif usage.estimated:
            lane.settle(permit, None, None, rates, now)
        else:
            lane.settle(permit, usage.total_tokens, usage.output_tokens, rates, now)

    return tell


def _is_of_rate(failure: Failure) -> bool:
    """Whether a failure says that too much was sent, or that the server is overloaded."""
    if failure.status_code == _OVERLOADED:
        return True
    return failure.kind == "transient" and (failure.status_code == 429 or failure.code in _RATE_CODES)
