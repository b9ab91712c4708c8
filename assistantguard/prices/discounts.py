"""What work costs that may wait: the shares of the standard rates that OpenAI publishes, where the table has none."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from assistantguard.models.values import Value
from assistantguard.prices.book import PriceBook
from assistantguard.prices.price import Price, PriceStep

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DISCOUNTS", "Discount", "DiscountedPrices"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Discount(Value):
    """A share of the standard token rates. Fees of built-in tools are not lowered."""

    share: Decimal
    source: str


DISCOUNTS: Mapping[str, Discount] = MappingProxyType(
    {
        "batch": Discount(Decimal("0.5"), "developers.openai.com/api/docs/guides/batch: 50 % off"),
        "2h": Discount(Decimal("0.7"), "developers.openai.com/api/docs/guides/background: 30 % off"),
        "8h": Discount(Decimal("0.6"), "developers.openai.com/api/docs/guides/background: 40 % off"),
    }
)
"""By what work goes through: the Batch API, or a completion window of background responses."""


class DiscountedPrices(PriceBook):
    """A price book that also prices the names of `DISCOUNTS` as service tiers.

    Where the book has a price of its own for such a tier, that counts; else it is the published share of the standard
    rates.

    Args:
        book: The prices to go by.
    """

    def __init__(self, book: PriceBook) -> None:
        super().__init__()
        self._book = book
        self._lowered: dict[tuple[str, str], Price | None] = {}

    def price(self, model: str, service_tier: str | None = None) -> Price | None:
        """See `PriceBook.price`."""
        found = self._book.price(model, service_tier)
        if found is not None or service_tier not in DISCOUNTS:
            return found
        key = (model, service_tier)
        if key not in self._lowered:
            standard = self._book.price(model)
            self._lowered[key] = None if standard is None else _lowered(standard, service_tier)
        return self._lowered[key]


def _lowered(price: Price, tier: str) -> Price:
    share = DISCOUNTS[tier].share

    def rates(of: Price | PriceStep) -> dict[str, Decimal]:
        return {
            "input": of.input * share,
            "cached_input": of.cached_input * share,
            "cache_write": of.cache_write * share,
            "output": of.output * share,
        }

    return Price(
        **rates(price),
        steps=[PriceStep(step.above, **rates(step)) for step in price.steps],
        tool_fees=price.tool_fees,
        source=f"{price.source} x {share} ({tier})",
        version=price.version,
    )
