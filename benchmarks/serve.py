"""``assistantguard serve`` under load: a thousand clients, slow and stuck readers, broken requests, wrong keys.

::

    python -m benchmarks.serve [--clients 1000] [--seconds 30] [--seed 1] [--json]

A server in a process of its own, on a SQLite ledger and before a sandbox, is used by so many clients at once in other
processes. More than half of them make turns with the official SDK: a thread, a message, a run that is polled or
streamed, and the list of the answers. The others read a byte at a time, take nothing at all, stall in mid-body, leave
in mid-stream, send what is no request, or come without a valid key. There are two halves, each followed by a rest; a
client ends what it has begun, so a half takes as long as its longest turn, besides its share of the seconds.

The figures:

- ``requests`` is the sum of those that were ``answered`` with 2xx, ``refused`` by status, ``closed`` by the server's
  own limits where no answer is due (half a request line, a reader that takes nothing), ``left`` by the client before
  there was an answer, and ``unanswered``, which must be 0. So must ``unexpected``: another status than is due.
- ``turns``, their median and 99th percentile in seconds, and ``turns_failed``: a run that did not complete, or an
  answer that was not the one to the question. Turns that were put off with 503 are counted apart.
- ``without_key`` requests, how many of them were let in, and where their mark was found: at the sandbox, in the
  database. ``victim_changed`` tells whether the thread that they aimed at says something else now.
- ``idle``, ``height`` and ``rest``: open file descriptors, threads, tasks and memory of the server before the load, the
  most under it, and after it. What is left over the idle level must be 0, but for what is there as long as the server:
  the workers of asyncio's pool, and a connection to the database for each of them and for the thread that renews
  leases, which comes and goes. Memory may grow by a tenth, or 16 MiB, from the first rest to the second.
- ``runs_in_flight`` and ``holds_open`` in the database after the end; tokens billed and booked: what
  was booked without knowing (``tokens_estimated``), where a connection to the models failed, is all that may differ.
- ``retries`` of requests to the models, which the server logs, and the lines that it wrote besides, which must be none.
- ``exit_code``, and the seconds that the server took to end while requests hung on it; more than its grace is wrong.

The exit code is 1 where anything is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import openai

from assistantguard.sandbox import Answer, ModelRequest, Sandbox
from benchmarks._serve_clients import kinds_of, run_worker, told
from benchmarks._serve_figures import descriptors_for, figures_of_database, figures_of_requests, figures_of_turns
from benchmarks._serve_line import Line, Scene, request
from benchmarks._serve_process import DATABASE, ServeProcess, Standing
from benchmarks._serve_tally import Tally

__all__ = ["main", "measure"]

_KEY = "sk-Served-By-Ourselves-7"
_UPSTREAM_KEY = "sk-of-the-models"
_MARK = "intruder-5b1c"
_SECRET = "the safe opens with 7-31-19"
_MAX_BODY = 1 << 20
_GRACE = 30
"""Seconds."""
_GROWTH = 1.1
_GROWTH_BYTES = 16 << 20
_REST = 60.0
"""Seconds that the server has to come to rest after a half."""
_UPSTREAM_KEPT = 5.5
"""Seconds after which the server's client lets go of idle connections to the models, at its next request."""
_LOOK_EACH = 1.0
_PER_CONNECTION = 2
"""Descriptors of a connection to the database, besides one that all share: the file, and its log."""
_RENEWING = 1
"""A thread that renews leases: it is there while runs are, and a little longer."""
_LONG = 20
"""Messages of a quarter of a megabyte: more than the system takes in for a reader."""
_WORDS = "Your order was handed to the carrier on Monday and is due on Thursday between nine and twelve. " * 3
_MUST_BE_ZERO = (
    "unanswered",
    "unexpected",
    "turns_failed",
    "without_key_let_in",
    "without_key_at_the_models",
    "without_key_in_the_database",
    "victim_changed",
    "descriptors_left",
    "database_left",
    "threads_left",
    "tasks_left",
    "runs_in_flight",
    "holds_open",
    "tokens_booked_wrong",
    "remarks",
    "exit_code",
)


def answer(asked: ModelRequest) -> Answer:
    """The model: says the word that the newest message asks for."""
    text = json.dumps(asked.items[-1])
    word = text.partition("Say ")[2].partition(" ")[0]
    return Answer(f"{word} {_WORDS}", delay=0.1, pace=0.002)


