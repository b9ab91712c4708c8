"""Rules of `ModelRouting`: each looks at a turn and names a route, or leaves it to the next one.

A rule is one of these, or any function from the view to a `Route` or None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from assistantguard import tokens
from assistantguard.errors import ConfigurationError
from assistantguard.models.names import check_name
from assistantguard.models.values import Value
from assistantguard.policies.base import View
from assistantguard.policies.checks import required
from assistantguard.policies.route import Route

__all__ = [
    "Downgrade",
    "Fallback",
    "ForTenants",
    "ForUsers",
    "MatchingMessages",
    "Otherwise",
    "RoutingRule",
    "ShortMessages",
    "Target",
    "WithoutTools",
    "route_to",
]

Target = str | Route
"""Where a rule leads: a model's name, or a route in full."""


class RoutingRule(Value):
    """Base of the shipped rules."""

    __slots__ = ()

    @property
    def routes(self) -> Sequence[Route]:
        """All routes that it may name."""
        return ()

    def __call__(self, view: View) -> Route | None:
        """The route for a turn; None leaves it to the next rule."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class _OneRoute(RoutingRule):
    to: Route

    @property
    def routes(self) -> Sequence[Route]:
        """The one that it names."""
        return (self.to,)


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class ShortMessages(_OneRoute):
    """Messages of at most so many tokens.

    Args:
        to: A model's name, or a `Route`.
        max_tokens: Tokens of the user's message, by our own count.

    Raises:
        ConfigurationError: A value cannot work.
    """

    max_tokens: int

    def __init__(self, to: Target, *, max_tokens: int) -> None:
        object.__setattr__(self, "to", route_to("ShortMessages", to))
        object.__setattr__(self, "max_tokens", required("ShortMessages max_tokens", max_tokens, 1))

    def __call__(self, view: View) -> Route | None:
        """The route, where the message is short."""
        if len(view.message) > 16 * self.max_tokens:  # no text has so few tokens for its length but a run of spaces
            return None
        size = tokens.estimate(view.message, view.model).tokens
        return None if size > self.max_tokens else _because(self.to, f"a message of {size} tokens")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class MatchingMessages(_OneRoute):
    """Messages in which a regular expression is found, whatever its case.

    Args:
        pattern: The expression.
        to: A model's name, or a `Route`.

    Raises:
        ConfigurationError: A value cannot work.
    """

    pattern: re.Pattern[str]

    def __init__(self, pattern: str | re.Pattern[str], to: Target) -> None:
        try:
            compiled = re.compile(pattern, re.IGNORECASE) if isinstance(pattern, str) else pattern
            compiled.search("")
        except (re.error, AttributeError, TypeError) as error:
            raise ConfigurationError(
                f"MatchingMessages pattern is {pattern!r}, which is no regular expression ({error}): mend it, for"
                r" example r'\b(why|compare)\b'"
            ) from error
        object.__setattr__(self, "to", route_to("MatchingMessages", to))
        object.__setattr__(self, "pattern", compiled)

    def __call__(self, view: View) -> Route | None:
        """The route, where the expression is found."""
        return _because(self.to, "the message matches") if self.pattern.search(view.message) else None


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class WithoutTools(_OneRoute):
    """Turns whose requests carry no tools, a thread's files included.

    Args:
        to: A model's name, or a `Route`.

    Raises:
        ConfigurationError: `to` is neither.
    """

    def __init__(self, to: Target) -> None:
        object.__setattr__(self, "to", route_to("WithoutTools", to))

    def __call__(self, view: View) -> Route | None:
        """The route, where there are no tools."""
        return None if view.tools else _because(self.to, "no tools")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Otherwise(_OneRoute):
    """Every turn: the last of the rules, where turns that no other rule is for shall not stay where they were.

    Args:
        to: A model's name, or a `Route`.

    Raises:
        ConfigurationError: `to` is neither.
    """

    def __init__(self, to: Target) -> None:
        object.__setattr__(self, "to", route_to("Otherwise", to))

    def __call__(self, view: View) -> Route | None:  # noqa: ARG002 - whatever it is
        """The route."""
        return _because(self.to, "no other rule")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class _ByOwner(RoutingRule):
    kind: ClassVar[str]
    """The field of the thread that names the owner."""

    by_name: Mapping[str, Route]

    def __init__(self, by_name: Mapping[str, Target]) -> None:
        rule, kind = type(self).__name__, self.kind
        if not isinstance(by_name, Mapping) or not by_name:
            raise ConfigurationError(f"{rule} got {by_name!r}: give a mapping, {rule}({{'{kind}-1': 'gpt-5-mini'}})")
        made = {check_name(f"{kind} of {rule}", name): route_to(rule, to) for name, to in by_name.items()}
        object.__setattr__(self, "by_name", made)

    def __hash__(self) -> int:
        return hash(tuple(self.by_name.items()))

    @property
    def routes(self) -> Sequence[Route]:
        """Those of all names."""
        return tuple(self.by_name.values())

    def __call__(self, view: View) -> Route | None:
        """The route of the one who asks."""
        name = getattr(view.thread, self.kind)
        route = None if name is None else self.by_name.get(name)
        return None if route is None else _because(route, f"the {self.kind} has a model")


class ForUsers(_ByOwner):
    """Turns of users that are named.

    Args:
        by_name: Model names or routes, by user, as threads are taken: ``bot.thread(user=…)``.

    Raises:
        ConfigurationError: A value cannot work.
    """

    __slots__ = ()
    kind = "user"


class ForTenants(_ByOwner):
    """Turns of tenants that are named.

    Args:
        by_name: Model names or routes, by tenant, as threads are taken: ``bot.thread(tenant=…)``.

    Raises:
        ConfigurationError: A value cannot work.
    """

    __slots__ = ()
    kind = "tenant"


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Downgrade(_OneRoute):
    """Turns while a budget or a cap in tokens or US dollars runs low. The thread does not keep the model.

    Args:
        to: A model's name, or a `Route`.
        when_left: The share of the limit, above 0 and below 1: with so much left or less.
        budget: The name of the budget, such as ``"user/day"`` or ``"CostCap"``; None looks at the one that is tightest.

    Raises:
        ConfigurationError: A value cannot work. Also when a turn begins and there is no such budget.
    """

    when_left: float
    budget: str | None

    def __init__(self, to: Target, *, when_left: float = 0.2, budget: str | None = None) -> None:
        if isinstance(when_left, bool) or not isinstance(when_left, (int, float)) or not 0 < when_left < 1:
            raise ConfigurationError(
                f"Downgrade when_left is {when_left!r}, it must be a share above 0 and below 1, such as 0.2"
            )
        object.__setattr__(self, "to", replace(route_to("Downgrade", to), keep=False))
        object.__setattr__(self, "when_left", float(when_left))
        object.__setattr__(self, "budget", budget)

    def __call__(self, view: View) -> Route | None:
        """The route, where little is left."""
        left = view.budgets_left()
        if not left or (self.budget is not None and self.budget not in left):
            known = ", ".join(map(repr, left)) or "none"
            wanted = "a budget" if self.budget is None else f"the budget {self.budget!r}"
            raise ConfigurationError(
                f"Downgrade looks at {wanted} in tokens or US dollars, and the guard has {known}: name one of them, or"
                " give the guard one with policies=[Budget(…), …]"
            )
        name = min(left, key=left.__getitem__) if self.budget is None else self.budget
        if left[name] > self.when_left:
            return None
        return _because(self.to, f"{name} has {math.floor(100 * left[name])} % left")


@dataclass(frozen=True, slots=True, init=False, eq=False, repr=False)
class Fallback(RoutingRule):
    """Another model after a model has failed several times in a row with rate limits or server errors (429, 5xx).

    The next attempt of the same run goes to it, at once, where `TransientRetry` allows another attempt: so `after` must
    be below its `max_attempts`. For a while the turns that follow begin there as well, those of all guards that share
    the `ModelRouting` object. Threads do not keep the model.

    Args:
        to: A model's name or a `Route`, or several: the first that did not fail lately is taken.
        after: Attempts of one request that fail before.
        remember: Seconds for which turns go around the model that failed.
        model: Only for this model; None for any.

    Raises:
        ConfigurationError: A value cannot work.
    """

    to: tuple[Route, ...]
    after: int
    remember: float
    model: str | None

    def __init__(
        self, to: Target | Sequence[Target], *, after: int = 2, remember: float = 300.0, model: str | None = None
    ) -> None:
        targets = (to,) if isinstance(to, (str, Route)) else tuple(to) if isinstance(to, Sequence) else ()
        if not targets:
            raise ConfigurationError(f"Fallback to is {to!r}: name a model, or several in the order to try them")
        made = tuple(replace(route_to("Fallback", target), keep=False, force=True) for target in targets)
        if any(route.model is None for route in made):
            raise ConfigurationError("Fallback has a route without a model: name the model to go to")
        object.__setattr__(self, "to", made)
        object.__setattr__(self, "after", required("Fallback after", after, 1))
        object.__setattr__(self, "remember", float(required("Fallback remember", remember, 0.0)))
        object.__setattr__(self, "model", model)

    @property
    def routes(self) -> Sequence[Route]:
        """All that it leads to."""
        return self.to

    def __call__(self, view: View) -> Route | None:  # noqa: ARG002 - it is asked otherwise
        """None: it is asked once the other rules have chosen. See `around`."""
        return None

    def around(self, model: str, failed: Callable[[str], bool]) -> Route | None:
        """The route around `model`; None where it is not for it, or leads nowhere. `failed` tells of each target."""
        if self.model not in {None, model}:
            return None
        return next((to for to in self.to if to.model is not None and to.model != model and not failed(to.model)), None)


def route_to(rule: str, target: object) -> Route:
    """A target as a route.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(target, Route):
        return target
    if not isinstance(target, str) or not target.strip():
        raise ConfigurationError(
            f"{rule} leads to {target!r}: name a model, for example 'gpt-5-mini', or give Route(model=…)"
        )
    return Route(target)


def _because(route: Route, reason: str) -> Route:
    return route if route.reason else replace(route, reason=reason)
