"""What it takes to answer many users at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from assistantguard.errors import ConfigurationError
from assistantguard.forecast.checks import known_names, number_within, whole_within
from assistantguard.forecast.thread_cost import PromptCaching, RunShape, ThreadTerms, thread_cost
from assistantguard.models.usage import Usage
from assistantguard.models.values import Value
from assistantguard.policies.tiers import TIERS, published
from assistantguard.prices import PriceBook

__all__ = ["Capacity", "LimitFit", "Wave", "capacity", "wave_of"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Wave(Value):
    """Users who press the button at once.

    Raises:
        ConfigurationError: A value is outside its limits.
    """

    users: int
    model: str = "gpt-6-luna"
    input_tokens: int = 150
    """Of a message."""
    output_tokens: int = 300
    """Of an answer. Rate limits count the largest that a request allows (`max_output_tokens`): keep that close."""
    context_tokens: int = 500
    """What each request reads beside the message: instructions, tools, and what was said before."""
    tool_steps: int = 0
    """Rounds of tool calls for a message, each of which is another request that reads all of it again."""
    tool_tokens: int = 150
    """What the tools of a step return."""
    step_output_tokens: int = 30
    """What the model writes to ask for a step."""
    cached: bool = False
    """Whether the context comes from the prompt cache. It counts on rate limits all the same."""
    within: float = 60.0
    """Seconds within which all requests are to be sent."""

    def __post_init__(self) -> None:
        whole_within("users", self.users, 1, 10**9)
        for name in ("input_tokens", "output_tokens", "context_tokens", "tool_tokens", "step_output_tokens"):
            whole_within(name, getattr(self, name), 0, 10**7)
        whole_within("tool_steps", self.tool_steps, 0, 100)
        number_within("within", self.within, 1, 86_400)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LimitFit(Value):
    """How a wave fits a rate limit."""

    name: str
    """The usage tier, or whose limit it is."""
    requests_per_minute: int
    tokens_per_minute: int
    suffices: bool
    """Whether the wave can be sent in the time it is given."""
    seconds: float | None
    """How long it takes to send: 0 where a minute's allowance holds all of it, else the bound that no pacing can beat,
    tokens or requests divided by what a minute allows. None where a single request is more than that: it is never
    answered."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Capacity(Value):
    """What a wave needs."""

    wave: Wave
    requests: int
    tokens: int
    """Input and output of all requests, as rate limits count them: cached ones included."""
    requests_per_minute: int
    """Needed to send it in the time it is given."""
    tokens_per_minute: int
    usage: Usage
    """Of all requests."""
    cost: Decimal
    """US dollars for the wave."""
    limits: tuple[LimitFit, ...]
    """The published tiers, lowest first; none where none are published for the model."""
    own: LimitFit | None
    """How it fits the limits that were given."""

    @property
    def cost_per_user(self) -> Decimal:
        """US dollars."""
        return self.cost / self.wave.users

    @property
    def tier(self) -> str | None:
        """The lowest published tier that suffices; None where none does, or none is known (see `limits`)."""
        return next((fit.name for fit in self.limits if fit.suffices), None)


def capacity(
    wave: Wave,
    *,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    prices: PriceBook | None = None,
) -> Capacity:
    """Work out what a wave needs, costs, and how long it takes.

    Args:
        wave: What comes at once.
        requests_per_minute: The account's own limit, if it is to be looked at; then `tokens_per_minute`, too.
        tokens_per_minute: The same.
        prices: The prices to go by; None takes the published ones.

    Raises:
        ConfigurationError: The price is not known, or only one limit is given.
    """
    if (requests_per_minute is None) != (tokens_per_minute is None):
        raise ConfigurationError("only one limit is given: give both requests_per_minute and tokens_per_minute")
    terms = ThreadTerms(
        wave.model,
        wave.context_tokens,
        caching=PromptCaching() if wave.cached else None,
        prices=prices,
    )
    run = RunShape.of(
        wave.input_tokens,
        wave.output_tokens,
        wave.tool_steps + 1,
        tool_tokens=wave.tool_tokens,
        step_output_tokens=wave.step_output_tokens,
    )
    one = thread_cost(terms, [run])
    requests, tokens = wave.users * (wave.tool_steps + 1), wave.users * one.usage.total_tokens
    largest = wave.context_tokens + sum(call.added_tokens + call.output_tokens for call in run.calls)

    def fit(name: str, requests_limit: int, tokens_limit: int) -> LimitFit:
        minutes = max(requests / requests_limit, tokens / tokens_limit)
        if largest > tokens_limit:
            return LimitFit(name, requests_limit, tokens_limit, suffices=False, seconds=None)
        seconds = 0.0 if minutes <= 1 else 60 * minutes
        return LimitFit(name, requests_limit, tokens_limit, seconds <= wave.within, seconds)

    own = None
    if requests_per_minute is not None and tokens_per_minute is not None:
        whole_within("requests_per_minute", requests_per_minute, 1)
        whole_within("tokens_per_minute", tokens_per_minute, 1)
        own = fit("own", requests_per_minute, tokens_per_minute)
    try:
        limits = tuple(fit(tier, *published(tier, wave.model)) for tier in TIERS)
    except ConfigurationError:
        limits = ()
    minutes = max(1.0, wave.within / 60)
    usage = one.usage
    return Capacity(
        wave,
        requests,
        tokens,
        math.ceil(requests / minutes),
        math.ceil(tokens / minutes),
        Usage(
            usage.input_tokens * wave.users,
            usage.cached_tokens * wave.users,
            usage.cache_write_tokens * wave.users,
            usage.output_tokens * wave.users,
            requests=requests,
        ),
        one.cost * wave.users,
        limits,
        own,
    )


def wave_of(values: Mapping[str, Any], where: str = "the wave") -> Wave:
    """A wave from names and values, as files hold them.

    Raises:
        ConfigurationError: A name or a value is wrong.
    """
    known_names(where, values, tuple(field.name for field in dataclasses.fields(Wave)))
    if "users" not in values:
        raise ConfigurationError(f"{where} does not say how many come at once: give users, such as users = 100")
    return Wave(**values)
