"""What was asked and answered so far: from the ledger's rows, or from a file of events.

A thread's rows tell what each request added. A request reads all that stood before it; so what is more than the last
one's input and output is new, and where it is less, the thread has begun a new generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from assistantguard.ledger.base import REPLY_CACHE, Entry
from assistantguard.models.usage import Usage
from assistantguard.models.values import Record, Value
from assistantguard.reports.lines import BadLine, BadLines, numbered_lines
from assistantguard.reports.record import BadRecordError, parse_record
from assistantguard.reports.record import Record as EventRecord

if TYPE_CHECKING:
    from decimal import Decimal

    from assistantguard.storage import Database

__all__ = ["History", "PastCall", "PastRun", "PastThread", "history_of_entries", "read_database", "read_events"]

_LONGEST_LINE = 1 << 20
_COLUMNS = (
    "time, thread_id, run_id, attempt, model, input_tokens, cached_tokens, cache_write_tokens, output_tokens,"
    " reasoning_tokens, estimated_tokens, requests, cost, purpose, user_name"
)


@dataclass(slots=True, eq=False, repr=False)
class PastCall(Record):
    """A request that was billed."""

    time: float
    attempt: int
    model: str
    usage: Usage
    cost: Decimal | None
    """US dollars, as booked; None where it is unknown."""
    purpose: str = "run"


@dataclass(slots=True, eq=False, repr=False)
class PastRun(Record):
    """A user's message and what it took to answer it."""

    id: str
    time: float
    calls: list[PastCall] = field(default_factory=list)
    """The requests of its last attempt."""
    extra: list[PastCall] = field(default_factory=list)
    """Attempts that failed, and summaries: billed, but no part of the conversation."""


