"""Faults on demand, as data.

A fault says *when* (the number of a request, a seeded rate, an endpoint) and *what* (an effect). Requests are counted
per fault, from 1, over those to the fault's endpoint, whether or not a fault answered them: ``at=1`` and ``at=2`` are
two attempts in a row. The first fault in the list that is due answers. Faults never consume the script: they stand in
the place of an answer, which the next request still gets.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.script import Answer

__all__ = ["Effect", "Ending", "Fault", "FaultPlan", "Refusal"]

RESPONSES = "POST /responses"

_QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error before any work. Nothing is billed and nothing is stored."""

    status: int
    message: str
    type: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ending:
    """A response (HTTP 200) that ends with this answer in the place of the script's."""

    answer: Answer


Effect: TypeAlias = Refusal | Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """When something goes wrong, and what.

    Raises:
        ConfigurationError: Neither or both of `at` and `rate` are given, or a number is out of range.
    """

    effect: Effect
    at: int | Sequence[int] | None = None
    """Number of the request, or numbers, counted from 1."""
    rate: float | None = None
    """Share of requests, 0 to 1, drawn with `seed`."""
    seed: int = 0
    times: int | None = None
    """How often it happens at most; None is without end."""
    endpoint: str = RESPONSES
    """Method and path without ``/v1``, ids as ``{id}``: ``"POST /conversations/{id}/items"``; ``"*"`` is all."""

    def __post_init__(self) -> None:
        if (self.at is None) == (self.rate is None):
            raise ConfigurationError(f"at={self.at!r}, rate={self.rate!r}: give a fault exactly one of them")
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ConfigurationError(f"rate={self.rate} is not between 0 and 1")
        numbers = (self.at,) if isinstance(self.at, int) else self.at or ()
        for number in numbers:
            if number < 1:
                raise ConfigurationError(f"at={self.at!r}: requests are counted from 1")
        if self.times is not None and self.times < 1:
            raise ConfigurationError(f"times={self.times} is below 1; leave the fault out instead")
        if isinstance(self.effect, Ending) and self.endpoint != RESPONSES:
            raise ConfigurationError(f"endpoint={self.endpoint!r}: only {RESPONSES!r} makes responses")

    @classmethod
    def http(
        cls,
        status: int,
        *,
        message: str = "The request failed. (sandbox)",
        type: str = "server_error",  # noqa: A002 - the API's own name of the field
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
        endpoint: str = RESPONSES,
    ) -> Fault:
        """Refuse with any HTTP error."""
        effect = Refusal(status, message, type, code, param, dict(headers or {}))
        return cls(effect=effect, at=at, rate=rate, seed=seed, times=times, endpoint=endpoint)

    @classmethod
    def rate_limit(
        cls,
        *,
        retry_after: float | None = None,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
        endpoint: str = RESPONSES,
    ) -> Fault:
        """Refuse with 429 ``rate_limit_exceeded``.

        Args:
            retry_after: Seconds, sent as ``Retry-After`` and ``retry-after-ms``; None sends neither.
            at: See `Fault.at`.
            rate: See `Fault.rate`.
            seed: See `Fault.seed`.
            times: See `Fault.times`.
            endpoint: See `Fault.endpoint`.
        """
        headers: dict[str, str] = {}
        wait = ""
        if retry_after is not None:
            headers = {"retry-after": f"{retry_after:g}", "retry-after-ms": f"{retry_after * 1000:g}"}
            wait = f" Please try again in {retry_after:g}s."
        return cls.http(
            429,
            message=f"Rate limit reached (sandbox) on requests per min (RPM).{wait}",
            type="requests",
            code="rate_limit_exceeded",
            headers=headers,
            at=at,
            rate=rate,
            seed=seed,
            times=times,
            endpoint=endpoint,
        )

    @classmethod
    def quota(
        cls,
        *,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
        endpoint: str = RESPONSES,
    ) -> Fault:
        """Refuse with 429 ``insufficient_quota``, which never passes."""
        return cls.http(
            429,
            message=_QUOTA_TEXT,
            type="insufficient_quota",
            code="insufficient_quota",
            at=at,
            rate=rate,
            seed=seed,
            times=times,
            endpoint=endpoint,
        )

    @classmethod
    def server_error(
        cls,
        status: int = 500,
        *,
        should_retry: bool | None = None,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
        endpoint: str = RESPONSES,
    ) -> Fault:
        """Refuse with 500, 502, 503 or 504.

        Args:
            status: HTTP status, 500 to 599.
            should_retry: Sent as ``x-should-retry``; None does not send it.
            at: See `Fault.at`.
            rate: See `Fault.rate`.
            seed: See `Fault.seed`.
            times: See `Fault.times`.
            endpoint: See `Fault.endpoint`.
        """
        if not 500 <= status <= 599:
            raise ConfigurationError(f"status={status} is not between 500 and 599; use Fault.http for others")
        headers = {} if should_retry is None else {"x-should-retry": "true" if should_retry else "false"}
        overloaded = status == 503
        return cls.http(
            status,
            message="The engine is currently overloaded, please try again later."
            if overloaded
            else "The server had an error while processing your request. Sorry about that!",
            type="service_unavailable_error" if overloaded else "server_error",
            headers=headers,
            at=at,
            rate=rate,
            seed=seed,
            times=times,
            endpoint=endpoint,
        )

    @classmethod
    def failed_response(
        cls,
        code: str = "server_error",
        *,
        message: str = "The model failed to generate a response. (sandbox)",
        text: str | None = None,
        billed: bool = True,
        usage_reported: bool = True,
        appended: bool = False,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
    ) -> Fault:
        """End a response with status ``failed``.

        Args:
            code: ``server_error``, ``rate_limit_exceeded``, ``invalid_prompt`` or another code of the API.
            message: Text of ``response.error``.
            text: Output made before it failed; billed with the input.
            billed: Whether it costs anything.
            usage_reported: Whether the response carries `usage`.
            appended: Whether the input (and `text`) is added to the conversation all the same.
            at: See `Fault.at`.
            rate: See `Fault.rate`.
            seed: See `Fault.seed`.
            times: See `Fault.times`.
        """
        answer = Answer(
            text=text,
            status="failed",
            error_code=code,
            error_message=message,
            billed=billed,
            usage_reported=usage_reported,
            appended=appended,
        )
        return cls(effect=Ending(answer), at=at, rate=rate, seed=seed, times=times)

    @classmethod
    def incomplete(
        cls,
        reason: str = "max_output_tokens",
        *,
        text: str | None = None,
        billed: bool = True,
        usage_reported: bool = True,
        appended: bool = True,
        at: int | Sequence[int] | None = None,
        rate: float | None = None,
        seed: int = 0,
        times: int | None = None,
    ) -> Fault:
        """End a response with status ``incomplete``.

        Args:
            reason: ``max_output_tokens``, ``content_filter`` or another reason of the API.
            text: Output made before it was cut.
            billed: Whether it costs anything.
            usage_reported: Whether the response carries `usage`.
            appended: Whether input and output are added to the conversation.
            at: See `Fault.at`.
            rate: See `Fault.rate`.
            seed: See `Fault.seed`.
            times: See `Fault.times`.
        """
        answer = Answer(
            text=text,
            status="incomplete",
            incomplete_reason=reason,
            billed=billed,
            usage_reported=usage_reported,
            appended=appended,
        )
        return cls(effect=Ending(answer), at=at, rate=rate, seed=seed, times=times)


class FaultPlan:
    """Counts requests and says which fault is due."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = tuple(faults)
        self._seen = [0] * len(self._faults)
        self._fired = [0] * len(self._faults)
        self._random = [random.Random(fault.seed) for fault in self._faults]  # noqa: S311 - a test's dice

    @property
    def fired(self) -> int:
        """How many requests a fault has answered."""
        return sum(self._fired)

    def due(self, endpoint: str) -> Effect | None:
        """Count a request and return the effect that answers it, if one does."""
        chosen: int | None = None
        for index, fault in enumerate(self._faults):
            if fault.endpoint not in {"*", endpoint}:
                continue
            self._seen[index] += 1
            if fault.rate is not None:
                hit = self._random[index].random() < fault.rate
            elif isinstance(fault.at, int):
                hit = self._seen[index] == fault.at
            else:
                hit = self._seen[index] in (fault.at or ())
            spent = fault.times is not None and self._fired[index] >= fault.times
            if hit and not spent and chosen is None:
                chosen = index
        if chosen is None:
            return None
        self._fired[chosen] += 1
        return self._faults[chosen].effect
