"""The kill test over one database: it hands turns to workers, kills them at random instants, and judges."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from assistantguard import AssistantGuard
from assistantguard.ledger import Ledger
from benchmarks._kill_worker import LEASE_SECONDS, MOST_OUTPUT, Done, Setting, Task, guard_options, work
from benchmarks._postgres import PostgresServer
from benchmarks._soak_guards import assistant, blocking_client
from benchmarks._soak_model import Held, Plan, message_of, read_reply
from benchmarks._soak_sandbox import SandboxProcess

__all__ = ["MUST_BE_ZERO", "KillTest"]

MUST_BE_ZERO = ("turns_lost", "turns_doubled", "threads_unusable", "holds_open", "books_below", "replies_wrong")
_WORKERS = 4
_THREADS = 24
_BETWEEN_KILLS = (0.05, 0.8)
"""Seconds."""
_RESTARTS = 5
"""Of the database's server, over the whole test."""
_SERVER_AWAY = 20.0
"""Seconds after a restart in which a worker may die since it could not open the database."""
_PATIENCE = 60.0
"""Seconds without any news after which something hangs."""
_TRIES = 5
"""How often a turn is asked for while nothing is killed any more."""


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    line: Connection
    tasks: dict[str, Task] = field(default_factory=dict)
    """Under way, by mark."""
    heard: bool = False
    """Whether it ever said anything."""


@dataclass(slots=True, eq=False)
class _Thread:
    """A conversation."""

    name: str
    waiting: deque[Task] = field(default_factory=deque)
    busy: bool = False
    turns: int = 0
    tries: Counter[str] = field(default_factory=Counter)
    done: dict[str, str] = field(default_factory=dict)
    """Replies, by mark."""


