"""From a file of telemetry events to the history of its threads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assistantguard.advice.calibration import calibrate, guess_fixed
from assistantguard.advice.history import History, LimitState, ModelCall, StoreState, ThreadHistory, Turn
from assistantguard.reports.lines import BadLine, BadLines, numbered_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["EventReader", "read_events"]

LONGEST_LINE = 1 << 20
"""Bytes. Events carry no content, so a longer line is no event."""
_IDLE_SECONDS = 86_400.0
"""A vector store that nobody used for so long before the end is taken to be unused."""

Count = Annotated[int, Field(ge=0)]
Money = Annotated[Decimal, Field(ge=0)]


class _Record(BaseModel):
    """The fields of all events that advice needs. What an event does not carry is None."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    event: Annotated[str, Field(min_length=1)]
    time: float = 0.0
    thread_id: str = ""
    run_id: str | None = None
    model: str = ""
    purpose: str = "run"
    attempt: int = 1
    status: str = ""
    response_id: str | None = None
    service_tier: str | None = None
    input_tokens: Count = 0
    cached_tokens: Count = 0
    cache_write_tokens: Count = 0
    output_tokens: Count = 0
    reasoning_tokens: Count = 0
    estimated_tokens: Count = 0
    estimated_input_tokens: Count = 0
    cost: Money | None = None
    steps: Count = 0
    context_tokens: Count | None = None
    fixed_tokens: Count | None = None
    generation_turns: Count = 0
    carried_tokens: Count | None = None
    policy: str = ""
    account: str | None = None
    budget: str | None = None
    metric: str | None = None
    kind: str | None = None
    limit: Money | None = None
    committed: Money | None = None
    user: str | None = None
    vector_store_id: str | None = None
    usage_bytes: Count | None = None


@dataclass(slots=True)
class _Told:
    """What events tell of a turn, until its thread is known to its end."""

    turn: Turn
    context: int | None = None
    """What stood in the context before it."""
    begins_generation: bool = False
    """Whether that is without instructions and tools."""
    carried: int | None = None
    after: int | None = None
    """What stood in the context after it."""
    requests: int = -1
    """Requests so far, less one."""


@dataclass(slots=True)
class _Thread:
    history: ThreadHistory
    told: list[_Told] = field(default_factory=list)
    by_run: dict[str, _Told] = field(default_factory=dict)
    """Of runs that have not ended."""
    leaves_topic: bool = False
    """Whether the next turn does."""
    rotated: int | None = None
    """What a rotation carried that no turn was seen to follow yet."""
    fixed: Counter[int] = field(default_factory=Counter)
    open_usage: dict[str, ModelCall] = field(default_factory=dict)
    """Calls whose usage may be told late, by response."""
    last_time: float = 0.0


@dataclass(slots=True)
class _Store:
    size_bytes: int | None
    threads: set[str]
    last_use: float


