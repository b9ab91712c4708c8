"""Checks of what callers give to both guards: clients, messages, times, keys."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.models.names import check_name

__all__ = ["Message", "check_client", "check_key", "check_message", "positive", "until"]

Message = str | Sequence[Mapping[str, Any]]
"""A user's message: text, or content parts as the Responses API takes them."""


def check_client(client: object, wanted: type, other: type, mend: str) -> None:
    """Refuse a client of the other colour, and one that is too old or no client at all.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if isinstance(client, other):
        raise ConfigurationError(f"the client is an {other.__name__}, this guard needs an {wanted.__name__}: {mend}")
    for part in ("responses", "conversations", "with_options"):
        if not hasattr(client, part):
            raise ConfigurationError(
                f"the client {type(client).__name__} has no {part!r}: pass an openai.{wanted.__name__} of openai 1.101"
                " or newer"
            )


def check_message(message: Any) -> str | list[dict[str, Any]]:
    """A user's message as the API takes it: text, or content parts (``input_text``, ``input_image``, …).

    Raises:
        ConfigurationError: It is empty, or something else.
    """
    checked: str | list[dict[str, Any]] = ""
    if isinstance(message, str):
        checked = message if message.strip() else ""
    elif isinstance(message, Sequence) and all(isinstance(part, Mapping) for part in message):
        checked = [dict(part) for part in message]
    if checked:
        try:
            json.dumps(checked, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"the message cannot be sent: {error}; give valid text and JSON values") from error
        return checked
    raise ConfigurationError(
        f"the message is {message!r}: give a text that is not empty, or a list of content parts such as"
        " {'type': 'input_text', 'text': '…'}"
    )


def check_key(key: Any) -> str | None:
    """The caller's own name for a turn, or None.

    Raises:
        ConfigurationError: It is no name.
    """
    return None if key is None else check_name("idempotency key", key)


def until(deadline: float | None) -> float | None:
    """Unix time at which a turn that begins now must have ended.

    Raises:
        ConfigurationError: `deadline` is no number of seconds above 0.
    """
    seconds = positive("deadline", deadline, optional=True)
    return None if seconds is None else time.time() + seconds


def positive(name: str, value: Any, *, optional: bool = False) -> float | None:
    """A number of seconds above 0; None only where it is optional.

    Raises:
        ConfigurationError: It is something else.
    """
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} is {value!r}, it must be a number of seconds above 0: change it")
    return float(value)
