"""The calls that an application makes itself: admitted, bounded and booked as the requests of a run are."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from assistantguard.backends import ResponsesBackend
from assistantguard.dropin.bodies import CallRequest, Dialect, bounded, last_text, request_of, user_of
from assistantguard.engine.admission import Admission
from assistantguard.engine.asking import Asking
from assistantguard.engine.books import Books, Sent, context_bound
from assistantguard.engine.exchange import OPEN_STATUSES
from assistantguard.engine.meter import Meter
from assistantguard.engine.modes import Mode
from assistantguard.engine.pacing import Pacer
from assistantguard.engine.session import Session
from assistantguard.errors import PolicyRefused
from assistantguard.model_limits import largest_output
from assistantguard.models import Assistant, RunState, ThreadState
from assistantguard.policies import PolicySet, Stop
from assistantguard.tokens import Estimate

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour
    from assistantguard.dropin.engines import Settings
    from assistantguard.engine.ports import ModelAnswer, ModelRequest
    from assistantguard.models import Failure

__all__ = ["Call", "CallAdmission", "CallBackend", "GuardedCalls"]

_ASK_LATE = 5.0
"""Seconds that asking for usage which was not told may hold up the next call."""
_MOST_LATE = 64
_MOST_OPEN = 1_000
_MOST_CONTEXTS = 10_000
_MODE = Mode(False, "the application made the call itself")
_IN_BACKGROUND = Mode(True, "the application made the call itself, in the background")


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call that was admitted, until it is on the books."""

    sent: Sent
    books: Books
    asking: Asking
    meter: Meter
    body: Mapping[str, Any]
    """As it may be sent."""
    settled: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def request(self) -> CallRequest:
        """What was asked for."""
        request = self.sent.request
        assert isinstance(request, CallRequest)
        return request

    @property
    def is_stored(self) -> bool:
        """Whether the server can be asked for the answer later."""
        request = self.request
        return request.dialect == "responses" and request.body.get("store") is not False

    def first_to_settle(self) -> bool:
        """Whether it was not settled before this was asked."""
        with self.lock:
            first, self.settled = not self.settled, True
            return first

    def must_stop(self, text: str) -> str | None:
        """Count `text` as output; return why the answer must not go on, or None."""
        if self.meter.passes(text):
            most = self.sent.expectation.output_at_most
            return f"the answer passed the {most} output tokens that it was allowed, and the server did not stop it"
        asking = self.asking
        if not asking.session.policies.asks("on_progress") or (output := self.meter.progress()) is None:
            return None
        view = replace(asking.view(self.sent.thread, self.sent.run, "", self.request.model), output=output)
        ruling = asking.rule("on_progress", view)
        return f"{ruling.policy} stopped it: {ruling.decision.reason}" if isinstance(ruling.decision, Stop) else None


class CallBackend(ResponsesBackend):
    """Counts what a call sends, as it was sent."""

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:
        """See `Backend.count_input`. What a stored prompt adds, the server does not count."""
        assert isinstance(request, CallRequest)
        return None if request.body.get("prompt") is not None else await self.count_body(request.body, timeout)


class CallAdmission(Admission):
    """Goes by what was measured of a call's body."""

    def expect(self, thread: ThreadState, request: ModelRequest) -> Estimate:  # noqa: ARG002  of the base's shape
        """See `Admission.expect`."""
        assert isinstance(request, CallRequest)
        return request.expected


@dataclass(slots=True, eq=False, repr=False)
class _Desk:
    """What calls of one service tier work with: it decides their price."""

    admission: Admission
    asking: Asking
    books: Books


