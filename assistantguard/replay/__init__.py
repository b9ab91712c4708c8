"""Recorded conversations, played through the sandbox with and without a guard: what would a policy save?

The model says what was recorded, the tools answer what was recorded; what differs is how much of the
conversation each call reads. `read_recordings` and `make_threads` read files, `play_rows` plays them,
`compare` sets the rows side by side. Every row has a sandbox of its own, with a prompt cache that nothing
leaves while the row is played: turns are taken to follow one another soon enough to find it.
"""

from __future__ import annotations

from assistantguard.replay.comparison import ComparedRow, compare, replay_document
from assistantguard.replay.models import model_chooser
from assistantguard.replay.play import ReplayError, Row, play_row
from assistantguard.replay.pool import play_rows
from assistantguard.replay.reading import Recordings, make_threads, read_recordings
from assistantguard.replay.recording import (
    Conversation,
    RecordedCall,
    RecordedStep,
    RecordedThread,
    RecordedTurn,
)
from assistantguard.replay.settings import LastReply, RowSettings, custom_row, standard_rows
from assistantguard.replay.values import argument_values, holds

__all__ = [
    "ComparedRow",
    "Conversation",
    "LastReply",
    "RecordedCall",
    "RecordedStep",
    "RecordedThread",
    "RecordedTurn",
    "Recordings",
    "ReplayError",
    "Row",
    "RowSettings",
    "argument_values",
    "compare",
    "custom_row",
    "holds",
    "make_threads",
    "model_chooser",
    "play_row",
    "play_rows",
    "read_recordings",
    "replay_document",
    "standard_rows",
]
