"""The prices in force."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.prices.price import STANDARD_TIERS, WINDOW_RATES, Price
from assistantguard.prices.table import is_loaded, load, table_price

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from assistantguard.models.usage import Usage

__all__ = ["PriceBook"]

_SNAPSHOT_DATE = r"-\d{4}-\d{2}-\d{2}$"


class PriceBook:
    """The prices in force: those given here first, then the table of ``genai-prices``.

    A fine-tuned model (``ft:…``) that neither knows is priced as its base model, and a dated snapshot as the
    model without the date. Give it a price of its own where that is not what you pay.

    Args:
        overrides: Prices by model name.

    Raises:
        ConfigurationError: A value is not a `Price`.
    """

    def __init__(self, overrides: Mapping[str, Price] | None = None) -> None:
        self._overrides: dict[str, Price] = {}
        for model, price in (overrides or {}).items():
            self._overrides[model.strip().lower()] = _checked(model, price)
        self._resolved: dict[tuple[str, str | None], Price | None] = {}

    def price(self, model: str, service_tier: str | None = None) -> Price | None:
        """Look up what a model costs. The first look into the table takes about half a second (`warm_up`).

        Args:
            model: A model name.
            service_tier: As the server reports it; None, ``auto`` and ``default`` are the standard rates,
                ``batch`` the Batch API's, ``2h`` and ``8h`` those of background completion windows.

        Returns:
            The price, or None where the model or the tier has no known price.
        """
        key = (model, service_tier)
        try:
            return self._resolved[key]
        except KeyError:
            found = self._resolved[key] = self._resolve(model, service_tier)
            return found

    def cost(
        self,
        usage: Usage,
        model: str,
        service_tier: str | None = None,
        *,
        tool_calls: Mapping[str, int] | None = None,
    ) -> Decimal | None:
        """Compute what a call cost, in US dollars, or None where that is not known. See `Price.cost`."""
        price = self.price(model, service_tier)
        return None if price is None else price.cost(usage, tool_calls)

    def at_most(
        self, input_tokens: int, output_tokens: int, model: str, service_tier: str | None = None
    ) -> Decimal | None:
        """Compute the dearest that a call can be, in US dollars, or None where that is not known.

        See `Price.at_most`.
        """
        price = self.price(model, service_tier)
        return None if price is None else price.at_most(input_tokens, output_tokens)

    def affordable_output(
        self, dollars: Decimal, input_tokens: int, model: str, service_tier: str | None = None
    ) -> int | None:
        """Compute the largest output that an amount pays for, or None where the price is not known.

        See `Price.affordable_output`.
        """
        price = self.price(model, service_tier)
        return None if price is None else price.affordable_output(dollars, input_tokens)

    @property
    def loaded(self) -> bool:
        """Whether prices can be looked up without a wait."""
        return is_loaded()

    def load(self) -> None:
        """Load the price table, which may take up to a second; a guard begins that when it is built."""
        load()

    def _resolve(self, model: str, service_tier: str | None) -> Price | None:
        tier = None if service_tier is None else service_tier.strip().lower()
        if tier in STANDARD_TIERS:
            tier = None
        names = _names(model)
        for name in names:
            if name in self._overrides:
                return self._overrides[name].for_tier(tier)
        if tier not in WINDOW_RATES:
            return table_price(names, tier)
        standard = table_price(names, None)
        return None if standard is None else standard.for_tier(tier)


def _checked(model: str, price: object) -> Price:
    if not isinstance(price, Price):
        raise ConfigurationError(f"the price of {model!r} is {price!r}: write Price(input='0.10', output='0.50')")
    return price


def _names(model: str) -> list[str]:
    """The names under which a model may be priced, the closest first."""
    names = [model.strip().lower()]
    if names[0].startswith("ft:"):
        names.append(names[0].split(":")[1])
    names += [re.sub(_SNAPSHOT_DATE, "", name) for name in names]
    return list(dict.fromkeys(names))