class KillTest:
    """One run over one database, with guards.

    Args:
        database: Its URL.
        server: The server, where it may be restarted.
        kills: How many processes to kill.
        seed: Of everything that is random.
        completes: Whether the sandbox completes an answer whose client is gone.
        lease_seconds: After how long the work of a killed process is taken over. A process that is held up for longer
            counts as killed, so it must be more where the machine is busy.
    """

    def __init__(
        self,
        database: str,
        server: PostgresServer | None,
        kills: int,
        seed: int,
        *,
        completes: bool,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._server = server
        self._kills_left = kills
        self._seed = seed
        self._dice = random.Random(f"{seed} kill")
        self._sandbox = SandboxProcess(seed, 0.0, "complete" if completes else "stop")
        self._setting = Setting(self._sandbox.base_url, database, lease_seconds)
        self._patience = max(_PATIENCE, 20 * lease_seconds)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([self._work.__module__])
        self._workers: list[_Worker] = []
        self._threads: list[_Thread] = []
        self._restarted_at = -_SERVER_AWAY
        self._counts: Counter[str] = Counter()
        self._details: list[str] = []

    @property
    def _work(self) -> Callable[..., None]:
        """What a worker does."""
        return work

    def _names(self) -> list[str]:
        """The threads to talk on."""
        return [f"thread_{self._seed}_{number}" for number in range(_THREADS)]

    def run(self) -> dict[str, Any]:
        """Do everything, and return the figures."""
        self._threads = [_Thread(name) for name in self._names()]
        began = time.monotonic()
        kills, restarts = self._kills_left, 0 if self._server is None else _RESTARTS
        try:
            for _ in range(_WORKERS):
                self._hire()
            kill_at = time.monotonic() + 1.0
            while self._kills_left:
                self._hand_out(more=True)
                self._listen(max(0.0, kill_at - time.monotonic()))
                if time.monotonic() >= kill_at:
                    self._kill()
                    kill_at = time.monotonic() + self._dice.uniform(*_BETWEEN_KILLS)
                    if restarts and self._kills_left <= kills * restarts // (_RESTARTS + 1):
                        restarts -= 1
                        self._restart_server()
            self._finish()
            for thread in self._threads:
                self._add_turn(thread)
            self._finish()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.line.close()
        try:
            return self._judge(time.monotonic() - began)
        finally:
            self._sandbox.close()

    def _hire(self) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=self._work,
            args=(theirs, self._setting),
            kwargs={"asynchronous": self._dice.random() < 0.5, "background": self._dice.random() < 0.3},
            daemon=True,
        )
        process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))

    def _kill(self) -> None:
        busy = [worker for worker in self._workers if worker.tasks]
        if not busy:
            return
        worker = self._dice.choice(busy)
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        self._kills_left -= 1
        self._counts["kills"] += 1
        self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        """What a dead worker had said counts; what it was about is asked of another one."""
        self._hear(worker)
        self._workers.remove(worker)
        worker.line.close()
        for task in worker.tasks.values():
            self._again(task)
        self._hire()

    def _restart_server(self) -> None:
        assert self._server is not None
        self._server.restart(self._dice.choice(("fast", "immediate")))
        self._counts["server_restarts"] += 1
        self._restarted_at = time.monotonic()

    def _again(self, task: Task) -> None:
        thread = self._thread(task)
        thread.busy = False
        thread.waiting.appendleft(task)

    def _thread(self, task: Task) -> _Thread:
        return next(thread for thread in self._threads if thread.name == task.thread)

    def _add_turn(self, thread: _Thread) -> None:
        thread.turns += 1
        mark = f"{self._threads.index(thread) + 1}.{thread.turns}"
        text = message_of(mark, Plan.draw(self._dice))
        thread.waiting.append(self._task(thread.name, mark, text))

    def _task(self, thread: str, mark: str, text: str) -> Task:
        return Task(thread, mark, text, streamed=self._dice.random() < 0.5)

    def _hand_out(self, *, more: bool) -> None:
        for thread in self._threads:
            if more and not thread.waiting and not thread.busy:
                self._add_turn(thread)
            if thread.waiting and not thread.busy:
                task = thread.waiting.popleft()
                others = [one for one in self._workers if one.process.pid != task.begun_by]
                worker = min(others, key=lambda one: (len(one.tasks), self._dice.random()))
                try:
                    worker.line.send(task)
                except OSError:
                    thread.waiting.appendleft(task)
                    continue
                thread.busy = True
                worker.tasks[task.mark] = task

    def _listen(self, seconds: float) -> None:
        lines = {worker.line: worker for worker in self._workers}
        for line in wait(list(lines), seconds):
            assert isinstance(line, Connection)
            worker = lines[line]
            self._hear(worker)
            if not worker.process.is_alive() and worker in self._workers:
                self._note_death(worker)
                self._dismiss(worker)

    def _note_death(self, worker: _Worker) -> None:
        """A worker died by itself: as it should where it was begun while the database's server was away."""
        if time.monotonic() - self._restarted_at < _SERVER_AWAY and not worker.heard:
            self._counts["workers_begun_without_server"] += 1
            return
        self._details.append(f"a worker died by itself, with exit code {worker.process.exitcode}")
        self._counts["threads_unusable"] += 1

    def _hear(self, worker: _Worker) -> None:
        while True:
            try:
                if not worker.line.poll():
                    return
                done = worker.line.recv()
            except (EOFError, OSError):
                return
            assert isinstance(done, Done)
            worker.heard = True
            self._take(worker, done)

    def _take(self, worker: _Worker, done: Done) -> None:
        worker.tasks.pop(done.task.mark, None)
        thread = self._thread(done.task)
        if done.begun:
            self._counts["runs_handed_over"] += 1
            self._again(replace(done.task, hands_over=False, begun_by=worker.process.pid))
            return
        if done.text is None:
            self._counts["turns_failed"] += 1
            thread.tries[done.task.mark] += 1
            self._again(done.task)
            if not self._kills_left:
                self._details.append(f"{thread.name} {done.task.mark}: {done.error}")
            return
        thread.busy = False
        thread.done[done.task.mark] = done.text
        self._counts["turns"] += 1

    def _finish(self) -> None:
        """Go on without kills until nothing waits any more."""
        for thread in self._threads:
            thread.tries.clear()
        heard = time.monotonic()
        finished = -1
        while any(thread.waiting or thread.busy for thread in self._threads):
            self._hand_out(more=False)
            self._listen(0.5)
            if self._counts["turns"] != finished:
                finished, heard = self._counts["turns"], time.monotonic()
            for thread in self._threads:
                if thread.waiting and thread.tries[thread.waiting[0].mark] >= _TRIES:
                    self._counts["threads_unusable"] += 1
                    thread.waiting.clear()
            if time.monotonic() - heard > self._patience:
                stuck = [task.mark for worker in self._workers for task in worker.tasks.values()]
                self._details.append(f"nothing happened for {self._patience:g} s; under way: {stuck}")
                self._counts["threads_unusable"] += sum(thread.busy for thread in self._threads)
                return

    def _look(self) -> tuple[dict[str, str | None], dict[str, int]]:
        """Where the threads are at the server, and what the books say, held against the bill."""
        with blocking_client(self._sandbox.base_url) as client:
            guard = AssistantGuard(client, assistant(max_output_tokens=MOST_OUTPUT), **guard_options(self._setting))
            self._counts["recovered_at_the_end"] = guard.recover()
            places = {thread.name: guard.thread(thread.name).state.generation_id for thread in self._threads}
            booked = self._hold_books_against(self._sandbox.bill(), guard.ledger)
            guard.close()
        return places, booked

    def _judge(self, seconds: float) -> dict[str, Any]:
        places, booked = self._look()
        bill = self._sandbox.bill()
        held = self._sandbox.held([place for place in places.values() if place is not None])
        for thread in self._threads:
            place = places[thread.name]
            self._judge_thread(thread, place, None if place is None else held[place])
        counts = self._counts
        figures = {
            "kills": counts["kills"],
            "server_restarts": counts["server_restarts"],
            "workers_begun_without_server": counts["workers_begun_without_server"],
            "turns": counts["turns"],
            "turns_lost": counts["turns_lost"],
            "turns_doubled": counts["turns_doubled"],
            "replies_wrong": counts["replies_wrong"],
            "tokens_billed": sum(call.input_tokens + call.output_tokens for call in bill if call.billed),
            **booked,
            "books_below": counts["books_below"],
            "threads_unusable": counts["threads_unusable"],
            "holds_open": counts["holds_open"],
            "turns_failed_and_asked_again": counts["turns_failed"],
            "recovered_at_the_end": counts["recovered_at_the_end"],
            "runs_handed_over": counts["runs_handed_over"],
            "seconds": round(seconds, 1),
            "details": self._details[:20],
        }
        figures["wrong"] = [name for name in MUST_BE_ZERO if figures[name]]
        return figures

    def _judge_thread(self, thread: _Thread, place: str | None, here: Held | None) -> None:
        for mark, text in thread.done.items():
            said = read_reply(text)
            if said is None or said.mark != mark:
                self._wrong("replies_wrong", f"{thread.name} {mark}: {text[:80]!r}")
            asked, answered = (0, 0) if here is None else (here.asked.get(mark, 0), here.answered.get(mark, 0))
            if not asked or not answered:
                self._wrong("turns_lost", f"{thread.name} {mark}: asked {asked}, answered {answered}, in {place}")
            elif asked > 1 or answered > 1:
                self._wrong("turns_doubled", f"{thread.name} {mark}: asked {asked}, answered {answered}, in {place}")
        if here is not None and here.open_calls:
            self._wrong("threads_unusable", f"{thread.name} has {here.open_calls} calls without an output")

    def _hold_books_against(self, bill: list[Any], ledger: Ledger) -> dict[str, int]:
        """Every billed call is on the books: exactly, or by an estimate that is not below it."""
        self._counts["holds_open"] = len(ledger.open_holds())
        entries = ledger.entries()
        by_response = {entry.response_id: entry for entry in entries if entry.response_id is not None}
        nameless = sorted(
            (entry.usage.total_tokens for entry in entries if entry.response_id not in {c.response_id for c in bill}),
            reverse=True,
        )
        unmatched: list[int] = []
        for call in bill:
            tokens = call.input_tokens + call.output_tokens
            entry = by_response.get(call.response_id)
            if not call.billed:
                continue
            if entry is None:
                unmatched.append(tokens)
            elif entry.usage.total_tokens < tokens or (
                entry.usage.total_tokens != tokens and not entry.usage.estimated
            ):
                self._wrong("books_below", f"{call.response_id}: billed {tokens}, booked {entry.usage}")
        for tokens, estimate in zip(sorted(unmatched, reverse=True), nameless, strict=False):
            if estimate < tokens:
                self._wrong("books_below", f"a call of {tokens} tokens has an estimate of {estimate}")
        if len(unmatched) > len(nameless):
            missing = len(unmatched) - len(nameless)
            self._wrong("books_below", f"{missing} billed calls are not on the books", missing)
        return {
            "tokens_booked": sum(entry.usage.total_tokens for entry in entries),
            "tokens_estimated": sum(entry.usage.estimated_tokens for entry in entries),
        }

    def _wrong(self, what: str, detail: str, count: int = 1) -> None:
        self._counts[what] += count
        self._details.append(f"{what}: {detail}")
