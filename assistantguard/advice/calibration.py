"""What books and events leave unsaid, derived from what they say: how contexts grew, and what rotations carried."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from assistantguard.advice.carrying import SizeCarrier
from assistantguard.models.carry_over import CarryOver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from assistantguard.advice.history import History, ThreadHistory

__all__ = ["calibrate", "guess_fixed"]

_SHORT_MESSAGE = 16
"""Tokens of the shortest first message, about."""
_MOST_OF = 0.8
"""A context that fell below this share of what it was, by more than a healed turn explains, was left for another."""
_LEAST_FALL = 256
_ENOUGH_ROTATIONS = 5
_SETTINGS = CarryOver()


def guess_fixed(first_inputs: Iterable[int]) -> int:
    """Instructions and tools, guessed from what the first requests of threads read."""
    return max(0, min(first_inputs, default=0) - _SHORT_MESSAGE)


def calibrate(history: History) -> None:
    """Set what each call read beyond its turn's context, and what rotations are taken to carry."""
    for thread in history.threads:
        _set_offsets(thread, tells_rotations=history.source != "ledger")
        thread.prefix = thread.prefix or str(thread.fixed)
    pairs = [pair for thread in history.threads for pair in _digests(thread)]
    history.rotations_seen = len(pairs)
    exponent = _exponent(pairs)
    seen = [digest / older**exponent for older, digest in pairs]
    if len(seen) == 1:
        history.densities = (seen[0], seen[0], seen[0])
    elif seen:
        tenths = statistics.quantiles(seen, n=10)
        history.densities = (tenths[0], statistics.median(seen), tenths[-1])
    for thread in history.threads:
        if thread.carrier is None:
            thread.carrier = SizeCarrier(thread.turns, history.densities[1], exponent)


def _set_offsets(thread: ThreadHistory, *, tells_rotations: bool) -> None:
    firsts = [turn.calls[0].input_tokens - turn.context for turn in thread.turns if turn.calls]
    usual = round(statistics.median([first for first in firsts if first > 0] or [_SHORT_MESSAGE]))
    end = 0
    for number, turn in enumerate(thread.turns):
        if not turn.calls:
            continue
        first = turn.calls[0]
        if first.input_tokens <= turn.context and not first.is_estimate:
            context = max(thread.fixed, first.input_tokens - usual)
            if number and not tells_rotations:
                turn.rotated = context < _MOST_OF * end and end - context > _LEAST_FALL
            turn.growth += turn.context - context
            turn.context = context
        for call in turn.calls:
            call.offset = call.input_tokens - turn.context
        turn.growth = max(0, turn.growth)
        end = turn.context + turn.growth


def _exponent(pairs: Sequence[tuple[int, int]]) -> float:
    """The power of older history that digests grow with, where there are enough of several sizes to tell."""
    if len(pairs) < _ENOUGH_ROTATIONS or max(pairs)[0] < 1.5 * min(pairs)[0]:
        return 0.5
    fit = statistics.linear_regression(
        [math.log(older) for older, _ in pairs], [math.log(digest) for _, digest in pairs]
    )
    return min(1.0, max(0.0, fit.slope))


def _digests(thread: ThreadHistory) -> Iterable[tuple[int, int]]:
    """Tokens of older history, and of the digest of it, at the rotations of a thread."""
    if thread.carrier is not None:
        return
    sizes = SizeCarrier(thread.turns)
    since = 0
    for number, turn in enumerate(thread.turns):
        if not turn.rotated or not number:
            continue
        before = thread.turns[number - 1]
        history = before.context + before.growth - thread.fixed
        tail = sizes.tail(since, number, _SETTINGS)
        older, digest = history - tail, turn.context - thread.fixed - tail
        since = number
        if older > 0 and digest > 0:
            yield older, digest
