"""What a history says of its runs in the mean: their tokens and steps, their rotations, their luck with the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import fmean, pstdev

from assistantguard.forecast.curves import Sums, ThreadCurve, TypicalRun, Volume, add_span
from assistantguard.forecast.history import PastCall, PastThread
from assistantguard.forecast.thread_cost import PromptCaching, ThreadTerms
from assistantguard.models.values import Value
from assistantguard.policies.rotation import ThreadRotation
from assistantguard.prices import PriceBook

__all__ = ["Observed", "observe_threads"]

_FALLEN = 0.98
"""A request that reads less than this share of what its thread held reads a new generation."""
_FEW = 5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Observed(Value):
    """The runs of threads that one model answered."""

    model: str
    run: TypicalRun
    fixed_tokens: int
    """Instructions and tools, as far as they can be told from the first messages."""
    rotation: ThreadRotation | None
    """One that begins generations as often as it was seen; None where it was not."""
    carried_tokens: int | None
    """What those began with."""
    caching: PromptCaching | None
    """As lucky as was seen; None where nothing was read from the cache or written to it."""
    cost: Decimal
    """US dollars, as booked; where a price was unknown then, at today's."""
    usage: Sums
    """What was really used."""
    correction: float
    """What was booked, as a multiple of what the model of threads makes of the same runs."""

    def terms(self, prices: PriceBook | None, window: int | None) -> ThreadTerms:
        """The terms under which the threads were billed."""
        return ThreadTerms(
            self.model,
            self.fixed_tokens,
            self.rotation,
            self.caching,
            self.carried_tokens,
            window,
            prices=prices,
        )


@dataclass(slots=True)
class _Seen:
    first_reads: list[int] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    tools: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    reasoning: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    """Of the generations that were left."""
    _turns: int = 0

    def thread(self, thread: PastThread) -> None:
        held: int | None = None
        self._turns = 0
        for run in thread.runs:
            calls = _answered(run.calls)
            for number, call in enumerate(calls):
                self._request(call, held, first=number == 0)
                usage = call.usage
                held = usage.input_tokens + usage.output_tokens - usage.reasoning_tokens
            if calls:
                self._turns += 1
                self.steps.append(len(calls) - 1)
                self.answers.append(calls[-1].usage.output_tokens)
                self.reasoning.append(calls[-1].usage.reasoning_tokens)
                self.asked += [call.usage.output_tokens - call.usage.reasoning_tokens for call in calls[:-1]]

    def _request(self, call: PastCall, held: int | None, *, first: bool) -> None:
        read = call.usage.input_tokens
        if held is None:
            self.first_reads.append(read)
        elif read < _FALLEN * held:
            self.held.append(held)
            self.restarts.append(read)
            self.turns.append(self._turns)
            self._turns = 0
        elif first:
            self.messages.append(max(0, read - held))
        else:
            self.tools.append(max(0, read - held))


def _answered(calls: Sequence[PastCall]) -> list[PastCall]:
    """The calls without those that were asked again: the next one read no more than they did."""
    kept: list[PastCall] = []
    for call in calls:
        if kept and call.usage.input_tokens <= kept[-1].usage.input_tokens:
            kept.pop()
        kept.append(call)
    return kept


def observe_threads(model: str, threads: Sequence[PastThread], prices: PriceBook, window: int | None) -> Observed:
    """Take the means.

    Args:
        model: The one that answered them.
        threads: At least one.
        prices: Must know the model's.
        window: The most that the model reads at once, or None.

    Raises:
        ConfigurationError: The price of the model is not known.
    """
    seen = _Seen()
    for thread in threads:
        seen.thread(thread)
    message = fmean(seen.messages) if len(seen.messages) >= _FEW else None
    first = fmean(seen.first_reads) if seen.first_reads else 0.0
    if message is None:
        fixed = min(seen.first_reads, default=0)
        message = max(0.0, first - fixed)
    else:
        fixed = round(max(0.0, first - message))
    answer = fmean(seen.answers) if seen.answers else 0.0
    run = TypicalRun(
        message,
        answer,
        fmean(seen.steps) if seen.steps else 0.0,
        fmean(seen.tools) if seen.tools else 0.0,
        fmean(seen.asked) if seen.asked else 0.0,
        min(answer, fmean(seen.reasoning)) if seen.reasoning else 0.0,
    )
    rotation, carried = _rotation(seen, run, fixed, message)
    used, cost = _used(threads, prices)
    volume: Volume = {}
    for thread in threads:
        add_span(volume, 0, len(thread.runs))

    def modelled(caching: PromptCaching | None) -> Sums:
        terms = ThreadTerms(model, fixed, rotation, caching, carried, window, prices=prices)
        return ThreadCurve(terms, run).sums(volume)

    caching = _luck(used, modelled)
    expected = modelled(caching).cost
    return Observed(
        model, run, fixed, rotation, carried, caching, cost, used, float(cost / expected) if expected else 1.0
    )


def _rotation(seen: _Seen, run: TypicalRun, fixed: int, message: float) -> tuple[ThreadRotation | None, int | None]:
    """A rotation after the turns, or at the history, at which generations were left: whichever varied less."""
    if not seen.held:
        return None, None
    carried = max(0, round(fmean(seen.restarts) - fixed - message))
    turns = max(1.0, fmean(seen.turns))
    if pstdev(seen.turns) / turns <= pstdev(seen.held) / fmean(seen.held):
        return ThreadRotation(max(1, round(turns))), carried
    step = run.tool_tokens + run.step_output_tokens
    grows = message + run.output_tokens - run.reasoning_tokens + run.tool_steps * step
    limit = max(256, round(fmean(seen.held) - fixed - grows / 2))
    return ThreadRotation(max_history_tokens=limit, min_turns=1), carried


def _used(threads: Sequence[PastThread], prices: PriceBook) -> tuple[Sums, Decimal]:
    counts = [0] * 5
    runs, cost = 0, Decimal(0)
    for thread in threads:
        runs += len(thread.runs)
        for past in thread.runs:
            for call in (*past.calls, *past.extra):
                usage = call.usage
                figures = (
                    usage.requests,
                    usage.input_tokens,
                    usage.cached_tokens,
                    usage.cache_write_tokens,
                    usage.output_tokens,
                )
                counts = [count + figure for count, figure in zip(counts, figures, strict=True)]
                known = call.cost if call.cost is not None else prices.cost(usage, call.model)
                cost += known or Decimal(0)
    return Sums.of(runs, [*counts, 0.0], cost), cost


def _luck(used: Sums, modelled: Callable[[PromptCaching | None], Sums]) -> PromptCaching | None:
    if not used.cached_tokens and not used.cache_write_tokens:
        return None
    most = modelled(PromptCaching()).cached_tokens
    least = modelled(PromptCaching(hits=0.0)).cached_tokens
    share = (used.cached_tokens - least) / (most - least) if most > least else 1.0
    return PromptCaching(hits=min(1.0, max(0.0, share)))
