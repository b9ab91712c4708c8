"""Which model a run goes to: asking the policies, and what follows from what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, TypeVar

from assistantguard import tokens
from assistantguard.engine.budgets import standings
from assistantguard.errors import ConfigurationError
from assistantguard.events.traffic import RunRouted
from assistantguard.policies import CostCap, Rotate, TokenCap
from assistantguard.policies.route import Route
from assistantguard.policies.routing import switch_between
from assistantguard.policies.ruling import PlacedCap

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import Driver
    from assistantguard.engine.session import Session
    from assistantguard.models import Failure, RunState, ThreadState
    from assistantguard.policies import Ruling, View

__all__ = ["Elsewhere", "Routing"]

T = TypeVar("T")
_OTHER_ENCODING = 4
"""How many times as many tokens a text may have in another model's encoding, at the very most."""


class _UnreadError(BaseException):
    """A rule asked for what is left of budgets, and reading that may block: it is read, and the rules begin again."""


class Elsewhere:
    """That the next attempt of a run goes to another model."""

    def __init__(self, route: Route, model: str, event: RunRouted) -> None:
        self.route = route
        self.model = model
        self.event = event


class Routing:
    """Asks the policies of a session which model answers."""

    def __init__(self, session: Session, driver: Driver, asking: Asking) -> None:
        self._session = session
        self._driver = driver
        self._asking = asking

    async def choose(self, thread: ThreadState, run: RunState, message: str) -> RunRouted | None:
        """Set what a run that begins is asked of; return what there is to tell.

        Raises:
            ConfigurationError: A rule cannot work, or names a service tier where the server knows none.
        """
        if run.pinned:
            return None
        own = run.model = thread.model or self._session.assistant.model
        before = thread.answered_by or own
        view = self._view(thread, run, message)
        ruling = await self._ask(view)
        route = ruling.decision
        if not isinstance(route, Route):
            if before == own:
                return None
            route = Route(reason=f"to {own}: the thread's own model")
        self._set(run, route, route.model or own)
        run.keeps_model = route.keep and route.model is not None
        cost = switch_between(view, before, run.model, view.service_tier)
        self._leave(thread, before, run.model)
        return self._event(thread, run, before, ruling.policy, route, cost)

    async def elsewhere(self, thread: ThreadState, run: RunState, failure: Failure) -> Elsewhere | None:
        """Where the next attempt goes, if not to the model that has failed. See `go`."""
        if run.pinned:
            return None
        view = replace(self._view(thread, run, ""), failure=failure, will_rotate=_no)
        ruling = await self._ask(view)
        route = ruling.decision
        if not isinstance(route, Route) or route.model in {None, run.model}:
            return None
        model = route.model or run.model
        loses = thread.answered_by in {None, run.model}
        cost = switch_between(view, run.model, model, view.service_tier) if loses else Decimal(0)
        event = self._event(thread, run, run.model, ruling.policy, route, cost)
        event.model = model
        return Elsewhere(route, model, event)

    def go(self, thread: ThreadState, run: RunState, elsewhere: Elsewhere) -> None:
        """Go there with the next attempt, and tell of it."""
        before = run.model
        self._set(run, elsewhere.route, elsewhere.model)
        run.attempts_elsewhere = run.attempt
        run.keeps_model = False
        self._leave(thread, before, run.model)
        self._session.emit(elsewhere.event)

    def _set(self, run: RunState, route: Route, model: str) -> None:
        if route.service_tier is not None and not self._session.takes_service_tiers:
            raise ConfigurationError(
                f"a rule returned service_tier={route.service_tier!r}, and the server speaks the Assistants protocol,"
                " which knows none: leave it out"
            )
        run.model, run.reasoning_effort, run.service_tier = model, route.reasoning_effort, route.service_tier

    def _event(
        self, thread: ThreadState, run: RunState, before: str, policy: str, route: Route, cost: Decimal | None
    ) -> RunRouted:
        return RunRouted(
            self._driver.now(),
            self._session.id,
            thread.id,
            run.id,
            run.model,
            before,
            policy,
            route.reason,
            route.reasoning_effort,
            route.service_tier,
            cost,
            run.keeps_model,
        )

    def _view(self, thread: ThreadState, run: RunState, message: str) -> View:
        session = self._session
        view = self._asking.view(thread, run, message, run.model)
        view.prices, view.own_model = session.prices, session.assistant.model
        view.tools = tuple(str(tool.get("name") or tool.get("type")) for tool in session.tools)
        if thread.vector_store_id is not None and session.adds_file_search and "file_search" not in view.tools:
            view.tools += ("file_search",)
        view.will_rotate = _once(lambda: isinstance(session.policies.rule("before_turn", view).decision, Rotate))
        return view

    async def _ask(self, view: View) -> Ruling:
        """Ask the policies, with the balances of the budgets at hand where a rule wants them."""
        ledger = self._session.ledger
        if ledger.in_process:
            view.budgets_left = _once(lambda: self._left(view))
            return self._asking.rule("route", view)
        view.budgets_left = _unread
        try:
            return self._asking.rule("route", view)
        except _UnreadError:
            left = await self._driver.blocking(lambda: self._left(view), at_once=False)
        view.budgets_left = lambda: left
        return self._asking.rule("route", view)

    def _left(self, view: View) -> Mapping[str, float]:
        """What is left of each budget and cap that the view's turn would be charged to. May block."""
        left: dict[str, float] = {}
        for standing in standings(self._session.ledger, self._caps(view, left)):
            cap, balance = standing.placed.cap, standing.balance
            free = cap.limit - balance.committed - balance.held
            share = float(free / cap.limit) if free > 0 else 0.0
            left[standing.placed.policy] = min(left.get(standing.placed.policy, 1.0), share)
        return left

    def _caps(self, view: View, left: dict[str, float]) -> list[PlacedCap]:
        """The caps in tokens and US dollars; in `left`, a budget that does not concern the turn is whole."""
        caps: list[PlacedCap] = []
        for policy in self._session.policies.policies:
            if isinstance(policy, (TokenCap, CostCap)):
                caps += [PlacedCap(cap, policy.name, observed=False) for cap in policy.caps(view)]
        for budget, is_observed in self._session.policies.budgets:
            if is_observed or not {"tokens", "cost"} & budget.limits.keys():
                continue
            left.setdefault(budget.name, 1.0)
            try:
                owner = budget.owner(view)
            except ConfigurationError:  # which refuses the turn
                continue
            found = [] if owner is None else budget.caps(owner, view.now)
            caps += [PlacedCap(cap, budget.name, observed=False) for cap in found if cap.metric != "messages"]
        return caps

    def _leave(self, thread: ThreadState, before: str, after: str) -> None:
        """Note what the model that is left has read, and widen the bound on the context for another encoding."""
        if before == after:
            return
        if thread.context_known and thread.answered_by in {None, before}:
            thread.read_by[before] = [float(thread.context_tokens), thread.last_used_at]
        if tokens.encoding_name(before)[0] != tokens.encoding_name(after)[0]:
            thread.context_at_most = max(thread.context_at_most, _OTHER_ENCODING * thread.context_tokens)


def _no() -> bool:
    return False


def _unread() -> Mapping[str, float]:
    raise _UnreadError


def _once(work: Callable[[], T]) -> Callable[[], T]:
    """`work`, done when it is first asked for."""
    found: list[T] = []

    def ask() -> T:
        if not found:
            found.append(work())
        return found[0]

    return ask
