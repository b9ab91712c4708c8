"""What a user, a tenant or the whole application may spend in an hour, a day, a week, a month, or at all."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.errors import ConfigurationError
from assistantguard.models.names import check_name
from assistantguard.policies.base import (
    UNITS,
    BudgetTerms,
    Cap,
    Counting,
    Decision,
    Limit,
    Metric,
    Policy,
    Refuse,
    View,
)
from assistantguard.policies.caps import check_priced
from assistantguard.policies.checks import at_least, one_of
from assistantguard.policies.windows import CalendarUnit, Windows

if TYPE_CHECKING:
    from assistantguard.events import BudgetWarned
    from assistantguard.models import Assistant, ThreadState
    from assistantguard.prices import PriceBook

__all__ = ["AccountOf", "Budget", "check_distinct", "limit_of"]

AccountOf = Callable[[View], "str | None"]
"""Names the account that a turn is charged to; None where the budget is not for it."""

_MOST: dict[Metric, int] = {"tokens": 10**15, "cost": 9_000_000, "messages": 10**12}
_ESCAPES = {ord(character): f"%{ord(character):02X}" for character in "%@:#~"}
"""What separates the parts of an account, so that no name can hold it."""
_LONGEST_PART, _SHOWN_PART = 128, 40


class Budget(Policy):
    """At most so many tokens, US dollars or messages for each user, each tenant or the whole application, per window.

    What a request may use at most is reserved before it is sent, on every budget that it concerns, and nothing is sent
    that does not fit: `BudgetExceeded` says what is left and when the budget renews. The books are the guard's ledger;
    processes that share a ledger share the budgets that are alike in account, window, time zone and name.

    A turn that is still going on when a window ends goes on: each of its requests is held and booked in the window it
    was admitted in.

    Args:
        account: Whose spending counts together: that of each ``"user"`` or each ``"tenant"`` (as the thread was taken,
            ``bot.thread(user=…, tenant=…)``), of the whole ``"application"``, or of what a function of the view names.
            A user is one user whatever the tenant.
        per: ``"hour"``, ``"day"``, ``"week"`` (from Monday) or ``"month"`` by the clock of `timezone`, whatever
            daylight saving does to its length; a timedelta, counted from 1970-01-01T00:00Z; or None for ever.
        tokens: Tokens, input and output together, cached ones included; None leaves them open.
        cost: US dollars; None leaves them open.
        messages: Messages of the user, each counted once however many requests its answer takes, and not at all where
            nothing was sent; None leaves them open.
        warn_at: Shares of each limit, above 0 and at most 1: as soon as one is spent, ``budget.warned`` is emitted and
            `on_warning` called, once per window over all processes that share the ledger.
        timezone: An IANA name such as ``"Europe/Berlin"``.
        name: How events, errors and ``set_budget`` call it; ``"user/day"`` and the like by default. It must be given
            for an account that a function names, and where two budgets would otherwise count the same.
        on_warning: Called with the `BudgetWarned` event, in a thread of its own. What it raises is logged.
        counting: As for `TokenCap`.
        wait: As for `TokenCap`.

    Raises:
        ConfigurationError: A limit is negative or no number, there is none, or another value cannot work. Also when a
            message comes on a thread that has no user, or no tenant, to charge.
    """

    def __init__(
        self,
        account: Literal["user", "tenant", "application"] | AccountOf = "user",
        per: CalendarUnit | timedelta | None = "day",
        *,
        tokens: int | None = None,
        cost: Decimal | float | str | None = None,
        messages: int | None = None,
        warn_at: Sequence[float] = (0.5, 0.8),
        timezone: str = "UTC",
        name: str | None = None,
        on_warning: Callable[[BudgetWarned], object] | None = None,
        counting: Counting = "near",
        wait: float = 10.0,
    ) -> None:
        if not callable(account):
            one_of("Budget account", account, ("user", "tenant", "application"))
        elif name is None:
            raise ConfigurationError(
                "Budget account is a function, and the budget has no name: give one, Budget(…, name='team'), by which"
                " its books are found again"
            )
        self.account: str | AccountOf = account
        self.windows = Windows("Budget", per, timezone)
        self.kind = account if isinstance(account, str) else "account"
        self._name = f"{self.kind}/{self.windows.label}" if name is None else check_name("name of a Budget", name)
        given: dict[Metric, Any] = {"tokens": tokens, "cost": cost, "messages": messages}
        self.limits: Mapping[Metric, Decimal] = {
            metric: limit_of(f"Budget {metric}", metric, value) for metric, value in given.items() if value is not None
        }
        if not self.limits:
            raise ConfigurationError(
                "Budget has neither tokens nor cost nor messages, so it limits nothing: give one, or leave it out"
            )
        self.warn_at = _thresholds(warn_at)
        if on_warning is not None and (not callable(on_warning) or _is_async(on_warning)):
            raise ConfigurationError(
                f"Budget on_warning is {on_warning!r}: give a plain function that takes the event; it may block"
            )
        self.on_warning = on_warning
        one_of("Budget counting", counting, ("near", "always", "never"))
        self.counting: Counting = counting
        self.wait = float(at_least("Budget wait", wait, 0.0) or 0.0)
        zone = f"~{timezone}" if self.windows.calendar and timezone != "UTC" else ""
        self._label = self.windows.label + zone + ("" if name is None else f"#{_escaped(name)}")

    @property
    def name(self) -> str:
        """The name it was given, or its account and window: ``"user/day"``."""
        return self._name

    def check(self, assistant: Assistant, prices: PriceBook) -> None:
        """Refuse a limit in US dollars on a model without a price: it would be silently off."""
        if "cost" in self.limits:
            check_priced(f"Budget {self.name}", assistant, prices)

    def before_turn(self, view: View) -> Decision | None:
        """Refuse a turn that cannot be charged to anyone."""
        try:
            self.owner(view)
        except ConfigurationError as error:
            return Refuse(str(error), ConfigurationError)
        return None

    def before_request(self, view: View) -> Decision | None:
        """Name the caps of this window; the ledger holds them."""
        try:
            owner = self.owner(view)
        except ConfigurationError as error:
            return Refuse(str(error), ConfigurationError)
        if owner is None:
            return None
        counted = view.run is not None and view.run.message_counted
        caps = [cap for cap in self.caps(owner, view.now) if not (counted and cap.metric == "messages")]
        return Limit("spending is budgeted", caps=tuple(caps), counting=self.counting, busy_wait=self.wait)

    def owner(self, view: View) -> str | None:
        """Who pays for a turn: a user, a tenant, what the function names; empty for the application, None for nobody.

        Raises:
            ConfigurationError: The thread has no user or tenant, or the function named something that is no name.
        """
        if callable(self.account):
            named = self.account(view)
            return None if named is None else check_name(f"account that Budget {self.name} charges", named)
        return self.owner_of(view.thread)

    def owner_of(self, thread: ThreadState) -> str:
        """As `owner`, for a budget whose account is not a function."""
        if self.account == "application":
            return ""
        owner = thread.user if self.account == "user" else thread.tenant
        if owner is None:
            raise ConfigurationError(
                f"Budget {self.name} charges each {self.account}, and the thread {thread.id} has none: take it with"
                f" bot.thread({self.account}=…), or use Budget('application', …)"
            )
        return check_name(str(self.account), owner)

    def caps(self, owner: str, now: float) -> list[Cap]:
        """The caps that stand on an owner's account at a moment (Unix time, seconds)."""
        window = self.windows.at(now)
        key = self.key(owner)
        account = f"{key}:{window.name}" if window.name else key
        terms = BudgetTerms(self.name, key, self.windows.timezone, window.ends_at, self.warn_at)
        return [Cap(account, metric, limit, terms) for metric, limit in self.limits.items()]

    def key(self, owner: str) -> str:
        """The account of an owner, whatever the window."""
        return f"{self.kind}:{_escaped(owner)}@{self._label}" if owner else f"{self.kind}@{self._label}"


