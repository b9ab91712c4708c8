"""Faults on demand, as data.

A fault says *when* (the number of a request, a seeded rate, an endpoint) and *what* (an effect). Requests are counted
per fault, from 1, over those to the fault's endpoint that it can happen to (a cut stream happens to streams only),
whether or not a fault answered them: ``at=1`` and ``at=2`` are two attempts in a row. The first fault in the list that
is due happens. Faults that stand in the place of an answer do not consume the script; those that change how an answer
is made, sent or reported do.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import Self

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.chaos import Chaos
from assistantguard.sandbox.http_faults import HttpFaults
from assistantguard.sandbox.response_faults import ResponseFaults
from assistantguard.sandbox.state_faults import StateFaults

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from assistantguard.sandbox.effects import Effect, Traits

__all__ = ["Fault", "FaultPlan"]


class Fault(HttpFaults, ResponseFaults, StateFaults):
    """When something goes wrong, and what.

    Every maker takes the schedule as keyword arguments: `at` or `rate`, `seed`, `times`, and `endpoint` where more
    than one endpoint can have it.

    Raises:
        ConfigurationError: Neither or both of `at` and `rate` are given, or a number is out of range.
    """

    __slots__ = ()

    @classmethod
    def chaos(
        cls,
        *,
        rate: float,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
        only: Iterable[str] | None = None,
        times: int | None = None,
        endpoint: str = "*",
    ) -> Self:
        """Let anything happen that can happen to a request: a weighted mix, the same for a seed.

        Args:
            rate: Share of requests, 0 to 1.
            seed: Of the dice.
            weights: Factors by kind (see `Chaos.kinds`); 0 leaves a kind out.
            only: The kinds that may happen; None is all.
            times: How often at most; None is without end.
            endpoint: As in `Scheduled`; all by default.
        """
        effect = Chaos(dict(weights or {}), None if only is None else frozenset(only))
        return cls(effect=effect, rate=rate, seed=seed, times=times, endpoint=endpoint)


@dataclass(slots=True, eq=False)
class _Running:
    """A fault and what it has seen."""

    fault: Fault
    dice: random.Random
    seen: int = 0
    fired: int = 0

    def hits(self) -> bool:
        """Count a request and say whether the fault is due."""
        self.seen += 1
        fault = self.fault
        if fault.rate is not None:
            hit = self.dice.random() < fault.rate
        elif isinstance(fault.at, int):
            hit = self.seen == fault.at
        else:
            hit = self.seen in (fault.at or ())
        return hit and (fault.times is None or self.fired < fault.times)


class FaultPlan:
    """Counts requests and says which fault is due. It may be changed from any thread."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._lock = threading.Lock()
        self._running: list[_Running] = []
        self.by_kind: Counter[str] = Counter()
        self.replace(faults)

    @property
    def faults(self) -> list[Fault]:
        """The faults, in order."""
        with self._lock:
            return [running.fault for running in self._running]

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put other faults in the place of all; they count from 1.

        Raises:
            ConfigurationError: One is no fault.
        """
        running = [_checked(fault) for fault in faults]
        with self._lock:
            self._running = running

    def add(self, fault: Fault) -> None:
        """Add a fault behind the others; it counts from 1.

        Raises:
            ConfigurationError: It is no fault.
        """
        running = _checked(fault)
        with self._lock:
            self._running.append(running)

    def due(self, traits: Traits) -> tuple[str, Effect] | None:
        """Count a request and return the kind of fault that happens to it, and its effect, if one does."""
        with self._lock:
            chosen: tuple[str, Effect] | None = None
            for running in self._running:
                fault = running.fault
                if fault.endpoint not in {"*", traits.endpoint} or not fault.effect.suits(traits):
                    continue
                if not running.hits() or chosen is not None:
                    continue
                effect = fault.effect
                if isinstance(effect, Chaos):
                    chosen = effect.draw(traits, fault.seed, running.seen)
                else:
                    chosen = fault.kind, effect
                running.fired += chosen is not None
            if chosen is not None:
                self.by_kind[chosen[0]] += 1
            return chosen


def _checked(fault: Fault) -> _Running:
    if not isinstance(fault, Fault):
        raise ConfigurationError(f"{fault!r:.80} is a {type(fault).__name__}, not a Fault; make one with Fault.…()")
    return _Running(fault, random.Random(fault.seed))  # noqa: S311 - a test's dice
