"""What a forecast says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from assistantguard.models.values import Value

__all__ = ["MONTH_DAYS", "STORAGE_NOTE", "Forecast", "Period", "per_unit", "spread", "storage_cost"]

MONTH_DAYS = Decimal("30.4375")
"""A twelfth of 365.25 days: months of a forecast are all as long."""
STORAGE_GIGABYTE_DAY = Decimal("0.10")
"""US dollars for a gigabyte (2**30 bytes) in vector stores for a day; the first one is free. Threads, conversations and
files themselves have no storage price. Source: https://developers.openai.com/api/docs/pricing and the guide
"Retrieval", in autumn 2026."""
FREE_GIGABYTES = Decimal(1)
STORAGE_NOTE = (
    "threads, conversations and files have no price of their own; vector stores cost $0.10 a gigabyte and day, the"
    " first gigabyte is free"
)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Period(Value):
    """A month, or another length of time."""

    number: int
    """From 1."""
    begins: float | None
    """Unix time, seconds; None where the forecast begins at no certain time."""
    days: Decimal
    users: float | None
    """Who write in it; None where the history names no users."""
    threads: float
    """That are written to in it."""
    interactions: float
    """Messages of users, each with what it takes to answer it."""
    requests: float
    input_tokens: float
    cached_tokens: float
    output_tokens: float
    reread_tokens: float
    """The part of `input_tokens` that was read before: instructions, tools and all that was said."""
    storage_cost: Decimal
    """US dollars, for vector stores; part of `cost`."""
    cost: Decimal
    """US dollars."""
    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Forecast(Value):
    """What one model and one set of policies will cost."""

    model: str
    """Several names where the history has several."""
    rotation: str
    """When threads begin anew, in words."""
    caching: str
    """How much of the prompt cache is counted on, in words."""
    periods: tuple[Period, ...]
    low: Decimal
    """US dollars, over all periods."""
    high: Decimal
    method: str
    """How the range was made."""
    notes: tuple[str, ...] = ()
    """What it was computed under, and what it does not know."""
    unpriced: tuple[str, ...] = ()
    """Models in the history that have no known price: what they cost is in no sum."""

    @property
    def cost(self) -> Decimal:
        """US dollars, over all periods, without what is `unpriced`."""
        return sum((period.cost for period in self.periods), Decimal(0))

    @property
    def name(self) -> str:
        """Model, rotation and caching in one line."""
        return ", ".join(part for part in (self.model, self.rotation, self.caching) if part)

    @property
    def cost_per_interaction(self) -> Decimal | None:
        """US dollars for a message and its answer; None where there are none."""
        return per_unit(self.cost, sum(period.interactions for period in self.periods))

    @property
    def cost_per_user(self) -> Decimal | None:
        """US dollars for a user and month; None where there are none, or they are not known."""
        users = [period.users for period in self.periods]
        if any(count is None for count in users):
            return None
        months = sum(float(period.days / MONTH_DAYS) * (period.users or 0.0) for period in self.periods)
        return per_unit(self.cost, months)


def per_unit(cost: Decimal, count: float) -> Decimal | None:
    """An amount divided by a number; None where that is 0."""
    return cost / Decimal(count) if count else None


def storage_cost(gigabytes: float, days: Decimal) -> Decimal:
    """What vector stores cost that hold so much, in US dollars."""
    return max(Decimal(0), Decimal(gigabytes) - FREE_GIGABYTES) * STORAGE_GIGABYTE_DAY * days


def spread(
    likely: Sequence[Decimal], ways: Mapping[str, tuple[Sequence[Decimal], Sequence[Decimal]]]
) -> tuple[list[tuple[Decimal, Decimal]], tuple[Decimal, Decimal]]:
    """The range of each period and of all together.

    Each way is one thing that may turn out otherwise. They are taken to do so independently: what they move the cost by
    is added as the root of the sum of squares, downward and upward apart; within one way, periods move together.

    Args:
        likely: The cost of each period.
        ways: For each, the costs of each period where it turns out low, and where it turns out high.

    Returns:
        Low and high of each period, and of their sum.
    """
    periods = [
        _range(cost, [(low[place], high[place]) for low, high in ways.values()]) for place, cost in enumerate(likely)
    ]
    total = _range(
        sum(likely, Decimal(0)), [(sum(low, Decimal(0)), sum(high, Decimal(0))) for low, high in ways.values()]
    )
    return periods, total


def _range(cost: Decimal, ends: Iterable[tuple[Decimal, Decimal]]) -> tuple[Decimal, Decimal]:
    below = above = Decimal(0)
    for pair in ends:
        least, most = min(*pair, cost), max(*pair, cost)
        below += (cost - least) ** 2
        above += (most - cost) ** 2
    return max(Decimal(0), cost - below.sqrt()), cost + above.sqrt()