class _Benchmark:
    """One run. See `measure`."""

    def __init__(
        self,
        stack: contextlib.ExitStack,
        clients: int,
        seconds: float,
        seed: int,
        read_seconds: int,
        write_seconds: int,
    ) -> None:
        self._clients = clients
        self._seconds = seconds
        self._seed = seed
        self._limits = (read_seconds, write_seconds)
        self._stack = stack
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serve")))
        self._database = folder / DATABASE
        self._url = f"sqlite:///{self._database}"
        keys = folder / "keys"
        keys.write_text(f"{_KEY}\n")
        self._sandbox = stack.enter_context(
            Sandbox(answer, model_in_thread=False, api_key=_UPSTREAM_KEY, log_requests=None)
        )
        options = {
            "max-body": _MAX_BODY,
            "max-concurrent": max(1000, clients),
            "read-seconds": read_seconds,
            "write-seconds": write_seconds,
            "grace": _GRACE,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._server = ServeProcess(self._sandbox.base_url, _UPSTREAM_KEY, keys, self._url, words)
        stack.callback(self._server.close)
        self._client = stack.enter_context(self._new_client())
        self._height = Standing(0, 0, 0, 0, 0, 0)

    def _new_client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=self._server.base_url, api_key=_KEY, max_retries=0, timeout=60)

    def run(self) -> dict[str, Any]:
        """Do everything, and return the figures."""
        scene = self._scene()
        kinds = kinds_of(self._clients)
        idle = self._idle()
        workers = self._workers(scene, kinds)
        tally, rests = Tally(), []
        for half in (1, 2):
            tally.add(self._half(workers, half))
            rests.append(self._rest(idle, lets_go=half == 2))
        changed = self._said(scene.victim) != [_SECRET]
        left_open = self._server.kinds() if rests[-1].descriptors > idle.descriptors else {}
        code, took = self._end(scene)
        remarks = [line for line in self._server.remarks if not line.startswith("run.retried ")]
        allowed = max(rests[0].memory * _GROWTH, rests[0].memory + _GROWTH_BYTES)
        return {
            "clients": told(kinds),
            **figures_of_requests(tally),
            **figures_of_turns(tally),
            "without_key": tally.intruders,
            "without_key_let_in": tally.let_in,
            "without_key_at_the_models": sum(_MARK in repr(one.body) for one in self._sandbox.requests),
            "victim_changed": int(changed),
            "idle": _shown(idle),
            "height": _shown(self._height),
            "rest": [_shown(one) for one in rests],
            "descriptors_left": max(0, rests[-1].descriptors - idle.descriptors),
            "database_left": max(0, rests[-1].of_database - _PER_CONNECTION * (rests[-1].workers + 1) - 1),
            "threads_left": max(0, rests[-1].threads - idle.threads - _RENEWING),
            "tasks_left": max(0, rests[-1].tasks - idle.tasks),
            "memory_growth": round(rests[1].memory / rests[0].memory, 3),
            "memory_over": max(0, int(rests[1].memory - allowed)),
            **figures_of_database(self._database, self._sandbox.billing.calls, _MARK),
            "exit_code": -1 if code is None else code,
            "end_seconds": round(took, 2),
            "retries": len(self._server.remarks) - len(remarks),
            "remarks": len(remarks),
            "details": [*tally.unanswered, *tally.unexpected, *tally.turns_failed, *remarks][:40]
            + [f"{count} x {kind}" for kind, count in left_open.items()],
        }

    def _scene(self) -> Scene:
        """What the clients need: an assistant, the thread that nobody without a key may reach, and a long one."""
        beta = self._client.beta
        assistant = beta.assistants.create(model="gpt-6-luna", instructions="You help customers with their orders.")
        victim = beta.threads.create(messages=[{"role": "user", "content": _SECRET}])
        long = beta.threads.create()
        for _ in range(_LONG):
            beta.threads.messages.create(long.id, role="user", content="word " * 50_000)
        read_seconds, write_seconds = self._limits
        return Scene(
            self._server.base_url,
            _KEY,
            _UPSTREAM_KEY,
            assistant.id,
            victim.id,
            _SECRET,
            _MARK,
            long.id,
            _MAX_BODY,
            read_seconds,
            write_seconds,
            self._seed,
        )

    def _said(self, thread_id: str) -> list[str]:
        messages = self._client.beta.threads.messages.list(thread_id)
        return [part.text.value for each in messages for part in each.content if part.type == "text"]

    def _turn(self) -> None:
        """A turn of our own; with it, the server's client looks after its connections."""
        beta = self._client.beta
        assistant = beta.assistants.list(limit=1).data[0]
        thread = beta.threads.create(messages=[{"role": "user", "content": "Say hello please."}])
        run = beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
        if run.status != "completed":
            raise RuntimeError(f"a run is {run.status} while there is no load: {run.last_error}")

    def _idle(self) -> Standing:
        """How the server stands when it has answered once, and has no clients but this one."""
        self._turn()
        return self._server.standing(tidy=True)

    def _workers(self, scene: Scene, kinds: list[int]) -> dict[Connection, BaseProcess]:
        context = multiprocessing.get_context("spawn")
        count = max(1, min(4, os.cpu_count() or 1))
        workers: dict[Connection, BaseProcess] = {}
        for number in range(count):
            ours, theirs = context.Pipe()
            part = list(enumerate(kinds))[number::count]
            worker = context.Process(target=run_worker, args=(theirs, scene, part), daemon=True)
            worker.start()
            theirs.close()
            workers[ours] = worker
            self._stack.callback(_ended, worker)
            self._stack.callback(ours.close)
        for line in workers:
            _received(line)
        return workers

    def _half(self, workers: dict[Connection, BaseProcess], half: int) -> Tally:
        """Let all clients do what they do for half of the time, and end what they have begun."""
        began, tally, left = time.monotonic(), Tally(), set(workers)
        for line in workers:
            line.send((half, self._seconds / 2))
        while left:
            for line in cast("list[Connection]", wait(list(left), _LOOK_EACH)):
                tally.add(_received(line))
                left.discard(line)
            now = self._server.standing()
            self._height = _higher(self._height, now)
            took = time.monotonic() - began
            self._tell(f"half {half}: {took:5.1f} s, {now.descriptors} descriptors, {now.tasks} tasks")
        self._tell("", end="\n")
        return tally

    def _rest(self, idle: Standing, *, lets_go: bool) -> Standing:
        """Wait until the server has come to rest, or long enough.

        Args:
            idle: How it stood before.
            lets_go: Whether to wait until it has let go of its connections, too.
        """
        until = time.monotonic() + _REST
        time.sleep(_UPSTREAM_KEPT if lets_go else 0)
        while True:
            self._turn()
            now = self._server.standing(tidy=True)
            open_too_much = lets_go and now.descriptors > idle.descriptors
            if not open_too_much and now.tasks <= idle.tasks and now.threads <= idle.threads + _RENEWING:
                return now
            if time.monotonic() > until:
                return now
            self._tell(f"at rest: {now.descriptors} descriptors, {now.tasks} tasks, {now.threads} threads")
            time.sleep(_LOOK_EACH)

    def _end(self, scene: Scene) -> tuple[int | None, float]:
        """End the server while a stream, a poll and halves of requests hang on it."""
        beta = self._client.beta
        thread = beta.threads.create(messages=[{"role": "user", "content": "Say goodbye please."}])
        run = beta.threads.runs.create(thread_id=thread.id, assistant_id=scene.assistant_id)
        path = f"/threads/{thread.id}/runs/{run.id}"
        poll = request("GET", path, _KEY, x_stainless_poll_helper="true")
        hanging = [poll, poll[:40], request("POST", "/threads", _KEY, body=b"{", content_length="100")]

        async def hang() -> list[Line]:
            lines = [Line(scene.address) for _ in hanging]
            for line, data in zip(lines, hanging, strict=True):
                await line.open()
                await line.send(data)
            return lines

        lines = asyncio.run(hang())
        try:
            return self._server.end(2 * _GRACE)
        finally:
            for line in lines:
                line.close()

    @staticmethod
    def _tell(text: str, end: str = "") -> None:
        print(f"\r{text:78}", end=end, file=sys.stderr, flush=True)


