"""`/responses`: made in the foreground or in the background, whole or as a stream, read again and cancelled."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from assistantguard._parameters import query_integer
from assistantguard._refusals import ApiProblem, invalid
from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.billing import Billing, PromptCache
from assistantguard.sandbox.conduct import After, Conduct
from assistantguard.sandbox.context import make_context
from assistantguard.sandbox.output import searched_stores
from assistantguard.sandbox.paging import page
from assistantguard.sandbox.parameters import check_create, check_input_tokens, completion_window
from assistantguard.sandbox.problems import script_problem
from assistantguard.sandbox.script import Answer, Script, as_answer
from assistantguard.sandbox.state import check_pairs
from assistantguard.sandbox.streams import EventStream, Gone
from assistantguard.sandbox.waiting import Signal, Stopped, Watch
from assistantguard.sandbox.work import Shop, Work

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Message, Receive

    from assistantguard.sandbox.chat import ChatForm
    from assistantguard.sandbox.context import Context
    from assistantguard.sandbox.rate_limits import RateLimiting
    from assistantguard.sandbox.script import Model
    from assistantguard.sandbox.state import State
    from assistantguard.sandbox.vector_stores import VectorStores

__all__ = ["BackgroundMode", "OnDisconnect", "Responses"]

BackgroundMode: TypeAlias = Literal["supported", "refused", "foreground"]
OnDisconnect: TypeAlias = Literal["stop", "complete"]
_WINDOW_SECONDS = {"2h": 3600.0, "8h": 4 * 3600.0}
Change: TypeAlias = Callable[[Answer], Answer]


class Responses:
    """Serves `/responses`.

    Args:
        state: Conversations and responses.
        billing: Where each response is booked.
        model: The script, or the function that answers.
        model_in_thread: Run a plain function in a worker thread, so that it may block.
        stores: What file searches look in.
        rate_limits: What each request's tokens are counted against.
        background: What becomes of ``background: true``.
        on_disconnect: What becomes of a foreground response whose client leaves.
        window_seconds: When background work begins that is to be done within a completion window.
    """

    def __init__(
        self,
        state: State,
        billing: Billing,
        model: Script | Model,
        *,
        model_in_thread: bool,
        stores: VectorStores,
        rate_limits: RateLimiting,
        background: BackgroundMode,
        on_disconnect: OnDisconnect,
        window_seconds: Mapping[str, float],
    ) -> None:
        self._state = state
        self._model = model
        self._in_thread = model_in_thread and not inspect.iscoroutinefunction(model)
        self._stores = stores
        self._rate_limits = rate_limits
        self._background = background
        self._window_seconds = {**_WINDOW_SECONDS, **window_seconds}
        self._survives = on_disconnect == "complete"
        self._shop = Shop(state, billing, PromptCache(), stores)
        self._active: dict[str, Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Stop all work."""
        for work in list(self._active.values()):
            work.signal.stop("closing")

    def count(self, body: Any) -> dict[str, Any]:
        """Answer `POST /responses/input_tokens`."""
        context = make_context(self._state, check_input_tokens(body))
        return {"object": "response.input_tokens", "input_tokens": context.tokens}

    async def create(
        self, body: Any, receive: Receive, *, instead: Answer | None = None, change: Change | None = None
    ) -> dict[str, Any] | EventStream | Gone:
        """Answer `POST /responses`.

        Args:
            body: The request's JSON document.
            receive: The request's ASGI channel, its body already read.
            instead: A fault's answer, in the place of the model's.
            change: What a fault makes of the model's answer.
        """
        checked = check_create(body)
        background = bool(checked.get("background"))
        if background and self._background == "refused":
            raise invalid("background", "Background mode is not supported for this project. (sandbox)")
        background = background and self._background == "supported"
        return await self._respond(checked, receive, background=background, instead=instead, change=change)

    async def chat(
        self, checked: dict[str, Any], form: ChatForm, receive: Receive
    ) -> dict[str, Any] | EventStream | Gone:
        """Answer `POST /chat/completions` or `POST /completions`. What fails there costs nothing.

        Args:
            checked: The response that is asked for.
            form: How it is told.
            receive: As for `create`.
        """

        def unbilled(answer: Answer) -> Answer:
            return replace(answer, billed=False) if answer.status == "failed" else answer

        made = await self._respond(checked, receive, background=False, instead=None, change=unbilled)
        if isinstance(made, EventStream):
            made.encode = form.encoded
        return form.document(made) if isinstance(made, dict) else made

    async def of_batch(self, body: Any, batch_id: str) -> dict[str, Any]:
        """Make the response of a batch's line. It takes no time, whatever the script says.

        Raises:
            ApiProblem: It is refused.
        """
        checked = check_create(body)
        for name in ("stream", "background"):
            if checked.get(name):
                raise invalid(name, f"The '{name}' parameter is not supported in a batch.")

        def at_once(answer: Answer) -> Answer:
            return replace(answer, delay=0.0, pace=0.0, conduct=Conduct())

        made = await self._respond(checked, _never, background=False, instead=None, change=at_once, batch_id=batch_id)
        if not isinstance(made, dict):
            raise ApiProblem(503, "Sandbox: the sandbox is closing.", kind="sandbox_error", code="sandbox_closing")
        return made

    def tokens_of(self, body: Any) -> int:
        """Return the input tokens of a request; 0 where it is refused."""
        try:
            return make_context(self._state, check_create(body)).tokens
        except ApiProblem:
            return 0

    async def _respond(
        self,
        checked: dict[str, Any],
        receive: Receive,
        *,
        background: bool,
        instead: Answer | None,
        change: Change | None,
        batch_id: str | None = None,
    ) -> dict[str, Any] | EventStream | Gone:
        context = make_context(self._state, checked)
        self._stores.use(searched_stores(checked))
        self._check(context)
        if batch_id is None:
            self._rate_limits.admit(context.model, context.tokens + checked.get("max_output_tokens", 0))
        streamed = bool(checked.get("stream"))
        window = completion_window(checked) if background else None
        work = Work(self._shop, context, background=background, streamed=streamed, batch_id=batch_id, window=window)
        if change is not None:
            work.change = change
        self._active[work.id] = work
        handed_over = False
        try:
            if background:
                handed_over = True
                return self._in_background(work, receive, instead, window)
            watch = Watch(receive, lambda: self._left(work))
            try:
                await self._begin(work, watch, instead)
                if streamed:
                    handed_over = True
                    return EventStream(work.run(told=True), watch, work.signal, work, lambda: self._end(work))
                return await self._whole(work, watch)
            except Stopped as stopped:
                work.halt()
                return _nobody_reads(stopped)
            finally:
                if not handed_over:
                    watch.end()
        finally:
            if not handed_over:
                self._end(work)

    def _check(self, context: Context) -> None:
        conversation = context.conversation
        if conversation is None:
            problem = check_pairs([*context.earlier, *context.inputs])
            if problem is not None:
                raise problem
            return
        conversation.check_free(self._state.now())
        conversation.check(context.inputs)

    def _left(self, work: Work) -> None:
        survives = work.answer.conduct.survives_disconnect
        if not (self._survives if survives is None else survives):
            work.signal.stop("gone")

    def _end(self, work: Work) -> None:
        work.abandon()
        self._active.pop(work.id, None)

    async def _begin(self, work: Work, watch: Watch | None, instead: Answer | None) -> None:
        answer = instead if instead is not None else await self._answer(work, watch)
        work.signal.check()
        work.begin(answer)

    async def _whole(self, work: Work, watch: Watch) -> dict[str, Any]:
        if work.takes_time:
            watch.start()
        async for _ in work.run(told=False):
            continue
        return work.document

    def _in_background(
        self, work: Work, receive: Receive, instead: Answer | None, window: str | None
    ) -> dict[str, Any] | EventStream:
        if isinstance(self._model, Script) and instead is None:
            try:
                instead = self._scripted(self._model, work)
            except ApiProblem:
                self._state.responses.pop(work.id, None)
                self._end(work)
                raise
        if window is None:
            self._start(work, instead)
        else:
            wait = After(seconds=self._window_seconds[window])
            self._state.later(work.id, wait, lambda: self._start(work, instead), lambda: None)
        return work.document if work.log is None else self._reader(work.id, -1, receive)

    def _start(self, work: Work, answer: Answer | None) -> None:
        if work.ended:
            return
        if answer is not None:
            work.begin(answer)
        task = asyncio.create_task(self._make(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, work: Work) -> None:
        try:
            if not work.begun:
                await self._begin(work, None, None)
            async with aclosing(work.run(told=work.log is not None)) as events:
                async for event in events:
                    if event is not None and work.log is not None:
                        work.log.add(event)
                    await asyncio.sleep(0)
                    work.signal.check()
        except Stopped:
            work.halt()
        except ApiProblem as problem:
            work.fail("server_error", str(problem))
        finally:
            self._end(work)

    def _reader(self, response_id: str, after: int, receive: Receive) -> EventStream:
        log = self._state.response(response_id).log
        if log is None:
            raise invalid(
                "stream",
                "Sandbox: only a response that was created with 'background' and 'stream' can be streamed again.",
            )
        signal = Signal()
        watch = Watch(receive, lambda: signal.stop("gone"))
        return EventStream(log.read(after, signal), watch, signal, None, lambda: None)

    async def get(self, response_id: str, query: Mapping[str, str], receive: Receive) -> dict[str, Any] | EventStream:
        """Answer `GET /responses/{id}`."""
        if response_id in self._active:
            await asyncio.sleep(0)  # in process a client that asks without a pause would never let the work go on
        stored = self._state.read_response(response_id)
        if query.get("stream") == "true":
            after = query_integer(query.get("starting_after"), "starting_after", -1, minimum=-1, maximum=1_000_000_000)
            return self._reader(response_id, after, receive)
        return stored.document

    def cancel(self, response_id: str) -> dict[str, Any]:
        """Answer `POST /responses/{id}/cancel`. A response that has ended stays as it is."""
        stored = self._state.response(response_id)
        if not stored.background:
            raise invalid(None, "Cannot cancel a synchronous response.")
        work = self._active.get(response_id)
        if work is not None:
            work.signal.stop("cancelled")
            work.halt()
            self._end(work)
        return stored.document

    def delete(self, response_id: str) -> dict[str, Any]:
        """Answer `DELETE /responses/{id}`."""
        self._state.forget_response(response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    def inputs(self, response_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer `GET /responses/{id}/input_items`."""
        return page([item.data for item in self._state.response(response_id).inputs.all()], query)

    def _scripted(self, script: Script, work: Work) -> Answer:
        body = work.context.body
        may_call_tools = bool(body.get("tools")) and body.get("tool_choice") != "none"
        scripted = script.next(work.context.conversation_id, may_call_tools=may_call_tools)
        if scripted is None:
            raise script_problem("script_exhausted", "the script is used up; it holds no answer for this request.")
        return scripted

    async def _answer(self, work: Work, watch: Watch | None) -> Answer:
        if isinstance(self._model, Script):
            return self._scripted(self._model, work)
        request = work.context.request()
        try:
            if self._in_thread:
                if watch is not None:
                    watch.start()
                thread = asyncio.get_running_loop().run_in_executor(None, self._model, request)
                made = await work.signal.race(thread)
            else:
                made = self._model(request)
            if inspect.isawaitable(made):
                if watch is not None:
                    watch.start()
                made = await work.signal.race(asyncio.ensure_future(made))
            return as_answer(made)
        except Stopped:
            raise
        except ConfigurationError as error:
            raise script_problem("script_wrong_answer", str(error)) from error
        except Exception as error:
            name = type(error).__name__
            raise script_problem("script_raised", f"the scripted model raised {name}: {error}") from error


def _nobody_reads(stopped: Stopped) -> Gone:
    if stopped.reason == "closing":
        raise ApiProblem(503, "Sandbox: the sandbox is closing.", kind="sandbox_error", code="sandbox_closing")
    return Gone()


async def _never() -> Message:
    """The channel of a client that never leaves."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never
