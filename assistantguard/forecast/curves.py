"""What a typical thread has cost up to each of its runs, and sums of parts of that.

A forecast needs to know which runs are made, not by whom: the tenth run of a thread costs what a tenth run costs. So
traffic is a `Volume`: runs, as spans between two depths of a thread, with a weight. A sum over it is a sum of weights
times the values of one curve at the ends of the spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from assistantguard.forecast.checks import number_within
from assistantguard.forecast.thread_cost import CallShape, RunShape, ThreadMeter, ThreadTerms
from assistantguard.models.values import Value

__all__ = ["DEEPEST", "Sums", "ThreadCurve", "TypicalRun", "Volume", "add_span"]

DEEPEST = 20_000
"""Runs of a thread that are counted one by one; each later one costs what the last of these did."""

Volume = dict[int, float]
"""Weights of the curve's values at whole numbers of runs. Add one to another to add up what they stand for."""


def add_span(volume: Volume, begin: float, end: float, weight: float = 1.0) -> None:
    """Add the runs of a thread between two depths.

    Args:
        volume: Changed.
        begin: How many runs the thread had before; between whole numbers, the share of one.
        end: How many it has then.
        weight: How many such threads there are.
    """
    for depth, sign in ((begin, -weight), (end, weight)):
        below = min(int(depth), DEEPEST - 1)
        share = depth - below
        volume[below] = volume.get(below, 0.0) + sign * (1 - share)
        if share:
            volume[below + 1] = volume.get(below + 1, 0.0) + sign * share


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TypicalRun(Value):
    """A run in the mean. Numbers need not be whole: what is left of one run is made up for by a later one.

    Raises:
        ConfigurationError: A number is negative.
    """

    message_tokens: float
    """What the user writes."""
    output_tokens: float
    """The last answer, reasoning included."""
    tool_steps: float = 0.0
    """Rounds of tool calls: model calls beside the last one."""
    tool_tokens: float = 0.0
    """What the tools of one step return."""
    step_output_tokens: float = 0.0
    """What the model writes to ask for the tools of one step."""
    reasoning_tokens: float = 0.0
    """The part of `output_tokens` that is reasoning."""
    file_searches: float = 0.0
    """Calls of the built-in file search."""

    def __post_init__(self) -> None:
        for name in ("message_tokens", "tool_tokens", "step_output_tokens"):
            number_within(name, getattr(self, name), 0, 1e7)
        number_within("output_tokens", self.output_tokens, 0, 1e7)
        number_within("reasoning_tokens", self.reasoning_tokens, 0, self.output_tokens)
        number_within("tool_steps", self.tool_steps, 0, 100)
        number_within("file_searches", self.file_searches, 0, 100)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Sums(Value):
    """What a volume of runs adds up to."""

    runs: float
    requests: float
    input_tokens: float
    cached_tokens: float
    cache_write_tokens: float
    output_tokens: float
    new_tokens: float
    """The part of `input_tokens` that no request had read before: messages and what tools returned."""
    cost: Decimal
    """US dollars."""

    @classmethod
    def of(cls, runs: float, counts: Sequence[float], cost: Decimal) -> Sums:
        """Sums from their numbers: `counts` in the order of the fields."""
        requests, read, cached, written, output, new = counts
        return cls(runs, requests, read, cached, written, output, new, cost)

    @property
    def counts(self) -> tuple[float, ...]:
        """Everything between `runs` and `cost`, in the order of the fields."""
        return (
            self.requests,
            self.input_tokens,
            self.cached_tokens,
            self.cache_write_tokens,
            self.output_tokens,
            self.new_tokens,
        )


class ThreadCurve:
    """The sums of a typical thread's runs, up to each of them.

    Args:
        terms: What it is billed by.
        run: What each of its runs is.

    Raises:
        ConfigurationError: A price is not known.
    """

    def __init__(self, terms: ThreadTerms, run: TypicalRun) -> None:
        self._run = run
        self._meter: ThreadMeter = terms.begin()
        self._cost = [Decimal(0)]
        self._counts: list[tuple[int, ...]] = [(0,) * 6]

    def cost(self, volume: Mapping[int, float]) -> Decimal:
        """US dollars of all runs of a volume."""
        self._extend(max(volume, default=0))
        return sum((Decimal(weight) * self._cost[depth] for depth, weight in volume.items() if weight), Decimal(0))

    def sums(self, volume: Mapping[int, float]) -> Sums:
        """All sums over a volume."""
        cost = self.cost(volume)
        runs = sum(weight * depth for depth, weight in volume.items())
        totals = [0.0] * 6
        for depth, weight in volume.items():
            for place, count in enumerate(self._counts[depth]):
                totals[place] += weight * count
        return Sums.of(runs, totals, cost)

    def _extend(self, depth: int) -> None:
        for number in range(len(self._cost), depth + 1):
            shape = self._shape(number)
            billed = self._meter.run(shape)
            usage = billed.usage
            added = sum(call.added_tokens for call in shape.calls)
            figures = (
                usage.requests,
                usage.input_tokens,
                usage.cached_tokens,
                usage.cache_write_tokens,
                usage.output_tokens,
                added,
            )
            self._cost.append(self._cost[-1] + billed.cost)
            self._counts.append(tuple(map(sum, zip(self._counts[-1], figures, strict=True))))

    def _shape(self, number: int) -> RunShape:
        """The run of this number, from 1: whole numbers whose sums keep to the means."""
        run = self._run
        steps = _part(run.tool_steps, number)
        output, before = _part(run.output_tokens, number), int((number - 1) * run.tool_steps)
        calls = []
        added = _part(run.message_tokens, number)
        for step in range(before + 1, before + steps + 1):
            calls.append(CallShape(added, _part(run.step_output_tokens, step)))
            added = _part(run.tool_tokens, step)
        calls.append(CallShape(added, output, min(output, _part(run.reasoning_tokens, number))))
        return RunShape(tuple(calls), _part(run.file_searches, number))


def _part(mean: float, number: int) -> int:
    return int(number * mean) - int((number - 1) * mean)
