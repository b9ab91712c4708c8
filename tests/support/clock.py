"""A wall clock that can be put forward."""

from __future__ import annotations

import time

import pytest

__all__ = ["Clock"]

_REAL_TIME = time.time


class Clock:
    """Stands in for ``time.time``, which the guard and the sandbox both go by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr(time, "time", self._now)

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def _now(self) -> float:
        return _REAL_TIME() + self._ahead
