"""A server that speaks the Assistants v2 protocol as a backend.

A conversation is a thread there. A request is a user's message and a run, or the outputs for a run that waits for
them; its answer is what the run does until it ends or wants outputs again. So several answers stem from one run, and
each is named by thread, run and number.

A run takes its bound on output when it begins, for all of its answers together: answers after the first cannot be
bounded anew. What a run used is told at its end. Until then an answer that asks for tools is on the books with an
estimate, unless the server's steps tell; the thread's next turn corrects it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import openai

from assistantguard.backends.assistants_messages import Messages
from assistantguard.backends.assistants_reading import (
    ENDED,
    item_of_message,
    items_of_pending,
    outputs_of_steps,
    pending_calls,
    status_of,
)
from assistantguard.backends.assistants_requests import (
    REQUEST_KEY,
    flat_tool,
    message_of_item,
    retold_outputs,
    run_params,
)
from assistantguard.backends.assistants_routes import path_of
from assistantguard.backends.assistants_runs import NotTakenUpError, Runs, classify_assistants
from assistantguard.backends.assistants_streaming import FollowedRun, RunEvents
from assistantguard.backends.port import HttpAnswer
from assistantguard.backends.problems import UnreadableAnswerError
from assistantguard.backends.reading import get
from assistantguard.backends.vector_stores import VectorStores
from assistantguard.engine.ports import AnswerStream, ModelAnswer, ModelRequest

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort, EventStream
    from assistantguard.engine.ports import Driver
    from assistantguard.models import Assistant, Failure, Item, ToolOutput

__all__ = ["AssistantsBackend", "ServerAssistant"]

_SEEDS_AT_ONCE = 20


@dataclass(slots=True, eq=False, repr=False)
class ServerAssistant:
    """What a server's assistant is."""

    model: str
    instructions: str
    tools: list[dict[str, Any]]
    """In the shape of the Assistants API."""

    @property
    def flat_tools(self) -> list[dict[str, Any]]:
        """The tools in the shape of the Responses API."""
        return [flat_tool(tool) for tool in self.tools]


@dataclass(slots=True, eq=False, repr=False)
class _Begun:
    """A request that the server took up: as a run, or as the events of one."""

    thread_id: str
    number: int
    found: HttpAnswer | None = None
    events: EventStream | None = None


