"""What the name of a budget's account says: whose it is, which budget, which window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from assistantguard.errors import ConfigurationError
from assistantguard.policies.windows import Windows

__all__ = ["AccountName", "parse_account", "per_of"]

_NAME = re.compile(
    r"(?P<kind>user|tenant|account|application)(?::(?P<owner>[^@:#~]+))?"
    r"@(?P<label>[^@:#~]+)(?:~(?P<zone>[^@:#~]+))?(?:#(?P<name>[^@:#~]*))?(?::(?P<window>.+))?",
    re.DOTALL,
)
_LENGTH = re.compile(r"(\d{1,7})([dhms])")
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True, slots=True)
class AccountName:
    """The parts of an account's name."""

    kind: str
    owner: str | None
    """None for the application. A very long name is cut, with a hash."""
    written_owner: str | None
    """As it is written in the account."""
    budget: str
    """Window, time zone and name of the budget: ``day``, ``day~Europe/Berlin``, ``day#chat``."""
    window: str | None
    """None where the name stands for every window."""
    windows: Windows

    def state(self, now: float) -> tuple[bool, float | None]:
        """Whether its window is the one that is now, and when that ends (Unix time, seconds)."""
        at = self.windows.at(now)
        return self.window in {None, at.name}, at.ends_at


def per_of(text: str) -> Any:
    """What `Budget` takes as `per`: a calendar unit, a length such as ``90m`` or ``7d``, or None for ``ever``."""
    if text == "ever":
        return None
    length = _LENGTH.fullmatch(text)
    return text if length is None else timedelta(**{_UNITS[length[2]]: int(length[1])})


def parse_account(account: str) -> AccountName | None:
    """The parts of an account's name; None where it is no budget's."""
    match = _NAME.fullmatch(account)
    if match is None or (match["owner"] is None) != (match["kind"] == "application"):
        return None
    try:
        windows = Windows("account", per_of(match["label"]), match["zone"] or "UTC")
    except (ConfigurationError, OverflowError):
        return None
    owner = None if match["owner"] is None else unquote(match["owner"])
    zone = "" if match["zone"] is None else f"~{match['zone']}"
    name = "" if match["name"] is None else f"#{unquote(match['name'])}"
    return AccountName(match["kind"], owner, match["owner"], match["label"] + zone + name, match["window"], windows)
