"""The routes: each a thin translation between the wire and what is kept."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from assistantguard._refusals import ApiProblem, invalid
from assistantguard.dropin import objects, parameters, problems
from assistantguard.dropin.ids import new_id
from assistantguard.dropin.recording import HIDDEN, attach, parsed, shown
from assistantguard.dropin.runs import Events, Runs
from assistantguard.dropin.translation import attached_files
from assistantguard.dropin.wire import WireAnswer, WireRequest
from assistantguard.storage.documents import Document, DocumentUnknown

if TYPE_CHECKING:
    from assistantguard.dropin.colours import Colour
    from assistantguard.dropin.engines import Engines

__all__ = ["AssistantsService"]

T = TypeVar("T")
Body = dict[str, Any]
Handler = Callable[["AssistantsService", WireRequest, tuple[str, ...]], Awaitable[WireAnswer]]
_SERVED = re.compile(r"/(assistants|threads)(/|$)")
_FOUND = "step_details.tool_calls[*].file_search.results[*].content"
_POLL_HELPER = "x-stainless-poll-helper"
_POLL_AFTER = {"openai-poll-after-ms": "50"}


class AssistantsService:
    """`Service` over documents and engines."""

    def __init__(self, engines: Engines, colour: Colour) -> None:
        self._documents = engines.settings.documents
        self._user_of = engines.settings.user_of
        self._driver = colour.driver
        self._forget = engines.forget
        self.runs = Runs(engines, colour)

    def serves(self, path: str) -> bool:
        """See `Service.serves`."""
        return _SERVED.match(path) is not None

    async def handle(self, request: WireRequest) -> WireAnswer:
        """See `Service.handle`."""
        try:
            handler, names = _route(request)
            return await handler(self, request, names)
        except (ApiProblem, DocumentUnknown) as error:
            problem = problems.unknown_cursor(error.id) if isinstance(error, DocumentUnknown) else error
            return WireAnswer(problem.status, problem.body())

    # Assistants

    async def create_assistant(self, request: WireRequest, _: tuple[str, ...]) -> WireAnswer:
        """POST /assistants."""
        given, now = parameters.assistant_parameters(_json(request)), self._driver.now()
        body = objects.new_assistant(new_id("asst"), now, given)
        await self._do(lambda: self._documents.add(Document("assistant", body["id"], "", now, body)))
        return WireAnswer(200, body)

    async def retrieve_assistant(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /assistants/{id}."""
        return WireAnswer(200, await self._get("assistant", names[0]))

    async def update_assistant(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /assistants/{id}."""
        changes = parameters.assistant_changes(_json(request))
        return WireAnswer(
            200, await self._change("assistant", names[0], lambda body: objects.changed_assistant(body, changes))
        )

    async def delete_assistant(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """DELETE /assistants/{id}."""
        if not await self._do(lambda: self._documents.delete("assistant", names[0])):
            raise problems.not_found("assistant", names[0])
        return WireAnswer(200, objects.deleted("assistant", names[0]))

    async def list_assistants(self, request: WireRequest, _: tuple[str, ...]) -> WireAnswer:
        """GET /assistants."""
        return await self._page("assistant", "", request)

    # Threads

    async def create_thread(self, request: WireRequest, _: tuple[str, ...]) -> WireAnswer:
        """POST /threads."""
        given = parameters.thread_parameters(_json(request) or {})
        return WireAnswer(200, shown(await self._new_thread(given)))

    async def _new_thread(self, given: Mapping[str, Any]) -> Body:
        now = self._driver.now()
        body = objects.new_thread(new_id("thread"), now, given)
        messages = [
            objects.new_message(new_id("msg"), now, body["id"], message) for message in given.get("messages") or ()
        ]
        stores = ((given.get("tool_resources") or {}).get("file_search") or {}).get("vector_stores") or ()
        files = [file_id for store in stores for file_id in store.get("file_ids") or ()]
        body[HIDDEN] = {
            "active": None,
            "unsent": [message["id"] for message in messages],
            "files": [*files, *attached_files(messages, "file_search")],
            "code_files": attached_files(messages, "code_interpreter"),
            "user": self._user_of(body["metadata"]),
        }
        documents = [Document("message", message["id"], body["id"], now, message) for message in messages]
        await self._do(lambda: self._documents.add(Document("thread", body["id"], "", now, body), *documents))
        return body

    async def retrieve_thread(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}."""
        return WireAnswer(200, await self._get("thread", names[0]))

    async def update_thread(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}."""
        changes = parameters.thread_changes(_json(request))
        return WireAnswer(
            200, await self._change("thread", names[0], lambda body: objects.changed_thread(body, changes))
        )

    async def delete_thread(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """DELETE /threads/{id}: the thread, its messages, runs and steps."""
        thread_id = names[0]

        def work() -> None:
            with self._documents.together():
                thread = self._documents.get("thread", thread_id)
                if thread is None:
                    raise problems.not_found("thread", thread_id)
                while True:
                    runs = self._documents.page("run", thread_id, limit=100).documents
                    for run in runs:
                        self._documents.delete_children("step", run.id)
                        self._documents.delete("run", run.id)
                    if not runs:
                        break
                self._documents.delete_children("message", thread_id)
                self._documents.delete("thread", thread_id)

        await self._do(work)
        await self._forget(thread_id)
        return WireAnswer(200, objects.deleted("thread", thread_id))

    async def create_thread_and_run(self, request: WireRequest, _: tuple[str, ...]) -> WireAnswer:
        """POST /threads/runs."""
        thread_given, run_given = parameters.thread_and_run_parameters(_json(request))
        await self._get("assistant", run_given["assistant_id"])
        thread = await self._new_thread(thread_given)
        return await self._create_run(request, thread["id"], run_given, [("thread.created", thread)])

    # Messages

    async def create_message(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/messages."""
        given, now, thread_id = parameters.message_parameters(_json(request)), self._driver.now(), names[0]
        message = objects.new_message(new_id("msg"), now, thread_id, given)

        def note(document: Document) -> None:
            hidden = document.body[HIDDEN]
            if hidden["active"] is not None:
                raise problems.messages_locked(thread_id, hidden["active"])
            hidden["unsent"].append(message["id"])
            attach(hidden, [message])

        def work() -> None:
            with self._documents.together():
                if self._documents.change("thread", thread_id, note) is None:
                    raise problems.not_found("thread", thread_id)
                self._documents.add(Document("message", message["id"], thread_id, now, message))

        try:
            await self._do(work)
        except ApiProblem:
            if not await self.runs.end_active_if_due(thread_id):
                raise
            await self._do(work)
        return WireAnswer(200, message)

    async def list_messages(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/messages."""
        await self._get("thread", names[0])
        return await self._page("message", names[0], request)

    async def retrieve_message(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/messages/{id}."""
        return WireAnswer(200, await self._get("message", names[1], names[0]))

    async def update_message(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/messages/{id}."""
        changes = parameters.message_changes(_json(request))
        await self._get("message", names[1], names[0])
        return WireAnswer(
            200, await self._change("message", names[1], lambda body: objects.changed_message(body, changes))
        )

    async def delete_message(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """DELETE /threads/{id}/messages/{id}: one that no run has read yet."""
        thread_id, message_id = names

        def note(document: Document) -> None:
            hidden = document.body[HIDDEN]
            if hidden["active"] is not None:
                raise problems.messages_locked(thread_id, hidden["active"])
            if message_id not in hidden["unsent"]:
                raise problems.not_served(
                    "deleting a message that a run has read",
                    "the model keeps what it read until the thread rotates: begin a new thread without it",
                )
            hidden["unsent"].remove(message_id)

        def work() -> None:
            with self._documents.together():
                if self._documents.get("message", message_id, thread_id) is None:
                    raise problems.not_found("message", message_id)
                self._documents.change("thread", thread_id, note)
                self._documents.delete("message", message_id)

        await self._do(work)
        return WireAnswer(200, objects.deleted("message", message_id))

    # Runs

    async def create_run(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/runs."""
        return await self._create_run(request, names[0], parameters.run_parameters(_json(request)), ())

    async def _create_run(
        self, request: WireRequest, thread_id: str, given: Mapping[str, Any], before: Any
    ) -> WireAnswer:
        streamed = bool(given.get("stream"))
        run, events = await self.runs.create(thread_id, given, streamed=streamed, before=before)
        return _of_run(request, run, events)

    async def list_runs(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/runs."""
        await self._get("thread", names[0])
        await self.runs.end_active_if_due(names[0])
        return await self._page("run", names[0], request)

    async def retrieve_run(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/runs/{id}."""
        polls = request.headers.get(_POLL_HELPER) == "true"
        return WireAnswer(200, await self.runs.retrieve(*names, polls=polls), _POLL_AFTER)

    async def update_run(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/runs/{id}."""
        changes = parameters.run_changes(_json(request))
        await self._get("run", names[1], names[0])
        return WireAnswer(200, await self._change("run", names[1], lambda body: objects.changed_run(body, changes)))

    async def cancel_run(self, _: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/runs/{id}/cancel."""
        return WireAnswer(200, await self.runs.cancel(*names))

    async def submit_tool_outputs(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """POST /threads/{id}/runs/{id}/submit_tool_outputs."""
        outputs, streamed = parameters.tool_outputs(_json(request))
        run, events = await self.runs.submit(names[0], names[1], outputs, streamed=streamed)
        return _of_run(request, run, events)

    async def list_steps(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/runs/{id}/steps."""
        await self._get("run", names[1], names[0])
        return await self._page("step", names[1], request, show=_shown_step(request))

    async def retrieve_step(self, request: WireRequest, names: tuple[str, ...]) -> WireAnswer:
        """GET /threads/{id}/runs/{id}/steps/{id}."""
        await self._get("run", names[1], names[0])
        return WireAnswer(200, _shown_step(request)(await self._get("step", names[2], names[1])))

    # Storage

    async def _get(self, kind: str, document_id: str, parent: str | None = None) -> Body:
        document = await self._do(lambda: self._documents.get(kind, document_id, parent))
        if document is None:
            raise problems.not_found("run step" if kind == "step" else kind, document_id)
        return shown(document.body)

    async def _change(self, kind: str, document_id: str, change: Callable[[Body], Body]) -> Body:
        def work(document: Document) -> None:
            changed = change(shown(document.body))
            hidden = document.body.get(HIDDEN)
            document.body = changed if hidden is None else {**changed, HIDDEN: hidden}

        document = await self._do(lambda: self._documents.change(kind, document_id, work))
        if document is None:
            raise problems.not_found(kind, document_id)
        return shown(document.body)

    async def _page(
        self, kind: str, parent: str, request: WireRequest, show: Callable[[Mapping[str, Any]], Body] = shown
    ) -> WireAnswer:
        query = parameters.list_query(request.query)
        page = await self._do(
            lambda: self._documents.page(
                kind,
                parent,
                limit=query.limit,
                descending=query.descending,
                after=query.after,
                before=query.before,
                mark=query.run_id if kind == "message" else None,
            )
        )
        return WireAnswer(200, objects.page([show(document.body) for document in page.documents], page.has_more))

    async def _do(self, work: Callable[[], T]) -> T:
        return await self._driver.blocking(work, at_once=self._documents.in_process)


def _shown_step(request: WireRequest) -> Callable[[Mapping[str, Any]], Body]:
    """How the request wants steps: what file searches found is told only where it asks for it."""
    return shown if _asks_for_found(request) else objects.without_found


def _asks_for_found(request: WireRequest) -> bool:
    return any(name in {"include", "include[]"} and value == _FOUND for name, value in request.query)


def _of_run(request: WireRequest, run: Body, events: Events | None) -> WireAnswer:
    if events is None:
        return WireAnswer(200, run, _POLL_AFTER)
    searches = any(tool["type"] == "file_search" for tool in run["tools"])
    return WireAnswer(200, None, {}, _without_found(events) if searches and not _asks_for_found(request) else events)


async def _without_found(events: Events) -> Events:
    """Events whose steps do not tell what file searches found."""
    async with aclosing(events):
        async for word, data in events:
            if word == "thread.run.step.delta":
                yield word, {**data, "delta": objects.without_found(data["delta"])}
            elif word.startswith("thread.run.step."):
                yield word, objects.without_found(data)
            else:
                yield word, data


def _json(request: WireRequest) -> Any:
    try:
        return parsed(request.body)
    except ValueError as error:
        raise invalid(None, f"We could not parse the JSON body of your request: {error}") from None


def _route(request: WireRequest) -> tuple[Handler, tuple[str, ...]]:
    """Which handler answers a request, and the names in its path."""
    path = request.path.rstrip("/")
    known = False
    for pattern, methods in _ROUTES:
        found = pattern.fullmatch(path)
        if found is not None:
            known = True
            handler = methods.get(request.method)
            if handler is not None:
                return handler, found.groups()
    raise (problems.wrong_method if known else problems.unknown_route)(request.method, request.path)


_NAME = "([^/]+)"
_ROUTES: tuple[tuple[re.Pattern[str], Mapping[str, Handler]], ...] = tuple(
    (re.compile(path.replace("*", _NAME)), methods)
    for path, methods in (
        ("/assistants", {"GET": AssistantsService.list_assistants, "POST": AssistantsService.create_assistant}),
        (
            "/assistants/*",
            {
                "GET": AssistantsService.retrieve_assistant,
                "POST": AssistantsService.update_assistant,
                "DELETE": AssistantsService.delete_assistant,
            },
        ),
        ("/threads", {"POST": AssistantsService.create_thread}),
        ("/threads/runs", {"POST": AssistantsService.create_thread_and_run}),
        (
            "/threads/*",
            {
                "GET": AssistantsService.retrieve_thread,
                "POST": AssistantsService.update_thread,
                "DELETE": AssistantsService.delete_thread,
            },
        ),
        ("/threads/*/messages", {"GET": AssistantsService.list_messages, "POST": AssistantsService.create_message}),
        (
            "/threads/*/messages/*",
            {
                "GET": AssistantsService.retrieve_message,
                "POST": AssistantsService.update_message,
                "DELETE": AssistantsService.delete_message,
            },
        ),
        ("/threads/*/runs", {"GET": AssistantsService.list_runs, "POST": AssistantsService.create_run}),
        ("/threads/*/runs/*", {"GET": AssistantsService.retrieve_run, "POST": AssistantsService.update_run}),
        ("/threads/*/runs/*/cancel", {"POST": AssistantsService.cancel_run}),
        ("/threads/*/runs/*/submit_tool_outputs", {"POST": AssistantsService.submit_tool_outputs}),
        ("/threads/*/runs/*/steps", {"GET": AssistantsService.list_steps}),
        ("/threads/*/runs/*/steps/*", {"GET": AssistantsService.retrieve_step}),
    )
)
