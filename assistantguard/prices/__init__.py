"""What a model call costs: the user's own prices first, then the table of ``genai-prices`` (offline).

A model's rates are resolved once and kept. The arithmetic is our own and agrees with
``genai_prices.calc_price``. Unknown is never zero: a model, service tier or tool without a known price gives
None.
"""

from __future__ import annotations

from assistantguard.prices.book import PriceBook
from assistantguard.prices.price import Amount, Price, PriceStep
from assistantguard.prices.table import warm_up

__all__ = ["Amount", "Price", "PriceBook", "PriceStep", "warm_up"]
