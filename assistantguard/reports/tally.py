"""Sums over many model calls or runs."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from assistantguard.reports.record import Record

__all__ = ["RunLine", "StepCounts", "Tally", "Top"]

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """Tokens and cost, added up."""

    count: int = 0
    """Model calls or runs that were added."""
    input_tokens: int = 0
    """Cached ones included."""
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    """Reasoning included."""
    reasoning_tokens: int = 0
    estimated_tokens: int = 0
    """The part of input and output that the server did not report."""
    priced_cost: Decimal = Decimal(0)
    """US dollars, of what has a known price."""
    unpriced: int = 0
    """How many of `count` have no known price; their cost is in no sum."""

    @property
    def cost(self) -> Decimal | None:
        """US dollars of all of it, or None where a part has no known price."""
        return None if self.unpriced else self.priced_cost

    def add(self, record: Record) -> None:
        """Add what one call or run used."""
        self.count += 1
        self.input_tokens += record.input_tokens or 0
        self.cached_tokens += record.cached_tokens
        self.cache_write_tokens += record.cache_write_tokens
        self.output_tokens += record.output_tokens or 0
        self.reasoning_tokens += record.reasoning_tokens
        self.estimated_tokens += record.estimated_tokens
        if record.cost is None:
            self.unpriced += 1
        else:
            self.priced_cost += record.cost

    def correct(self, record: Record) -> None:
        """Replace what one call was booked with by what it turned out to have used."""
        self.input_tokens += (record.input_tokens or 0) - record.before_input_tokens
        self.cached_tokens += record.cached_tokens - record.before_cached_tokens
        self.cache_write_tokens += record.cache_write_tokens - record.before_cache_write_tokens
        self.output_tokens += (record.output_tokens or 0) - record.before_output_tokens
        self.reasoning_tokens += record.reasoning_tokens - record.before_reasoning_tokens
        self.estimated_tokens += record.estimated_tokens - record.before_estimated_tokens
        if record.before_cost is not None:
            self.priced_cost += (record.cost or Decimal(0)) - record.before_cost

    def merge(self, other: Tally) -> None:
        """Add what another tally has."""
        self.count += other.count
        self.input_tokens += other.input_tokens
        self.cached_tokens += other.cached_tokens
        self.cache_write_tokens += other.cache_write_tokens
        self.output_tokens += other.output_tokens
        self.reasoning_tokens += other.reasoning_tokens
        self.estimated_tokens += other.estimated_tokens
        self.priced_cost += other.priced_cost
        self.unpriced += other.unpriced

    def pack(self) -> str:
        """It as text."""
        return " ".join(str(getattr(self, name)) for name in _FIELDS)

    @classmethod
    def unpack(cls, text: str) -> Tally:
        """What `pack` wrote."""
        values = text.split()
        figures: dict[str, Any] = {
            name: int(value) for name, value in zip(_FIELDS, values, strict=True) if name != _COST
        }
        return cls(**figures, priced_cost=Decimal(values[_FIELDS.index(_COST)]))


_COST = "priced_cost"
_FIELDS = tuple(field.name for field in dataclasses.fields(Tally))


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run among the slowest or dearest."""

    run_id: str
    thread_id: str
    model: str
    status: str
    seconds: float
    cost: Decimal | None
    """US dollars, or None where unknown."""
    total_tokens: int
    steps: int
    user: str | None = None
    """Whose thread it was, where that was told."""


class Top(Generic[T]):
    """The few greatest of many, whatever their number."""

    def __init__(self, size: int, key: Callable[[T], Any]) -> None:
        self._size = size
        self._key = key
        self._heap: list[tuple[Any, int, T]] = []
        self._order = itertools.count(0, -1)

    def add(self, item: T) -> None:
        """Consider one more; among equals the earlier stays."""
        entry = (self._key(item), next(self._order), item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def items(self) -> list[T]:
        """The greatest first."""
        return [item for _key, _order, item in sorted(self._heap, reverse=True, key=lambda entry: entry[:2])]


@dataclass(slots=True)
class StepCounts:
    """How many tool steps runs took."""

    counts: Counter[int] = field(default_factory=Counter)

    def percentile(self, percent: int) -> int | None:
        """The least steps that `percent` of the runs did not pass (nearest rank); None without runs."""
        total = sum(self.counts.values())
        rank = -(-total * percent // 100)
        seen = 0
        for steps in sorted(self.counts):
            seen += self.counts[steps]
            if seen >= rank:
                return steps
        return None

    @property
    def suggested_ceiling(self) -> int | None:
        """The p99 and two more: it lets healthy runs finish, and ends the others. None without runs."""
        p99 = self.percentile(99)
        return None if p99 is None else p99 + 2
