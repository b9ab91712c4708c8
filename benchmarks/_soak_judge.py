"""The soak's judge: what happened is counted, and each conversation is held against what must stand in it."""

from __future__ import annotations

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from assistantguard import Reply, ToolCall
from benchmarks._soak_books import Move
from benchmarks._soak_model import Held, read_reply

__all__ = ["Record", "Suspicion", "Tally", "ToolCounter"]

_KEPT_DETAILS = 40
_KEPT_CALLS = 2_000
_CARRIED_TURNS = 2
"""How many of the last turns a rotation carries word for word."""


class Tally:
    """Counters that any thread may add to, and the first few things that went wrong."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        """What turns ended in, by the class of the error."""
        self.details: list[str] = []

    def add(self, name: str, amount: int = 1) -> None:
        """Count."""
        with self._lock:
            self.counts[name] += amount

    def ended_in(self, error: BaseException, *, hurried: bool) -> None:
        """Count an error that ended a turn, apart where the turn was given too little time."""
        with self._lock:
            self.errors[type(error).__name__ + (", with little time" if hurried else "")] += 1

    def wrong(self, name: str, detail: str, amount: int = 1) -> None:
        """Count what must not be."""
        with self._lock:
            self.counts[name] += amount
        self.tell(f"{name}: {detail}")

    def tell(self, detail: str) -> None:
        """Keep a detail, and tell it at once; only the first few."""
        with self._lock:
            if len(self.details) < _KEPT_DETAILS:
                self.details.append(detail)
                print(detail, file=sys.stderr, flush=True)


class ToolCounter:
    """Counts how often each tool call is executed."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def note(self, call: ToolCall) -> None:
        """A call is about to be executed."""
        self._tally.add("tool_calls")
        arguments = call.arguments or {}
        place = f"{arguments.get('mark')}/{arguments.get('step')}/{arguments.get('number')}"
        for key in (call.id, place):
            with self._lock:
                twice = key in self._seen
                self._seen[key] = None
                while len(self._seen) > _KEPT_CALLS:
                    self._seen.popitem(last=False)
            if twice:
                self._tally.wrong("tools_doubled", f"{key} ({call.id}) was executed twice")


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Turns that are missing, unless someone else deleted one of these conversations."""

    turns: int
    conversations: tuple[str, ...]
    detail: str


class Record:
    """What must stand in one conversation.

    Args:
        name: The conversation's number.
        tally: Where what is wrong is counted.
    """

    def __init__(self, name: int, tally: Tally) -> None:
        self.name = name
        self._tally = tally
        self._numbers = 0
        self._conversation: str | None = None
        self._standing: dict[str, bool] = {}
        """Whether each message since the generation began was answered; in the order in which they were sent."""
        self._open: set[str] = set()
        self._doubled: set[str] = set()
        self._moves: list[Move] = []
        """Rotations since the last whole reply."""
        self._suspicions: list[Suspicion] = []

    def next_mark(self) -> str:
        """The mark of a message that is about to be sent."""
        self._numbers += 1
        mark = f"{self.name}.{self._numbers}"
        self.sent(mark)
        return mark

    def sent(self, mark: str) -> None:
        """A message is about to be sent."""
        self._tally.add("turns")
        self._standing[mark] = False
        self._open.add(mark)

    def failed(self, mark: str) -> None:
        """A message was not answered: it may stand once, or not."""
        self._open.discard(mark)

    def answered(self, mark: str, reply: Reply, moves: Sequence[Move]) -> None:
        """Hold a reply against what the conversation must hold.

        Args:
            mark: Of the message.
            reply: The guard's reply.
            moves: The thread's rotations since the last reply.
        """
        self._open.discard(mark)
        self._moves += moves
        self._tally.add("answered")
        seen = read_reply(reply.text)
        if not reply.complete or seen is None or seen.mark != mark:
            if reply.complete:
                self._tally.wrong("answers_wrong", f"[{mark}] was answered with {reply.text[:120]!r}")
            else:
                self._tally.add("incomplete")
            self._standing[mark] = True
            return
        for name, count in seen.asked.items():
            if count > 1:
                self._note_doubled(name, f"the model saw [{name}] {count} times in {seen.conversation}")
        if self._moves or seen.conversation != self._conversation:
            self._check_carried(mark, set(seen.asked) | seen.noted)
        else:
            lost = [name for name, done in self._standing.items() if done and name not in seen.asked]
            if lost:
                self._suspect(len(lost), [seen.conversation], f"{lost} are not in {seen.conversation}, at [{mark}]")
        states = {name: self._standing.get(name, False) for name in seen.asked}
        self._standing = {**states, **{name: self._standing.get(name, False) for name in self._open}, mark: True}
        self._conversation, self._moves = seen.conversation, []

    def hold_against(self, held: Held | None, conversation: str) -> bool:
        """Hold what a conversation holds, at a time when nothing is in flight, against what it must hold.

        Returns:
            Whether something stands in it that must not.
        """
        doubled = len(self._doubled)
        if held is None:
            self._suspect(sum(self._standing.values()), [conversation], f"{conversation} is gone")
            return False
        for counts, what in ((held.asked, "stands"), (held.answered, "is answered")):
            for name, count in counts.items():
                if count > 1:
                    self._note_doubled(name, f"[{name}] {what} {count} times in {conversation}")
        if conversation == self._conversation:
            lost = [name for name, done in self._standing.items() if done and not held.asked.get(name)]
            if lost:
                self._suspect(len(lost), [conversation], f"{lost} do not stand in {conversation}")
        if held.open_calls:
            self._tally.wrong("calls_open", f"{conversation} has {held.open_calls} calls without an output")
        return bool(held.open_calls) or len(self._doubled) > doubled

    def begin_anew(self) -> None:
        """The conversation was lost by someone else's doing; the next one begins with nothing."""
        self._standing.clear()
        self._moves.clear()
        self._conversation = None

    def taken_up(self, conversation: str, standing: Iterable[tuple[str, bool]]) -> None:
        """The conversation of a process that died is taken up, with what was sent and whether it was answered."""
        self._conversation = conversation
        self._standing = dict(standing)
        self._numbers = max((int(mark.rpartition(".")[2]) for mark in self._standing), default=0)

    def suspect(self, suspicions: Iterable[Suspicion]) -> None:
        """Have more looked at."""
        self._suspicions += suspicions

    def take_suspicions(self) -> list[Suspicion]:
        """What must be looked at."""
        taken, self._suspicions = self._suspicions, []
        return taken

    def _check_carried(self, mark: str, carried: set[str]) -> None:
        """What a rotation must carry, at the first reply after it."""
        before = [name for name in self._standing if name != mark and name not in self._open]
        answered = [name for name in before if self._standing[name]]
        for move in self._moves:
            if move.old == "gone" and move.from_id is not None:
                self._suspect(len(answered), [move.from_id], f"{move}, at [{mark}]")
                return
        if answered and answered[-1] not in carried and before.index(answered[-1]) >= len(before) - _CARRIED_TURNS:
            sources = [move.from_id for move in self._moves if move.from_id is not None]
            if self._conversation is not None:
                sources.append(self._conversation)
            self._suspect(1, sources, f"[{answered[-1]}] was not carried over, at [{mark}]: {self._moves}")

    def _note_doubled(self, name: str, detail: str) -> None:
        if name not in self._doubled:
            self._doubled.add(name)
            self._tally.wrong("turns_doubled", detail)

    def _suspect(self, turns: int, conversations: Sequence[str], detail: str) -> None:
        if turns:
            self._suspicions.append(Suspicion(turns, tuple(conversations), detail))
