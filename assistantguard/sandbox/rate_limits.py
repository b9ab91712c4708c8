"""Requests and tokens per minute, enforced for each model as the API does it.

Each limit is a bucket: full at first, it holds a minute's worth at most and fills continuously by the sandbox's clock.
A request counts when it arrives. It counts as one request whatever becomes of it: one that is invalid, that a fault
refuses or that is over a limit counts too, so that asking without a pause never works. Of tokens it counts its input,
counted exactly, plus its `max_output_tokens` where that is given; what is refused counts none, and nothing is given
back when the answer is shorter. OpenAI documents the larger of the two instead of their sum, with an estimate of the
input that it does not explain; the sum is never below it.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from assistantguard._refusals import ApiProblem
from assistantguard.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AdmittedRequest", "Limits", "RateLimiting", "RateLimits", "go_duration"]

_LIMITED = frozenset({"POST /responses", "POST /chat/completions", "POST /completions"})
_SNAPSHOT_DATE = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_GENEROUS = {"requests": 10_000, "tokens": 30_000_000}
_SHORT = {"requests": "RPM", "tokens": "TPM"}
_MORE = "Visit https://platform.openai.com/account/rate-limits to learn more."
_MINUTE = 60.0
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What a model may be asked for in a minute.

    Raises:
        ConfigurationError: Neither limit is given, or one is no whole number above 0.
    """

    requests_per_minute: int | None = None
    """None does not limit them."""
    tokens_per_minute: int | None = None
    """None does not limit them."""

    def __post_init__(self) -> None:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ConfigurationError("RateLimits() limits nothing; give requests_per_minute, tokens_per_minute or both")
        for name, value in (
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigurationError(f"{name}={value!r} is no whole number above 0; None does not limit them")


Limits: TypeAlias = RateLimits | Mapping[str, RateLimits]
"""The limits of every model, each for itself; or limits by model name, where models outside have none."""


@dataclass(frozen=True, slots=True)
class AdmittedRequest:
    """A request that was within all limits."""

    at: float
    """When it arrived, in seconds since 1970 by the sandbox's clock."""
    model: str
    """The model whose limits it counts against: without the date of a snapshot."""
    tokens: int
    """What it counted of the model's tokens per minute."""


class _Bucket:
    """What is left of one limit."""

    __slots__ = ("_at", "_left", "enforced", "kind", "limit")

    def __init__(self, kind: str, limit: int | None, now: float) -> None:
        self.kind = kind
        self.enforced = limit is not None
        self.limit = _GENEROUS[kind] if limit is None else limit
        self._left = float(self.limit)
        self._at = now

    def left(self, now: float) -> float:
        """Fill it up to now, and return what it holds."""
        self._left = min(self.limit, self._left + max(0.0, now - self._at) * self.limit / _MINUTE)
        self._at = max(self._at, now)
        return self._left

    def take(self, amount: int, now: float) -> None:
        """Take an amount, or all that is left."""
        self._left = max(0.0, self.left(now) - amount)

    def seconds_to(self, level: float, now: float) -> float:
        """Return how long it takes until it holds so much."""
        return max(0.0, level - self.left(now)) * _MINUTE / self.limit

    def refused(self, amount: int, model: str, now: float) -> ApiProblem | None:
        """Make the 429 for an amount that is not there; None where it is."""
        left = self.left(now)
        if not self.enforced or amount <= left + _ROUNDING:
            return None
        place = f"for {model} in organization org-sandbox on {self.kind} per min ({_SHORT[self.kind]})"
        headers: dict[str, str] = {}
        if amount > self.limit:
            message = (
                f"Request too large {place}: Limit {self.limit}, Requested {amount}. The input or output tokens must "
                f"be reduced in order to run successfully. {_MORE}"
            )
        else:
            wait = math.ceil(self.seconds_to(amount, now) * 1000)
            message = (
                f"Rate limit reached {place}: Limit {self.limit}, Used {self.limit - math.floor(left)}, "
                f"Requested {amount}. Please try again in {go_duration(wait / 1000)}. {_MORE}"
            )
            headers = {"retry-after": str(math.ceil(wait / 1000)), "retry-after-ms": str(wait)}
        return ApiProblem(429, message, kind=self.kind, code="rate_limit_exceeded", headers=headers)

    def headers(self, now: float) -> dict[str, str]:
        """Return the headers that tell what is left."""
        return {
            f"x-ratelimit-limit-{self.kind}": str(self.limit),
            f"x-ratelimit-remaining-{self.kind}": str(math.floor(self.left(now))),
            f"x-ratelimit-reset-{self.kind}": go_duration(self.seconds_to(self.limit, now)),
        }


class RateLimiting:
    """Enforces rate limits, and tells what it admitted and refused. It may be read from any thread.

    Args:
        limits: See `Limits`; None admits everything, with the headers of a generous account.
        now: The sandbox's clock.
        keep: How many of the newest admissions are kept; None is all.

    Raises:
        ConfigurationError: Limits are no `RateLimits`.
    """

    def __init__(self, limits: Limits | None, now: Callable[[], float], *, keep: int | None) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._admitted: deque[AdmittedRequest] = deque(maxlen=keep)
        self._refused: Counter[str] = Counter()
        self._buckets: dict[str, tuple[_Bucket, _Bucket]] = {}
        self._limits = _checked(limits)

    @property
    def limits(self) -> Limits | None:
        """The limits in force."""
        return self._limits

    def replace(self, limits: Limits | None) -> None:
        """Put other limits in the place of all; their buckets are full.

        Raises:
            ConfigurationError: As above.
        """
        with self._lock:
            self._limits = _checked(limits)
            self._buckets.clear()

    @property
    def refused(self) -> Counter[str]:
        """How many requests were refused with 429: ``requests``, ``tokens``, and ``too_large``, which never pass."""
        with self._lock:
            return Counter(self._refused)

    @property
    def admitted(self) -> list[AdmittedRequest]:
        """The requests that were within their limits, in order of arrival; the newest only, as `log_requests` says."""
        with self._lock:
            return list(self._admitted)

    def left(self, model: str) -> tuple[int, int]:
        """Return the requests and the tokens that a model may be asked for now."""
        with self._lock:
            now = self._now()
            requests, tokens = self._of(model)[1]
            return math.floor(requests.left(now)), math.floor(tokens.left(now))

    def most_in(self, seconds: float = _MINUTE, *, model: str | None = None) -> tuple[int, int]:
        """Return the most requests, and the most tokens, that were admitted within any span of so many seconds.

        Args:
            seconds: Length of the span.
            model: Only what counts against this model's limits; None is all.
        """
        wanted = None if model is None else _plain(model)
        within: deque[AdmittedRequest] = deque()
        tokens = most_requests = most_tokens = 0
        for one in self.admitted:
            if wanted not in {None, one.model, model}:
                continue
            within.append(one)
            tokens += one.tokens
            while within[0].at <= one.at - seconds:
                tokens -= within.popleft().tokens
            most_requests, most_tokens = max(most_requests, len(within)), max(most_tokens, tokens)
        return most_requests, most_tokens

    def arrive(self, endpoint: str, body: Any) -> None:
        """Count a request against its model's requests, where its endpoint has limits.

        Raises:
            ApiProblem: 429: it is one too many.
        """
        model = _model(endpoint, body)
        if model is None:
            return
        with self._lock:
            now = self._now()
            bucket = self._of(model)[1][0]
            problem = bucket.refused(1, model, now)
            bucket.take(1, now)
            if problem is not None:
                self._refused["requests"] += 1
                raise problem

    def admit(self, model: str, tokens: int) -> None:
        """Count what a request may read and write against its model's tokens.

        Raises:
            ApiProblem: 429: it is more than what is left, or than there ever is.
        """
        with self._lock:
            now = self._now()
            name, (_, bucket) = self._of(model)
            problem = bucket.refused(tokens, model, now)
            if problem is not None:
                self._refused["tokens" if problem.headers else "too_large"] += 1
                raise problem
            bucket.take(tokens, now)
            self._admitted.append(AdmittedRequest(now, name, tokens))

    def headers(self, endpoint: str, body: Any) -> dict[str, str]:
        """Return the headers of an answer; none where its endpoint has no limits, or the model is not known."""
        model = _model(endpoint, body)
        if model is None:
            return {}
        with self._lock:
            now = self._now()
            requests, tokens = self._of(model)[1]
            return {**requests.headers(now), **tokens.headers(now)}

    def _of(self, model: str) -> tuple[str, tuple[_Bucket, _Bucket]]:
        limits = self._limits
        if isinstance(limits, Mapping):
            name = model if model in limits else _plain(model)
            own = limits.get(name)
        else:
            name, own = _plain(model), limits
        found = self._buckets.get(name)
        if found is None:
            now = self._now()
            found = self._buckets[name] = (
                _Bucket("requests", None if own is None else own.requests_per_minute, now),
                _Bucket("tokens", None if own is None else own.tokens_per_minute, now),
            )
        return name, found


def go_duration(seconds: float) -> str:
    """Write a duration as the API's headers do: ``0s``, ``405ms``, ``1.5s``, ``6m0s``. It is rounded up to a ms."""
    milliseconds = math.ceil(round(seconds * 1000, 6))
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _plain(model: str) -> str:
    return _SNAPSHOT_DATE.sub("", model)


def _model(endpoint: str, body: Any) -> str | None:
    if endpoint not in _LIMITED or not isinstance(body, dict):
        return None
    model = body.get("model")
    return model if isinstance(model, str) and model else None


def _checked(limits: Any) -> Limits | None:
    given = limits.items() if isinstance(limits, Mapping) else [("every model", limits)]
    for name, own in given:
        if not isinstance(own, RateLimits) and limits is not None:
            raise ConfigurationError(
                f"the limits of {name} are {own!r:.80}; write RateLimits(requests_per_minute=…, tokens_per_minute=…)"
            )
    return dict(limits) if isinstance(limits, Mapping) else limits
