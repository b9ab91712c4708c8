"""Rotation settings as text: ``none``, ``default``, ``turns=30``, ``history=4000,tail=2``."""

from __future__ import annotations

from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.models.carry_over import CarryOver
from assistantguard.policies.rotation import ThreadRotation

__all__ = ["parse_rotation"]

_LIMITS = {"turns": "max_turns", "history": "max_history_tokens", "context": "max_context_tokens"}
_CARRIED = {"tail": "tail_turns", "tail_tokens": "tail_tokens", "digest": "digest_tokens"}


def parse_rotation(text: str) -> ThreadRotation | None:
    """Read rotation settings.

    Args:
        text: ``none``, ``default``, or settings with commas between them: ``turns``, ``history`` and ``context`` are
            `ThreadRotation`'s limits, ``tail``, ``tail_tokens`` and ``digest`` are what `CarryOver` carries.

    Raises:
        ConfigurationError: It is none of these.
    """
    if text == "none":
        return None
    if text == "default":
        return ThreadRotation()
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in {**_LIMITS, **_CARRIED} or not value.isascii() or not value.isdigit():
            raise ConfigurationError(
                f"the rotation is {text[:60]!r}: give none, default, or settings such as turns=30 or"
                f" history=4000,tail=2; there are {', '.join((*_LIMITS, *_CARRIED))}"
            )
        given[name] = int(value)
    carried = {_CARRIED[name]: value for name, value in given.items() if name in _CARRIED}
    limits = {_LIMITS[name]: value for name, value in given.items() if name in _LIMITS}
    return ThreadRotation(carry_over=CarryOver(**carried) if carried else None, **limits)
