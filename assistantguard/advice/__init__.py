"""What would change the bill: suggestions, each with what it would have saved on the user's own data.

A history is read from telemetry events (`read_events`), from the guards' database (`read_ledger`) or made of recorded
conversations (`history_of`, which needs the extra ``sandbox``); `advise` bills it anew with one thing changed at a
time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.advice.advising import advise
from assistantguard.advice.document import advice_document
from assistantguard.advice.events import EventReader, read_events
from assistantguard.advice.history import History, LimitState
from assistantguard.advice.ledger import read_ledger
from assistantguard.advice.values import Advice, Kind, Suggestion, Sureness

if TYPE_CHECKING:
    from assistantguard.advice.recordings import history_of

__all__ = [
    "Advice",
    "EventReader",
    "History",
    "Kind",
    "LimitState",
    "Suggestion",
    "Sureness",
    "advice_document",
    "advise",
    "history_of",
    "read_events",
    "read_ledger",
]


def __getattr__(name: str) -> Any:
    """What needs the sandbox is imported when it is first used."""
    if name != "history_of":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from assistantguard.advice.recordings import history_of

    return history_of
