"""The bill of a history, as it was and as it would have been with something changed.

Every call is reckoned anew: what it read is the context that its turn began with and what the turn had added by then;
what of that came out of the prompt cache is the longest prompt that the model had read on the thread before, in blocks
of 128 tokens from 1,024 on, times the share of it that the same call found when it really happened. Policies are asked
as the engine asks them. With nothing changed the result should be what was booked; how far it is from that is told with
every suggestion.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from assistantguard.advice.carrying import SizeCarrier
from assistantguard.forecast.thread_cost import CACHE_MINIMUM, CACHE_STEP
from assistantguard.models import RunState, ThreadState, Usage
from assistantguard.models.carry_over import CarryOver
from assistantguard.policies import ModelRouting, Rotate, Route, ThreadRotation, View
from assistantguard.prices import PriceBook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assistantguard.advice.carrying import Carried
    from assistantguard.advice.history import History, ModelCall, ThreadHistory, Turn
    from assistantguard.prices import Price

__all__ = ["CUE_TOKENS", "FRAME_TOKENS", "AsItWas", "Change", "Loss", "Reckoned", "Reckoner", "cacheable"]

Loss = Literal["gap", "prefix"]

_ENOUGH_CALLS = 30_000
_UNANSWERED_TOKENS = 18
"""What the engine answers an open call with when a run is stopped, as the context counts it."""
_GAP_SECONDS = 1_800.0
"""From here on a pause explains a cold cache; servers keep a prompt for thirty minutes from GPT-5.6 on, others less."""
_SHORT_GAP_SECONDS = 240.0
"""Up to here it does not."""
_LOST_SHARE = 0.5
"""A call that found less of what it could have found lost it."""
CUE_TOKENS = 3
"""What ends every prompt, the cue to answer: no longer prompt begins with it."""
FRAME_TOKENS = 4
"""Tokens that a message takes in the context beside its text."""
_PLAIN_CARRY_OVER = CarryOver()


@dataclass(frozen=True, slots=True)
class Change:
    """What would be otherwise. What is None stays as it was."""

    rotation: ThreadRotation | None = None
    density: float | None = None
    """How dense digests are taken to be, where texts are not at hand."""
    ceiling: int | None = None
    """Tool steps in a run."""
    routing: ModelRouting | None = None
    fresh_topics: bool = False
    """Whether a message that leaves its topic begins a new thread."""
    mended: Loss | None = None
    """Losses of the prompt cache that no longer happen."""
    cache: bool = True
    """False: nothing is read from the prompt cache or written to it."""
    finds: bool = True
    """False: nothing is found in the prompt cache, though it is written to."""
    more_fixed: int = 0
    """Tokens added to what every request carries."""
    output_factor: int = 1
    """What a model that is routed to writes, in place of the one that answered."""


AsItWas = Change()


@dataclass(frozen=True, slots=True)
class Reckoned:
    """A bill."""

    cost: Decimal | None
    """US dollars; None where a price is unknown."""
    calls: int
    rotations: int
    stops: int
    """Runs that a ceiling would have ended."""
    moved: int
    """Turns that another model would have answered."""
    write_cost: Decimal
    """The part of `cost` that was paid for writing to the prompt cache."""


@dataclass(slots=True)
class _Sums:
    """What is added up over calls, so that each rate is multiplied once."""

    tokens: dict[tuple[str, str | None, int], list[int]]
    """Uncached input, cached input, cache writes and output, by model, service tier and long-context step."""
    booked: Decimal = Decimal(0)
    """What no change touches."""
    calls: int = 0
    rotations: int = 0
    stops: int = 0
    moved: int = 0


class Reckoner:
    """Reckons the bill of a history.

    Args:
        history: What happened. Threads with a call of unknown price are left out, and noted.
        prices: What models cost; None takes the table.
    """

    def __init__(self, history: History, prices: PriceBook | None = None) -> None:
        self.history = history
        self.prices = PriceBook() if prices is None else prices
        self.threads: list[ThreadHistory] = []
        """Those that are reckoned."""
        self.booked = Decimal(0)
        """US dollars on the books for them."""
        self._found: dict[str, tuple[int, int]] = {}
        """By model: cached tokens that could have been found, and were."""
        self._bills_writes: dict[str, bool] = {}
        unpriced = 0
        for thread in history.threads:
            calls = [call for turn in thread.turns for call in (*turn.calls, *turn.summaries)]
            if any(call.cost is None or self.prices.price(call.model, call.tier) is None for call in calls):
                unpriced += 1
            elif calls:
                self.threads.append(thread)
                self.booked += sum((call.cost for call in calls if call.cost is not None), Decimal(0))
        if unpriced:
            history.notes["threads with a call of unknown price, left out of the reckoning"] += unpriced
        for thread in self.threads:
            for turn in thread.turns:
                for call in turn.calls:
                    known = self._bills_writes.get(call.model, False)
                    self._bills_writes[call.model] = known or call.cache_write_tokens > 0
        self._play_all(AsItWas, self.threads, measure=True)
        self.as_it_was = self.reckon(AsItWas)

    @property
    def error(self) -> float:
        """How far the reckoning of what was lies from the books, as a share of them."""
        if not self.booked or self.as_it_was.cost is None:
            return 0.0
        return float(abs(self.as_it_was.cost - self.booked) / self.booked)

    def reckon(self, change: Change, threads: Sequence[ThreadHistory] | None = None) -> Reckoned:
        """The bill with something changed.

        Args:
            change: What.
            threads: Which threads to reckon; None takes all.
        """
        sums = self._play_all(change, self.threads if threads is None else threads, measure=False)
        total, written = self._cost(sums)
        return Reckoned(total, sums.calls, sums.rotations, sums.stops, sums.moved, written)

    def saving(self, change: Change) -> Decimal | None:
        """What a change saves of the bill, in US dollars; negative where it costs more, None where that is unknown."""
        cost = self.reckon(change).cost
        before = self.as_it_was.cost if change.finds else self.reckon(Change(finds=False)).cost
        return None if cost is None or before is None else before - cost

    def variants(self, change: Change) -> list[Decimal | None]:
        """The saving under what recordings do not tell: that the prompt cache finds nothing, not everything."""
        return [self.saving(replace(change, finds=False))] if self.history.source == "recordings" else []

    @property
    def range_text(self) -> str:
        """What widens the range of every saving."""
        if self.history.source == "recordings":
            return "the prompt cache finding nothing, in place of all that it can hold"
        return f"the error of the reckoning ({self.error:.1%})"

    def _play_all(self, change: Change, threads: Sequence[ThreadHistory], *, measure: bool) -> _Sums:
        sums = _Sums(defaultdict(lambda: [0, 0, 0, 0]))
        known_prefixes: dict[tuple[str, str], float] = {}
        for thread in threads:
            _Play(self, thread, change, sums, known_prefixes, measure=measure).play()
        return sums

    def _cost(self, sums: _Sums) -> tuple[Decimal | None, Decimal]:
        """US dollars of it all, None where a price is unknown; and of what was written to the prompt cache."""
        total, for_writing = sums.booked, Decimal(0)
        for (model, tier, above), (fresh, cached, written, output) in sums.tokens.items():
            price = self.prices.price(model, tier)
            if price is None:
                return None, for_writing
            rates = next((step for step in price.steps if step.above == above), price)
            other = rates.input * fresh + rates.cached_input * cached + rates.output * output
            total += (other + rates.cache_write * written) / 1_000_000
            for_writing += rates.cache_write * written / 1_000_000
        return total, for_writing

    @property
    def reread_share(self) -> float:
        """The share of what calls read that an earlier call of their thread had read."""
        read = again = 0
        for thread in self.threads:
            for turn in thread.turns:
                for number, call in enumerate(turn.calls):
                    before = turn.calls[number - 1].input_tokens if number else turn.context - thread.fixed
                    read += call.input_tokens
                    again += min(max(before, 0), call.input_tokens)
        return again / read if read else 0.0

    def sample(self) -> Sequence[ThreadHistory]:
        """Some of the threads, evenly, where there are very many calls; else all."""
        calls = sum(len(turn.calls) for thread in self.threads for turn in thread.turns)
        return self.threads[:: max(1, calls // _ENOUGH_CALLS)] if calls > _ENOUGH_CALLS else self.threads

    def note_found(self, model: str, possible: int, found: int) -> None:
        """Note what a call found in the prompt cache of what it could have found."""
        before = self._found.get(model, (0, 0))
        self._found[model] = before[0] + possible, before[1] + found

    def found_share(self, model: str) -> float:
        """The share of what can be found in the prompt cache that calls find."""
        possible, found = self._found.get(model, (0, 0))
        if not possible:
            possible = sum(pair[0] for pair in self._found.values())
            found = sum(pair[1] for pair in self._found.values())
        return found / possible if possible else 1.0

    def bills_writes(self, model: str) -> bool:
        """Whether writing to the prompt cache is told, and so billed; taken to be for a model that was not used."""
        return self._bills_writes.get(model, True)


def cacheable(tokens: int) -> int:
    """The part of a prompt that can be in the prompt cache."""
    return 0 if tokens < CACHE_MINIMUM else tokens // CACHE_STEP * CACHE_STEP


class _Play:
    """One thread, played with a change."""

    def __init__(
        self,
        reckoner: Reckoner,
        thread: ThreadHistory,
        change: Change,
        sums: _Sums,
        known_prefixes: dict[tuple[str, str], float],
        *,
        measure: bool,
    ) -> None:
        self._reckoner = reckoner
        self._thread = thread
        self._change = change
        self._sums = sums
        self._known_prefixes = known_prefixes
        self._measure = measure
        self._fixed = thread.fixed + change.more_fixed
        self._since = 0
        self._before: Carried | None = None
        self._read: dict[str, tuple[int, float]] = {}
        """The longest prompt of the generation that each model has read, and when."""
        self._state = ThreadState(thread.id, generation_id="known", fixed_tokens=self._fixed)
        self._shift = 0
        """Tokens of history beyond what there was."""
        carrier = thread.carrier
        if change.density is not None and isinstance(carrier, SizeCarrier):
            carrier = replace(carrier, density=change.density)
        self._carrier = carrier

    def play(self) -> None:
        """Add the thread's calls to the sums."""
        end: int | None = None
        for number, turn in enumerate(self._thread.turns):
            if not turn.calls:
                continue
            observed = turn.context - self._thread.fixed
            before_rotation = end if turn.rotated and end is not None else observed
            history = self._enter(number, turn, max(0, before_rotation + self._shift), observed)
            self._shift = history - observed
            model = self._route(turn, history)
            stopped_at = self._ask(turn, history, model)
            if stopped_at is not None:
                self._sums.stops += 1
                kept = stopped_at.offset + stopped_at.kept_tokens + _UNANSWERED_TOKENS
                self._shift += kept - turn.growth
            end = observed + turn.growth
            self._state.generation_turns += 1
            self._state.context_tokens = self._fixed + max(0, end + self._shift)
            self._state.context_known = True
            self._state.last_used_at = turn.calls[-1].time

    def _enter(self, number: int, turn: Turn, history: int, observed: int) -> int:
        """The history that a turn begins with."""
        change, state = self._change, self._state
        state.context_tokens = self._fixed + history
        if change.fresh_topics and turn.leaves_topic and number:
            self._begin(number, turn, None)
            return 0
        if change.rotation is None:
            for call in turn.summaries:
                self._sums.booked += call.cost or 0
                self._sums.calls += 1
            if not turn.rotated:
                return history
            self._begin(number, turn, None)
            self._sums.rotations += 1
            return min(history, observed)
        decision = change.rotation.before_turn(View(turn.time, "", state, turn.calls[0].model))
        if not isinstance(decision, Rotate) or self._carrier is None:
            return history
        settings = decision.carry_over if isinstance(decision.carry_over, CarryOver) else _PLAIN_CARRY_OVER
        carried = self._carrier.carry(self._since, number, history, self._before, settings)
        self._begin(number, turn, carried)
        self._sums.rotations += 1
        return carried.tokens

    def _begin(self, number: int, turn: Turn, carried: Carried | None) -> None:
        self._since, self._before = number, carried
        self._read.clear()
        state = self._state
        state.generation_turns, state.generation_started_at = 0, turn.time
        state.context_known, state.read_by = False, {}

    def _route(self, turn: Turn, history: int) -> str | None:
        """The model that answers in place of the one that did; None where that one does. As the engine has it."""
        routing = self._change.routing
        if routing is None:
            return None
        state, reckoner = self._state, self._reckoner
        own = state.model or turn.calls[0].model
        text = turn.message if turn.message is not None else _text_of(turn.message_tokens)
        state.context_tokens = self._fixed + history
        view = View(
            turn.time,
            "",
            state,
            own,
            RunState(turn.run_id, self._thread.id, own),
            text,
            reckoner.prices.price(own, turn.calls[0].tier),
            prices=reckoner.prices,
            own_model=turn.calls[0].model,
        )
        decision = routing.route(view)
        chosen = decision.model if isinstance(decision, Route) and decision.model is not None else own
        before = state.answered_by or own
        if before != chosen and state.context_known and state.answered_by in {None, before}:
            state.read_by[before] = [float(state.context_tokens), state.last_used_at]
        state.answered_by = chosen
        if isinstance(decision, Route) and decision.keep and decision.model is not None:
            state.model = chosen
        if chosen == turn.calls[0].model:
            return None
        self._sums.moved += 1
        return chosen

    def _ask(self, turn: Turn, history: int, routed: str | None) -> ModelCall | None:
        """Add a turn's calls; return the one after which a ceiling ends it."""
        change, ceiling = self._change, self._change.ceiling
        last: ModelCall | None = None
        for call in turn.calls:
            if ceiling is not None and call.request > ceiling:
                return last
            last = call
            self._sums.calls += 1
            if call.is_estimate:
                self._sums.booked += call.cost or 0
                continue
            model = routed or call.model
            size = max(0, self._fixed + history + call.offset)
            cached = self._cached(call, model, size) if change.cache and change.finds else 0
            written = 0
            if change.cache and self._reckoner.bills_writes(model):
                written = max(0, cacheable(size) - cached)
            output = call.output_tokens * (1 if routed is None else change.output_factor)
            self._add(model, call.tier, size, cached, written, output)
            self._state.usage += Usage(output_tokens=output, requests=1)
        return None

    def _cached(self, call: ModelCall, model: str, size: int) -> int:
        """What a call finds in the prompt cache."""
        read, read_at = self._read.get(model, (0, 0.0))
        prefix, on_thread = (model, self._thread.prefix), bool(read)
        if not read and prefix in self._known_prefixes:
            read, read_at = self._fixed, self._known_prefixes[prefix]
        possible = cacheable(min(read, size) - CUE_TOKENS)
        self._known_prefixes[prefix] = call.time
        self._read[model] = size, call.time
        if self._measure:
            if possible:
                call.found_share = call.cached_tokens / possible
                self._reckoner.note_found(model, possible, call.cached_tokens)
                if call.found_share < _LOST_SHARE and (on_thread or self._thread.fixed_known):
                    call.gap = abs(call.time - read_at)
                    call.loss = _cause(call.gap)
            return call.cached_tokens
        share = call.found_share
        if share is None or model != call.model:
            share = self._reckoner.found_share(model)
        if self._change.mended is not None and call.loss == self._change.mended:
            share = 1.0
        return min(round(possible * share), size)

    def _add(self, model: str, tier: str | None, size: int, cached: int, written: int, output: int) -> None:
        price = self._reckoner.prices.price(model, tier)
        above = -1 if price is None else _step_of(price, size)
        sums = self._sums.tokens[model, tier, above]
        sums[0] += size - cached - written
        sums[1] += cached
        sums[2] += written
        sums[3] += output


def _cause(seconds: float) -> Loss | None:
    """Why a call did not find what was read so long before; None where either may be."""
    if seconds >= _GAP_SECONDS:
        return "gap"
    return "prefix" if seconds <= _SHORT_GAP_SECONDS else None


def _step_of(price: Price, size: int) -> int:
    return max((step.above for step in price.steps if size > step.above), default=-1)


@lru_cache(maxsize=1_024)
def _text_of(tokens: int) -> str:
    """A text of so many tokens, for rules that look at a message's length."""
    return " ".join(["a"] * max(1, tokens - FRAME_TOKENS))
