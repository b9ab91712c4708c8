"""A price as data, with the arithmetic on it."""

from __future__ import annotations

import decimal
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assistantguard.models.usage import Usage

__all__ = ["STANDARD_TIERS", "WINDOW_RATES", "Amount", "Price", "PriceStep"]

Amount = Decimal | int | str
"""US dollars as users write them. A float is refused, since it cannot hold a tenth."""

STANDARD_TIERS = (None, "auto", "default")
"""Service tiers that are billed at the standard rates."""
WINDOW_RATES = {"2h": Decimal("0.7"), "8h": Decimal("0.6")}
"""What a background completion window costs of the standard token rates."""
_MATHS = decimal.Context(prec=60)  # the application's own decimal context may round


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class PriceStep(Value):
    """What a request costs whose input is longer than a threshold.

    Args:
        above: The threshold, in input tokens. A request with more is billed at these rates as a whole.
        input: US dollars per million input tokens.
        output: US dollars per million output tokens.
        cached_input: US dollars per million tokens read from the prompt cache; None means as `input`.
        cache_write: US dollars per million tokens written to the prompt cache; None means as `input`.

    Raises:
        ConfigurationError: A value is no amount, is negative or is a float.
    """

    above: int
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal

    def __init__(
        self,
        above: int,
        *,
        input: Amount,  # noqa: A002  the API's word
        output: Amount,
        cached_input: Amount | None = None,
        cache_write: Amount | None = None,
    ) -> None:
        object.__setattr__(self, "above", _threshold(above))
        _set_rates(self, input, cached_input, cache_write, output)


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Price(Value):
    """What a model costs. Rates are US dollars per million tokens.

    Args:
        input: Per million input tokens.
        output: Per million output tokens, reasoning included.
        cached_input: Per million tokens read from the prompt cache; None means as `input`.
        cache_write: Per million tokens written to the prompt cache; None means as `input`.
        steps: Long-context steps. The highest one that the input passes bills the whole request.
        tool_fees: US dollars per thousand calls of a built-in tool, for example ``{"file_search": "2.50"}``.
        service_tiers: Prices of other service tiers, for example ``{"flex": Price(…)}``. A tier that is not
            here has no known price, except for the background completion windows ``2h`` and ``8h``: theirs are
            30 % and 40 % below the token rates given here.
        source: Where the price comes from.
        version: The version of that source, or None.

    Raises:
        ConfigurationError: A value is no amount, is negative or is a float.
    """

    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    output: Decimal
    steps: tuple[PriceStep, ...]
    """In the order of their thresholds."""
    tool_fees: Mapping[str, Decimal] = field(hash=False)
    service_tiers: Mapping[str, Price] = field(hash=False)
    source: str
    version: str | None
    _dearest: tuple[tuple[int, Decimal, Decimal], ...] = field(repr=False, compare=False)

    def __init__(
        self,
        *,
        input: Amount,  # noqa: A002  the API's word
        output: Amount,
        cached_input: Amount | None = None,
        cache_write: Amount | None = None,
        steps: Sequence[PriceStep] = (),
        tool_fees: Mapping[str, Amount] | None = None,
        service_tiers: Mapping[str, Price] | None = None,
        source: str = "user",
        version: str | None = None,
    ) -> None:
        _set_rates(self, input, cached_input, cache_write, output)
        ordered = tuple(sorted(steps, key=lambda step: step.above))
        fees = {name: _amount(f"tool_fees[{name!r}]", fee) for name, fee in (tool_fees or {}).items()}
        tiers = {name.lower(): price for name, price in (service_tiers or {}).items()}
        dearest: list[tuple[int, Decimal, Decimal]] = []
        levels: list[Price | PriceStep] = [self, *ordered]
        for rates in levels:
            read, written = max(rates.input, rates.cached_input, rates.cache_write), rates.output
            if dearest:
                read, written = max(read, dearest[-1][1]), max(written, dearest[-1][2])
            dearest.append((rates.above if isinstance(rates, PriceStep) else -1, read, written))
        object.__setattr__(self, "steps", ordered)
        object.__setattr__(self, "tool_fees", fees)
        object.__setattr__(self, "service_tiers", tiers)
        object.__setattr__(self, "source", source)
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "_dearest", tuple(dearest))

    @property
    def origin(self) -> str:
        """Source and version in one string, as booked amounts and events carry it."""
        return self.source if self.version is None else f"{self.source} {self.version}"

    def cost(self, usage: Usage, tool_calls: Mapping[str, int] | None = None) -> Decimal | None:
        """Compute what a call cost.

        Where the server reports more cached tokens than input tokens, the input is split as far as it goes,
        with cache writes first, since they are the dearest.

        Args:
            usage: What the server billed.
            tool_calls: How often each built-in tool was called, for example ``{"web_search": 2}``.

        Returns:
            US dollars, or None where a tool was called whose fee is not known.
        """
        read = max(usage.input_tokens, 0)
        written_to_cache = min(max(usage.cache_write_tokens, 0), read)
        cached = min(max(usage.cached_tokens, 0), read - written_to_cache)
        rates = self._rates(read)
        total = _MATHS.multiply(rates.input, read - written_to_cache - cached)
        total = _MATHS.fma(rates.cached_input, cached, total)
        total = _MATHS.fma(rates.cache_write, written_to_cache, total)
        total = _MATHS.fma(rates.output, max(usage.output_tokens, 0), total)
        total = _MATHS.scaleb(total, -6)
        for name, calls in (tool_calls or {}).items():
            if calls > 0:
                fee = self.tool_fees.get(name)
                if fee is None:
                    return None
                total = _MATHS.add(total, _MATHS.scaleb(_MATHS.multiply(fee, calls), -3))
        return total

    def at_most(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Compute the dearest that a call can be: nothing read from the cache, everything written to it.

        Args:
            input_tokens: The most that it may read.
            output_tokens: The most that it may write.

        Returns:
            US dollars, fees of built-in tools not included.
        """
        read, written = self._dearest_rates(input_tokens)
        total = _MATHS.fma(written, max(output_tokens, 0), _MATHS.multiply(read, max(input_tokens, 0)))
        return _MATHS.scaleb(total, -6)

    def affordable_output(self, dollars: Decimal, input_tokens: int) -> int:
        """Compute the largest output for which `at_most` stays within an amount.

        Args:
            dollars: The amount.
            input_tokens: The most that the call may read.

        Returns:
            Output tokens: 0 where the amount does not even pay for the input, ``sys.maxsize`` where output is
            free.
        """
        read, written = self._dearest_rates(input_tokens)
        left = _MATHS.subtract(_MATHS.scaleb(dollars, 6), _MATHS.multiply(read, max(input_tokens, 0)))
        if left < 0:
            return 0
        if not written:
            return sys.maxsize
        return min(int(_MATHS.divide_int(left, written)), sys.maxsize)

    def for_tier(self, service_tier: str | None) -> Price | None:
        """This price, or that of another service tier or completion window, or None where that is not known."""
        if service_tier in STANDARD_TIERS:
            return self
        name = service_tier or ""
        own = self.service_tiers.get(name)
        return self.times(WINDOW_RATES[name]) if own is None and name in WINDOW_RATES else own

    def times(self, share: Decimal) -> Price:
        """This price with all token rates multiplied by `share`; fees of built-in tools stay."""

        def part(rate: Decimal) -> Decimal:
            return _MATHS.multiply(rate, share)

        return Price(
            input=part(self.input),
            cached_input=part(self.cached_input),
            cache_write=part(self.cache_write),
            output=part(self.output),
            steps=[
                PriceStep(
                    step.above,
                    input=part(step.input),
                    cached_input=part(step.cached_input),
                    cache_write=part(step.cache_write),
                    output=part(step.output),
                )
                for step in self.steps
            ],
            tool_fees=self.tool_fees,
            source=self.source,
            version=self.version,
        )

    def _rates(self, input_tokens: int) -> Price | PriceStep:
        for step in reversed(self.steps):
            if input_tokens > step.above:
                return step
        return self

    def _dearest_rates(self, input_tokens: int) -> tuple[Decimal, Decimal]:
        for above, read, written in reversed(self._dearest):
            if input_tokens > above:
                return read, written
        return self._dearest[0][1:]


def _set_rates(
    owner: Price | PriceStep,
    read: Amount,
    cached: Amount | None,
    written_to_cache: Amount | None,
    written: Amount,
) -> None:
    standard = _amount("input", read)
    for name, value in (
        ("input", standard),
        ("cached_input", standard if cached is None else _amount("cached_input", cached)),
        ("cache_write", standard if written_to_cache is None else _amount("cache_write", written_to_cache)),
        ("output", _amount("output", written)),
    ):
        object.__setattr__(owner, name, value)


def _threshold(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"above is {value!r}: it must be a number of input tokens, for example above=272_000")
    return value


def _amount(name: str, value: object) -> Decimal:
    if isinstance(value, float):
        raise ConfigurationError(
            f"{name} is the float {value!r}, which cannot hold a price exactly: write it as text, '{value!r}'"
        )
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise ConfigurationError(f"{name} is {value!r}: it must be US dollars as text, for example '0.10'")
    try:
        amount = Decimal(value)
    except decimal.InvalidOperation:
        raise ConfigurationError(f"{name} is {value!r}: it must be US dollars, for example '0.10'") from None
    if not amount.is_finite() or amount < 0:
        raise ConfigurationError(f"{name} is {value!r}: it must be US dollars from 0 up, for example '0.10'")
    return amount
