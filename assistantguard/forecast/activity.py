"""Who will go on writing, and who will begin: fitted to the times at which threads were written to.

Each thread is written to at a rate of its own until it is left, and may be left after each message. How likely it is
that a silent thread was left follows from how long it is silent, beside its own rate (the model of Fader, Hardie and
Lee, 2005, with each thread's rate and chance drawn towards those of all). New threads begin at a rate with a trend: a
log-linear fit to their counts, as trustworthy as the scatter of the counts makes it.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from assistantguard.models.values import Record, Value

__all__ = ["Arrivals", "ThreadActivity", "fit_arrivals", "fit_threads"]

_ROUNDS = 15
_DAY = 86_400.0
_FADES_AFTER = 5
"""Times the length of the history: a trend that was seen for a month fades over five."""
_SHORTEST_LIFE = 60.0
"""Seconds. What is faster than that is no rate of messages by people."""


@dataclass(slots=True, eq=False, repr=False)
class ThreadActivity(Record):
    """One thread, and what is to be expected of it. Times are in days since the history began."""

    times: tuple[float, ...]
    """Of its runs, ascending."""
    rate: float = 0.0
    """Runs a day, while it is in use."""
    leaving: float = 0.0
    """How likely it is left after a run."""
    alive: float = 1.0
    """How likely it is still in use at the end of the history."""

    def later(self, days: float) -> float:
        """How many runs are to be expected of it within so many days after the history."""
        pace = self.rate * self.leaving * days
        if pace < 1e-9:
            return self.alive * self.rate * days
        return self.alive * -math.expm1(-pace) / self.leaving

    def by_age(self, age: float, end: float) -> float:
        """How many runs it has had so many days after its first one: seen, or where that is later, expected."""
        seen = end - self.times[0]
        if age <= seen:
            return float(bisect_right(self.times, self.times[0] + age))
        return len(self.times) + self.later(age - seen)


def fit_threads(threads: Sequence[ThreadActivity], end: float) -> None:
    """Find each thread's rate, and how likely it was or will be left.

    Args:
        threads: Changed.
        end: When the history ends, in days since it began.
    """
    runs = sum(len(thread.times) for thread in threads)
    for thread in threads:
        thread.alive = 0.5
        thread.leaving = 0.1
    for _ in range(_ROUNDS):
        lives = [
            max(_SHORTEST_LIFE / _DAY, thread.times[-1] - thread.times[0] + thread.alive * (end - thread.times[-1]))
            for thread in threads
        ]
        common = max(1e-6, (runs - len(threads)) / sum(lives))
        left = sum(1 - thread.alive for thread in threads) / runs
        for thread, life in zip(threads, lives, strict=True):
            thread.rate = len(thread.times) / (life + 1 / common)
            thread.leaving = min(0.999, (1 - thread.alive + left) / (len(thread.times) + 1))
            silent = min(700.0, thread.rate * (end - thread.times[-1]))
            thread.alive = 1 / (1 + thread.leaving / (1 - thread.leaving) * math.exp(silent))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Arrivals(Value):
    """How many threads begin a day, from the end of the history on."""

    rate: float
    """At the end of the history."""
    growth: float
    """The logarithm's rise a day, at the end of the history."""
    fading: float
    """Days after which a third of that rise is left: what was seen in a short time does not go on for ever. Infinite
    where the rise was given."""
    rate_error: float = 0.0
    """The standard error of the rate, as a share of it."""
    growth_error: float = 0.0
    """The standard error of `growth`."""
    behind: float = 0.0
    """Days from the middle of the history to its end: where the growth is larger, so is the rate at the end."""

    def between(self, begin: float, end: float) -> float:
        """How many begin between two moments, in days after the history, as its middle has it."""
        middle = (begin + end) / 2
        grown = middle if math.isinf(self.fading) else self.fading * -math.expm1(-middle / self.fading)
        return self.rate * math.exp(min(50.0, self.growth * grown)) * (end - begin)

    def moved(self, rate: float, growth: float) -> Arrivals:
        """The same with the rate and the growth moved by so many standard errors."""
        return Arrivals(
            self.rate * math.exp(rate * self.rate_error + growth * self.growth_error * self.behind),
            self.growth + growth * self.growth_error,
            self.fading,
        )


def fit_arrivals(starts: Sequence[float], begin: float, end: float, growth: float | None = None) -> Arrivals:
    """Fit the rate at which threads begin.

    Args:
        starts: When they began, in days.
        begin: From when on threads that were seen first did begin then.
        end: When the history ends.
        growth: The logarithm's rise a day, where it is given.
    """
    span = end - begin
    if not starts or span <= 0:
        return Arrivals(0.0, 0.0, math.inf)
    slope = _slope(starts, begin, end)
    middle = (begin + end) / 2
    scatter = _scatter(starts, begin, end, slope)
    error = math.sqrt(12 * scatter / len(starts)) / span
    rate_error = math.sqrt(scatter / len(starts))
    if growth is not None:
        at_end = len(starts) / span * math.exp(growth * (end - middle))
        return Arrivals(at_end, growth, math.inf, rate_error)
    trusted = slope**2 / (slope**2 + error**2) if slope else 0.0
    slope *= trusted
    at_end = len(starts) / span * math.exp(slope * (end - middle))
    return Arrivals(at_end, slope, _FADES_AFTER * span, rate_error, error, end - middle)


def _slope(starts: Sequence[float], begin: float, end: float) -> float:
    """The most likely rise of the logarithm a day, of a rate that grows or falls evenly."""
    half = (end - begin) / 2
    lean = sum(start - (begin + end) / 2 for start in starts) / len(starts) / half
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        # The mean of a density proportional to exp(x * middle) on -1 to 1, which is Langevin's function.
        mean = middle / 3 if abs(middle) < 1e-4 else 1 / math.tanh(middle) - 1 / middle
        low, high = (middle, high) if mean < lean else (low, middle)
    return (low + high) / 2 / half


def _scatter(starts: Sequence[float], begin: float, end: float, slope: float) -> float:
    """How much more the starts scatter than if each came by chance: 1 is chance, 0 is clockwork.

    It is seen in the counts of whole days and in the gaps between starts; the smaller one counts, since nights make
    gaps uneven, and few starts make counts uneven.
    """
    least = 1 / len(starts)  # where the first one falls within its gap is chance, too
    whole = _grown(end - begin, slope)
    # Time as it would be if the rate were the same all the time.
    even = sorted(_grown(start - begin, slope) / whole for start in starts)
    bins = max(4, min(60, round(end - begin)))
    counts = [0] * bins
    for place in even:
        counts[min(bins - 1, int(place * bins))] += 1
    mean = len(even) / bins
    of_days = sum((count - mean) ** 2 for count in counts) / mean / (bins - 2)
    gaps = [later - before for before, later in itertools.pairwise(even)]
    if len(gaps) < 8:
        return max(least, of_days)
    usual = sum(gaps) / len(gaps)
    of_gaps = sum((gap - usual) ** 2 for gap in gaps) / (len(gaps) - 1) / usual**2 if usual else 1.0
    return max(least, min(of_days, of_gaps))


def _grown(days: float, slope: float) -> float:
    return math.expm1(slope * days) / slope if abs(slope) > 1e-9 else days
