"""How figures and other people's text are shown."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["clean", "cost_text", "dollars", "escaped", "number", "share", "shown", "when"]

UNKNOWN = "unknown"


def shown(text: str, longest: int = 60) -> str:
    """Return text from a file as a terminal may print it: one line, no control characters, not too long."""
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean(text: str) -> str:
    """Return text without control characters; line breaks stay."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def escaped(document: str) -> str:
    """Return a JSON document whose strings hold no character that a terminal would act on; it means the same."""
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]
        for character in document
    )


def when(time: float | None) -> str:
    """Return a Unix time for people; a dash where there is none."""
    if time is None:
        return "-"
    try:
        moment = dt.datetime.fromtimestamp(time, dt.timezone.utc)
    except (OverflowError, OSError, ValueError):
        return f"time {time:g}"
    return f"{moment:%Y-%m-%d %H:%M}"


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


def cost_text(priced: Decimal, unpriced: int, count: int, unit: str) -> str:
    """Return what calls cost; what has no known price is said to be unknown, and how many calls that are.

    Args:
        priced: US dollars that are known.
        unpriced: Calls without a known price.
        count: All calls.
        unit: What a call is called.
    """
    if not unpriced:
        return dollars(priced)
    if unpriced == count:
        return dollars(None)
    return f"{dollars(priced)} + {dollars(None)} ({unpriced:,} {unit}{'' if unpriced == 1 else 's'})"
