"""Waiting for what another thread does."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

__all__ = ["IMPATIENT", "LONG", "wait_until"]

LONG = 60.0
"""Seconds that nothing takes unless it hangs."""
IMPATIENT = httpx.Timeout(LONG, read=0.2)
"""Of a client that gives up on an answer, but has sent its request by then, however slow the machine is."""
_LOOK = 0.005


def wait_until(ready: Callable[[], object]) -> None:
    """Wait until `ready` is true.

    Raises:
        AssertionError: It has not been for a long time.
    """
    until = time.monotonic() + LONG
    while not ready():
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(_LOOK)
