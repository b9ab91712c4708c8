"""The engine: the story of a turn, written once for both colours. It knows neither openai nor asyncio."""

from __future__ import annotations

from assistantguard.engine.books import Books
from assistantguard.engine.ports import (
    AnswerStream,
    Backend,
    Driver,
    ModelAnswer,
    ModelRequest,
    Piece,
    VectorStoreInfo,
)
from assistantguard.engine.session import Session
from assistantguard.engine.turn import Engine

__all__ = [
    "AnswerStream",
    "Backend",
    "Books",
    "Driver",
    "Engine",
    "ModelAnswer",
    "ModelRequest",
    "Piece",
    "Session",
    "VectorStoreInfo",
]
