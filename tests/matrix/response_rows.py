"""Faults of an answer: how it ends, how it is made, told and streamed, and what others do to its conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tenacity

from assistantguard import Reply, TransientRetry
from assistantguard.sandbox import Fault
from tests.matrix.scene import Scene
from tests.matrix.shape import Often, Row, Transition, Way, only
from tests.matrix.transitions import BY_NAME, SHORT, TRANSITIONS

__all__ = ["response_rows"]

PAID = tuple(transition for transition in TRANSITIONS if transition.matters == "paid")
STREAMED = only(streamed=True)
_FOREVER = range(1, 10_000)
_LATE = 4.0
"""Seconds, past the deadline of a turn that gets `SHORT`."""

Ends = Callable[[Transition, Often, Way], frozenset[str]]


def _ends(once: str, stays: str = "") -> Ends:
    """What it ends in where it happens once, and where it stays. Alternatives are set apart by a bar."""

    def ends(_transition: Transition, often: Often, _way: Way) -> frozenset[str]:
        return frozenset((once if often == "once" else stays).split(" | "))

    return ends


def _waiting() -> TransientRetry:
    """Waits for a conversation that is locked while the server goes on."""
    return TransientRetry(100, wait=tenacity.wait_fixed(0.05))


def _and_time_passes(scene: Scene) -> Reply:
    """A turn after which a minute passes at the server."""
    try:
        return scene.turn(scene.combination.transition.message, scene.combination.deadline)
    finally:
        scene.sandbox.advance(60)


def _row(name: str, make: Callable[..., Fault], once: str, stays: str = "", **fields: Any) -> Row:
    def faults(transition: Transition, often: Often) -> list[Fault]:
        return [make(at=transition.at if often == "once" else _FOREVER[transition.at - 1 :])]

    often: tuple[Often, ...] = ("once", "stays") if stays else ("once",)
    return Row(name, fields.pop("transitions", PAID), _ends(once, stays), faults, often, **fields)


def response_rows() -> Iterator[Row]:
    """All rows."""
    yield from _ended()
    yield from _told()
    yield from _never()
    yield from _streamed()
    yield from _kept()
    yield from _stored()


def _ended() -> Iterator[Row]:
    """Answers that end badly."""
    failed, incomplete = Fault.failed_response, Fault.incomplete
    half: dict[str, Any] = {"text": "half an ans", "appended": True}
    for code in ("server_error", "rate_limit_exceeded", "vector_store_timeout"):
        yield _row(f"failed: {code}", lambda code=code, **when: failed(code, **when), "Reply", "RetriesExhausted")
    yield _row("failed, half a turn kept", lambda **when: failed(**half, **when), "Reply", "RetriesExhausted")
    yield _row(
        "failed, usage not told",
        lambda **when: failed(**half, usage_reported=False, **when),
        "Reply",
        "RetriesExhausted",
    )
    yield _row(
        "failed, not billed",
        lambda **when: failed(billed=False, usage_reported=False, **when),
        "Reply",
        "RetriesExhausted",
    )
    yield _row("failed: invalid_prompt", lambda **when: failed("invalid_prompt", **when), "RequestRejected")
    yield _row(
        "failed: invalid_prompt, half a turn kept",
        lambda **when: failed("invalid_prompt", **half, usage_reported=False, **when),
        "RequestRejected",
    )
    yield _row("incomplete", lambda **when: incomplete(text="It was cut", **when), "Reply, incomplete")
    yield _row(
        "incomplete, usage not told",
        lambda **when: incomplete("content_filter", text="It was cut", usage_reported=False, **when),
        "Reply, incomplete",
    )
    yield _row("incomplete, without text", incomplete, "RunIncomplete")
    yield _row("incomplete, without text, not kept", lambda **when: incomplete(appended=False, **when), "RunIncomplete")
    yield _row("cancelled by others", lambda **when: Fault.cancelled_response(text="half an ans", **when), "Reply")


def _told() -> Iterator[Row]:
    """Answers whose usage is not told, or late."""
    yield _row("usage not told", Fault.no_usage, "Reply", "Reply")
    yield _row("usage told after a read", lambda **when: Fault.late_usage(reads=1, **when), "Reply")
    yield _row("usage told after three reads", lambda **when: Fault.late_usage(reads=3, **when), "Reply")
    yield _row("usage told after a while", lambda **when: Fault.late_usage(seconds=0.02, **when), "Reply")


def _never() -> Iterator[Row]:
    """Answers that do not come in time."""
    late: dict[str, Any] = {"deadline": SHORT}
    front, back = only(background=False), only(background=True)
    yield _row("too slow", lambda **when: Fault.slow(30, **when), "RunTimedOut", **late)
    yield _row(
        "too slow, goes on without its client",
        lambda **when: Fault.unstoppable(delay=_LATE, **when),
        "RunTimedOut",
        ways=front,
        options={"policies": [_waiting()]},
        **late,
    )
    yield _row("stuck in the queue", lambda **when: Fault.stuck("queued", **when), "RunTimedOut", ways=back, **late)
    yield _row("stuck", Fault.stuck, "RunTimedOut", ways=back, **late)
    yield _row(
        "completes after its cancel, at a read",
        lambda **when: Fault.completes_after_cancel(reads=1, **when),
        "RunTimedOut",
        ways=back,
        **late,
    )
    yield _row(
        "completes after its cancel, between two turns",
        lambda **when: Fault.completes_after_cancel(seconds=60, **when),
        "RunTimedOut",
        ways=back,
        call=_and_time_passes,
        **late,
    )
    for kind in ("deltas", "comments"):
        yield _row(
            f"{kind} without end",
            lambda kind=kind, **when: Fault.endless(kind, **when),
            "RunTimedOut",
            ways=STREAMED,
            **late,
        )


def _streamed() -> Iterator[Row]:
    """Streams that go wrong."""
    for after in (0, 2, 4, 9):
        for clean in (False, True):
            for goes_on in (False, True):
                name = f"{'ended' if clean else 'cut'} after {after} events{', goes on' if goes_on else ''}"
                yield _row(
                    name,
                    lambda after=after, clean=clean, goes_on=goes_on, **when: Fault.cut(
                        after, clean=clean, goes_on=goes_on, **when
                    ),
                    "Reply",
                    "Reply | OutcomeUnknown | RetriesExhausted",
                    ways=STREAMED,
                )
    for goes_on in (False, True):
        last = ", goes on" if goes_on else ""
        yield _row(
            f"malformed chunk{last}",
            lambda goes_on=goes_on, **when: Fault.malformed(goes_on=goes_on, **when),
            "Reply | RetriesExhausted",
            ways=STREAMED,
        )
        for nested in (False, True):
            yield _row(
                f"{'nested' if nested else 'flat'} error event{last}",
                lambda goes_on=goes_on, nested=nested, **when: Fault.stream_error(
                    nested=nested, goes_on=goes_on, **when
                ),
                "Reply",
                "Reply | OutcomeUnknown | RetriesExhausted",
                ways=STREAMED,
            )
    for told in (False, True):
        yield _row(
            f"response.failed in mid-stream{'' if told else ', usage not told'}",
            lambda told=told, **when: Fault.stream_failed(usage_reported=told, **when),
            "Reply",
            "RetriesExhausted",
            ways=only(streamed=True, background=False),
        )


def _kept() -> Iterator[Row]:
    """What others do to the conversation, and servers with modes of their own."""
    yield _row("conversation locked", Fault.conversation_locked, "Reply", "RetriesExhausted")
    yield _row(
        "conversation locked for a while",
        lambda **when: Fault.conversation_locked(0.1, **when),
        "Reply",
        options={"policies": [_waiting()]},
    )
    first, after_tools, later = PAID
    yield _row("conversation gone", Fault.conversation_gone, "Reply", transitions=(first, later))
    yield _row("conversation gone", Fault.conversation_gone, "ThreadBroken", transitions=(after_tools,))
    yield _row("unanswered call", Fault.unanswered_call, "Reply")
    for mode in ("refused", "foreground"):
        yield Row(
            f"background {mode} by the server",
            (first,),
            _ends("Reply"),
            ways=only(background=True),
            sandbox={"background": mode},
        )
    yield _row(
        "silent, goes on without its client",
        Fault.silent,
        "RunTimedOut",
        deadline=SHORT,
        sandbox={"on_disconnect": "complete"},
    )


def _stored() -> Iterator[Row]:
    """Vector stores that are not as hoped."""
    store = (BY_NAME["create a vector store"],)
    yield _row("store slow", lambda **when: Fault.store_slow(0.05, **when), "Reply", transitions=store)
    yield _row("store too slow", lambda **when: Fault.store_slow(60, **when), "VectorStoreFailed", transitions=store)
    yield _row("store with failed files", Fault.store_failed, "VectorStoreFailed", transitions=store)
    yield _row(
        "store that expires as it is made",
        lambda **when: Fault.store_expired(endpoint="POST /vector_stores", **when),
        "Reply | VectorStoreFailed",
        transitions=store,
    )
