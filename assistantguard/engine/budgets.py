"""Budgets at work: which limits are in force, what a refusal says, when to warn, and what is left."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard import events
from assistantguard.events import PolicyObserved
from assistantguard.ledger import Balance
from assistantguard.policies import Cap
from assistantguard.policies.base import run_account
from assistantguard.policies.ruling import PlacedCap

if TYPE_CHECKING:
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.ledger import Ledger
    from assistantguard.models import RunState, ThreadState
    from assistantguard.policies import Metric

__all__ = ["HOLD_GRACE", "BudgetWatch", "Standing", "has_renewed", "mend_of", "standings"]

HOLD_GRACE = 300.0
"""Seconds past a run's own limit until its hold expires."""
_MOST_TOLD = 10_000
_logger = logging.getLogger("assistantguard")


@dataclass(slots=True, eq=False, repr=False)
class Standing:
    """A cap with the limit that is in force, and what stands on its account."""

    placed: PlacedCap
    balance: Balance


def standings(ledger: Ledger, caps: Sequence[PlacedCap]) -> list[Standing]:
    """How each of `caps` stands. May block."""
    keys = {key for placed in caps for key in _limit_keys(placed.cap)}
    limits = ledger.limits(sorted(keys)) if keys else {}
    return [
        Standing(
            replace(placed, cap=_in_force(placed.cap, limits)) if limits else placed,
            ledger.balance(placed.cap.account, placed.cap.metric),
        )
        for placed in caps
    ]


def _limit_keys(cap: Cap) -> tuple[str, ...]:
    """Where a limit that was set at run time stands: for this window, and for all."""
    return () if cap.terms is None else (cap.account, cap.terms.key)


def _in_force(cap: Cap, limits: Mapping[tuple[str, Metric], Decimal]) -> Cap:
    for key in _limit_keys(cap):
        limit = limits.get((key, cap.metric))
        if limit is not None:
            return replace(cap, limit=limit)
    return cap


def has_renewed(caps: Iterable[PlacedCap], now: float) -> bool:
    """Whether the window of one of `caps` is over."""
    ends = (placed.cap.terms.renews_at for placed in caps if placed.cap.terms is not None)
    return any(end is not None and end <= now for end in ends)


def mend_of(cap: Cap, run: RunState, *, busy: bool) -> str:
    """What to do about a request that does not fit."""
    from assistantguard.policies.windows import moment_text

    parts = ["ask again when they have settled"] if busy else []
    if cap.terms is None:
        if not busy:
            own = cap.account == run_account(run)
            parts.append(
                "raise the cap, or rotate earlier with ThreadRotation(max_context_tokens=…)"
                if own
                else "raise the cap, or begin a new session"
            )
    elif cap.terms.renews_at is None:
        parts.append("it never renews, raise it with set_budget(…)")
    else:
        renews = f"it renews {moment_text(cap.terms.renews_at, cap.terms.timezone)}"
        parts.append(renews if busy else f"{renews}, or raise it with set_budget(…)")
    return "; ".join(parts)


class BudgetWatch:
    """Looks at the budgets after each request that was settled, and warns."""

    def __init__(self, session: Session, driver: Driver) -> None:
        self._session = session
        self._driver = driver
        self._told: set[str] = set()
        """Warnings that were given, by this process or another."""

    async def look(self, thread: ThreadState, run: RunState, caps: Sequence[PlacedCap]) -> None:
        """Warn of the shares of budgets that are spent now.

        A ledger that fails here is logged: the request is on the books already, and its answer counts for more.

        Args:
            thread: Whose request was settled.
            run: Its run.
            caps: The caps it was admitted under.
        """
        due = [placed for placed in caps if self._untold(placed)]
        if not due:
            return
        ledger = self._session.ledger
        try:
            reached = await self._driver.blocking(lambda: self._reached(due), at_once=ledger.in_process)
        except Exception:
            _logger.exception("the budgets of the run %s could not be looked at", run.id)
            return
        for standing, share in reached:
            self._warn(thread, run, standing, share)

    def _untold(self, placed: PlacedCap) -> list[float]:
        """The shares of a budget of which nobody was warned yet, as far as this process knows."""
        terms = placed.cap.terms
        return [] if terms is None else [share for share in terms.warn_at if _notice(placed, share) not in self._told]

    def _reached(self, due: Sequence[PlacedCap]) -> list[tuple[Standing, float]]:
        """The shares that are spent, and that this call is the first to tell of."""
        ledger = self._session.ledger
        found: list[tuple[Standing, float]] = []
        for placed in due:
            terms = placed.cap.terms
            assert terms is not None
            balance = ledger.balance(placed.cap.account, placed.cap.metric)
            for share in self._untold(placed):
                if balance.committed and balance.committed >= Decimal(str(share)) * placed.cap.limit:
                    notice = _notice(placed, share)
                    if ledger.first_time(notice, terms.renews_at):
                        found.append((Standing(placed, balance), share))
                    if len(self._told) >= _MOST_TOLD:
                        self._told.clear()
                    self._told.add(notice)
        return found

    def _warn(self, thread: ThreadState, run: RunState, standing: Standing, share: float) -> None:
        session, now, placed = self._session, self._driver.now(), standing.placed
        cap, terms, committed = placed.cap, placed.cap.terms, standing.balance.committed
        assert terms is not None
        if placed.observed:
            reason = f"{cap.account} has spent {committed} of {cap.limit} {cap.metric}"
            session.emit(
                PolicyObserved(now, session.id, thread.id, placed.policy, "before_request", "warn", reason, run.id)
            )
            return
        session.emit(
            events.BudgetWarned(
                now,
                session.id,
                thread.id,
                cap.account,
                terms.budget,
                cap.metric,
                share,
                cap.limit,
                committed,
                terms.renews_at,
                thread.user,
                thread.tenant,
                run.id,
            )
        )


def _notice(placed: PlacedCap, share: float) -> str:
    kind = "observed" if placed.observed else "warned"
    return f"{kind}:{placed.cap.account}:{placed.cap.metric}:{share!r}"
