"""One paid request: admitted, sent, followed to its end however it comes, settled.

A lost connection is not the end of a request: its outcome is looked up, by the answer's id where the server told it,
else in the conversation itself. Only when nothing is found does it count as failed, and it may be sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from assistantguard.engine.books import Books, Sent, context_bound
from assistantguard.engine.failing import stopped, timed_out
from assistantguard.engine.healing import answer_in_tail, mark_of
from assistantguard.engine.meter import Meter
from assistantguard.engine.modes import Modes
from assistantguard.engine.ports import ModelAnswer, Piece
from assistantguard.errors import RunStopped
from assistantguard.models import Failure, RunState, ThreadState, Usage
from assistantguard.policies import Stop

if TYPE_CHECKING:
    from assistantguard.engine.admission import Admission
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import AnswerStream, Backend, Driver, ModelRequest

__all__ = ["OPEN_STATUSES", "Exchange", "ExchangeTools", "Outcome"]

_TAIL = 100
"""How many of the newest items are read to find an answer: the most that one page holds."""
_LOOK_TIMEOUT = 30.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_FOREGROUND_FOLLOW = 10.0
"""Seconds that an answer made in the foreground is followed after its connection was lost."""
_CANCEL_LOOKS = 3
_UNTRACED = nullcontext()
OPEN_STATUSES = frozenset({"queued", "in_progress", "cancelling"})
"""Of an answer that has not ended."""


@dataclass(slots=True, eq=False, repr=False)
class Outcome:
    """What came of a paid request, all of it on the books: an answer, a failure, or an answer that failed."""

    answer: ModelAnswer | None = None
    failure: Failure | None = None
    error: Exception | None = None
    """The SDK's own exception, where there was one."""
    usage: Usage = field(default_factory=Usage)
    """What was booked."""
    fixed_tokens: int | None = None
    """What instructions and tools cost, where this request was the first to tell."""
    context_at_most: int = 0
    """A bound on what the conversation holds after an answer, instructions and tools included."""


@dataclass(slots=True, eq=False, repr=False)
class ExchangeTools:
    """What every exchange works with."""

    driver: Driver
    backend: Backend
    asking: Asking
    admission: Admission
    books: Books
    modes: Modes
    run_timeout: float

    async def answer_in_tail(
        self, thread: ThreadState, run: RunState, request: ModelRequest, marks: Sequence[str] = ()
    ) -> ModelAnswer | None:
        """The answer to a request that was sent, where the conversation holds it. `marks` stand for its input."""
        if request.generation_id is None:
            return None
        left = min(_LOOK_TIMEOUT, self.admission.time_left(run))
        try:
            items = await self.backend.history(request.generation_id, left, limit=_TAIL)
        except Exception as error:
            if self.backend.classify(error) is None:
                raise
            return None
        seed_items = thread.seed_items if len(items) < _TAIL else None
        marks = marks or [mark_of(item) for item in request.input]
        return answer_in_tail(items, marks, thread.last_item_id, seed_items=seed_items)

    async def end_at_server(
        self, response_id: str, until: float, *, background: bool, pause: float = _FIRST_PAUSE
    ) -> ModelAnswer | None:
        """Cancel an answer where it can be cancelled, and look what became of it.

        Args:
            response_id: Its id.
            until: Unix time at which to stop asking.
            background: Whether it is made in the background.
            pause: Seconds between two questions.

        Returns:
            The answer as it is then, ended or not; None where nothing could be learned.
        """
        backend, answer = self.backend, None
        for attempt in range(_CANCEL_LOOKS):
            if attempt:
                await self.driver.sleep(max(0.0, min(pause, until - self.driver.now())))
            if background and (answer is None or answer.status in OPEN_STATUSES):
                answer = await self._learn(lambda left: backend.cancel(response_id, left), until) or answer
            if answer is None or answer.status in OPEN_STATUSES or answer.usage is None:
                answer = await self._learn(lambda left: backend.look_up(response_id, left), until) or answer
            if answer is not None and answer.status not in OPEN_STATUSES:
                return answer
            if not background and answer is None:
                return None
        return answer

    async def _learn(self, call: Callable[[float], Awaitable[ModelAnswer]], until: float) -> ModelAnswer | None:
        """What a call tells; None where it fails, or there is no time left for it."""
        left = min(_LOOK_TIMEOUT, until - self.driver.now())
        if left <= 0:
            return None
        try:
            return await call(left)
        except Exception as error:
            if self.backend.classify(error) is None:
                raise
            return None


