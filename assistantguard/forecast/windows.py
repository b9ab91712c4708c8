"""How much a model can read at once, as the price table knows it."""

from __future__ import annotations

import contextlib

__all__ = ["context_window"]


def context_window(model: str) -> int | None:
    """The most tokens that a request to a model may read, or None where that is not known."""
    import genai_prices

    names = [model, model.split(":")[1]] if model.startswith("ft:") else [model]
    for name in names:
        with contextlib.suppress(LookupError):
            found = genai_prices.calc_price(genai_prices.Usage(), name, provider_id="openai")
            return found.model.context_window
    return None
