"""Servers that hold threads and run models."""

from __future__ import annotations

from assistantguard.backends.port import ClientPort
from assistantguard.backends.responses import ResponsesBackend

__all__ = ["ClientPort", "ResponsesBackend"]
