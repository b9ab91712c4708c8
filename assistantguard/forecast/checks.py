"""Checks of what a forecast is asked for: each error names the value, the limit and the mend."""

from __future__ import annotations

import math
from collections.abc import Mapping

from assistantguard.errors import ConfigurationError

__all__ = ["known_names", "number_within", "whole_within"]


def number_within(name: str, value: object, least: float, most: float = math.inf) -> float:
    """Return `value` as a number from `least` to `most`.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ConfigurationError(f"{name} is {value!r}, it must be {_limits('a number', least, most)}: write it so")
    if not least <= value <= most:
        mend = "raise it" if value < least else "lower it"
        raise ConfigurationError(f"{name} is {value!r}, it must be {_limits('a number', least, most)}: {mend}")
    return float(value)


def whole_within(name: str, value: object, least: int, most: float = math.inf) -> int:
    """Return `value` as a whole number from `least` to `most`.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{name} is {value!r}, it must be {_limits('a whole number', least, most)}: round it")
    if not least <= value <= most:
        mend = "raise it" if value < least else "lower it"
        raise ConfigurationError(f"{name} is {value!r}, it must be {_limits('a whole number', least, most)}: {mend}")
    return value


def known_names(what: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    """Check that all keys are known.

    Raises:
        ConfigurationError: One is not.
    """
    for name in given:
        if name not in known:
            raise ConfigurationError(f"{what} has {name[:60]!r}, which is not known: it takes {', '.join(known)}")


def _limits(what: str, least: float, most: float) -> str:
    if math.isinf(most):
        return f"{what} of at least {least:,g}"
    return f"{what} from {least:,g} to {most:,g}"