class AssistantsBackend(VectorStores):
    """`Backend` over the routes of ``client.beta.threads``, and ``client.vector_stores``.

    Args:
        port: The client.
        driver: Clock and sleep, in the guard's colour.
        assistant_id: The server's assistant.
        overrides: What the application wants otherwise than the server's assistant has it; None for nothing.
    """

    def __init__(self, port: ClientPort, driver: Driver, assistant_id: str, overrides: Assistant | None = None) -> None:
        super().__init__(port)
        self._runs = Runs(port, driver)
        self._routes = self._runs.routes
        self._messages = Messages(self._runs)
        self._assistant_id = assistant_id
        self._overrides = overrides
        self._server: ServerAssistant | None = None
        self._searched: dict[str, str] = {}
        """The vector store that a thread searches, by thread."""

    async def describe(self, timeout: float) -> ServerAssistant:
        """What the server's assistant is."""
        found = (await self._routes.get(path_of("assistants", self._assistant_id), timeout)).data
        model, tools = get(found, "model"), get(found, "tools")
        if not isinstance(model, str) or not model:
            raise UnreadableAnswerError(f"the server's assistant {self._assistant_id} has no model: check the base URL")
        tools = [dict(tool) for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
        self._server = ServerAssistant(model, str(get(found, "instructions") or ""), tools)
        return self._server

    def classify(self, error: Exception) -> Failure | None:
        """See `Backend.classify`."""
        return classify_assistants(error)

    async def create_generation(self, items: Sequence[Item], metadata: Mapping[str, str], timeout: float) -> str:
        """See `Backend.create_generation`."""
        messages = [message_of_item(item) for item in items]
        body: dict[str, Any] = {"metadata": dict(metadata)}
        if messages:
            body["messages"] = messages[:_SEEDS_AT_ONCE]
        thread_id = get((await self._routes.post("/threads", timeout, body)).data, "id")
        if not isinstance(thread_id, str) or not thread_id:
            raise UnreadableAnswerError("the server made a thread without an id: check the base URL")
        try:
            for message in messages[_SEEDS_AT_ONCE:]:
                await self._routes.post(path_of("threads", thread_id, "messages"), timeout, message)
        except Exception:
            with contextlib.suppress(openai.OpenAIError, TimeoutError):  # the half-filled one is of no use
                await self._routes.delete(path_of("threads", thread_id), timeout)
            raise
        return thread_id

    async def delete_generation(self, generation_id: str, *, scrub: bool, timeout: float) -> None:
        """See `Backend.delete_generation`."""
        if scrub:
            items = await self.history(generation_id, timeout)
            await self.delete_items(generation_id, [item.id for item in items if item.id is not None], timeout)
        self._messages.forget(generation_id)
        for kept in (self._searched, self._runs.waiting):
            kept.pop(generation_id, None)
        await self._routes.delete(path_of("threads", generation_id), timeout)

    async def history(self, generation_id: str, timeout: float, *, limit: int | None = None) -> list[Item]:
        """See `Backend.history`. The calls that a run waits with are items, as they are in a conversation."""
        pending = items_of_pending(await self._runs.newest(generation_id, timeout))
        path = path_of("threads", generation_id, "messages")
        messages = await self._routes.listed(path, timeout, order="desc", limit=limit)
        return [*pending, *map(item_of_message, messages)][:limit]

    async def add_outputs(self, generation_id: str, outputs: Sequence[ToolOutput], timeout: float) -> str | None:
        """See `Backend.add_outputs`. Outputs without a model call end the run that waits for them."""
        until = self._runs.until(timeout)
        await self._runs.end_newest(generation_id, until, {output.call_id: output.output for output in outputs})
        newest = await self.history(generation_id, self._runs.left(until), limit=1)
        return newest[0].id if newest else None

    async def add_messages(self, generation_id: str, items: Sequence[Mapping[str, Any]], timeout: float) -> str | None:
        """See `Backend.add_messages`."""
        return await self._messages.add(generation_id, items, self._runs.until(timeout))

    async def delete_items(self, generation_id: str, item_ids: Sequence[str], timeout: float) -> None:
        """See `Backend.delete_items`. Deleting a call ends its run. What cannot be deleted is sent no second time."""
        until = self._runs.until(timeout)
        if any("#" in item_id for item_id in item_ids):
            await self._runs.end_newest(generation_id, until)
        await self._messages.delete(generation_id, [item_id for item_id in item_ids if "#" not in item_id], until)

    async def respond(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        """See `Backend.respond`. A run comes back as it was begun; `look_up` waits for its end."""
        if request.generation_id is None:
            return await self._respond_alone(request, timeout)
        begun = await self._begin(request, timeout, streamed=False)
        return await self._answer_of(begun, timeout)

    async def stream(self, request: ModelRequest, timeout: float) -> AnswerStream:
        """See `Backend.stream`."""
        begun = await self._begin(request, timeout, streamed=True)
        if begun.events is None:
            answer = await self._answer_of(begun, timeout)
            return FollowedRun(self.look_up, answer, timeout)
        return RunEvents(self._runs, begun.events, begun.thread_id, begun.number, timeout)

    async def resume(self, response_id: str, sequence_number: int, timeout: float) -> AnswerStream:  # noqa: ARG002 - one shape for all backends
        """See `Backend.resume`. The events of a run are told once; it is asked for its end instead."""
        return FollowedRun(self.look_up, await self.look_up(response_id, timeout), timeout)

    async def look_up(self, response_id: str, timeout: float) -> ModelAnswer:
        """See `Backend.look_up`. One that the engine waits for is asked for until its end, or for `timeout` seconds."""
        thread_id, run_id, _ = _parts(response_id)
        until = self._runs.until(timeout)
        if response_id in self._runs.followed:
            found = await self._runs.wait(thread_id, run_id, until)
        else:
            found = await self._runs.retrieve(thread_id, run_id, timeout)
        return await self._runs.answer(thread_id, response_id, found, max(1.0, until - self._runs.until(0)))

    async def cancel(self, response_id: str, timeout: float) -> ModelAnswer:
        """See `Backend.cancel`. It takes half of `timeout` at most to wait for the run's end."""
        thread_id, run_id, _ = _parts(response_id)
        self._runs.followed.discard(response_id)
        found = await self._runs.end(thread_id, {"id": run_id}, self._runs.until(timeout / 2))
        return await self._runs.answer(thread_id, response_id, found, timeout / 2)

    def refuses_background(self, failure: Failure) -> bool:  # noqa: ARG002 - one shape for all backends
        """See `Backend.refuses_background`. Every run goes on by itself."""
        return False

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:  # noqa: ARG002 - one shape for all backends
        """See `Backend.count_input`. The API has no such route."""
        return None

    async def _respond_alone(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        """A call that stands alone, on a thread of its own that is deleted afterwards."""
        until = self._runs.until(timeout)
        self._params(request)  # what cannot be sent is refused before anything is made
        thread_id = await self.create_generation([], {}, timeout)
        try:
            request = replace(request, generation_id=thread_id)
            answer = await self._answer_of(await self._begin(request, timeout, streamed=False), timeout)
            if answer.id in self._runs.followed:
                answer = await self.look_up(answer.id, self._runs.left(until))
        finally:
            with contextlib.suppress(openai.OpenAIError, TimeoutError):
                await self._routes.delete(path_of("threads", thread_id), 5.0)
        return answer

    async def _answer_of(self, begun: _Begun, timeout: float) -> ModelAnswer:
        assert begun.found is not None
        run_id = get(begun.found.data, "id")
        if not isinstance(run_id, str) or not run_id:
            raise UnreadableAnswerError("the server began a run without an id: check the base URL")
        name = self._runs.name(begun.thread_id, run_id, begun.number)
        return await self._runs.answer(begun.thread_id, name, begun.found, timeout)

    async def _begin(self, request: ModelRequest, timeout: float, *, streamed: bool) -> _Begun:
        """Have the server take a request up."""
        thread_id = request.generation_id
        assert thread_id is not None
        until = self._runs.until(timeout)
        outputs = [item for item in request.input if "call_id" in item]
        messages = [item for item in request.input if "call_id" not in item]
        if outputs and not messages:
            begun = await self._submit(request, outputs, until, streamed=streamed)
            if begun is not None:
                return begun
            messages = [await self._retold(thread_id, outputs, until)]
        elif outputs:  # they wait from a run before this one, which is to end with them
            await self._runs.end_newest(thread_id, until, {str(item["call_id"]): item["output"] for item in outputs})
        params = self._params(request)
        await self._search(request, thread_id, until)
        await self._messages.place(request, messages, until)
        return await self._run(request, params, until, streamed=streamed)

    def _params(self, request: ModelRequest) -> dict[str, Any]:
        server = self._server
        model, tools = (None, []) if server is None else (server.model, server.tools)
        return run_params(request, self._assistant_id, self._overrides, model, tools)

    async def _submit(
        self, request: ModelRequest, outputs: Sequence[Mapping[str, Any]], until: float, *, streamed: bool
    ) -> _Begun | None:
        """Give a waiting run its outputs; None where the run has ended, so that another must go on in its place."""
        thread_id = request.generation_id
        assert thread_id is not None
        run_id = self._runs.waiting.get(thread_id)
        if run_id is None:
            run = await self._runs.newest(thread_id, self._runs.left(until))
            run_id = str(get(run, "id") or "")
            if not run_id or status_of(run) in ENDED:
                return None
            steps = await self._runs.steps(thread_id, run_id, self._runs.left(until))
            self._runs.rounds.setdefault(run_id, sum(1 for step in steps or () if outputs_of_steps([step])) or 1)
        number = self._runs.rounds.get(run_id, 1) + 1
        body = {"tool_outputs": [{"tool_call_id": item["call_id"], "output": item["output"]} for item in outputs]}
        path = path_of("threads", thread_id, "runs", run_id, "submit_tool_outputs")
        begun = _Begun(thread_id, number)
        try:
            await self._post(begun, path, body, request, until, streamed=streamed)
        except Exception as error:
            failure = self.classify(error)
            if failure is None or failure.kind != "ambiguous":
                raise
            begun.found = await self._runs.retrieve(thread_id, run_id, self._runs.left(until))
            if {call.id for call in pending_calls(begun.found.data)} & {item["call_id"] for item in outputs}:
                raise NotTakenUpError(f"the outputs for the run {run_id} did not arrive: {error}") from error
        self._runs.waiting.pop(thread_id, None)
        return begun

    async def _retold(self, thread_id: str, outputs: Sequence[Mapping[str, Any]], until: float) -> dict[str, Any]:
        """The message that tells a new run what the one before it had called."""
        run = await self._runs.newest(thread_id, self._runs.left(until))
        run_id = str(get(run, "id") or "")
        steps = await self._runs.steps(thread_id, run_id, self._runs.left(until)) if run_id else None
        return retold_outputs(outputs_of_steps(steps or ()), outputs)

    async def _run(self, request: ModelRequest, params: Mapping[str, Any], until: float, *, streamed: bool) -> _Begun:
        """Begin a run. Where it cannot be begun, its messages are taken back."""
        thread_id = request.generation_id
        assert thread_id is not None
        path = path_of("threads", thread_id, "runs")
        begun = _Begun(thread_id, 1)
        try:
            try:
                await self._post(begun, path, params, request, until, streamed=streamed)
            except openai.APIStatusError as error:
                if not await self._runs.unlock(thread_id, error, until):
                    raise
                await self._post(begun, path, params, request, until, streamed=streamed)
        except Exception as error:
            failure = self.classify(error)
            if failure is not None and failure.kind == "ambiguous":
                begun.found = await self._lost_run(thread_id, request.client_request_id, until)
            if begun.found is None:
                if failure is not None and failure.kind != "ambiguous":
                    await self._messages.take_back(thread_id, until)
                raise
        self._messages.forget(thread_id)
        return begun

    async def _post(
        self,
        begun: _Begun,
        path: str,
        body: Mapping[str, Any],
        request: ModelRequest,
        until: float,
        *,
        streamed: bool,
    ) -> None:
        name = request.client_request_id
        if streamed:
            told = await self._routes.events(path, max(0.001, until - self._runs.until(0)), body, name)
            if isinstance(told, HttpAnswer):
                begun.found = told
            else:
                begun.events = told
        else:
            begun.found = await self._routes.post(path, self._runs.left(until), body, name)

    async def _lost_run(self, thread_id: str, request_id: str, until: float) -> HttpAnswer | None:
        """The run of a request whose connection was lost; None where the server shows none."""
        run = await self._runs.newest(thread_id, self._runs.left(until))
        if run is None or not request_id or get(run, "metadata", REQUEST_KEY) != request_id:
            return None
        return HttpAnswer(run)

    async def _search(self, request: ModelRequest, thread_id: str, until: float) -> None:
        """Have the thread search the vector store that the request names."""
        stores = [
            store
            for tool in request.tools
            if tool.get("type") == "file_search"
            for store in tool.get("vector_store_ids", ())
        ]
        if not stores or self._searched.get(thread_id) == stores[-1]:
            return
        body = {"tool_resources": {"file_search": {"vector_store_ids": [stores[-1]]}}}
        await self._routes.post(path_of("threads", thread_id), self._runs.left(until), body)
        self._searched[thread_id] = stores[-1]


def _parts(response_id: str) -> tuple[str, str, int]:
    """Thread, run and number of an answer of that name."""
    thread_id, run_id, number = response_id.rsplit("/", 2)
    return thread_id, run_id, int(number)
