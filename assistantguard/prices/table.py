"""The price table of ``genai-prices``, read through its public face and only when a price is asked for."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from assistantguard.prices.price import Price, PriceStep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genai_prices import types as table_types

__all__ = ["is_loaded", "load", "table_price", "warm_up"]

_TOOL_FEES = {"file_search": "storage_searches_kcount", "web_search": "web_searches_kcount"}


def warm_up() -> None:
    """Start loading the table in a daemon thread, once per process. Returns at once, cheap to repeat."""
    global _warming  # noqa: PLW0603  once per process
    if _warming:
        return
    _warming = True
    if "openai._httpx2" in sys.modules:
        # openai 2.x looks into a module that another thread is just importing, and the table's package imports this one
        with contextlib.suppress(ImportError):
            importlib.import_module("httpx2")
    thread = threading.Thread(target=load, name="assistantguard-prices", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is going down, or has no threads: the first look-up loads the table
        return


def table_price(names: Sequence[str], tier: str | None) -> Price | None:
    """Look a price up.

    Args:
        names: Names of one model, tried in order.
        tier: A service tier, ``batch``, or None for the standard rates.

    Returns:
        The price, or None where the table does not know the model, or not the tier.
    """
    if not _loaded:
        load()
    import genai_prices

    context = None if tier is None else {"processing" if tier == "batch" else "service_tier": tier}
    for name in names:
        try:
            found = genai_prices.calc_price(genai_prices.Usage(), name, provider_id="openai", price_context=context)
        except LookupError:
            continue
        # The table prices a tier that it does not know as standard.
        if context is not None and not _has_variant(found.model, context):
            return None
        version = genai_prices.__version__
        if found.auto_update_timestamp is not None:
            version += f" of {found.auto_update_timestamp:%Y-%m-%d}"
        return _price_of(vars(found.model_price), version)
    return None


def _has_variant(model: table_types.ModelInfo, context: Mapping[str, str]) -> bool:
    now = datetime.now(timezone.utc)
    return any(
        variant.when == context and (variant.constraint is None or variant.constraint.active(now))
        for variant in model.price_variants or ()
    )


def _price_of(rates: Mapping[str, Any], version: str) -> Price | None:
    read, written = rates.get("input_mtok"), rates.get("output_mtok")
    if read is None:  # billed by the minute, the character or not at all: not by tokens
        return None
    cached, written_to_cache = rates.get("cache_read_mtok"), rates.get("cache_write_mtok")
    thresholds = {
        step.start for rate in (read, cached, written_to_cache, written) for step in getattr(rate, "tiers", ())
    }

    def at(above: int) -> dict[str, Any]:
        return {
            "input": _rate(read, above),
            "cached_input": _rate(cached, above),
            "cache_write": _rate(written_to_cache, above),
            "output": _rate(written, above) or Decimal(0),  # embeddings write nothing
        }

    return Price(
        **at(-1),
        steps=[PriceStep(above, **at(above)) for above in thresholds],
        tool_fees={tool: rates[key] for tool, key in _TOOL_FEES.items() if rates.get(key) is not None},
        source="genai-prices",
        version=version,
    )


def _rate(rate: Any, above: int) -> Decimal | None:
    """The rate for a request whose input is longer than this."""
    if rate is None or isinstance(rate, Decimal):
        return rate
    passed: list[Decimal] = [step.price for step in rate.tiers if step.start <= above]
    base: Decimal = rate.base
    return passed[-1] if passed else base


def is_loaded() -> bool:
    """Whether looking a price up takes no time worth mentioning."""
    return _loaded


def load() -> None:
    """Load the table; takes up to a second the first time."""
    global _loaded  # noqa: PLW0603  once per process
    with _importing:
        import genai_prices

        with contextlib.suppress(LookupError):
            genai_prices.calc_price(genai_prices.Usage(), "gpt-5", provider_id="openai")
        _loaded = True


_warming = False
_loaded = False

# A child that is forked while another thread imports can never import that module: it inherits the module's
# lock, and nobody to release it. So a fork waits for the table's import.
_importing = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_importing.acquire, after_in_parent=_importing.release, after_in_child=_importing.release
    )
