"""One line of an event file, checked. The field names are those of `assistantguard.events`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["BadRecordError", "Record", "parse_record"]

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]

_NEEDED: dict[str, tuple[str, ...]] = {
    "request.settled": ("thread_id", "model", "input_tokens", "output_tokens"),
    "run.settled": (
        "run_id",
        "thread_id",
        "model",
        "status",
        "steps",
        "input_tokens",
        "output_tokens",
        "seconds",
    ),
    "usage.corrected": ("thread_id", "model", "input_tokens", "output_tokens"),
    "run.retried": ("kind",),
    "run.cancelled": ("policy",),
    "budget.refused": ("policy", "metric", "kind"),
    "budget.warned": ("budget", "metric", "threshold"),
    "policy.observed": ("policy", "decision"),
    "tool.settled": ("tool", "failed", "seconds"),
    "thread.rotated": ("policy",),
    "reply.cached": ("saved_input_tokens", "saved_output_tokens"),
}


class BadRecordError(ValueError):
    """A line that is no event record; the text says why."""


class Record(BaseModel):
    """The fields that a report uses, of all events. What an event does not carry is None."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    event: Annotated[str, Field(min_length=1)]
    time: float | None = None
    thread_id: str | None = None
    user: str | None = None
    run_id: str | None = None
    model: str | None = None
    status: str | None = None
    steps: Count | None = None
    calls: Count | None = None
    retries: Count | None = None
    input_tokens: Count | None = None
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0
    output_tokens: Count | None = None
    reasoning_tokens: Count = 0
    estimated_tokens: Count = 0
    estimated_input_tokens: Count | None = None
    """What was expected before sending."""
    exact: bool = False
    """Whether the API had counted that."""
    context_tokens: Count | None = None
    cost: Annotated[Decimal, Field(ge=0)] | None = None
    """US dollars; None where it is unknown."""
    before_input_tokens: Count = 0
    """Of a correction: what stood on the books until then; the others likewise."""
    before_cached_tokens: Count = 0
    before_cache_write_tokens: Count = 0
    before_output_tokens: Count = 0
    before_reasoning_tokens: Count = 0
    before_estimated_tokens: Count = 0
    before_cost: Annotated[Decimal, Field(ge=0)] | None = None
    seconds: Seconds | None = None
    kind: str | None = None
    policy: str | None = None
    metric: str | None = None
    budget: str | None = None
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    decision: str | None = None
    reason: str | None = None
    code: str | None = None
    operation: str | None = None
    from_model: str | None = None
    lane: str | None = None
    tool: str | None = None
    failed: bool | None = None
    carried_tokens: Count | None = None
    answered_calls: Count | None = None
    deleted_items: Count | None = None
    files: Count | None = None
    saved_input_tokens: Count | None = None
    """Of a reply out of the cache: what its original had used."""
    saved_output_tokens: Count | None = None
    saved_cost: Annotated[Decimal, Field(ge=0)] | None = None


def parse_record(line: bytes) -> Record:
    """Read one line.

    Raises:
        BadRecordError: It is no JSON object, names no event, or lacks a field that the report needs.
    """
    try:
        record = Record.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRecordError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    for name in _NEEDED.get(record.event, ()):
        if getattr(record, name) is None:
            raise BadRecordError(f"{record.event} without {name}")
    return record