def limit_of(name: str, metric: Metric, value: Any) -> Decimal:
    """Return a limit as a number of tokens, US dollars or messages.

    Raises:
        ConfigurationError: It is negative, too large to be kept, not whole where it must be, or no number.
    """
    unit, most = UNITS[metric], _MOST[metric]
    if metric == "cost" and not isinstance(value, bool) and isinstance(value, (Decimal, float, int, str)):
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            amount = Decimal("NaN")
    else:
        amount = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= most:
        raise ConfigurationError(
            f"{name} is {value!r}, it must be {'an amount' if metric == 'cost' else 'a whole number'} of {unit} from 0"
            f" to {most:,}: change it"
        )
    return amount


def check_distinct(budgets: Iterable[Budget]) -> None:
    """Check that every limit can be called by its budget's name.

    Raises:
        ConfigurationError: Two budgets of one name limit the same.
    """
    seen: set[tuple[str, Metric]] = set()
    for budget in budgets:
        for metric in budget.limits:
            if (budget.name, metric) in seen:
                raise ConfigurationError(
                    f"two budgets called {budget.name!r} limit {metric}: give one of them a name, Budget(…, name='…')"
                )
            seen.add((budget.name, metric))


def _thresholds(warn_at: Any) -> tuple[float, ...]:
    if isinstance(warn_at, (int, float)) and not isinstance(warn_at, bool):
        warn_at = (warn_at,)
    if isinstance(warn_at, (str, bytes)) or not isinstance(warn_at, Iterable):
        raise ConfigurationError(f"Budget warn_at is {warn_at!r}: give shares of the limit, such as (0.5, 0.8)")
    shares = tuple(warn_at)
    for share in shares:
        if isinstance(share, bool) or not isinstance(share, (int, float)) or math.isnan(share) or not 0 < share <= 1:
            raise ConfigurationError(
                f"Budget warn_at has {share!r}, each must be a number above 0 and at most 1: give shares of the limit,"
                " such as (0.5, 0.8)"
            )
    return tuple(sorted({float(share) for share in shares}))


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


def _escaped(name: str) -> str:
    """A name as a part of an account: another one for each name, short enough for a ledger."""
    text = name.translate(_ESCAPES)
    if len(text) <= _LONGEST_PART:
        return text
    import hashlib

    return f"{text[:_SHOWN_PART]}%x{hashlib.sha256(name.encode()).hexdigest()}"  # no name is escaped to %x
