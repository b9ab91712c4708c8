"""Checks of policy arguments: each error names the value, the limit and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from assistantguard.errors import ConfigurationError

__all__ = ["at_least", "dollars", "one_of", "required"]

Number = TypeVar("Number", int, float)


def at_least(name: str, value: Number | None, least: Number) -> Number | None:
    """Return `value` when it is None or a number of at least `least`.

    Raises:
        ConfigurationError: It is not.
    """
    return None if value is None else _bounded(name, value, least, "raise it, or give None")


def required(name: str, value: Number, least: Number) -> Number:
    """Return `value` when it is a number of at least `least`.

    Raises:
        ConfigurationError: It is not.
    """
    return _bounded(name, value, least, "give one")


def _bounded(name: str, value: Number, least: Number, mend: str) -> Number:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise ConfigurationError(f"{name} is {value!r}, it must be a number of at least {least}: {mend}")
    if isinstance(least, int) and not isinstance(value, int):
        raise ConfigurationError(f"{name} is {value!r}, it must be a whole number: round it")
    return value


def dollars(name: str, value: Decimal | float | str | None) -> Decimal | None:
    """Return `value` as US dollars when it is None or a finite amount above zero.

    Raises:
        ConfigurationError: It is not.
    """
    if value is None:
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"{name} is {value!r}, it must be an amount of US dollars above zero, such as '2.50'")
    return amount


def one_of(name: str, value: str, options: Sequence[str]) -> None:
    """Check that `value` is among `options`.

    Raises:
        ConfigurationError: It is not.
    """
    if value not in options:
        raise ConfigurationError(f"{name} is {value!r}, it must be one of {', '.join(map(repr, options))}")
