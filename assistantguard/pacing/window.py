"""How much was sent in the last minute: never less than the truth, and more by one part of a minute at most."""

from __future__ import annotations

__all__ = ["MINUTE", "Window"]

MINUTE = 60.0
"""Seconds."""
_PARTS = 120
_WIDTH = MINUTE / _PARTS


class Window:
    """Tokens and requests by the half second they were sent in, for the last minute.

    What was sent in a half second counts until a minute after its end. So whatever minute is looked at, no more than
    what counts at its end was sent in it.

    Args:
        parts: What `parts` of another window gave.
    """

    def __init__(self, parts: list[list[int]] | None = None) -> None:
        self.parts: list[list[int]] = parts or []
        """Number of the half second, tokens, requests; ascending."""
        self.tokens = sum(part[1] for part in self.parts)
        self.requests = sum(part[2] for part in self.parts)

    def roll(self, now: float) -> None:
        """Forget what is older than a minute at `now`, a Unix time in seconds."""
        first = int(now // _WIDTH) - _PARTS
        old = 0
        for number, tokens, requests in self.parts:
            if number >= first:
                break
            self.tokens -= tokens
            self.requests -= requests
            old += 1
        if old:
            del self.parts[:old]

    def add(self, now: float, tokens: int, requests: int) -> int:
        """Count something that is sent at `now`; return the number by which it can be corrected."""
        number = int(now // _WIDTH)
        self.correct(number, tokens, requests)
        return number

    def correct(self, number: int, tokens: int, requests: int) -> None:
        """Add to what was counted under a number; what has been forgotten stays so, and nothing falls below zero."""
        place = len(self.parts)
        while place and self.parts[place - 1][0] > number:
            place -= 1
        if place and self.parts[place - 1][0] == number:
            part = self.parts[place - 1]
            tokens, requests = max(tokens, -part[1]), max(requests, -part[2])
            part[1] += tokens
            part[2] += requests
        elif tokens >= 0 and requests >= 0:
            self.parts.insert(place, [number, tokens, requests])
        else:
            return
        self.tokens += tokens
        self.requests += requests

    def spread(self, now: float, seconds: float, tokens: int, requests: int) -> None:
        """Count what somebody else sent, so that it is forgotten bit by bit over the next `seconds`, a minute at most.

        A server's allowance grows back steadily.
        """
        last = min(_PARTS, max(1, int(seconds / _WIDTH)))
        steps = min(last, 12)
        number, done_tokens, done_requests = int(now // _WIDTH) - _PARTS, 0, 0
        for step in range(1, steps + 1):
            upto_tokens, upto_requests = tokens * step // steps, requests * step // steps
            self.correct(number + last * step // steps, upto_tokens - done_tokens, upto_requests - done_requests)
            done_tokens, done_requests = upto_tokens, upto_requests

    def with_(self, other: Window) -> Window:
        """Both together."""
        return Window(sorted([*self.parts, *other.parts]))

    def free_at(self, now: float, tokens: int, requests: int) -> float:
        """When so much less will count, a Unix time; `now` where that is nothing to wait for."""
        for number, counted, sent in self.parts:
            if tokens <= 0 and requests <= 0:
                break
            tokens -= counted
            requests -= sent
            now = max(now, (number + 1 + _PARTS) * _WIDTH)
        return now
