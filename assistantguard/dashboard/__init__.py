"""The dashboard: what the guards' database holds, in a browser on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.dashboard.app import Dashboard
    from assistantguard.dashboard.listening import serve

__all__ = ["Dashboard", "serve"]


def __getattr__(name: str) -> Any:
    """What needs the extra ``dashboard`` is imported when it is first used."""
    if name == "Dashboard":
        from assistantguard.dashboard.app import Dashboard

        return Dashboard
    if name == "serve":
        from assistantguard.dashboard.listening import serve

        return serve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
