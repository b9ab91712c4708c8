"""Which model answers a turn, and what leaving another one costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from assistantguard import tokens
from assistantguard.errors import ConfigurationError
from assistantguard.models import Failure, Usage
from assistantguard.models.values import Value
from assistantguard.policies.base import Decision, Policy, View
from assistantguard.policies.checks import required
from assistantguard.policies.route import Route
from assistantguard.policies.routing_rules import Fallback, RoutingRule
from assistantguard.prices import Price

__all__ = ["ModelRouting", "Rule", "Switch", "cached_tokens", "switch_between", "switch_of"]

Rule = RoutingRule | Callable[[View], "Route | None"]
"""A rule: one of those shipped, or a function of the view that does no I/O."""

_CACHE_MINIMUM, _CACHE_STEP = 1_024, 128
"""Tokens: a shorter prompt is not cached, a longer one in steps."""
_CACHE_SECONDS = 1_800.0
"""How long a server keeps a prompt in its cache at least, from GPT-5.6 on."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Switch(Value):
    """What going from one model to another means for one request, in US dollars."""

    saving: Decimal
    """How much less the other model asks where neither has anything in its cache; negative where it asks more."""
    loss: Decimal
    """How much less the present model asks since it has read most of it before; of the other, as far as it has, too."""
    later: Decimal
    """How much less the other model asks for the next such request, where each has read what it can have read."""

    def pays(self, within: int = 1) -> bool:
        """Whether it saves more than it loses within so many turns."""
        return self.saving + (within - 1) * self.later > self.loss


