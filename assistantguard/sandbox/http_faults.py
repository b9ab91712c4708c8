"""Faults of the connection and of HTTP: refusals, dropped connections, slow answers. For any endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import Self, Unpack

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.effects import CANCEL, RESPONSES, Change, Lost, Refusal, Slow
from assistantguard.sandbox.schedule import Schedule, Scheduled, When

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assistantguard.sandbox.effects import Effect

__all__ = ["HttpFaults"]

_QUOTA_TEXT = (
    "You exceeded your current quota, please check your plan and billing details. For more information on this "
    "error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)


class HttpFaults(Scheduled):
    """Faults that any endpoint can have. `when` is the schedule, as keyword arguments: see `Scheduled`."""

    __slots__ = ()

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
        should_retry: bool | None = None,
        kind: str = "http",
        **when: Unpack[Schedule],
    ) -> Self:
        """Refuse with any HTTP error.

        Args:
            status: HTTP status.
            message: Text of the error.
            type: Its type.
            code: Its code.
            param: The parameter it names.
            headers: Sent with it.
            should_retry: Sent as ``x-should-retry``, which OpenAI's clients obey whatever the status; None does not
                send it.
            kind: Name under which it is counted.
            **when: The schedule.
        """
        sent = dict(headers or {})
        if should_retry is not None:
            sent["x-should-retry"] = "true" if should_retry else "false"
        return cls(effect=Refusal(status, message, type, code, param, sent), kind=kind, **when)

    @classmethod
    def rate_limit(
        cls, *, retry_after: float | None = None, should_retry: bool | None = None, **when: Unpack[Schedule]
    ) -> Self:
        """Refuse with 429 ``rate_limit_exceeded``.

        Args:
            retry_after: Seconds, sent as ``Retry-After`` and ``retry-after-ms``; None sends neither.
            should_retry: See `http`.
            **when: The schedule.
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
            should_retry=should_retry,
            kind="rate_limit",
            **when,
        )

    @classmethod
    def resource_unavailable(cls, *, should_retry: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 429 ``resource_unavailable``, as flex processing does without capacity. It is not charged.

        Args:
            should_retry: See `http`.
            **when: The schedule. It happens to requests of any service tier.
        """
        name = "resource_unavailable"
        text = "Resource Unavailable"
        return cls.http(429, message=text, type=name, code=name, should_retry=should_retry, kind=name, **when)

    @classmethod
    def quota(cls, *, should_retry: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 429 ``insufficient_quota``, which never passes.

        Args:
            should_retry: See `http`.
            **when: The schedule.
        """
        code = "insufficient_quota"
        return cls.http(429, message=_QUOTA_TEXT, type=code, code=code, should_retry=should_retry, kind="quota", **when)

    @classmethod
    def server_error(cls, status: int = 500, *, should_retry: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 500, 502, 503 or 504.

        Args:
            status: HTTP status, 500 to 599.
            should_retry: See `http`.
            **when: The schedule.
        """
        if not 500 <= status <= 599:
            raise ConfigurationError(f"status={status} is not between 500 and 599; use Fault.http for others")
        overloaded = status == 503
        return cls.http(
            status,
            message="The engine is currently overloaded, please try again later."
            if overloaded
            else "The server had an error while processing your request. Sorry about that!",
            type="service_unavailable_error" if overloaded else "server_error",
            should_retry=should_retry,
            kind=f"server_error_{status}",
            **when,
        )

    @classmethod
    def timeout(cls, *, should_retry: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 408, as a gateway does that waited too long. Its text is the sandbox's own.

        Args:
            should_retry: See `http`.
            **when: The schedule.
        """
        message = "The request timed out. (sandbox)"
        return cls.http(408, message=message, type="timeout", should_retry=should_retry, kind="timeout", **when)

    @classmethod
    def conflict(cls, *, should_retry: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Refuse with 409: another request changes the same thing. Its text is the sandbox's own.

        Args:
            should_retry: See `http`.
            **when: The schedule.
        """
        message = "The resource was changed by another request. Please try again. (sandbox)"
        kind = "invalid_request_error"
        return cls.http(409, message=message, type=kind, should_retry=should_retry, kind="conflict", **when)

    @classmethod
    def dropped(cls, *, after_work: bool = False, **when: Unpack[Schedule]) -> Self:
        """Close the connection without an answer.

        Args:
            after_work: Do the work first: it is billed and added to the conversation. False: nothing happens, and the
                script is not consumed. A client cannot tell the two apart.
            **when: The schedule.
        """
        kind = "dropped_after_work" if after_work else "dropped_before_work"
        return cls(effect=Lost(after_work=after_work), kind=kind, **when)

    @classmethod
    def silent(cls, *, after_work: bool = False, **when: Unpack[Schedule]) -> Self:
        """Send not one byte until the client leaves.

        Args:
            after_work: Do the work first, as with `dropped`.
            **when: The schedule.
        """
        kind = "silent_after_work" if after_work else "silent_before_work"
        return cls(effect=Lost(after_work=after_work, silent=True), kind=kind, **when)

    @classmethod
    def slow(cls, seconds: float, *, survives_disconnect: bool | None = None, **when: Unpack[Schedule]) -> Self:
        """Answer late.

        Args:
            seconds: How late. A response is delayed before its first delta, its conversation locked meanwhile.
            survives_disconnect: Whether a response goes on when the client leaves meanwhile; None is as the sandbox's
                `on_disconnect` says. Other requests always take effect.
            **when: The schedule.
        """
        endpoint = when.get("endpoint", RESPONSES)
        effect: Effect = Slow(seconds)
        if survives_disconnect is not None:
            if endpoint != RESPONSES:
                raise ConfigurationError(f"endpoint={endpoint!r}: only {RESPONSES!r} can be left alone by its client")
            effect = Change({"delay": seconds}, {"survives_disconnect": survives_disconnect})
        return cls(effect=effect, kind="slow", **when)

    @classmethod
    def cancel_refused(cls, status: int = 409, **when: Unpack[When]) -> Self:
        """Refuse to cancel a background response, with 400 or 409 as some servers do while it runs.

        Args:
            status: HTTP status.
            **when: The schedule; counted over ``POST /responses/{id}/cancel``.
        """
        return cls.http(
            status,
            message="Cannot cancel a response in its present state. (sandbox)",
            type="invalid_request_error",
            kind="cancel_refused",
            endpoint=CANCEL,
            **when,
        )
