"""Threads and runs as JSON objects, and back.

What a field holds by default is left out. What is missing gets its default, and what is not known is ignored, so that
programs of two versions can work on one database. Without `content` no text of a message, a tool call or a tool output
is in them: input items are kept by their marks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from decimal import Decimal
from operator import attrgetter
from typing import Any, TypeVar

from assistantguard.models import RunState, ThreadState, ToolCall, Usage
from assistantguard.models.marks import mark_of
from assistantguard.models.run import InFlight
from assistantguard.models.thread import LateUsage
from assistantguard.models.values import Record

__all__ = [
    "NOT_KEPT",
    "run_from_record",
    "run_record",
    "thread_from_record",
    "thread_record",
    "usage_from_record",
    "usage_record",
]

NOT_KEPT = "This output was lost: the program that had it ended before it was sent."
"""What stands for a tool output whose text was not kept."""

_VERSION = 1
_KEPT_OF_ITEM = ("type", "role", "call_id", "name", "id", "status")

R = TypeVar("R", bound=Record)
Json = dict[str, Any]
_Writer = Callable[[Any, bool], Any]
_Reader = Callable[[Any], Any]


def thread_record(thread: ThreadState, *, content: bool = False) -> Json:
    """A thread as a JSON object. Without `content`, tool outputs that wait to be sent are kept by call id only."""
    return {"v": _VERSION, **_write(thread, content)}


def thread_from_record(record: Mapping[str, Any]) -> ThreadState:
    """The thread that `thread_record` wrote."""
    return _read(ThreadState, record)


def run_record(run: RunState, *, content: bool = False) -> Json:
    """A run as a JSON object. Without `content`, what was said and what tools are called with is left out."""
    return {"v": _VERSION, **_write(run, content)}


def run_from_record(record: Mapping[str, Any]) -> RunState:
    """The run that `run_record` wrote."""
    return _read(RunState, record)


def usage_record(usage: Usage) -> Json:
    """Tokens as a JSON object."""
    return _write(usage, content=False)


def usage_from_record(record: Mapping[str, Any]) -> Usage:
    """The tokens that `usage_record` wrote."""
    return _read(Usage, record)


def _write(state: Record, content: bool) -> Json:
    plan = _plan(type(state))
    return {
        name: value if write is None else write(value, content)
        for value, default, name, write in zip(plan.values(state), plan.defaults, plan.names, plan.writers, strict=True)
        if value is not default and value != default
    }


def _read(kind: type[R], record: Mapping[str, Any]) -> R:
    plan = _plan(kind)
    readers = plan.readers
    return kind(
        **{
            name: readers[name](value) if name in readers else value
            for name, value in record.items()
            if name in plan.known
        }
    )


class _Plan:
    """What the fields of a class are called, hold by default, and how they are written and read."""

    def __init__(self, kind: type[Record]) -> None:
        members, writers = fields(kind), _WRITERS.get(kind, {})
        self.names = [member.name for member in members]
        self.known = frozenset(self.names)
        self.defaults = [
            member.default if member.default_factory is MISSING else member.default_factory() for member in members
        ]
        self.writers = [writers.get(name) for name in self.names]
        self.readers = _READERS.get(kind, {})
        self.values: Callable[[Record], Sequence[Any]] = attrgetter(*self.names)


def _plan(kind: type[Record]) -> _Plan:
    plan = _PLANS.get(kind)
    if plan is None:
        plan = _PLANS[kind] = _Plan(kind)
    return plan


def _write_money(value: Decimal | None, content: bool) -> str | None:  # noqa: ARG001
    return None if value is None else str(value)


def _read_money(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _write_items(items: Sequence[Mapping[str, Any]], content: bool) -> list[Json]:
    return [dict(item) if content else _without_content(item) for item in items]


def _without_content(item: Mapping[str, Any]) -> Json:
    kept = {name: item[name] for name in _KEPT_OF_ITEM if name in item}
    if item.get("type") == "function_call_output":
        return {**kept, "output": NOT_KEPT}
    return {**kept, "content": "", "mark": mark_of(item)}


def _write_calls(calls: Sequence[ToolCall], content: bool) -> list[Json]:
    if content:
        return [{"id": call.id, "name": call.name, "arguments_json": call.arguments_json} for call in calls]
    return [{"id": call.id, "name": call.name} for call in calls]


def _read_calls(calls: Sequence[Json]) -> tuple[ToolCall, ...]:
    return tuple(ToolCall.of(call["id"], call["name"], call.get("arguments_json", "{}")) for call in calls)


def _write_nested(value: Record | None, content: bool) -> Json | None:
    return None if value is None else _write(value, content)


def _write_list(values: Sequence[Record], content: bool) -> list[Json]:
    return [_write(value, content) for value in values]


def _write_text(text: str, content: bool) -> str:
    return text if content else ""


_WRITERS: Mapping[type[Record], Mapping[str, _Writer]] = {
    ThreadState: {
        "backlog": _write_items,
        "late": _write_list,
        "usage": _write_nested,
        "cost": _write_money,
    },
    RunState: {
        "input": _write_items,
        "tool_calls": _write_calls,
        "in_flight": _write_nested,
        "text": _write_text,
        "usage": _write_nested,
        "cost": _write_money,
    },
    LateUsage: {"booked": _write_nested, "cost": _write_money},
}
_READERS: Mapping[type[Record], Mapping[str, _Reader]] = {
    ThreadState: {
        "file_ids": tuple,
        "tags": tuple,
        "late": lambda records: [_read(LateUsage, record) for record in records],
        "usage": usage_from_record,
        "cost": _read_money,
    },
    RunState: {
        "tool_calls": _read_calls,
        "in_flight": lambda record: None if record is None else _read(InFlight, record),
        "usage": usage_from_record,
        "cost": _read_money,
    },
    LateUsage: {"booked": usage_from_record, "cost": _read_money},
}
_PLANS: dict[type[Record], _Plan] = {}
