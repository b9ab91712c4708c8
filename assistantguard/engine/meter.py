"""Counting output as it arrives."""

from __future__ import annotations

from assistantguard import tokens
from assistantguard.tokens import Estimate

__all__ = ["Meter"]

_COUNT_EVERY = 64
"""Bytes of output after which it is counted at the earliest, where it nears its bound."""
_FIRST_LOOK = 256
"""Bytes of output after which policies are asked about it, and between two questions at least."""
_LOOK_GROWTH = 1.125
"""By how much it grows between two questions, so that counting it again and again stays cheap."""


class Meter:
    """Counts output as it arrives, and only where it may have passed its bound.

    Args:
        model: Whose tokens they are.
        at_most: How many it was allowed.
    """

    def __init__(self, model: str, at_most: int) -> None:
        self._model = model
        self._bound = at_most + at_most // 50 + 16
        """Servers count the output once more in another way: a little above is no overrun."""
        self._pieces: list[str] = []
        self._bytes = 0
        self._count_at = self._bound
        self._look_at = _FIRST_LOOK

    @property
    def seen_tokens(self) -> int:
        """The output that arrived, where it is sure to be more than was allowed, or exactly known; else 0."""
        found = tokens.estimate("".join(self._pieces), self._model)
        return found.tokens if found.exact or found.tokens > self._bound else 0

    def passes(self, text: str) -> bool:
        """Whether the output is longer than its bound, now that `text` was added."""
        self._pieces.append(text)
        self._bytes += len(text.encode("utf-8", "replace"))
        if self._bytes <= self._count_at:
            return False  # a token has a byte at least
        counted = tokens.estimate("".join(self._pieces), self._model).tokens
        self._count_at = self._bytes + max(_COUNT_EVERY, self._bound - counted)
        return counted > self._bound

    def progress(self) -> Estimate | None:
        """The output so far, each time that it has grown enough to be looked at; else None."""
        if self._bytes < self._look_at:
            return None
        self._look_at = max(self._bytes + _FIRST_LOOK, int(self._bytes * _LOOK_GROWTH))
        return tokens.estimate("".join(self._pieces), self._model)
