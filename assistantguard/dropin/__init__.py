"""The drop-in: an official client whose Assistants calls are served here, on the Responses API."""

from __future__ import annotations

from assistantguard.dropin.opening import drop_in

__all__ = ["drop_in"]
