"""The figures of an event file, added up while it is read.

Memory depends on how many models, policies and tools there are, never on how many events, threads or users.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, BinaryIO, Literal

from assistantguard.ledger.days import day_of
from assistantguard.reports.books import OTHERS, Books
from assistantguard.reports.estimates import Estimates
from assistantguard.reports.groups import Groups
from assistantguard.reports.lines import BadLine, BadLines, numbered_lines
from assistantguard.reports.lives import Life
from assistantguard.reports.record import BadRecordError, Record, parse_record
from assistantguard.reports.tally import RunLine, StepCounts, Top

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Report", "ToolTally", "read_report"]

LONGEST_LINE = 1 << 20
"""Bytes. Events carry no content, so a longer line is no event."""

_MOST_UNKNOWN = 50
_MOST_LIVES = 4000
_MOST_REASONS = 1000
_LONGEST_REASON = 300


@dataclass(slots=True)
class ToolTally:
    """Calls of one tool."""

    calls: int = 0
    failed: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Report:
    """What happened, over all events that were added."""

    top: int = 5
    """How many of the slowest and dearest runs are kept."""
    zone: tzinfo | None = None
    """Where days begin; None takes UTC."""
    origin: Literal["events", "database"] = "events"
    """Where the figures are from. A database keeps no refusals, warnings, heals, tools and no first estimates."""
    since: float | None = None
    """Unix time of the first events that count; None counts all."""
    until: float | None = None
    """Unix time of the first that count no more."""
    events: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    """Events whose name this version does not know, by name."""
    first_time: float | None = None
    """Unix time of the earliest event, seconds."""
    last_time: float | None = None
    runs: Counter[str] = field(default_factory=Counter)
    """Runs by status."""
    retries: Counter[str] = field(default_factory=Counter)
    """By kind of failure."""
    routed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Choices of a model: by policy, the model before, and the model chosen."""
    waits: Counter[str] = field(default_factory=Counter)
    """Requests that were held back for a rate, by policy."""
    waited_seconds: float = 0.0
    paced_out: Counter[str] = field(default_factory=Counter)
    """Requests that were refused for a rate, by policy."""
    batches: Counter[str] = field(default_factory=Counter)
    """By the event's name."""
    reasons: dict[tuple[str, str], str] = field(default_factory=dict)
    """The newest reason of what was counted: by event and by what it is counted under."""
    stops: Counter[str] = field(default_factory=Counter)
    """Runs that were ended before their time, by policy."""
    refusals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By policy, metric and kind (``exceeded`` or ``busy``)."""
    warnings: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By budget, metric and the share of the limit that was spent (``80 %``)."""
    rotations: Counter[str] = field(default_factory=Counter)
    """By policy."""
    carried_tokens: int = 0
    """What all rotations carried over."""
    corrections: int = 0
    """Requests whose usage the server told late."""
    heals: int = 0
    answered_calls: int = 0
    """Open function calls that healing answered."""
    deleted_items: int = 0
    """Items of half turns that healing removed."""
    observed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What policies under `observe` would have done: by policy and decision."""
    cached_replies: int = 0
    """Turns that were answered out of the cache of replies."""
    saved_tokens: int = 0
    """What the originals of those had used."""
    saved_cost: Decimal = Decimal(0)
    """US dollars, of the originals whose price was known."""
    cache_failures: int = 0
    """How often the cache of replies was out of order."""
    suggestions: int = 0
    """New threads that were suggested for messages that left the topic."""
    sweeps: Counter[str] = field(default_factory=Counter)
    """What sweeps did, by the event's name."""
    vector_stores_created: int = 0
    vector_stores_reused: int = 0
    tools: dict[str, ToolTally] = field(default_factory=lambda: defaultdict(ToolTally))
    steps: StepCounts = field(default_factory=StepCounts)
    estimates: Estimates = field(default_factory=Estimates)
    lives: Groups[Life] = field(default_factory=lambda: Groups(Life, _MOST_LIVES))
    """The context of each thread over its life."""
    bad: BadLines = field(default_factory=BadLines)
    slowest: Top[RunLine] = field(init=False)
    dearest: Top[RunLine] = field(init=False)
    _requests: Books = field(init=False, default_factory=Books)
    _settled: Books = field(init=False, default_factory=Books)

    _days: dict[float, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.slowest = Top(self.top, lambda run: run.seconds)
        self.dearest = Top(self.top, _dearness)

    @property
    def source(self) -> Literal["requests", "runs"]:
        """What tokens and cost are summed over: paid model calls, or runs where the file has no calls."""
        return "requests" if self._requests.total.count or not self._settled.total.count else "runs"

    @property
    def books(self) -> Books:
        """Tokens and cost, over `source`."""
        return self._requests if self.source == "requests" else self._settled

    def add(self, record: Record) -> None:
        """Add one event."""
        time = record.time
        if time is not None:
            if (self.since is not None and time < self.since) or (self.until is not None and time >= self.until):
                return
            self.first_time = time if self.first_time is None or time < self.first_time else self.first_time
            self.last_time = time if self.last_time is None or time > self.last_time else self.last_time
        self.events += 1
        match record.event:
            case "request.settled":
                self._add_request(record)
            case "run.settled":
                self._add_run(record)
            case "turn.started" | "run.started" | "run.step" | "reply.stored" | "batch.progressed":
                pass
            case "tool.settled":
                tool = self.tools[record.tool or ""]
                tool.calls += 1
                tool.failed += bool(record.failed)
                tool.seconds += record.seconds or 0.0
            case "usage.corrected":
                self.corrections += 1
                self._requests.correct(record, self.day(time))
            case "thread.rotated":
                self.rotations[record.policy or ""] += 1
                self.carried_tokens += record.carried_tokens or 0
                self._note(record, record.policy)
                self._add_to_life(record, rotated=True)
            case _:
                self._add_rarer(record)

    def _add_rarer(self, record: Record) -> None:
        match record.event:
            case "run.retried":
                self.retries[record.kind or ""] += 1
                self._note(record, record.kind)
            case "run.cancelled":
                self.stops[record.policy or ""] += 1
                self._note(record, record.policy)
            case "run.routed":
                self.routed[record.policy or "", record.from_model or "", record.model or ""] += 1
                self._note(record, record.policy)
            case "budget.refused":
                self.refusals[record.policy or "", record.metric or "", record.kind or ""] += 1
                self._note(record, f"{record.policy}: {record.metric} {record.kind}")
            case "budget.warned":
                share = f"{100 * (record.threshold or 0.0):g} %"
                self.warnings[record.budget or "", record.metric or "", share] += 1
            case "policy.observed":
                self.observed[record.policy or "", record.decision or ""] += 1
                self._note(record, f"{record.policy}: {record.decision}")
            case "pacing.waited":
                self.waits[record.policy or ""] += 1
                self.waited_seconds += record.seconds or 0.0
            case "pacing.refused":
                self.paced_out[record.policy or ""] += 1
            case "thread.healed":
                self.heals += 1
                self.answered_calls += record.answered_calls or 0
                self.deleted_items += record.deleted_items or 0
                self._note(record, "")
            case "vector_store.created":
                self.vector_stores_created += 1
            case "vector_store.reused":
                self.vector_stores_reused += 1
            case (
                "conversation.deleted"
                | "holds.expired"
                | "runs.pruned"
                | "thread.archived"
                | "thread.deleted"
                | "vector_store.deleted"
            ) as name:
                self.sweeps[name] += 1
            case "reply.cached":
                self.cached_replies += 1
                self.saved_tokens += (record.saved_input_tokens or 0) + (record.saved_output_tokens or 0)
                self.saved_cost += record.saved_cost or Decimal(0)
            case "reply_cache.failed":
                self.cache_failures += 1
            case "thread.suggested":
                self.suggestions += 1
            case "budget.limit_changed" | "thread.changed":
                pass
            case "batch.submitted" | "batch.settled" as name:
                self.batches[name] += 1
            case name:
                known = name in self.unknown or len(self.unknown) < _MOST_UNKNOWN
                self.unknown[name if known else OTHERS] += 1

    def day(self, time: float | None) -> str:
        """The day of a Unix time, such as ``2026-11-22``; empty where there is none."""
        if time is None:
            return ""
        quarter = time // _QUARTER
        day = self._days.get(quarter)
        if day is None:
            if len(self._days) > _MOST_QUARTERS:
                self._days.clear()
            try:
                day = day_of(quarter * _QUARTER, self.zone)
            except (OverflowError, ValueError):
                day = ""
            self._days[quarter] = day
        return day

    def add_run(self, run: RunLine) -> None:
        """Add a run to those that are counted and ranked, and to no sum."""
        self.runs[run.status] += 1
        self.steps.counts[run.steps] += 1
        self.slowest.add(run)
        self.dearest.add(run)

    def close(self) -> None:
        """Give temporary files back. The report cannot be read after that."""
        self._requests.close()
        self._settled.close()
        self.lives.close()

    def _note(self, record: Record, which: str | None) -> None:
        key = (record.event, which or "")
        if record.reason and (key in self.reasons or len(self.reasons) < _MOST_REASONS):
            self.reasons[key] = record.reason[:_LONGEST_REASON]

    def _add_request(self, record: Record) -> None:
        self._requests.add(record, self.day(record.time))
        reported = record.input_tokens or 0
        if reported and not record.estimated_tokens and record.estimated_input_tokens is not None:
            self.estimates.add(record.estimated_input_tokens, reported, exact=record.exact)

    def _add_to_life(self, record: Record, *, rotated: bool = False) -> None:
        if record.context_tokens is not None and record.time is not None and record.thread_id:
            life = self.lives.at(record.thread_id)
            life.user = record.user or life.user
            life.add(record.time, record.context_tokens, rotated=rotated)

    def read(self, name: str, stream: BinaryIO) -> None:
        """Add the events of a stream that is open for reading bytes; bad lines are named after `name`."""
        for number, line in numbered_lines(stream, name, self.bad, longest=LONGEST_LINE):
            try:
                record = parse_record(line)
            except BadRecordError as error:
                self.bad.add(BadLine(name, number, str(error)))
            else:
                self.add(record)

    def _add_run(self, record: Record) -> None:
        if not self._requests.total.count:  # else calls are what is summed over
            self._settled.add(record, self.day(record.time))
        self._add_to_life(record)
        self.add_run(
            RunLine(
                run_id=record.run_id or "",
                thread_id=record.thread_id or "",
                model=record.model or "",
                status=record.status or "",
                seconds=record.seconds or 0.0,
                cost=record.cost,
                total_tokens=(record.input_tokens or 0) + (record.output_tokens or 0),
                steps=record.steps or 0,
                user=record.user,
            )
        )


_QUARTER = 900
"""Seconds. Days of every time zone begin with a full one."""
_MOST_QUARTERS = 10_000


def _dearness(run: RunLine) -> tuple[bool, Decimal, int]:
    return run.cost is not None, run.cost or Decimal(0), run.total_tokens


def read_report(*paths: Path, top: int = 5) -> Report:
    """Add up event files, line by line.

    Args:
        *paths: JSON lines, as the telemetry writes them.
        top: How many of the slowest and dearest runs to keep.

    Returns:
        The figures; `Report.bad` has the lines that were skipped.

    Raises:
        OSError: A file cannot be read.
    """
    report = Report(top=top)
    for path in paths:
        with path.open("rb") as stream:
            report.read(str(path), stream)
    return report