class Exchange:
    """One paid request. Made by `Exchanges.begin`.

    Args:
        with_: What it works with.
        sent: The request and its hold.
        content: How many tokens of input are not instructions and tools, where no request of the thread has told.
        on_end: Told the hold's id when it has ended.
        streamed: Whether its output is wanted in pieces.
    """

    def __init__(
        self,
        with_: ExchangeTools,
        sent: Sent,
        content: int | None,
        on_end: Callable[[str], None],
        *,
        streamed: bool,
    ) -> None:
        self._with = with_
        self._sent = sent
        self._run = sent.run
        self._request = sent.request
        self._request.background = sent.mode.background
        self._content = content
        self._on_end = on_end
        self._streamed = streamed
        self._stream: AnswerStream | None = None
        self._stream_left: AnswerStream | None = None
        """The last stream, closed; it tells from where to go on."""
        self._resumed_at: int | None = None
        """The number of the event after which it was taken up; a stream that brings nothing more is not, again."""
        self._is_sent = False
        self._pause = _FIRST_PAUSE
        self._follow_until: float | None = None
        self._meter = Meter(self._request.model, sent.expectation.output_at_most)
        self._shown: list[str] = []
        self._rest: str | None = None
        """Text that was found where the stream was lost, to be shown next."""
        self._lost: tuple[Exception, Failure] | None = None
        self.outcome: Outcome | None = None
        """None while it lasts."""
        self._run.open_response_id, self._run.background = None, sent.mode.background

    @property
    def shown_characters(self) -> int:
        """How much text was handed out."""
        return sum(map(len, self._shown))

    async def drain(self) -> Outcome:
        """Go on to the end."""
        while await self.next() is not None:
            continue
        assert self.outcome is not None
        return self.outcome

    async def next(self) -> str | None:
        """The next piece of the answer's text; None at the end, when `outcome` is there.

        Raises:
            RunTimedOut: The run's deadline has passed.
            RunStopped: The answer is longer than was allowed.
        """
        while self.outcome is None:
            try:
                text = await self._proceed()
            except Exception as error:
                failure = self._with.backend.classify(error)
                if failure is None:
                    raise
                await self._after_error(error, failure)
                text = None
            if self._rest:
                text, self._rest = self._rest, None
            if text:
                self._shown.append(text)
                return text
        return None

    async def abandon(self, thread: ThreadState, run: RunState, until: float) -> None:
        """Cancel it at the server, learn what it used, settle it.

        Args:
            thread: Its thread, or a copy that took the thread's place.
            run: Its run, likewise.
            until: Unix time at which to stop asking the server.
        """
        self._sent.thread, self._run = thread, run
        self._sent.run = run
        if self.outcome is not None:
            return
        if not self._is_sent:
            self._on_end(self._sent.hold_id)
            await self._with.books.release(self._sent.thread, self._run)
            return
        answer: ModelAnswer | None = None
        try:
            answer = await self._last_word(until)
        finally:
            await self._settle(answer, None, None)

    async def _proceed(self) -> str | None:
        """Take the next step; return a piece of text where it brought one."""
        backend = self._with.backend
        left = self._with.admission.time_left(self._run)
        if self._stream is not None:
            return await self._read(self._stream)
        if not self._is_sent:
            await self._with.books.confirm(self._sent.thread, self._run)
            self._is_sent = True
            with self._span():
                if self._streamed:
                    self._stream = await backend.stream(self._request, left)
                    return None
                answer = await backend.respond(self._request, left)
            return await self._take(answer)
        return await self._follow(left)

    def _span(self) -> AbstractContextManager[object]:
        tracing = self._with.asking.session.tracing
        return _UNTRACED if tracing is None else tracing.request(self._run, self._request, streamed=self._streamed)

    async def _read(self, stream: AnswerStream) -> str | None:
        piece = await stream.next()
        if self._run.open_response_id is None and stream.response_id is not None:
            self._run.open_response_id = stream.response_id
            await self._with.books.save(self._sent.thread, self._run)
        if isinstance(piece, Piece):
            if self._meter.passes(piece.text):
                raise _too_long(self._sent)
            self._ask_policies()
            return piece.text if piece.shown else None
        await self._close_stream()
        return await self._take(piece)

    def _ask_policies(self) -> None:
        """Ask the policies whether the answer may go on, now and then."""
        asking = self._with.asking
        if not asking.session.policies.asks("on_progress") or (output := self._meter.progress()) is None:
            return
        view = replace(asking.view(self._sent.thread, self._run, "", self._request.model), output=output)
        ruling = asking.rule("on_progress", view)
        if isinstance(ruling.decision, Stop):
            raise stopped(ruling.decision.error, ruling.policy, ruling.decision.reason)

    async def _follow(self, left: float) -> str | None:
        """Ask for an answer that is being made, after a pause."""
        response_id = self._run.open_response_id
        assert response_id is not None
        driver = self._with.driver
        pause = min(self._pause, left)
        if self._follow_until is not None:
            pause = min(pause, max(0.0, self._follow_until - driver.now()))
        await driver.sleep(pause)
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)
        left = self._with.admission.time_left(self._run)
        return await self._take(await self._with.backend.look_up(response_id, min(_LOOK_TIMEOUT, left)))

    async def _take(self, answer: ModelAnswer) -> str | None:
        """Take an answer: settle one that has ended, and return what of its text was not shown yet."""
        if answer.rates is not None:
            self._sent.rates = answer.rates
        if answer.status in OPEN_STATUSES:
            if not answer.id:
                raise TimeoutError(f"the server answered before it was done ({answer.status}), without an id")
            if self._run.open_response_id is None:
                self._run.open_response_id = answer.id
                await self._with.books.save(self._sent.thread, self._run)
            if self._follow_until is not None and self._with.driver.now() >= self._follow_until:
                assert self._lost is not None
                await self._give_up(*self._lost)
            return None
        return await self._end(answer, None if self._lost is None else self._lost[0])

    async def _end(self, answer: ModelAnswer, error: Exception | None) -> str | None:
        """Settle an answer; return what of its text was not shown yet."""
        shown = "".join(self._shown)
        if shown and not answer.text and not answer.output_items:
            answer = replace(answer, text=shown, output_items=1)  # a server that does not repeat what it streamed
        await self._settle(answer, answer.failure, error)
        if not self._streamed or answer.failure is not None:
            return None
        return answer.text[len(shown) :] if answer.text.startswith(shown) else None

    async def _after_error(self, error: Exception, failure: Failure) -> None:
        """A call failed: go on without its answer where there is a way, else settle the failure."""
        run, now = self._run, self._with.driver.now()
        in_stream = self._stream is not None
        await self._close_stream()
        accepted = run.open_response_id is not None
        if self._request.background and not accepted and self._with.backend.refuses_background(failure):
            self._sent.mode = self._with.modes.refused()
            self._request.background = run.background = False
            self._request.client_request_id += "-foreground"
            self._is_sent = False
            return
        may_pass = failure.kind in {"ambiguous", "transient"}
        if may_pass and run.deadline is not None and now >= run.deadline:
            raise timed_out(run, self._with.run_timeout) from error
        if not accepted and failure.kind != "ambiguous":
            await self._settle(None, failure, error)
            return
        if self._lost is None:
            self._lost = error, failure
            if not self._request.background:
                self._follow_until = now + _FOREGROUND_FOLLOW
        if accepted and (may_pass or in_stream) and self._may_follow():
            await self._resume()
            return
        found = await self._with.answer_in_tail(self._sent.thread, run, self._request)
        if found is None:
            await self._give_up(*self._lost)
        else:
            self._rest = await self._end(found, error)

    def _may_follow(self) -> bool:
        return self._follow_until is None or self._with.driver.now() < self._follow_until

    async def _resume(self) -> None:
        """Take the stream of an answer in the background up again; where that cannot be, it is polled."""
        response_id, stream = self._run.open_response_id, self._stream_left
        number = None if stream is None else stream.sequence_number
        if not self._request.background or response_id is None or number is None or number == self._resumed_at:
            return
        self._stream_left, self._resumed_at = None, number
        left = self._with.admission.time_left(self._run)
        try:
            self._stream = await self._with.backend.resume(response_id, number, left)
        except Exception as error:
            if self._with.backend.classify(error) is None:
                raise

    async def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return
        self._stream_left = stream
        if self._run.open_response_id is None:
            self._run.open_response_id = stream.response_id
        await stream.close()

    async def _give_up(self, error: Exception, failure: Failure) -> None:
        """Settle a request whose outcome could not be found."""
        deadline = self._run.deadline
        until = self._with.driver.now() + _LOOK_TIMEOUT
        until = until if deadline is None else min(until, deadline)
        answer = await self._last_word(until) if self._request.background else None
        if answer is not None and answer.failure is None:  # it ended well before it was cancelled
            self._rest = await self._end(answer, error)
            return
        told = failure if failure.kind in {"fatal", "exhausted", "structural"} else replace(failure, kind="ambiguous")
        await self._settle(answer, told, error, was_sent=True)

    async def _last_word(self, until: float) -> ModelAnswer | None:
        """Cancel what is being made, or look what became of it; None where it has not ended, or cannot be learned."""
        await self._close_stream()
        response_id = self._run.open_response_id
        if response_id is None:
            return None
        if self._request.background:
            self._sent.thread.at_work = response_id
        answer = await self._with.end_at_server(
            response_id, until, background=self._request.background, pause=self._pause
        )
        if answer is None or answer.status in OPEN_STATUSES:
            return None
        self._sent.thread.at_work = None
        return answer

    async def _settle(
        self,
        answer: ModelAnswer | None,
        failure: Failure | None,
        error: Exception | None,
        *,
        was_sent: bool = False,
    ) -> None:
        """Put it on the books. `was_sent`: the server took it up, so that it may have been billed whatever failed."""
        if answer is None or answer.usage is None:
            self._sent.seen_tokens = self._meter.seen_tokens
        on_books = replace(failure, kind="ambiguous") if was_sent and failure is not None else failure
        try:
            usage = await self._with.books.settle(self._sent, answer, on_books)
        finally:
            if self._run.hold_id is None:
                self._on_end(self._sent.hold_id)
        self.outcome = self._outcome_of(answer, usage, failure, error)

    def _outcome_of(
        self, answer: ModelAnswer | None, usage: Usage, failure: Failure | None, error: Exception | None
    ) -> Outcome:
        if answer is None:
            return Outcome(None, failure, error, usage)
        fixed_tokens = None
        if self._content is not None and not usage.estimated:
            fixed_tokens = max(0, usage.input_tokens - self._content)
        bound = context_bound(answer, usage, self._sent.expectation)
        return Outcome(answer, failure, error, usage, fixed_tokens, bound)


def _too_long(sent: Sent) -> RunStopped:
    error = RunStopped(
        f"the answer passed the {sent.expectation.output_at_most} output tokens that it was allowed, and the server did"
        " not stop it: the run was stopped; allow more output, or raise the cap"
    )
    error.policy = "max_output_tokens"
    return error
