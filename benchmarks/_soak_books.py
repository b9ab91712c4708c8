"""The soak's books: a ledger that watches its caps, a journal of what was booked, and the audit against the bill."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from assistantguard import MemoryLedger
from assistantguard.events import BudgetRefusedEvent, Event, RequestSettled, ThreadRotated, UsageCorrected
from assistantguard.ledger import Claim, Entry, Hold
from benchmarks._soak_sandbox import Call

__all__ = ["Audit", "Journal", "Move", "WatchedLedger", "audit"]

_KEPT_ENTRIES = 1_000
_KEPT_DETAILS = 20


class WatchedLedger(MemoryLedger):
    """Looks after each operation whether what is committed and held has passed a cap."""

    def __init__(self) -> None:
        super().__init__(keep_entries=_KEPT_ENTRIES)
        self._capped: dict[str, tuple[Claim, ...]] = {}
        self._sessions: set[str] = set()
        self.caps_exceeded = 0
        self.details: list[str] = []
        """The first few."""
        self.holds_expired = 0
        self.tokens_expired = 0
        """Tokens committed by holds that expired."""

    @property
    def tokens_booked(self) -> int:
        """Tokens committed by all sessions."""
        return sum(int(self.balance(account, "tokens").committed) for account in self._sessions)

    def reserve(self, hold_id: str, claims: Sequence[Claim], expires_at: float) -> Hold:
        """See `Ledger.reserve`."""
        hold = super().reserve(hold_id, claims, expires_at)
        self._sessions.update(claim.account for claim in claims if claim.account.startswith("session:"))
        self._capped[hold_id] = tuple(claim for claim in claims if claim.limit is not None)
        self._check(hold_id, "reserve")
        return hold

    def commit(self, hold_id: str, entry: Entry) -> None:
        """See `Ledger.commit`."""
        super().commit(hold_id, entry)
        self._check(hold_id, "commit")
        self._forget(hold_id, estimated=entry.usage.estimated)

    def correct(self, hold_id: str, entry: Entry) -> bool:
        """See `Ledger.correct`."""
        done = super().correct(hold_id, entry)
        self._check(hold_id, "correct")
        self._forget(hold_id, estimated=entry.usage.estimated)
        return done

    def release(self, hold_id: str) -> None:
        """See `Ledger.release`."""
        super().release(hold_id)
        self._check(hold_id, "release")
        self._forget(hold_id, estimated=False)

    def expire(self, now: float) -> Sequence[Hold]:
        """See `Ledger.expire`."""
        expired = super().expire(now)
        for hold in expired:
            self._check(hold.id, "expire")
            self.holds_expired += 1
            self.tokens_expired += sum(
                int(claim.amount)
                for claim in hold.claims
                if claim.metric == "tokens" and claim.account.startswith("session:")
            )
        return expired

    def expire_all(self) -> None:
        """End every hold whose owner never came back."""
        self.expire(math.inf)

    def _check(self, hold_id: str, verb: str) -> None:
        for claim in self._capped.get(hold_id, ()):
            balance = self.balance(claim.account, claim.metric)
            assert claim.limit is not None
            if balance.committed + balance.held > claim.limit:
                self.caps_exceeded += 1
                if len(self.details) < _KEPT_DETAILS:
                    self.details.append(
                        f"{verb} of {hold_id}: {claim.account} has {balance.committed} committed and {balance.held}"
                        f" held {claim.metric}, the cap is {claim.limit}"
                    )

    def _forget(self, hold_id: str, *, estimated: bool) -> None:
        if not estimated:
            self._capped.pop(hold_id, None)
        while len(self._capped) > 10 * _KEPT_ENTRIES:
            self._capped.pop(next(iter(self._capped)))


@dataclass(frozen=True, slots=True)
class Move:
    """A thread left a generation."""

    from_id: str | None
    to_id: str
    turns: int
    old: str
    """What became of the old generation."""
    reason: str = ""


class Journal:
    """A sink that writes what was booked to a file, so that the soak itself keeps nothing, and counts events.

    A thread does the writing, since an event loop must not.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[list[Any] | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="soak-journal", daemon=True)
        self._writer.start()
        self._lock = threading.Lock()
        self._moves: dict[str, list[Move]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.tokens_estimated = 0
        """Tokens on the books that the server has not reported."""
        self.refused: Counter[str] = Counter()
        """Requests that a cap did not allow: by kind and account."""

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            self.events[event.name] += 1
            if isinstance(event, RequestSettled):
                usage = event.usage
                self.tokens_estimated += usage.estimated_tokens
                row = [event.thread_id, event.response_id, usage.input_tokens, usage.output_tokens, usage.estimated]
                self._queue.put(["settled", *row])
            elif isinstance(event, UsageCorrected):
                usage, before = event.usage, event.before
                self.tokens_estimated += usage.estimated_tokens - before.estimated_tokens
                row = [event.thread_id, event.response_id, usage.input_tokens, usage.output_tokens, usage.estimated]
                self._queue.put(["corrected", *row, before.total_tokens])
            elif isinstance(event, ThreadRotated):
                if event.policy == "healing":
                    self.events[f"rotated: {event.reason}"] += 1
                move = Move(event.from_generation_id, event.to_generation_id, event.turns, event.old, event.reason)
                self._moves[event.thread_id].append(move)
                self._queue.put(["thread", event.thread_id, event.from_generation_id, event.to_generation_id])
            elif isinstance(event, BudgetRefusedEvent):
                self.refused[f"{event.kind} {event.account.partition(':')[0]}"] += 1

    def note_thread(self, thread_id: str, generation_id: str | None) -> None:
        """Note which conversation a thread is in."""
        with self._lock:
            self._queue.put(["thread", thread_id, generation_id])

    def take_moves(self, thread_id: str) -> list[Move]:
        """The rotations of a thread since they were last asked for."""
        with self._lock:
            return self._moves.pop(thread_id, [])

    def rows(self) -> Iterator[list[Any]]:
        """All that was written. Nothing may be noted any more."""
        self._queue.put(None)
        self._writer.join()
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)

    def _write_all(self) -> None:
        with self._path.open("w", encoding="utf-8") as file:
            while (row := self._queue.get()) is not None:
                file.write(json.dumps(row) + "\n")


