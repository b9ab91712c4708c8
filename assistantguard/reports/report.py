"""The figures of an event file, added up while it is read.

Memory depends on how many threads, models and policies there are, never on how many events.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, BinaryIO, Literal

from assistantguard.reports.lines import BadLine, BadLines, numbered_lines
from assistantguard.reports.record import BadRecordError, Record, parse_record
from assistantguard.reports.tally import RunLine, StepCounts, Tally, Top

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Books", "Report", "ToolTally", "read_report"]

LONGEST_LINE = 1 << 20
"""Bytes. Events carry no content, so a longer line is no event."""

_MOST_UNKNOWN = 50
_OTHERS = "(others)"


@dataclass(slots=True)
class Books:
    """Tokens and cost, in all and by thread and model."""

    total: Tally = field(default_factory=Tally)
    threads: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    models: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))

    def add(self, record: Record) -> None:
        """Add what one call or run used."""
        self.total.add(record)
        self.threads[record.thread_id or ""].add(record)
        self.models[record.model or ""].add(record)

    def correct(self, record: Record) -> None:
        """Replace what one call was booked with by what it turned out to have used."""
        self.total.correct(record)
        self.threads[record.thread_id or ""].correct(record)
        self.models[record.model or ""].correct(record)


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
    bad: BadLines = field(default_factory=BadLines)
    slowest: Top[RunLine] = field(init=False)
    dearest: Top[RunLine] = field(init=False)
    _requests: Books = field(init=False, default_factory=Books)
    _settled: Books = field(init=False, default_factory=Books)

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
        self.events += 1
        if record.time is not None:
            self.first_time = record.time if self.first_time is None else min(self.first_time, record.time)
            self.last_time = record.time if self.last_time is None else max(self.last_time, record.time)
        match record.event:
            case "request.settled":
                self._requests.add(record)
            case "usage.corrected":
                self.corrections += 1
                self._requests.correct(record)
            case "run.settled":
                self._add_run(record)
            case "run.retried":
                self.retries[record.kind or ""] += 1
            case "run.cancelled":
                self.stops[record.policy or ""] += 1
            case "budget.refused":
                self.refusals[record.policy or "", record.metric or "", record.kind or ""] += 1
            case "budget.warned":
                share = f"{100 * (record.threshold or 0.0):g} %"
                self.warnings[record.budget or "", record.metric or "", share] += 1
            case "policy.observed":
                self.observed[record.policy or "", record.decision or ""] += 1
            case "thread.rotated":
                self.rotations[record.policy or ""] += 1
                self.carried_tokens += record.carried_tokens or 0
            case "thread.healed":
                self.heals += 1
                self.answered_calls += record.answered_calls or 0
                self.deleted_items += record.deleted_items or 0
            case "vector_store.created":
                self.vector_stores_created += 1
            case "vector_store.reused":
                self.vector_stores_reused += 1
            case "tool.settled":
                tool = self.tools[record.tool or ""]
                tool.calls += 1
                tool.failed += bool(record.failed)
                tool.seconds += record.seconds or 0.0
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
            case "turn.started" | "run.started" | "run.step" | "reply.stored":
                pass
            case name:
                known = name in self.unknown or len(self.unknown) < _MOST_UNKNOWN
                self.unknown[name if known else _OTHERS] += 1

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
        self._settled.add(record)
        self.runs[record.status or ""] += 1
        self.steps.counts[record.steps or 0] += 1
        run = RunLine(
            run_id=record.run_id or "",
            thread_id=record.thread_id or "",
            model=record.model or "",
            status=record.status or "",
            seconds=record.seconds or 0.0,
            cost=record.cost,
            total_tokens=(record.input_tokens or 0) + (record.output_tokens or 0),
            steps=record.steps or 0,
        )
        self.slowest.add(run)
        self.dearest.add(run)


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
