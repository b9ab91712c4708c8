"""Names that the application gives to users, tenants, threads and accounts."""

from __future__ import annotations

import re
from typing import Any

from assistantguard.errors import ConfigurationError

__all__ = ["LONGEST_NAME", "check_name"]

LONGEST_NAME = 256
"""Characters."""
_UNFIT = "[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""Control characters, line separators, and halves of surrogate pairs, which are no text."""
_SHOWN = 40


def check_name(kind: str, value: Any) -> str:
    """Return `value` when it is a name: 1 to 256 characters, not all of them blanks, no control characters.

    Nothing is stripped or folded: names are equal when their characters are.

    Args:
        kind: What it names, for the error: ``"user"``, ``"thread name"``, …
        value: The name.

    Raises:
        ConfigurationError: It is something else; the message says what, where, and what is allowed.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"the {kind} is {value!r}: give a text of 1 to {LONGEST_NAME} characters")
    if not value or value.isspace():
        raise ConfigurationError(
            f"the {kind} is {value[:_SHOWN]!r}, which says nothing: give a text of 1 to {LONGEST_NAME} characters"
        )
    if len(value) > LONGEST_NAME:
        raise ConfigurationError(
            f"the {kind} {value[:_SHOWN]!r}… has {len(value):,} characters, at most {LONGEST_NAME} are allowed:"
            " shorten it, or give a hash of it"
        )
    unfit = re.search(_UNFIT, value)
    if unfit is not None:
        shown = f"{value[:_SHOWN]!r}" + ("…" if len(value) > _SHOWN else "")
        raise ConfigurationError(
            f"the {kind} {shown} has the control character U+{ord(unfit[0]):04X} at position {unfit.start() + 1}:"
            " names have none, remove it"
        )
    return value