def _received(line: Connection) -> Any:
    try:
        return line.recv()
    except EOFError:
        raise RuntimeError("a process of clients died") from None


def _ended(worker: BaseProcess) -> None:
    worker.join(5)
    if worker.is_alive():
        worker.kill()
        worker.join()


def _higher(one: Standing, other: Standing) -> Standing:
    return Standing(*(max(getattr(one, name), getattr(other, name)) for name in Standing.__slots__))


def _shown(standing: Standing) -> dict[str, int]:
    return {name: getattr(standing, name) for name in Standing.__slots__}


def measure(
    clients: int, seconds: float, seed: int, *, read_seconds: int = 10, write_seconds: int = 10
) -> dict[str, Any]:
    """Put the server under load, and return the figures.

    Args:
        clients: How many there are at once.
        seconds: How long they begin something new, over both halves.
        seed: Of all that is random.
        read_seconds: The server's limit for the arrival of a request.
        write_seconds: The server's limit for a reader that takes nothing.
    """
    with warnings.catch_warnings(), descriptors_for(clients), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore", DeprecationWarning)
        figures = _Benchmark(stack, clients, seconds, seed, read_seconds, write_seconds).run()
    wrong = [name for name in _MUST_BE_ZERO if figures[name]]
    if figures["memory_over"]:
        wrong.append("memory_growth")
    if figures["end_seconds"] > _GRACE:
        wrong.append("end_seconds")
    if not figures["turns"]:
        wrong.append("turns")
    return {**figures, "wrong": wrong}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clients", type=int, default=1000, help="clients at once (default 1000)")
    parser.add_argument("--seconds", type=float, default=30, help="how long they begin something new (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if options.clients < 20:
        parser.error(f"--clients is {options.clients}, the least is 20: give more")
    if options.seconds <= 0:
        parser.error(f"--seconds is {options.seconds:g}, it must be above 0: give more")
    figures = measure(options.clients, options.seconds, options.seed)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        _show(figures)
    if figures["wrong"]:
        sys.exit(1)


def _show(figures: dict[str, Any]) -> None:
    for name, value in figures.items():
        if name == "details":
            continue
        values = value if isinstance(value, list) and name == "rest" else [value]
        for one in values:
            print(f"{name.replace('_', ' '):32}{_line(one)}")
    for line in figures["details"]:
        print(line, file=sys.stderr)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nothing"
    return str(value)


if __name__ == "__main__":
    main()