class EventReader:
    """Adds up events to a `History`: `read` any number of streams, then `history`."""

    def __init__(self) -> None:
        self.events = 0
        self.bad = BadLines()
        """Lines that were skipped."""
        self._threads: dict[str, _Thread] = {}
        self._stores: dict[str, _Store] = {}
        self._limits: dict[tuple[str, str, str], LimitState] = {}
        self._refusals: Counter[tuple[str, str, str]] = Counter()
        self._first: float | None = None
        self._last: float | None = None
        self._topics_judged = False

    def read(self, name: str, stream: BinaryIO) -> None:
        """Add the events of a stream that is open for reading bytes; bad lines are named after `name`."""
        for number, line in numbered_lines(stream, name, self.bad, longest=LONGEST_LINE):
            try:
                record = _Record.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False, include_context=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                self.bad.add(BadLine(name, number, f"{where}: {first['msg']}" if where else first["msg"]))
            else:
                self.add(record)

    def add(self, record: _Record) -> None:
        """Add one event."""
        self.events += 1
        self._first = record.time if self._first is None else min(self._first, record.time)
        self._last = record.time if self._last is None else max(self._last, record.time)
        match record.event:
            case "turn.started" | "run.started" | "request.settled" | "run.settled" | "run.cancelled":
                self._add_to_thread(record)
            case "thread.rotated":
                self._add_rotation(record)
            case "thread.suggested":
                self._topics_judged = True
                self._thread(record).leaves_topic = True
            case "usage.corrected":
                self._correct(record)
            case "vector_store.created" | "vector_store.reused" | "vector_store.deleted":
                self._add_store(record)
            case "budget.warned" | "budget.refused":
                self._add_limit(record)
            case _:
                pass

    def history(self) -> History:
        """What the events tell, so far."""
        history = History("events", first_time=self._first, last_time=self._last, topics_judged=self._topics_judged)
        guesses = _guesses(self._threads.values())
        for thread in self._threads.values():
            _finish(thread, guesses)
            if thread.history.turns:
                history.threads.append(thread.history)
        calibrate(history)
        history.unused_stores = self._unused_stores()
        for key, state in self._limits.items():
            history.limits.append(
                LimitState(
                    state.account, state.budget, state.metric, state.limit, state.spent, self._refusals[key], state.user
                )
            )
        return history

    def _thread(self, record: _Record) -> _Thread:
        thread = self._threads.get(record.thread_id)
        if thread is None:
            thread = self._threads[record.thread_id] = _Thread(ThreadHistory(record.thread_id))
        thread.last_time = max(thread.last_time, record.time)
        return thread

    def _add_to_thread(self, record: _Record) -> None:
        thread = self._thread(record)
        if record.event == "turn.started":
            told = _Told(Turn("", record.time), record.context_tokens, record.generation_turns == 0)
            told.turn.leaves_topic, thread.leaves_topic = thread.leaves_topic, False
            thread.told.append(told)
            return
        if record.run_id is None:
            return
        told = thread.by_run.get(record.run_id) or self._new_run(thread, record)
        if record.event == "request.settled":
            self._add_call(thread, told, record)
        elif record.event == "run.cancelled":
            told.turn.stopped |= record.policy == "ToolStepCeiling"
        elif record.event == "run.settled":
            told.turn.steps = record.steps
            told.after = record.context_tokens
            if record.fixed_tokens is not None:
                thread.fixed[record.fixed_tokens] += 1
            del thread.by_run[record.run_id]

    def _new_run(self, thread: _Thread, record: _Record) -> _Told:
        assert record.run_id is not None
        if not thread.told or thread.told[-1].turn.run_id:
            thread.told.append(_Told(Turn("", record.time)))
        told = thread.by_run[record.run_id] = thread.told[-1]
        told.turn.run_id = record.run_id
        return told

    def _add_call(self, thread: _Thread, told: _Told, record: _Record) -> None:
        call = _call_of(record)
        if record.purpose != "run":
            told.turn.summaries.append(call)
            return
        told.requests += record.attempt <= 1 or told.requests < 0
        call.request = told.requests
        if not call.input_tokens and not call.output_tokens:
            return
        if thread.rotated is not None:
            told.turn.rotated, told.carried, thread.rotated = True, thread.rotated, None
        told.turn.calls.append(call)
        if record.response_id and (call.is_estimate or record.status == "cancelled"):
            thread.open_usage[record.response_id] = call

    def _add_rotation(self, record: _Record) -> None:
        self._thread(record).rotated = record.carried_tokens or 0

    def _correct(self, record: _Record) -> None:
        call = self._thread(record).open_usage.pop(record.response_id or "", None)
        if call is not None:
            _set_usage(call, record)

    def _add_store(self, record: _Record) -> None:
        name = record.vector_store_id or ""
        if record.event == "vector_store.deleted":
            self._stores.pop(name, None)
            return
        store = self._stores.setdefault(name, _Store(None, set(), record.time))
        store.threads.add(record.thread_id)
        store.last_use = max(store.last_use, record.time)
        if record.usage_bytes is not None:
            store.size_bytes = record.usage_bytes

    def _unused_stores(self) -> list[StoreState]:
        unused = []
        for name, store in self._stores.items():
            times = (self._threads[each].last_time for each in store.threads if each in self._threads)
            last_use = max((store.last_use, *times))
            if self._last is not None and self._last - last_use >= _IDLE_SECONDS:
                unused.append(StoreState(name, store.size_bytes, last_use))
        return unused

    def _add_limit(self, record: _Record) -> None:
        budget = record.budget or record.policy
        owner = record.user or (record.account or "").partition("@")[0]
        key = (owner, budget, record.metric or "")
        if record.event == "budget.refused":
            if record.kind != "exceeded" or not (record.account or "").startswith(("user", "tenant", "account", "app")):
                return
            self._refusals[key] += 1
        if record.limit is None or record.committed is None or not record.limit:
            return
        known = self._limits.get(key)
        if known is None or record.committed * known.limit >= known.spent * record.limit:
            self._limits[key] = LimitState(
                record.account or "", budget, record.metric or "", record.limit, record.committed, user=record.user
            )


