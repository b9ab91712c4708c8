"""How figures and other people's text are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["dollars", "number", "share", "shown"]

UNKNOWN = "unknown"


def shown(text: str, longest: int = 60) -> str:
    """Return text from a file as a terminal may print it: one line, no control characters, not too long."""
    clean = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def dollars(amount: Decimal | None) -> str:
    """Return a sum of US dollars with at least two and at most six decimals; None is unknown."""
    if amount is None:
        return UNKNOWN
    text = f"{amount:,.6f}"
    whole, _, decimals = text.partition(".")
    return f"${whole}.{decimals.rstrip('0').ljust(2, '0')}"


def number(amount: int | None) -> str:
    """Return a whole number with separators; None is unknown."""
    return UNKNOWN if amount is None else f"{amount:,}"


def share(part: float | None, decimals: int = 1) -> str:
    """Return a share as a percentage; a dash where there is none."""
    return "-" if part is None else f"{part:.{decimals}%}"
