"""The soak's sandbox, in a process of its own, so that the memory measured is the guard's."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from assistantguard.sandbox import Fault, Sandbox
from benchmarks._soak_memory import resident_bytes
from benchmarks._soak_model import Held, answer, held_in, shortened

if TYPE_CHECKING:
    from assistantguard.sandbox.request_log import RecordedRequest
    from assistantguard.sandbox.responses import OnDisconnect

__all__ = ["API_KEY", "Call", "SandboxProcess", "Status"]

API_KEY = "sk-soak"
_START_SECONDS = 60.0
_KEPT_RESPONSES = 10_000
_TOLD_REQUESTS = 16
_RARE = {
    # They hold a turn until its deadline, and so much else does not happen meanwhile.
    "silent_before_work": 0.5,
    "silent_after_work": 0.5,
    "endless_comments": 0.5,
    "stuck_queued": 0.5,
    "stuck_in_progress": 0.5,
}


@dataclass(frozen=True, slots=True)
class Call:
    """A row of the sandbox's bill."""

    response_id: str
    conversation_id: str | None
    model: str
    status: str
    input_tokens: int
    output_tokens: int
    billed: bool
    reported: bool
    """Whether the client was told the usage."""


@dataclass(frozen=True, slots=True)
class Status:
    """How the sandbox stands."""

    requests: int
    faults: Counter[str]
    """How often each kind has happened."""
    memory: int
    """Bytes."""


class _Service:
    """What the parent may ask for, by method name."""

    def __init__(self, sandbox: Sandbox, seed: int, rate: float) -> None:
        self._sandbox = sandbox
        self._seed = seed
        self._rate = rate
        self._rounds = 0
        self._vanished: set[str] = set()

    def base_url(self) -> str:
        return self._sandbox.base_url

    def begin_faults(self) -> None:
        """Let anything happen, other dice each time."""
        self._rounds += 1
        seed = self._seed * 1_000 + self._rounds
        self._sandbox.faults = [Fault.chaos(rate=self._rate, seed=seed, weights=_RARE)]

    def end_faults(self) -> None:
        self._sandbox.faults = []

    def delete(self, conversation_id: str) -> bool:
        """Delete a conversation behind the guard's back; return whether there was one."""
        try:
            self._sandbox.delete_conversation(conversation_id)
        except KeyError:
            return False
        self._vanished.add(conversation_id)
        return True

    def break_open(self, conversation_id: str) -> bool:
        """Leave a function call without an output in a conversation; return whether there was one."""
        try:
            self._sandbox.break_conversation(conversation_id)
        except KeyError:
            return False
        return True

    def vanished(self, conversation_ids: list[str]) -> set[str]:
        """Those of the conversations that were deleted by anyone but a guard."""
        self._look_through()
        return self._vanished.intersection(conversation_ids)

    def _look_through(self) -> None:
        """Note which conversations faults deleted. The log holds the newest requests only, so it is done often."""
        for request in self._sandbox.requests:
            if request.fault == "conversation_gone":
                self._vanished.add(_conversation_of(request))

    def last_requests(self, conversation_id: str) -> list[str]:
        """The last requests on a conversation, newest last."""
        found: list[str] = []
        for request in reversed(self._sandbox.requests):
            if _conversation_of(request) == conversation_id:
                found.append(f"{request.endpoint} {request.status} {request.fault or ''}".strip())
                if len(found) == _TOLD_REQUESTS:
                    break
        return found[::-1]

    def items(self, conversation_id: str) -> list[str]:
        """The items of a conversation, shortened."""
        return list(map(shortened, self._sandbox.conversation(conversation_id)))

    def held(self, conversation_ids: list[str]) -> dict[str, Held | None]:
        """What conversations hold; None for one that is gone."""
        found: dict[str, Held | None] = {}
        for conversation_id in conversation_ids:
            try:
                found[conversation_id] = held_in(self._sandbox.conversation(conversation_id))
            except KeyError:
                found[conversation_id] = None
        return found

    def status(self) -> Status:
        self._look_through()
        return Status(self._sandbox.billing.requests, self._sandbox.faults_by_kind, resident_bytes())

    def bill(self) -> list[Call]:
        return [
            Call(
                call.response_id,
                call.conversation_id,
                call.model,
                call.status,
                call.input_tokens,
                call.output_tokens,
                call.billed,
                call.usage_reported,
            )
            for call in list(self._sandbox.billing.calls)
        ]


