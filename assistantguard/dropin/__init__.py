"""The Assistants API, served on the Responses API by a client's own transport."""

from __future__ import annotations

__all__: list[str] = []