class GuardedCalls:
    """Admits calls and settles them.

    Args:
        settings: The drop-in's.
        colour: Blocking, or asyncio.
        client: The user's own, below what is guarded.
        session_id: Of the drop-in's session: calls and runs count together.
    """

    def __init__(self, settings: Settings, colour: Colour, client: Any, session_id: str) -> None:
        self.driver = colour.driver
        self.on_refusal = settings.on_refusal
        self._settings = settings
        self._policies = PolicySet(settings.policies)
        self._session_id = session_id
        self._backend = CallBackend(colour.port(client))
        self._desks: dict[str | None, _Desk] = {}
        self._open: OrderedDict[str, Call] = OrderedDict()
        """In the background, by the id of the response."""
        self._contexts: OrderedDict[str, Estimate] = OrderedDict()
        """What goes on with a response, by its id."""
        self._late: deque[tuple[Books, ThreadState]] = deque(maxlen=_MOST_LATE)
        """Threads of calls whose usage the server may yet tell."""
        self._lock = threading.Lock()

    async def admit(self, dialect: Dialect, path: str, body: Mapping[str, Any]) -> Call:
        """Ask the policies about a call, bound it, and reserve what it may use.

        Raises:
            Refused: A policy or a cap does not allow it.
            ConfigurationError: A policy cannot work with it.
        """
        await self._ask_late()
        request = request_of(dialect, path, body, self._contexts)
        tier = body.get("service_tier")
        desk = self._desk(tier if isinstance(tier, str) else None)
        now = self.driver.now()
        thread = ThreadState(f"calls_{self._session_id}", user=user_of(body, self._settings.user_of), created_at=now)
        thread.adopted = request.sealed
        run = RunState(f"call_{uuid.uuid4().hex}", thread.id, request.model, "in_progress", started_at=now)
        text = last_text(body)
        asked, tools = request.max_output_tokens, request.max_tool_calls
        if self._policies.asks("before_turn"):
            desk.asking.rule("before_turn", desk.asking.view(thread, run, text, request.model))
        try:
            expectation = await desk.admission.admit(thread, run, request, text)
        except BaseException:
            if run.hold_id is not None:
                await self.driver.protect(desk.books.release(thread, run))
            raise
        assert run.hold_id is not None
        allowed: Mapping[str, Any] | None = body
        if request.max_output_tokens != asked or request.max_tool_calls != tools:
            allowed = bounded(request)
        if allowed is None or (dialect == "compact" and expectation.output_at_most < largest_output(request.model)):
            await self.driver.protect(desk.books.release(thread, run))
            raise _too_little(request, expectation.output_at_most)
        mode = _IN_BACKGROUND if request.background else _MODE
        sent = Sent(thread, run, request, expectation, "run", mode, run.hold_id)
        return Call(sent, desk.books, desk.asking, Meter(request.model, expectation.output_at_most), allowed)

    async def answered(self, call: Call, answer: ModelAnswer | None) -> None:
        """Settle a call by its answer; one that goes on in the background stays open. None: nobody knows."""
        if answer is not None and answer.status in OPEN_STATUSES and answer.id:
            self.begun(call, answer.id)
            return
        await self._settle(call, answer, None if answer is None else answer.failure)

    async def failed(self, call: Call, error: Exception) -> None:
        """Settle a call whose request ended in an error of the SDK's kind."""
        await self._settle(call, None, self._backend.classify(error))

    async def withdrawn(self, call: Call) -> None:
        """End the hold of a call that no model saw."""
        if call.first_to_settle():
            await self.driver.protect(call.books.release(call.sent.thread, call.sent.run))

    async def left(self, call: Call) -> None:
        """Nobody reads on: settle the call by what may have been billed; one in the background goes on."""
        if call.request.background and call.sent.run.open_response_id is not None:
            return
        await self._settle(call, None, None)

    def begun(self, call: Call, response_id: str) -> None:
        """The server has told the id of an answer."""
        call.sent.run.open_response_id = response_id
        if call.request.background:
            with self._lock:
                self._open[response_id] = call
                if len(self._open) > _MOST_OPEN:
                    self._open.popitem(last=False)

    def open_call(self, response_id: str) -> Call | None:
        """The call in the background whose answer has this id."""
        return self._open.get(response_id)

    async def _settle(self, call: Call, answer: ModelAnswer | None, failure: Failure | None) -> None:
        if not call.first_to_settle():
            return
        sent = call.sent
        if answer is None or answer.usage is None:
            sent.seen_tokens = call.meter.seen_tokens
        usage = await call.books.settle(sent, answer, failure)
        with self._lock:
            if answer is not None and answer.id:
                self._open.pop(answer.id, None)
                if call.request.dialect == "responses":
                    self._keep_context(answer.id, context_bound(answer, usage, sent.expectation))
            if not usage.estimated:
                call.books.close(sent.run)
            elif sent.run.open_response_id is not None and call.is_stored:
                self._late.append((call.books, sent.thread))

    def _keep_context(self, response_id: str, at_most: int) -> None:
        self._contexts[response_id] = Estimate(at_most, at_most, exact=False)
        if len(self._contexts) > _MOST_CONTEXTS:
            self._contexts.popitem(last=False)

    async def _ask_late(self) -> None:
        """Ask for usage that was not told before; each answer is asked for by one call at a time."""
        with self._lock:
            due, self._late = self._late, deque(maxlen=_MOST_LATE)
        until = self.driver.now() + _ASK_LATE
        for books, thread in due:
            await books.ask_late(thread, until - self.driver.now())
            if thread.late:
                with self._lock:
                    self._late.append((books, thread))

    def _desk(self, tier: str | None) -> _Desk:
        desk = self._desks.get(tier)
        if desk is None:
            settings = self._settings
            session = Session(
                self._session_id,
                Assistant("call", service_tier=tier),
                (),
                "",
                self._policies,
                settings.prices,
                settings.ledger,
                settings.emit,
                settings.run_timeout,
                settings.cleanup_timeout,
            )
            asking = Asking(session, self.driver)
            pacer = Pacer(session, self.driver)
            admission = CallAdmission(session, self.driver, self._backend, asking, pacer)
            desk = _Desk(admission, asking, Books(session, self.driver, self._backend, pacer))
            if len(self._desks) < _MOST_LATE:
                self._desks[tier] = desk
        return desk


def _too_little(request: CallRequest, left: int) -> PolicyRefused:
    """The error of a call whose output cannot be bounded to what is left."""
    what = (
        f"{request.answers} answers at once" if request.answers > 1 else "a compaction, whose output cannot be bounded"
    )
    return PolicyRefused(f"the caps leave {left} output tokens, too few for {what}: ask for less, or raise the caps")
