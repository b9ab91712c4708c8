"""What the Batch API costs where no price of it is known: the share of the standard rates that OpenAI publishes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.prices.book import PriceBook

if TYPE_CHECKING:
    from assistantguard.prices.price import Price

__all__ = ["BATCH_SHARE", "BatchPrices"]

BATCH_SHARE = Decimal("0.5")
"""Of the standard token rates; https://developers.openai.com/api/docs/guides/batch says 50 % off."""


class BatchPrices(PriceBook):
    """A price book that knows what ``batch`` costs wherever it knows the standard price of a model.

    Where the book has a batch price of its own, that counts.

    Args:
        book: The prices to go by.
    """

    def __init__(self, book: PriceBook) -> None:
        super().__init__()
        self._book = book
        self._halved: dict[str, Price | None] = {}

    def price(self, model: str, service_tier: str | None = None) -> Price | None:
        """See `PriceBook.price`."""
        found = self._book.price(model, service_tier)
        if found is not None or service_tier != "batch":
            return found
        if model not in self._halved:
            standard = self._book.price(model)
            self._halved[model] = None if standard is None else standard.times(BATCH_SHARE)
        return self._halved[model]
