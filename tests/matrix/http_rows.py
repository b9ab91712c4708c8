"""Faults that any request can have, at every transition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from assistantguard.sandbox import Fault
from tests.matrix.shape import Often, Row, Transition, Way
from tests.matrix.transitions import ITEM, SHORT, TRANSITIONS

__all__ = ["http_rows"]

_FOREVER = range(1, 10_000)

Kind = Literal["passing", "final", "lost", "done", "silent", "late"]


@dataclass(frozen=True, slots=True, eq=False)
class HttpFault:
    """A fault that any request can have."""

    name: str
    make: Callable[..., Fault]
    kind: Kind
    """``passing``: tried again. ``final``: never. ``lost``: the connection, before the work or (``done``) after it.
    ``silent``: until the deadline. ``late``: answered after a while."""
    error: str = "RetriesExhausted"
    """What it ends in where it is final, or never passes."""


FAULTS = (
    HttpFault("429", Fault.rate_limit, "passing"),
    HttpFault("429 with Retry-After", lambda **when: Fault.rate_limit(retry_after=0.01, **when), "passing"),
    HttpFault("429 do not retry", lambda **when: Fault.rate_limit(should_retry=False, **when), "final"),
    HttpFault("insufficient_quota", Fault.quota, "final", "QuotaExhausted"),
    HttpFault(
        "insufficient_quota do retry", lambda **when: Fault.quota(should_retry=True, **when), "final", "QuotaExhausted"
    ),
    HttpFault("500", Fault.server_error, "passing"),
    HttpFault("500 do not retry", lambda **when: Fault.server_error(should_retry=False, **when), "final"),
    HttpFault("502", lambda **when: Fault.server_error(502, **when), "passing"),
    HttpFault("503", lambda **when: Fault.server_error(503, **when), "passing"),
    HttpFault("408", Fault.timeout, "passing"),
    HttpFault("409", Fault.conflict, "passing"),
    HttpFault("400", lambda **when: Fault.http(400, type="invalid_request_error", **when), "final", "RequestRejected"),
    HttpFault("400 do retry", lambda **when: Fault.http(400, should_retry=True, **when), "passing"),
    HttpFault("401", lambda **when: Fault.http(401, type="invalid_request_error", **when), "final", "RequestRejected"),
    HttpFault("404", lambda **when: Fault.http(404, type="invalid_request_error", **when), "final", "RequestRejected"),
    HttpFault("dropped before the work", Fault.dropped, "lost"),
    HttpFault("dropped after the work", lambda **when: Fault.dropped(after_work=True, **when), "done"),
    HttpFault("silent before the work", Fault.silent, "silent"),
    HttpFault("silent after the work", lambda **when: Fault.silent(after_work=True, **when), "silent"),
    HttpFault("slow", lambda **when: Fault.slow(0.05, **when), "late"),
)


def _http_ends(fault: HttpFault) -> Callable[[Transition, Often, Way], frozenset[str]]:
    def ends(transition: Transition, often: Often, _: Way) -> frozenset[str]:
        if fault.kind == "late":
            return transition.ends
        if fault.kind == "silent":
            return transition.late
        if fault.kind == "final":
            if transition.leaves and fault.name == "404":
                return transition.ends
            may_pass = fault.error == "RetriesExhausted"
            if transition.leaves and may_pass:
                return frozenset({fault.error})
            if often == "stays" and may_pass and transition.stays is not None:
                return transition.stays
            own = transition.ends if transition.matters == "little" else frozenset({fault.error})
            given = often == "once" or transition.refused_again
            return transition.refused if given and transition.refused is not None else own
        if often == "once":
            return transition.ends
        if transition.stays is not None:
            return transition.stays
        if transition.matters == "little":
            return transition.ends
        if fault.kind == "passing":
            return frozenset({fault.error})
        if transition.matters == "paid":
            return transition.ends if fault.kind == "done" else frozenset({"OutcomeUnknown"})
        if transition.matters == "appends":
            found = fault.kind == "done" or transition.leaves
            return transition.ends if found else frozenset({"OutcomeUnknown"})
        return frozenset({"RetriesExhausted"})

    return ends


def _at(transition: Transition, often: Often) -> dict[str, Any]:
    when = transition.at if often == "once" else _FOREVER[transition.at - 1 :]
    return {"at": when, "endpoint": transition.endpoint}


def _can_have(transition: Transition, fault: HttpFault) -> bool:
    """An item that is not found needs no deleting: it cannot be there all the same."""
    return not (fault.name == "404" and transition.endpoint == ITEM)


def http_rows() -> Iterator[Row]:
    for fault in FAULTS:
        yield Row(
            fault.name,
            tuple(transition for transition in TRANSITIONS if _can_have(transition, fault)),
            _http_ends(fault),
            lambda transition, often, fault=fault: [fault.make(**_at(transition, often))],  # type: ignore[misc]
            ("once",) if fault.kind in {"silent", "late"} else ("once", "stays"),
            deadline=SHORT if fault.kind == "silent" else None,
        )
