"""A forecast from what was asked so far.

Three things are fitted to the history. What a run is in the mean, and how a thread's bill grows with it (`observed`);
how often each thread will yet be written to; and how many new ones will begin (`activity`). A new thread is expected to
become what threads that began in the history became. So threads that grow are forecast to cost more with each message.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.activity import Arrivals, ThreadActivity, fit_arrivals, fit_threads
from assistantguard.forecast.checks import number_within, whole_within
from assistantguard.forecast.curves import Sums, ThreadCurve, Volume, add_span
from assistantguard.forecast.history import History, PastThread
from assistantguard.forecast.observed import Observed, observe_threads
from assistantguard.forecast.result import MONTH_DAYS, STORAGE_NOTE, Forecast, Period, spread, storage_cost
from assistantguard.forecast.rotations import parse_rotation
from assistantguard.forecast.thread_cost import ThreadTerms
from assistantguard.forecast.windows import context_window
from assistantguard.models.values import Value
from assistantguard.prices import PriceBook

__all__ = ["HistoryOptions", "forecast_from_history"]

_DAY = 86_400.0
_GROUPS = 20
_EIGHTY_PERCENT = 1.2816
"""Standard errors on either side of 80 % of a normal distribution."""
_SAMPLE = 400
"""Threads of which a new one is taken to be one, at most."""
_LEAST_DAYS = 0.5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HistoryOptions(Value):
    """What is asked of a forecast from a history.

    Raises:
        ConfigurationError: A value is outside its limits.
    """

    months: int = 12
    period_days: Decimal = MONTH_DAYS
    """How long one of the `months` is; the default is a twelfth of a year."""
    growth: float | None = None
    """By how much more threads begin each month (0.15 is 15 %); None goes by the trend in the history, which fades."""
    models: tuple[str, ...] = ()
    """Other models, side by side with what is in use. The same tokens are assumed of them."""
    rotations: tuple[str, ...] = ()
    """Other rotations, side by side with what was seen; see `parse_rotation`."""
    vector_gigabytes: float = 0.0
    vector_growth: float = 0.0
    """Gigabytes a month."""

    def __post_init__(self) -> None:
        whole_within("months", self.months, 1, 120)
        number_within("period_days", float(self.period_days), 0.04, 366)
        if self.growth is not None:
            number_within("growth", self.growth, -0.99, 10)
        number_within("vector_gigabytes", self.vector_gigabytes, 0, 1e6)
        number_within("vector_growth", self.vector_growth, -1e6, 1e6)
        for rotation in self.rotations:
            parse_rotation(rotation)


def forecast_from_history(
    history: History, options: HistoryOptions | None = None, *, prices: PriceBook | None = None
) -> list[Forecast]:
    """Forecast from the end of a history on; what is in use first, then other models and rotations beside it.

    The range holds 80 %: the scatter between users (delete-a-group jackknife over twenty groups), and the standard
    errors of the rate and the trend of new threads, added as the root of the sum of squares.

    Args:
        history: What was asked so far.
        options: What to forecast; None takes the defaults.
        prices: The prices to go by; None takes the published ones.

    Raises:
        ConfigurationError: The history is too short, or a model to be compared has no known price.
    """
    asked = HistoryOptions() if options is None else options
    book = PriceBook() if prices is None else prices
    if history.runs < 2 or history.days < _LEAST_DAYS:
        raise ConfigurationError(
            f"the history has {history.runs} messages in {history.days:.1f} days, a forecast needs at least two in"
            f" {_LEAST_DAYS} days: give a longer one, or forecast from assumptions"
        )
    by_model: dict[str, list[PastThread]] = {}
    for thread in history.threads:
        by_model.setdefault(thread.model, []).append(thread)
    unpriced = tuple(sorted(model for model in by_model if book.price(model) is None))
    parts = [
        _Part(history, asked, model, threads, book) for model, threads in by_model.items() if model not in unpriced
    ]
    if not parts:
        raise ConfigurationError(
            f"no model in the history has a known price ({', '.join(unpriced)}): give prices, on the command line with"
            " --price MODEL=INPUT,OUTPUT"
        )
    found = []
    for model in (None, *asked.models):
        for rotation in (None, *asked.rotations):
            sides = [part.forecast(model, rotation) for part in parts]
            found.append(_joined(history, asked, sides, unpriced, parts, model, rotation))
    return found


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class _Side(Value):
    """What one part of the history will cost under one model and rotation."""

    sums: list[Sums]
    costs: list[Decimal]
    ways: dict[str, tuple[list[Decimal], list[Decimal]]]


class _Part:
    """The threads of one model: their fit, and the runs to be expected of them."""

    def __init__(
        self, history: History, asked: HistoryOptions, model: str, threads: Sequence[PastThread], book: PriceBook
    ) -> None:
        self._book = book
        self._end = history.days
        self._days = [float(asked.period_days) * number for number in range(asked.months + 1)]
        self.observed: Observed = observe_threads(model, threads, book, context_window(model))
        self._threads: list[tuple[int, ThreadActivity]] = []
        for thread in threads:
            times = tuple(max(0.0, (run.time - history.begins) / _DAY) for run in thread.runs)
            self._threads.append((_group(thread.user or thread.id), ThreadActivity(times)))
        activities = [activity for _, activity in self._threads]
        fit_threads(activities, self._end)
        since = self._first_sightings(activities)
        born = [each for each in self._threads if each[1].times[0] >= since]
        growth = None if asked.growth is None else math.log1p(asked.growth) / float(MONTH_DAYS)
        starts = [activity.times[0] for _, activity in born]
        self.arrivals: Arrivals = fit_arrivals(starts, since, self._end, growth)
        kin = born if len(born) >= 5 else self._threads
        self._kin = kin[:: max(1, math.ceil(len(kin) / _SAMPLE))]
        self._step = self._days[-1] / max(120, 4 * asked.months)
        self._going = [self._existing(period) for period in range(asked.months)]
        self._ages = [self._aged((place + 0.5) * self._step) for place in range(round(self._days[-1] / self._step))]

    def _first_sightings(self, threads: Sequence[ThreadActivity]) -> float:
        """From when on a thread that was seen first began then: those before it may only have been silent so far."""
        gaps = sorted(1 / thread.rate for thread in threads if len(thread.times) > 1)
        usual = gaps[len(gaps) * 3 // 4] if gaps else 0.0
        return min(self._end / 2, 3 * usual)

    def _existing(self, period: int) -> list[Volume]:
        """The runs of a period on threads that are there, by group."""
        volumes: list[Volume] = [{} for _ in range(_GROUPS)]
        begin, end = self._days[period], self._days[period + 1]
        for group, thread in self._threads:
            depth = len(thread.times)
            add_span(volumes[group], depth + thread.later(begin), depth + thread.later(end))
        return volumes

    def _aged(self, age: float) -> list[Volume]:
        """The runs up to an age of threads that begin, one for each thread of the sample, by group."""
        volumes: list[Volume] = [{} for _ in range(_GROUPS)]
        for group, thread in self._kin:
            add_span(volumes[group], 0, thread.by_age(age, self._end))
        return volumes

    def forecast(self, model: str | None, rotation: str | None) -> _Side:
        """What the runs cost under a model and a rotation; None is what is in use."""
        seen = self.observed
        base = ThreadCurve(self._terms(model, rotation), seen.run)
        correction = Decimal(seen.correction)
        totals = [0] * _GROUPS
        for group, _ in self._kin:
            totals[group] += 1
        going = [[base.cost(volume) for volume in volumes] for volumes in self._going]
        ages = [[base.cost(volume) for volume in volumes] for volumes in self._ages]
        costs = self._together(going, ages, totals, self.arrivals)
        ways = {
            "new threads": tuple(
                self._together(going, ages, totals, self.arrivals.moved(sign * _EIGHTY_PERCENT, 0)) for sign in (-1, 1)
            ),
            "trend": tuple(
                self._together(going, ages, totals, self.arrivals.moved(0, sign * _EIGHTY_PERCENT)) for sign in (-1, 1)
            ),
        }
        low, high = self._scatter(costs, going, ages, totals)
        ways["users"] = low, high
        sums = self._sums(base)
        return _Side(
            sums,
            [cost * correction for cost in costs],
            {
                name: ([cost * correction for cost in low], [cost * correction for cost in high])
                for name, (low, high) in ways.items()
            },
        )

    def _terms(self, model: str | None, rotation: str | None) -> ThreadTerms:
        seen = self.observed
        name = seen.model if model is None else model
        window = context_window(name) if self._book.price(name) is not None else None
        if rotation is None:
            policy, carried = seen.rotation, seen.carried_tokens
        else:
            policy, carried = parse_rotation(rotation), None
        return ThreadTerms(name, seen.fixed_tokens, policy, seen.caching, carried, window, prices=self._book)

    def _together(
        self,
        going: Sequence[Sequence[Decimal]],
        ages: Sequence[Sequence[Decimal]],
        totals: Sequence[int],
        arrivals: Arrivals,
        groups: Sequence[int] = range(_GROUPS),
        scale: Decimal = Decimal(1),
    ) -> list[Decimal]:
        """The cost of each period, of threads that are there and of those that begin; of some groups, scaled up."""
        kin = sum(totals[group] for group in groups)
        of_one = [sum((row[group] for group in groups), Decimal(0)) / kin if kin else Decimal(0) for row in ages]
        new = self._begun(of_one, arrivals)
        return [
            scale * sum((row[group] for group in groups), Decimal(0)) + part
            for row, part in zip(going, new, strict=True)
        ]

    def _begun(self, of_one: Sequence[Decimal], arrivals: Arrivals) -> list[Decimal]:
        """What new threads cost in each period, by what one costs up to each age."""
        born = [Decimal(arrivals.between(place * self._step, (place + 1) * self._step)) for place in range(len(of_one))]
        sofar = []
        for day in self._days:
            steps = round(day / self._step)
            pairs = zip(born[:steps], reversed(of_one[:steps]), strict=True)
            sofar.append(sum((count * cost for count, cost in pairs), Decimal(0)))
        return [later - before for before, later in itertools.pairwise(sofar)]

    def _scatter(
        self,
        costs: Sequence[Decimal],
        going: Sequence[Sequence[Decimal]],
        ages: Sequence[Sequence[Decimal]],
        totals: Sequence[int],
    ) -> tuple[list[Decimal], list[Decimal]]:
        """Each period 80 % low and high, by what it would be without each group of users."""
        used = [group for group in range(_GROUPS) if any(group == mine for mine, _ in self._threads)]
        if len(used) < 2:
            return [Decimal(0)] * len(costs), [2 * cost for cost in costs]
        scale = Decimal(len(used)) / (len(used) - 1)
        left = [
            self._together(going, ages, totals, self.arrivals, [each for each in used if each != group], scale)
            for group in used
        ]
        low, high = [], []
        for place, cost in enumerate(costs):
            mean = sum((row[place] for row in left), Decimal(0)) / len(left)
            squares = sum(((row[place] - mean) ** 2 for row in left), Decimal(0))
            error = (squares * (len(left) - 1) / len(left)).sqrt() * Decimal(_EIGHTY_PERCENT)
            low.append(max(Decimal(0), cost - error))
            high.append(cost + error)
        return low, high

    def _sums(self, curve: ThreadCurve) -> list[Sums]:
        """All sums of each period."""
        kin = max(1, len(self._kin))
        ages = [_values(curve.sums(_merged(volumes))) for volumes in self._ages]
        born = [self.arrivals.between(place * self._step, (place + 1) * self._step) / kin for place in range(len(ages))]
        found = []
        for period, volumes in enumerate(self._going):
            values = list(_values(curve.sums(_merged(volumes))))
            for day, sign in ((self._days[period], -1), (self._days[period + 1], 1)):
                steps = round(day / self._step)
                for count, one in zip(born[:steps], reversed(ages[:steps]), strict=True):
                    for place, value in enumerate(one):
                        values[place] += sign * count * value
            found.append(Sums.of(values[0], values[1:], Decimal(0)))
        return found


def _values(sums: Sums) -> tuple[float, ...]:
    return sums.runs, *sums.counts


def _merged(volumes: Sequence[Volume]) -> Volume:
    merged: Volume = {}
    for volume in volumes:
        for depth, weight in volume.items():
            merged[depth] = merged.get(depth, 0.0) + weight
    return merged


def _group(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % _GROUPS


def _joined(
    history: History,
    asked: HistoryOptions,
    sides: Sequence[_Side],
    unpriced: tuple[str, ...],
    parts: Sequence[_Part],
    model: str | None,
    rotation: str | None,
) -> Forecast:
    """The parts as one forecast."""
    days = asked.period_days
    months = float(days / MONTH_DAYS)
    stored = [
        storage_cost(max(0.0, asked.vector_gigabytes + asked.vector_growth * months * (number + 0.5)), days)
        for number in range(asked.months)
    ]
    costs = [sum((side.costs[number] for side in sides), kept) for number, kept in enumerate(stored)]
    ways: dict[str, tuple[list[Decimal], list[Decimal]]] = {}
    for place, side in enumerate(sides):
        rest = [cost - own for cost, own in zip(costs, side.costs, strict=True)]
        for name, ends in side.ways.items():
            least, most = ([own + other for own, other in zip(end, rest, strict=True)] for end in ends)
            ways[f"{place} {name}"] = least, most
    ranges, (low, high) = spread(costs, ways)
    per_thread, per_user = _shares(history, float(days))
    periods = []
    for number in range(asked.months):
        sums = [side.sums[number] for side in sides]
        runs = sum(each.runs for each in sums)
        read = sum(each.input_tokens for each in sums)
        periods.append(
            Period(
                number + 1,
                history.ends + float(days) * _DAY * number,
                days,
                None if per_user is None else runs * per_user,
                runs * per_thread,
                runs,
                sum(each.requests for each in sums),
                read,
                sum(each.cached_tokens for each in sums),
                sum(each.output_tokens for each in sums),
                read - sum(each.new_tokens for each in sums),
                stored[number],
                costs[number],
                *ranges[number],
            )
        )
    names = sorted({part.observed.model for part in parts}) if model is None else [model]
    return Forecast(
        ", ".join(names),
        "rotation as seen" if rotation is None else "no rotation" if rotation == "none" else f"rotation {rotation}",
        "prompt caching as seen",
        tuple(periods),
        low,
        high,
        "80 %: the scatter between users (jackknife over twenty groups), and the standard errors of the rate and the"
        " trend of new threads, added as the root of the sum of squares",
        _notes(history, parts, asked),
        unpriced,
    )


def _shares(history: History, days: float) -> tuple[float, float | None]:
    """Threads, and users, for each run, as in the last period of the history."""
    since = history.ends - days * _DAY
    recent = [(thread, sum(run.time >= since for run in thread.runs)) for thread in history.threads]
    runs = sum(count for _, count in recent) or 1
    scale = min(1.0, history.days / days)
    threads = sum(count > 0 for _, count in recent)
    users = {thread.user for thread, count in recent if count and thread.user is not None}
    known = all(thread.user is not None for thread, count in recent if count)
    return threads / runs * scale, len(users) / runs * scale if known and users else None


def _notes(history: History, parts: Sequence[_Part], asked: HistoryOptions) -> tuple[str, ...]:
    notes = [f"made from {history.runs:,} messages on {len(history.threads):,} threads in {history.days:.1f} days"]
    for part in parts:
        seen = part.observed
        run = seen.run
        notes.append(
            f"{seen.model}: messages of {run.message_tokens:.0f} tokens, answers of {run.output_tokens:.0f},"
            f" {run.tool_steps:.2f} tool steps each, {seen.fixed_tokens:,} tokens of instructions and tools;"
            f" {_rotates(seen)}; {part.arrivals.rate:.1f} new threads a day; booked was"
            f" {seen.correction:.3f} times what this makes of the history"
        )
    if history.cached_replies:
        notes.append(f"{history.cached_replies:,} messages were answered out of the cache of replies and cost nothing")
    if asked.models:
        notes.append("other models are taken to write and to read as many tokens as those in use")
    return (*notes, STORAGE_NOTE)


def _rotates(seen: Observed) -> str:
    if seen.rotation is None:
        return "no rotation was seen"
    turns, limit = seen.rotation.max_turns, seen.rotation.max_history_tokens
    when = f"at about {limit:,} tokens of history" if turns is None else f"after about {turns} turns"
    return f"rotations {when}, with {seen.carried_tokens:,} tokens carried"