class ModelRouting(Policy):
    """Chooses the model, the reasoning effort and the service tier of each turn by rules, tried in order.

    The first rule that names a route decides; where none does, the thread keeps its model. Another model has nothing of
    the conversation in its prompt cache, or only what it had read when the thread left it. So a switch to a model that
    asks less is made only where it saves more on this turn (or within `pays_within` turns) than the cached input of the
    present model is worth; a switch to one that asks more, after a rotation, or between models without a known price is
    made as the rule says, and so is a route with ``force=True``. A run whose model the application named itself
    (``runs.create(model=…)`` of a drop-in client) is not routed.

    Args:
        rules: `ShortMessages`, `MatchingMessages`, `WithoutTools`, `ForUsers`, `ForTenants`, `Downgrade`, `Fallback`,
            `Otherwise`, and functions of the view that return a `Route` or None.
        stay: Whether threads keep the model that they were routed to, and switches are weighed. False begins every
            turn anew with the assistant's model, and switches as the rules say.
        pays_within: Turns within which a switch to a model that asks less must have paid for itself; 1 is the turn that
            begins. More suits conversations that go on for long with the same model.
        typical_output: Output tokens of an answer, for threads that have none yet; later their own mean counts.
        cache_seconds: For how long after a turn its context is taken to be in the prompt cache.

    Raises:
        ConfigurationError: A rule is none, or a number is below its minimum. When the guard is built also where a
            model that a rule names has no known price, and a limit in US dollars is on.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        stay: bool = True,
        pays_within: int = 1,
        typical_output: int = 300,
        cache_seconds: float = _CACHE_SECONDS,
    ) -> None:
        if isinstance(rules, (str, bytes)) or not isinstance(rules, Sequence) or not rules:
            raise ConfigurationError(
                f"ModelRouting rules is {rules!r}: give a list, for example"
                " ModelRouting([ShortMessages('gpt-5-mini', max_tokens=50)])"
            )
        for rule in rules:
            if isinstance(rule, type) or not callable(rule):
                raise ConfigurationError(
                    f"ModelRouting has the rule {rule!r}: give a rule such as ShortMessages(…), or a function of the"
                    " view that returns Route(…) or None"
                )
        self.rules = tuple(rules)
        self.stay = bool(stay)
        self.pays_within = required("ModelRouting pays_within", pays_within, 1)
        self.typical_output = required("ModelRouting typical_output", typical_output, 1)
        self.cache_seconds = float(required("ModelRouting cache_seconds", cache_seconds, 0.0))
        self._choosing = tuple(rule for rule in rules if not isinstance(rule, Fallback))
        self._fallbacks = tuple(rule for rule in rules if isinstance(rule, Fallback))
        self._failed_until: dict[str, float] = {}
        """Until when turns go around a model, Unix time."""

    @property
    def routes(self) -> Sequence[Route]:
        """Those of all shipped rules; what a function returns is known only when it does."""
        return tuple(route for rule in self.rules if isinstance(rule, RoutingRule) for route in rule.routes)

    def route(self, view: View) -> Decision | None:
        """By the first rule that names a route, around models that failed lately."""
        if view.failure is not None:
            return self._after_failure(view, view.failure)
        if not self.stay and view.model != view.own_model:
            view = replace(view, model=view.own_model)
            return self._without_stay(view)
        return self._choose(view)

    def _without_stay(self, view: View) -> Route:
        """As `_choose`, for a thread that was told to keep another model before."""
        chosen = self._choose(view)
        if chosen is None:
            return Route(view.model, reason=f"to {view.model}: the assistant's own model", keep=False)
        return replace(chosen, model=chosen.model or view.model)

    def _choose(self, view: View) -> Route | None:
        chosen: Route | None = None
        for rule in self._choosing:
            chosen = rule(view)
            if chosen is not None:
                chosen = self._told(view, chosen)
                break
        if self._failed_until:
            chosen = self._around(view, chosen)
        return chosen

    def _told(self, view: View, route: object) -> Route:
        """What a rule said, once it is weighed."""
        if not isinstance(route, Route):
            raise ConfigurationError(
                f"a rule of ModelRouting returned {route!r}: it must return Route(…), or None to leave it to the next"
            )
        model = route.model or view.model
        if self.stay and not route.force and model != view.model:
            switch = self._switch(view, route)
            if switch is not None and switch.saving > 0 and not switch.pays(self.pays_within):
                return Route(
                    reason=f"stays with {view.model}: {model} would save {switch.saving:.6f} US dollars on this turn"
                    f" and lose cached input worth {switch.loss:.6f} ({route.reason or 'a rule'})"
                )
        return replace(
            route, reason=f"to {model}: {route.reason or 'a rule'}", keep=route.keep and self.stay and bool(route.model)
        )

    def _switch(self, view: View, route: Route) -> Switch | None:
        """What the switch means; None where a price is unknown, or nothing is lost either way."""
        thread = view.thread
        assert route.model is not None
        if view.prices is None or thread.answered_by not in {None, view.model}:
            return None
        requests = thread.usage.requests
        output = thread.usage.output_tokens // requests if requests else self.typical_output
        return switch_of(
            view.prices.price(view.model, view.service_tier),
            view.prices.price(route.model, route.service_tier or view.service_tier),
            cached_tokens(view, view.model, self.cache_seconds),
            thread.context_tokens + tokens.estimate(view.message, view.model).tokens,
            output,
            cached_tokens(view, route.model, self.cache_seconds),
        )

    def _after_failure(self, view: View, failure: Failure) -> Route | None:
        """Another model, where this one has failed often enough."""
        run, model = view.run, view.model
        if run is None or not _is_of_model(failure):
            return None
        failures = run.attempt - run.attempts_elsewhere
        for fallback in self._fallbacks:
            if failures < fallback.after or fallback.model not in {None, model}:
                continue
            self._failed_until[model] = view.now + fallback.remember
            route = fallback.around(model, lambda other: self._has_failed(other, view.now))
            if route is not None:
                what = failure.code or failure.status_code
                return replace(route, reason=f"to {route.model}: {model} failed {failures} times ({what})")
        return None

    def _around(self, view: View, chosen: Route | None) -> Route | None:
        """`chosen`, unless its model failed lately and there is a way around it."""
        model = view.model if chosen is None or chosen.model is None else chosen.model
        if not self._has_failed(model, view.now):
            return chosen
        for fallback in self._fallbacks:
            route = fallback.around(model, lambda other: self._has_failed(other, view.now))
            if route is not None:
                return replace(route, reason=route.reason or f"to {route.model}: {model} failed lately")
        return chosen

    def _has_failed(self, model: str, now: float) -> bool:
        until = self._failed_until.get(model)
        if until is None:
            return False
        if until <= now:
            self._failed_until.pop(model, None)
        return until > now


def switch_of(
    present: Price | None, other: Price | None, cached: int, input_tokens: int, output: int, cached_there: int = 0
) -> Switch | None:
    """What going from one model to another means for a request.

    Args:
        present: The price of the model that has read the conversation.
        other: The price of the other one.
        cached: How many of the input tokens the present model has in its cache.
        input_tokens: What the request reads.
        output: What is written.
        cached_there: How many of the input tokens the other model has in its cache.

    Returns:
        The figures; None where a price is unknown.
    """
    if present is None or other is None:
        return None
    fresh_here, known_here = _costs(present, cached, input_tokens, output)
    fresh_there, known_there = _costs(other, cached_there, input_tokens, output)
    _, known_then = _costs(other, cached, input_tokens, output)
    loss = (fresh_here - known_here) - (fresh_there - known_there)
    return Switch(fresh_here - fresh_there, loss, known_here - known_then)


def _costs(price: Price, cached: int, input_tokens: int, output: int) -> tuple[Decimal, Decimal]:
    """What a request costs with nothing in the cache, and with so many tokens."""
    written = input_tokens if input_tokens >= _CACHE_MINIMUM else 0
    cached = min(cached, input_tokens)
    fresh = Usage(input_tokens=input_tokens, cache_write_tokens=written, output_tokens=output)
    known = replace(fresh, cached_tokens=cached, cache_write_tokens=max(0, written - cached))
    without, with_cache = price.cost(fresh), price.cost(known)
    assert without is not None
    assert with_cache is not None
    return without, with_cache


def switch_between(view: View, before: str, after: str, tier: str | None = None) -> Decimal | None:
    """What cached input is lost by going from one model to another now, in US dollars; None where that is not known."""
    if before == after:
        return Decimal(0)
    if view.prices is None:
        return None
    size = view.thread.context_tokens + tokens.estimate(view.message, before).tokens
    here, there = view.prices.price(before, tier), view.prices.price(after, tier)
    switch = switch_of(here, there, cached_tokens(view, before), size, 0, cached_tokens(view, after))
    return None if switch is None else switch.loss


def cached_tokens(view: View, model: str, seconds: float = _CACHE_SECONDS) -> int:
    """How much of a thread's context a model is expected to have in its prompt cache when the turn begins.

    None of it after a rotation, or where it was not asked for so many seconds.
    """
    thread = view.thread
    size, read_at = float(thread.context_tokens), thread.last_used_at
    if thread.answered_by not in {None, model} or (thread.answered_by is None and model != view.model):
        size, read_at = thread.read_by.get(model, (0.0, 0.0))
    if not thread.context_known or size < _CACHE_MINIMUM or view.now - read_at > seconds:
        return 0
    return 0 if view.will_rotate() else int(size) // _CACHE_STEP * _CACHE_STEP


def _is_of_model(failure: Failure) -> bool:
    """Whether a failure speaks against the model, rather than against the conversation or the connection."""
    status = failure.status_code
    return failure.kind == "transient" and (status == 429 or status is None or status >= 500)
