"""The words of the product as data: frozen where they are facts, plain where they are state.

Nothing here does I/O. Every other floor imports from this one and this one imports from none.
"""

from __future__ import annotations

from assistantguard.models.assistant import Assistant
from assistantguard.models.failure import Failure, FailureKind, Mend
from assistantguard.models.items import Item, assistant_message, user_message
from assistantguard.models.reply import Reply
from assistantguard.models.run import TERMINAL_STATUSES, RunState, RunStatus
from assistantguard.models.stream import (
    AttemptFailed,
    ReplyReady,
    StreamEvent,
    TextDelta,
    ToolCallRequested,
    ToolCallSettled,
)
from assistantguard.models.thread import ThreadState
from assistantguard.models.tools import ToolCall, ToolOutput
from assistantguard.models.usage import Usage

__all__ = [
    "TERMINAL_STATUSES",
    "Assistant",
    "AttemptFailed",
    "Failure",
    "FailureKind",
    "Item",
    "Mend",
    "Reply",
    "ReplyReady",
    "RunState",
    "RunStatus",
    "StreamEvent",
    "TextDelta",
    "ThreadState",
    "ToolCall",
    "ToolCallRequested",
    "ToolCallSettled",
    "ToolOutput",
    "Usage",
    "assistant_message",
    "user_message",
]