@dataclass(slots=True, eq=False, repr=False)
class PastThread(Record):
    """A thread."""

    id: str
    user: str | None
    model: str
    """The one that most of its requests went to."""
    runs: list[PastRun]
    """In the order in which they began."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class History(Value):
    """What a forecast goes by."""

    threads: tuple[PastThread, ...]
    begins: float
    """Unix time, seconds."""
    ends: float
    cached_replies: int = 0
    """Messages that were answered out of the cache of replies, for nothing."""
    bad: BadLines | None = None
    """Lines of a file that were skipped."""

    @property
    def days(self) -> float:
        """How long it is."""
        return (self.ends - self.begins) / 86_400

    @property
    def runs(self) -> int:
        """How many messages were answered."""
        return sum(len(thread.runs) for thread in self.threads)


@dataclass(slots=True)
class _Reading:
    """Rows, put together into threads."""

    runs: dict[str, dict[str, PastRun]] = field(default_factory=dict)
    users: dict[str, str | None] = field(default_factory=dict)
    cached: int = 0
    last: float = 0.0

    def add(self, thread: str, run: str, call: PastCall, user: str | None) -> None:
        self.last = max(self.last, call.time)
        if call.purpose == REPLY_CACHE:
            self.cached += 1
            return
        runs = self.runs.setdefault(thread, {})
        known = runs.get(run)
        if known is None:
            known = runs[run] = PastRun(run, call.time)
            self.users[thread] = user
        known.time = min(known.time, call.time)
        if call.purpose != "run":
            known.extra.append(call)
        else:
            known.calls.append(call)

    def history(self, begins: float | None, ends: float | None, bad: BadLines | None = None) -> History:
        threads = [self._thread(name, list(runs.values())) for name, runs in self.runs.items()]
        first = min((thread.runs[0].time for thread in threads), default=0.0)
        return History(
            tuple(threads),
            first if begins is None else begins,
            self.last if ends is None else ends,
            self.cached,
            bad,
        )

    def _thread(self, name: str, runs: list[PastRun]) -> PastThread:
        counts: dict[str, int] = {}
        for run in runs:
            last = max((call.attempt for call in run.calls), default=0)
            run.extra += [call for call in run.calls if call.attempt != last]
            run.calls = sorted((call for call in run.calls if call.attempt == last), key=lambda call: call.time)
            for call in run.calls or run.extra:
                counts[call.model] = counts.get(call.model, 0) + 1
        runs.sort(key=lambda run: run.time)
        return PastThread(name, self.users[name], max(counts, key=lambda model: counts[model]), runs)


def history_of_entries(entries: Iterable[Entry], *, begins: float | None = None, ends: float | None = None) -> History:
    """The history in rows of a ledger.

    Args:
        entries: The rows, in any order.
        begins: From when on they are complete (Unix time, seconds); None takes the first of them.
        ends: Until when; None takes the last of them.
    """
    reading = _Reading()
    for entry in entries:
        call = PastCall(entry.time, entry.attempt, entry.model, entry.usage, entry.cost, entry.purpose)
        reading.add(entry.thread_id, entry.run_id, call, entry.user)
    return reading.history(begins, ends)


def read_database(database: Database, *, begins: float | None = None, ends: float | None = None) -> History:
    """The history in a ledger's database.

    Args:
        database: An open one.
        begins: Rows before this moment (Unix time, seconds) are left out; None takes all.
        ends: Rows from this moment on are left out; None takes all.
    """
    from assistantguard.ledger.rows import from_units

    conditions, bounds = [], []
    for bound, sign in ((begins, ">="), (ends, "<")):
        if bound is not None:
            conditions.append(f"time {sign} ?")
            bounds.append(bound)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    reading = _Reading()
    statement = f"SELECT {_COLUMNS} FROM guard_entries{where} ORDER BY id"  # noqa: S608  names of our own
    for time, thread, run, attempt, model, *counts, cost, purpose, user in database.query(statement, bounds):
        price = None if cost is None else from_units("cost", cost)
        reading.add(thread, run, PastCall(time, attempt, model, Usage(*counts), price, purpose), user)
    return reading.history(begins, ends)


def read_events(paths: Sequence[Path], *, begins: float | None = None, ends: float | None = None) -> History:
    """The history in files of JSON lines that the telemetry wrote. They do not say who the users are.

    Args:
        paths: The files.
        begins: Events before this moment (Unix time, seconds) are left out; None takes all.
        ends: Events from this moment on are left out; None takes all.

    Raises:
        OSError: A file cannot be read.
    """
    reading, bad = _Reading(), BadLines()
    for path in paths:
        with path.open("rb") as stream:
            for number, line in numbered_lines(stream, str(path), bad, longest=_LONGEST_LINE):
                try:
                    record = parse_record(line)
                except BadRecordError as error:
                    bad.add(BadLine(str(path), number, str(error)))
                    continue
                time = record.time
                if time is None or (begins is not None and time < begins) or (ends is not None and time >= ends):
                    continue
                if record.event == "request.settled":
                    _take(reading, record, time)
                elif record.event == "usage.corrected":
                    _correct(reading, record)
                elif record.event == "reply.cached":
                    reading.cached += 1
    return reading.history(begins, ends, bad)


def _take(reading: _Reading, record: EventRecord, time: float) -> None:
    # An event file names no attempt: what follows a failed one of the same run reads no less.
    call = PastCall(time, 1, record.model or "", _usage_of(record), record.cost)
    reading.add(record.thread_id or "", record.run_id or record.thread_id or "", call, None)


def _correct(reading: _Reading, record: EventRecord) -> None:
    run = reading.runs.get(record.thread_id or "", {}).get(record.run_id or "")
    for call in reversed(run.calls if run is not None else []):
        before = record.before_input_tokens, record.before_output_tokens
        if (call.usage.input_tokens, call.usage.output_tokens) == before:
            call.usage, call.cost = _usage_of(record), record.cost
            return


def _usage_of(record: EventRecord) -> Usage:
    return Usage(
        record.input_tokens or 0,
        record.cached_tokens,
        record.cache_write_tokens,
        record.output_tokens or 0,
        record.reasoning_tokens,
        record.estimated_tokens,
        1,
    )