def _conversation_of(request: RecordedRequest) -> str:
    """The conversation that a request names; empty where it names none."""
    named = request.body.get("conversation") if isinstance(request.body, dict) else None
    if named is not None:
        return str(named["id"] if isinstance(named, dict) else named)
    parts = request.path.split("/")
    return parts[3] if parts[2:3] == ["conversations"] and len(parts) > 3 else ""


def _serve(connection: Connection, seed: int, rate: float, on_disconnect: OnDisconnect) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with it
    with Sandbox(
        answer,
        model_in_thread=False,
        api_key=API_KEY,
        keep_responses=_KEPT_RESPONSES,
        on_disconnect=on_disconnect,
    ) as sandbox:
        service = _Service(sandbox, seed, rate)
        gc.freeze()
        connection.send(sandbox.base_url)
        while True:
            try:
                name, arguments = connection.recv()
            except EOFError:
                return
            if name == "close":
                return
            connection.send(getattr(service, name)(*arguments))


class SandboxProcess:
    """A sandbox in a child process, and a line to it. Calls are safe from any thread, and block.

    Args:
        seed: Of the faults.
        rate: Share of requests that a fault happens to.
        on_disconnect: As for `Sandbox`.
    """

    def __init__(self, seed: int, rate: float, on_disconnect: OnDisconnect = "stop") -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._lock = threading.Lock()
        self._process = context.Process(target=_serve, args=(theirs, seed, rate, on_disconnect), daemon=True)
        self._process.start()
        theirs.close()
        if not self._line.poll(_START_SECONDS):
            self._process.kill()
            raise RuntimeError(f"the sandbox's process did not answer within {_START_SECONDS:g} seconds")
        self.base_url: str = self._line.recv()

    def begin_faults(self) -> None:
        """Let anything happen to requests."""
        self._ask("begin_faults")

    def end_faults(self) -> None:
        """Let nothing happen to requests any more."""
        self._ask("end_faults")

    def delete(self, conversation_id: str) -> bool:
        """Delete a conversation behind the guard's back; return whether there was one."""
        return bool(self._ask("delete", conversation_id))

    def break_open(self, conversation_id: str) -> bool:
        """Leave a function call without an output in a conversation; return whether there was one."""
        return bool(self._ask("break_open", conversation_id))

    def vanished(self, conversation_ids: list[str]) -> set[str]:
        """Those of the conversations that were deleted by anyone but a guard."""
        found: set[str] = self._ask("vanished", conversation_ids)
        return found

    def last_requests(self, conversation_id: str) -> list[str]:
        """The last requests on a conversation, newest last: endpoint, status and fault of each."""
        found: list[str] = self._ask("last_requests", conversation_id)
        return found

    def items(self, conversation_id: str) -> list[str]:
        """The items of a conversation, shortened."""
        found: list[str] = self._ask("items", conversation_id)
        return found

    def held(self, conversation_ids: list[str]) -> dict[str, Held | None]:
        """What conversations hold; None for one that is gone."""
        found: dict[str, Held | None] = self._ask("held", conversation_ids)
        return found

    def status(self) -> Status:
        """How it stands."""
        found: Status = self._ask("status")
        return found

    def bill(self) -> list[Call]:
        """Every row of the bill."""
        found: list[Call] = self._ask("bill")
        return found

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):  # it may have ended
            self._line.send(("close", ()))
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._line.close()

    def _ask(self, name: str, *arguments: Any) -> Any:
        with self._lock:
            self._line.send((name, arguments))
            return self._line.recv()