def _call_of(record: _Record) -> ModelCall:
    call = ModelCall(record.time, record.model, 0, 0, 0, 0, 0, None, record.service_tier)
    _set_usage(call, record)
    if call.is_estimate and record.estimated_input_tokens:
        call.input_tokens = min(call.input_tokens, record.estimated_input_tokens)
    return call


def _set_usage(call: ModelCall, record: _Record) -> None:
    call.input_tokens, call.cached_tokens = record.input_tokens, record.cached_tokens
    call.cache_write_tokens, call.output_tokens = record.cache_write_tokens, record.output_tokens
    call.kept_tokens = max(0, record.output_tokens - record.reasoning_tokens)
    call.cost = record.cost
    call.is_estimate = record.estimated_tokens > 0


def _guesses(threads: Iterable[_Thread]) -> dict[str, int]:
    """Instructions and tools by model, guessed for threads that were not told theirs."""
    firsts: dict[str, list[int]] = {}
    for thread in threads:
        calls = [call for told in thread.told[:1] for call in told.turn.calls[:1]]
        for call in calls:
            firsts.setdefault(call.model, []).append(call.input_tokens)
    return {model: guess_fixed(inputs) for model, inputs in firsts.items()}


def _finish(thread: _Thread, guesses: Mapping[str, int]) -> None:
    """Make turns of what was told."""
    history = thread.history
    history.fixed_known = bool(thread.fixed)
    if thread.fixed:
        history.fixed = thread.fixed.most_common(1)[0][0]
    else:
        first = next((call for told in thread.told for call in told.turn.calls), None)
        history.fixed = 0 if first is None else guesses.get(first.model, 0)
    history.turns = []
    for told in thread.told:
        turn = told.turn
        if not turn.calls and not turn.summaries:
            continue
        if told.carried is not None:
            turn.context = history.fixed + told.carried
        elif told.context is not None:
            turn.context = told.context + (history.fixed if told.begins_generation else 0)
        elif history.turns:
            turn.context = history.turns[-1].context + history.turns[-1].growth
        else:
            turn.context = history.fixed
        if turn.calls:
            last = turn.calls[-1]
            turn.answer_tokens = last.kept_tokens
            after = told.after if told.after is not None else last.input_tokens + last.kept_tokens
            turn.growth = max(0, after - turn.context)
        history.turns.append(turn)


def read_events(*paths: Path) -> History:
    """Read event files, line by line.

    Args:
        *paths: JSON lines, as the telemetry writes them.

    Raises:
        OSError: A file cannot be read.
    """
    reader = EventReader()
    for path in paths:
        with path.open("rb") as stream:
            reader.read(str(path), stream)
    return reader.history()
