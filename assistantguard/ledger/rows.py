"""How claims, amounts and entries are written in a database.

Amounts are whole numbers of 64 bits: tokens, messages, and picodollars (1e-12 US dollars), which is exact for every
price that a million tokens has in dollars with six decimals.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.ledger.base import Claim, Entry, Hold, needed_until
from assistantguard.models.usage import Usage

__all__ = [
    "ENTRY_COLUMNS",
    "LARGEST",
    "MOST_CHARACTERS",
    "QUARTER",
    "Held",
    "account_name",
    "claims_text",
    "entry_of",
    "entry_values",
    "from_units",
    "held_by",
    "held_of",
    "hold_of",
    "limit_units",
    "to_units",
    "whole_days",
]

LARGEST = 2**63 - 1
MOST_CHARACTERS = 500
"""Of the name of an account, and of what is kept of a text from outside."""

QUARTER = 900
"""Seconds. Entries are numbered by quarters of an hour: days of every time zone begin with a full one."""
ENTRY_COLUMNS = (
    "time",
    "quarter",
    "hold_id",
    "user_name",
    "tenant",
    "thread_id",
    "run_id",
    "attempt",
    "model",
    "purpose",
    "response_id",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "estimated_tokens",
    "requests",
    "cost",
    "price_source",
    "provisional",
    "saved_tokens",
    "saved_cost",
)

Held = tuple[str, str, int, "int | None"]
"""What a hold has on an account: the account, the metric, the amount, and until which day the account is needed."""

_encode = json.JSONEncoder(separators=(",", ":")).encode
_WIDE = Context(prec=60)
_PICO = -12
_ONE = Decimal(1)


def to_units(metric: str, amount: Decimal) -> int:
    """An amount as a whole number, rounded up.

    Raises:
        ConfigurationError: It is no number, or too large to be kept.
    """
    exact = amount.scaleb(-_PICO, _WIDE) if metric == "cost" else amount
    if not exact.is_finite():
        raise ConfigurationError(f"an amount of {amount} {metric} cannot be booked, it must be a finite number")
    units = int(exact)
    if units != exact:
        units = int(exact.to_integral_value(ROUND_CEILING))
    if not -LARGEST <= units <= LARGEST:
        raise ConfigurationError(
            f"an amount of {amount} {metric} cannot be booked, the most is {from_units(metric, LARGEST)}"
        )
    return units


def limit_units(metric: str, limit: Decimal) -> int:
    """A limit as a whole number, rounded down; one that is too large to be reached is the largest there is.

    Raises:
        ConfigurationError: It is no number.
    """
    if limit.is_nan():
        raise ConfigurationError(f"a limit of {limit} {metric} is no number")
    if limit.is_infinite():
        return LARGEST if limit > 0 else -LARGEST
    exact = limit.scaleb(-_PICO, _WIDE) if metric == "cost" else limit
    return max(-LARGEST, min(int(exact.to_integral_value(ROUND_FLOOR)), LARGEST))


def from_units(metric: str, units: int) -> Decimal:
    """The amount that a whole number stands for."""
    if metric != "cost":
        return Decimal(units)
    dollars = Decimal(units).scaleb(_PICO, _WIDE).normalize(_WIDE)
    return dollars.quantize(_ONE) if dollars == dollars.to_integral_value() else dollars


def account_name(name: str) -> str:
    """The name of an account, a limit or a notice, as it is given.

    Raises:
        ConfigurationError: It cannot be kept in a database.
    """
    if isinstance(name, str) and 0 < len(name) <= MOST_CHARACTERS and name.isascii() and "\0" not in name:
        return name
    if not isinstance(name, str) or not 0 < len(name) <= MOST_CHARACTERS:
        shown = f"{name[:40]!r}… of {len(name)} characters" if isinstance(name, str) and name else repr(name)
        raise ConfigurationError(f"an account is named {shown}, it must be a str of 1 to {MOST_CHARACTERS} characters")
    if not _storable(name):
        raise ConfigurationError(f"an account is named {name!r}: NUL and lone surrogates cannot be kept")
    return name


def _storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _kept(text: str) -> str:
    """A text from outside, as it can be kept: the books must not fail for an odd name."""
    text = text[:MOST_CHARACTERS]
    return text if _storable(text) else "".join(each if _storable(each) else "\ufffd" for each in text)


def held_by(claims: Sequence[Claim], expires_at: float) -> list[Held]:
    """What claims hold.

    Raises:
        ConfigurationError: An account's name or an amount cannot be kept.
    """
    return [
        (
            account_name(claim.account),
            claim.metric,
            to_units(claim.metric, claim.amount),
            _last_day(claim.account, claim.needed_until, expires_at),
        )
        for claim in claims
    ]


def claims_text(claims: Sequence[Claim], held: Sequence[Held]) -> str:
    """Claims as they are kept with their hold."""
    return _encode(
        [
            (
                claim.account,
                claim.metric,
                amount,
                None if claim.limit is None else str(claim.limit),
                claim.needed_until,
            )
            for claim, (_, _, amount, _) in zip(claims, held, strict=True)
        ]
    )


def held_of(text: str, expires_at: float) -> list[Held]:
    """What the claims that were kept as `text` hold."""
    return [
        (account, metric, amount, _last_day(account, until, expires_at))
        for account, metric, amount, _, until in json.loads(text)
    ]


def whole_days(time: float) -> int:
    """Days since 1970, rounded up: a number that seldom changes costs no index its peace."""
    return -int(-time // 86_400)


def _last_day(account: str, until: float | None, expires_at: float) -> int | None:
    needed = needed_until(account, until, expires_at)
    return None if needed is None else whole_days(needed)


def hold_of(hold_id: str, text: str, expires_at: float) -> Hold:
    """The hold whose claims were kept as `text`."""
    claims = tuple(
        Claim(account, metric, from_units(metric, amount), None if limit is None else Decimal(limit), until)
        for account, metric, amount, limit, until in json.loads(text)
    )
    return Hold(hold_id, claims, float(expires_at))


def entry_values(hold_id: str, entry: Entry) -> list[object]:
    """What `ENTRY_COLUMNS` of an entry hold."""
    usage = entry.usage
    texts: Sequence[str | None] = (
        entry.user,
        entry.tenant,
        entry.thread_id,
        entry.run_id,
        entry.model,
        entry.purpose,
        entry.response_id,
        entry.price_source,
    )
    together = "".join(filter(None, texts))
    if len(together) > MOST_CHARACTERS or not together.isascii() or "\0" in together:
        texts = [None if text is None else _kept(text) for text in texts]
    user, tenant, thread_id, run_id, model, purpose, response_id, price_source = texts
    return [
        entry.time,
        int(entry.time // QUARTER),
        hold_id,
        user,
        tenant,
        thread_id,
        run_id,
        entry.attempt,
        model,
        purpose,
        response_id,
        usage.input_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.estimated_tokens,
        usage.requests,
        None if entry.cost is None else to_units("cost", entry.cost),
        price_source,
        int(entry.provisional),
        entry.saved_tokens,
        None if entry.saved_cost is None else to_units("cost", entry.saved_cost),
    ]


def entry_of(row: Sequence[Any]) -> Entry:
    """The entry whose `ENTRY_COLUMNS` are `row`."""
    (time, _, _, user, tenant, thread_id, run_id, attempt, model, purpose, response_id, *numbers) = row
    *counts, cost, price_source, provisional, saved_tokens, saved_cost = numbers
    return Entry(
        time,
        thread_id,
        run_id,
        attempt,
        model,
        Usage(*counts),
        None if cost is None else from_units("cost", cost),
        purpose,
        response_id,
        price_source,
        bool(provisional),
        user,
        tenant,
        saved_tokens,
        None if saved_cost is None else from_units("cost", saved_cost),
    )