@dataclass(slots=True)
class Audit:
    """The books against the bill."""

    tokens_billed: int = 0
    calls_billed: int = 0
    calls_exact: int = 0
    """Calls that stand on the books exactly as billed, by their id."""
    calls_wrong: int = 0
    """Calls that stand on the books as if they were exact, and are not."""
    calls_twice: int = 0
    """Calls that stand on the books twice."""
    calls_unknown: int = 0
    """Exact rows on the books for calls that the bill does not have."""
    tokens_missing: int = 0
    """Tokens that were billed to a thread beyond what its estimates cover."""
    details: list[str] = field(default_factory=list)
    """The first few of what is wrong."""

    @property
    def wrong(self) -> int:
        """How much is wrong."""
        return self.calls_wrong + self.calls_twice + self.calls_unknown + self.tokens_missing

    def say(self, text: str) -> None:
        """Keep a detail."""
        if len(self.details) < _KEPT_DETAILS:
            self.details.append(text)


def audit(rows: Iterable[Sequence[Any]], bill: Iterable[Call], tokens_expired: int) -> Audit:
    """Hold the books against the bill, call by call, and where the books have no id for a call, thread by thread.

    Summaries belong to no conversation; those without an id must be covered by what all threads have to spare.

    Args:
        rows: Of the journal.
        bill: The calls that the guards made.
        tokens_expired: Tokens committed by holds that expired: no event tells whose they were.
    """
    found = Audit()
    exact: dict[str, tuple[int, int]] = {}
    estimated: Counter[str | None] = Counter()
    home: dict[str | None, str] = {}
    for kind, thread_id, *row in rows:
        if kind == "thread":
            home.update((conversation, thread_id) for conversation in row if conversation is not None)
            continue
        response_id, read, written, is_estimate = row[:4]
        if kind == "corrected":
            estimated[thread_id] -= row[4]
        if is_estimate:
            estimated[thread_id] += read + written
        elif response_id is not None and read + written:
            if response_id in exact:
                found.calls_twice += 1
                found.say(f"{response_id} stands on the books twice")
            exact[response_id] = (read, written)
    uncovered: Counter[str | None] = Counter()
    doubtful: dict[str | None, list[str]] = defaultdict(list)
    alone = 0
    for call in bill:
        if not call.billed:
            exact.pop(call.response_id, None)
            continue
        found.calls_billed += 1
        found.tokens_billed += call.input_tokens + call.output_tokens
        booked = exact.pop(call.response_id, None)
        if booked is None and call.conversation_id is None:
            alone += call.input_tokens + call.output_tokens
        elif booked is None:
            thread_id = home.get(call.conversation_id)
            uncovered[thread_id] += call.input_tokens + call.output_tokens
            doubtful[thread_id].append(f"{call.response_id} {call.status} {call.input_tokens}+{call.output_tokens}")
        elif booked == (call.input_tokens, call.output_tokens):
            found.calls_exact += 1
        else:
            found.calls_wrong += 1
            found.say(
                f"{call.response_id} was billed {call.input_tokens} and {call.output_tokens} tokens, booked {booked}"
            )
    found.calls_unknown = len(exact)
    for response_id in exact:
        found.say(f"{response_id} stands on the books and not on the bill")
    for thread_id, tokens in uncovered.items():
        missing = tokens - estimated[thread_id]
        if missing > 0:
            found.tokens_missing += missing
            found.say(
                f"{thread_id} was billed {missing} tokens that its estimates of {estimated[thread_id]} do not cover,"
                f" among {doubtful[thread_id]}"
            )
    spare = sum(max(0, tokens - uncovered[thread_id]) for thread_id, tokens in estimated.items())
    if alone > spare:
        found.tokens_missing += alone - spare
        found.say(f"{alone - spare} tokens were billed outside conversations that no estimate covers")
    found.tokens_missing = max(0, found.tokens_missing - tokens_expired)
    return found
