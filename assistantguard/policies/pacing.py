"""Sending no faster than a rate limit allows, in a fair order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value
from assistantguard.policies.base import Decision, Limit, Policy, View
from assistantguard.policies.checks import at_least

if TYPE_CHECKING:
    from assistantguard.models import Assistant
    from assistantguard.prices import PriceBook

__all__ = ["MOST_PRIORITY", "Pace", "Pacing"]

LaneOf = Callable[[View], str]
PriorityOf = Callable[[View], int]
MOST_PRIORITY = 100
_LONGEST_LANE = 200


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pace(Value):
    """The rate that a request has to keep to, and how long it may wait for its turn."""

    lane: str
    """What shares the limit: requests with the same name."""
    account: str
    """Whose the request is: accounts share a lane fairly."""
    requests: int | None = None
    """A minute; None where only the server's word counts."""
    tokens: int | None = None
    """A minute, input and output; None likewise."""
    max_wait: float | None = None
    """Seconds; None waits as long as the run may take."""
    max_queue: int | None = None
    """How many requests may wait in the lane; None sets no limit."""
    priority: int = 0
    burst: float = 1.0
    """The share of a minute's allowance that may be sent at once."""


class Pacing(Policy):
    """At most so many requests and tokens in any minute; what does not fit waits for its turn, or is refused at once.

    A request holds what it may use before it is sent, and gives back what it did not. The server's own word is learned
    from the ``x-ratelimit-*`` headers: the lower limit counts, and what others use of the same limit counts, too.
    After a 429, or a 503, it goes slower, and recovers by itself. Without any number it goes by the server's word
    alone.

    Who waits is served in a fair order: accounts (the user, else the thread) take turns by what they use, so that the
    single request of one is not kept waiting by the hundred of another. A step of priority is worth as much of a head
    start as the whole lane sends in ten seconds; nobody waits for ever. A request that could not be sent in time is
    refused before anything is spent: `TooManyRequests`, which says when it would have been possible.

    Half of a minute's allowance may be sent at once, the other half is spread over the minute: so who comes later finds
    his turn soon, however much the first ones sent. `burst` moves that.

    Guards that share a ledger's database share the pace, whatever process they are in.

    Args:
        requests_per_minute: None leaves it to the server.
        tokens_per_minute: Input and output, cached ones included; None leaves it to the server.
        tier: The account's usage tier (``"1"`` to ``"5"``), in place of numbers: the published limits of the model.
        per: What shares the limit: all requests to one ``"model"``, all of this ``"key"``, or those for which a
            function of the view returns the same name.
        max_wait: Seconds that a request may wait for its turn; None lets it wait as long as its run may take.
        max_queue: How many requests may wait in a lane, over all processes; None sets no limit.
        burst: The share of a minute's allowance that may be sent at once, above 0 and at most 1. With 1 the first ones
            wait least; those who come when it is used up wait for the next minute.
        priority: A whole number from -100 to 100, or a function of the view that returns one. More is sooner.
        name: How events and errors call it; ``"Pacing"`` by default.

    Raises:
        ConfigurationError: A value cannot work, or no limits are published for the tier and the model.
    """

    def __init__(
        self,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        *,
        tier: str | int | None = None,
        per: Literal["model", "key"] | LaneOf = "model",
        max_wait: float | None = None,
        max_queue: int | None = 1_000,
        burst: float = 0.5,
        priority: int | PriorityOf = 0,
        name: str | None = None,
    ) -> None:
        self.requests = at_least("Pacing requests_per_minute", requests_per_minute, 1)
        self.tokens = at_least("Pacing tokens_per_minute", tokens_per_minute, 1)
        self.max_wait = at_least("Pacing max_wait", max_wait, 0.0)
        self.max_queue = at_least("Pacing max_queue", max_queue, 0)
        if isinstance(burst, bool) or not isinstance(burst, (int, float)) or not 0 < burst <= 1:
            raise ConfigurationError(
                f"Pacing burst is {burst!r}, it must be above 0 and at most 1: the share of a minute's allowance that"
                " may be sent at once"
            )
        self.burst = float(burst)
        if not callable(per) and per not in {"model", "key"}:
            raise ConfigurationError(
                f"Pacing per is {per!r}, it must be 'model', 'key', or a function of the view that returns a name"
            )
        self.per = per
        self.priority = priority if callable(priority) else _priority(priority)
        if tier is not None and (requests_per_minute is not None or tokens_per_minute is not None):
            raise ConfigurationError("Pacing has both a tier and numbers: give one of them")
        self.tier = None if tier is None else _tier(tier)
        self._name = name or "Pacing"

    @property
    def name(self) -> str:
        """The name it was given, or its class."""
        return self._name

    def check(self, assistant: Assistant, prices: PriceBook) -> None:  # noqa: ARG002
        """Refuse a tier of which nothing is known for the model."""
        self._limits(assistant.model)

    def before_request(self, view: View) -> Decision | None:
        """Name the lane, and what is allowed in it."""
        requests, tokens = self._limits(view.model)
        priority = _priority(self.priority(view)) if callable(self.priority) else self.priority
        lane, account = self._lane(view), _account(view)
        pace = Pace(lane, account, requests, tokens, self.max_wait, self.max_queue, priority, self.burst)
        return Limit("requests are paced", paces=(pace,))

    def most_queued(self, model: str) -> int | None:
        """How many input tokens the Batch API may have queued for a model; None where no tier says."""
        if self.tier is None:
            return None
        from assistantguard.policies.tiers import published_queue

        return published_queue(self.tier, model)

    def _limits(self, model: str) -> tuple[int | None, int | None]:
        if self.tier is None:
            return self.requests, self.tokens
        from assistantguard.policies.tiers import published

        return published(self.tier, model)

    def _lane(self, view: View) -> str:
        if self.per == "model":
            return f"model:{view.model}"
        if self.per == "key":
            return "key"
        assert callable(self.per)
        named: Any = self.per(view)
        if not isinstance(named, str) or not 0 < len(named) <= _LONGEST_LANE or not named.isprintable():
            raise ConfigurationError(
                f"Pacing per returned {named!r:.80}, it must be 1 to {_LONGEST_LANE} printable characters: return the"
                " name of what shares the limit"
            )
        return f"own:{named}"


def _account(view: View) -> str:
    """Whose turn it is, without anybody's name."""
    thread = view.thread
    if thread.user is None and thread.tenant is None:
        return thread.id
    named = repr((thread.tenant, thread.user))
    return hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()[:24]


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MOST_PRIORITY:
        raise ConfigurationError(
            f"Pacing priority is {value!r}, it must be a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}"
        )
    return value


def _tier(value: Any) -> str:
    tier = str(value)
    if isinstance(value, bool) or tier not in {"1", "2", "3", "4", "5"}:
        raise ConfigurationError(
            f"Pacing tier is {value!r}, it must be '1' to '5': the account's page Limits says which it is in"
        )
    return tier
