"""The ASGI application: routes, authentication, faults, headers and the log of requests."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route

from assistantguard import tokens
from assistantguard._refusals import ApiProblem
from assistantguard.sandbox.batches import Batches
from assistantguard.sandbox.chat import check_chat, check_completion
from assistantguard.sandbox.conversations import Conversations
from assistantguard.sandbox.effects import Change, Cut, Ending, Lost, Slow
from assistantguard.sandbox.faults import FaultPlan
from assistantguard.sandbox.files import Files
from assistantguard.sandbox.injection import Injection, open_call_in, traits_of
from assistantguard.sandbox.rate_limits import RateLimiting
from assistantguard.sandbox.request_log import RecordedRequest, recorded
from assistantguard.sandbox.responses import Responses
from assistantguard.sandbox.streams import Dropped, EventStream, Gone, Silent
from assistantguard.sandbox.vector_stores import VectorStores
from assistantguard.sandbox.waiting import Signal, Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from assistantguard.sandbox.batches import BatchProcessing
    from assistantguard.sandbox.billing import Billing
    from assistantguard.sandbox.chat import ChatForm
    from assistantguard.sandbox.effects import Effect
    from assistantguard.sandbox.faults import Fault
    from assistantguard.sandbox.rate_limits import Limits
    from assistantguard.sandbox.responses import BackgroundMode, OnDisconnect
    from assistantguard.sandbox.script import Model, Script
    from assistantguard.sandbox.state import State
    from assistantguard.sandbox.stores import Embedding

__all__ = ["Application"]


@dataclass(slots=True)
class _Call:
    """A request on its way to its handler."""

    ids: dict[str, str]
    query: Mapping[str, str]
    body: Any
    effect: Effect | None
    request: Request


Document: TypeAlias = dict[str, Any] | bytes | Response
Handler: TypeAlias = Callable[[_Call], Awaitable[Document] | Document]


class Application:
    """The sandbox's API. `asgi` is the application to serve.

    Args:
        state: What the sandbox remembers.
        billing: Its bill.
        model: The script, or the function that answers.
        model_in_thread: Run a plain function in a worker thread.
        faults: What goes wrong, and when.
        embedding: How files are embedded.
        batches: How batches are processed.
        api_key: The key that requests must carry; None takes any.
        background: What becomes of ``background: true``.
        on_disconnect: What becomes of a foreground response whose client leaves.
        limits: The rate limits; None enforces none.
        window_seconds: When background work begins that is to be done within a completion window.
        log_requests: How many of the newest requests are kept; None is all.
    """

    def __init__(
        self,
        state: State,
        billing: Billing,
        model: Script | Model,
        *,
        model_in_thread: bool,
        faults: Sequence[Fault],
        embedding: Embedding,
        batches: BatchProcessing,
        api_key: str | None,
        background: BackgroundMode,
        on_disconnect: OnDisconnect,
        limits: Limits | None,
        window_seconds: Mapping[str, float],
        log_requests: int | None,
    ) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=log_requests)
        self.faults = FaultPlan(faults)
        self.rate_limits = RateLimiting(limits, state.now, keep=log_requests)
        self._state = state
        self._api_key = api_key
        self._files = Files(state, self._forget_file)
        self._stores = VectorStores(state, self._files, billing, embedding)
        self._responses = Responses(
            state,
            billing,
            model,
            model_in_thread=model_in_thread,
            stores=self._stores,
            rate_limits=self.rate_limits,
            background=background,
            on_disconnect=on_disconnect,
            window_seconds=window_seconds,
        )
        self.batches = Batches(state, self._files, self._responses, batches)
        self._conversations = Conversations(state)
        self._injection = Injection(state, self._stores)
        self._closing: Signal | None = None
        self.asgi = Starlette(
            routes=[
                *self._response_routes(),
                *self._chat_routes(),
                *self._conversation_routes(),
                *self._file_routes(),
                *self._store_routes(),
                *self._batch_routes(),
            ],
            exception_handlers={HTTPException: _no_such_route},
        )

    def close(self) -> None:
        """End what is still being made. Called on the server's event loop."""
        if self._closing is not None:
            self._closing.stop("closing")
        self._responses.close()

    def break_conversation(self, conversation_id: str) -> str:
        """See `Sandbox.break_conversation`. Called on the server's event loop."""
        if conversation_id not in self._state.conversations:
            raise KeyError(conversation_id)
        return open_call_in(self._state, conversation_id)

    def expire_store(self, store_id: str) -> None:
        """See `Sandbox.expire_store`. Called on the server's event loop."""
        self._stores.expire([store_id])

    def _forget_file(self, file_id: str) -> None:
        self._stores.forget(file_id)

    def _response_routes(self) -> list[Route]:
        served = self._responses
        one = "/responses/{id}"

        def create(call: _Call) -> Awaitable[Document]:
            effect = call.effect
            return served.create(
                call.body,
                call.request.receive,
                instead=effect.answer if isinstance(effect, Ending) else None,
                change=effect if isinstance(effect, (Change, Slow)) else None,
            )

        def get(call: _Call) -> Awaitable[Document]:
            return served.get(call.ids["id"], call.query, call.request.receive)

        return [
            self._route("POST", "/responses", create),
            self._route("POST", "/responses/input_tokens", lambda call: served.count(call.body)),
            self._route("GET", one, get),
            self._route("DELETE", one, lambda call: served.delete(call.ids["id"])),
            self._route("POST", f"{one}/cancel", lambda call: served.cancel(call.ids["id"])),
            self._route("GET", f"{one}/input_items", lambda call: served.inputs(call.ids["id"], call.query)),
        ]

    def _chat_routes(self) -> list[Route]:
        served = self._responses

        def of(check: Callable[[Any], tuple[dict[str, Any], ChatForm]]) -> Handler:
            def handle(call: _Call) -> Awaitable[Document]:
                checked, form = check(call.body)
                return served.chat(checked, form, call.request.receive)

            return handle

        return [
            self._route("POST", "/chat/completions", of(check_chat)),
            self._route("POST", "/completions", of(check_completion)),
        ]

    def _conversation_routes(self) -> list[Route]:
        served = self._conversations
        state = self._state
        one = "/conversations/{id}"
        return [
            self._route("POST", "/conversations", lambda call: served.create(call.body)),
            self._route("GET", one, lambda call: state.conversation(call.ids["id"]).document),
            self._route("POST", one, lambda call: served.update(call.ids["id"], call.body)),
            self._route("DELETE", one, lambda call: served.delete(call.ids["id"])),
            self._route("GET", f"{one}/items", lambda call: served.list_items(call.ids["id"], call.query)),
            self._route("POST", f"{one}/items", lambda call: served.add_items(call.ids["id"], call.body)),
            self._route(
                "GET",
                f"{one}/items/{{item_id}}",
                lambda call: served.item(call.ids["id"], call.ids["item_id"]),
            ),
            self._route(
                "DELETE",
                f"{one}/items/{{item_id}}",
                lambda call: served.delete_item(call.ids["id"], call.ids["item_id"]),
            ),
        ]

    def _file_routes(self) -> list[Route]:
        served = self._files
        return [
            self._route("POST", "/files", lambda call: served.create(call.request)),
            self._route("GET", "/files", lambda call: served.list_all(call.query)),
            self._route("GET", "/files/{id}", lambda call: served.get(call.ids["id"]).document),
            self._route("DELETE", "/files/{id}", lambda call: served.delete(call.ids["id"])),
            self._route("GET", "/files/{id}/content", lambda call: served.content(call.ids["id"])),
        ]

    def _store_routes(self) -> list[Route]:
        served = self._stores
        one = "/vector_stores/{id}"
        file = f"{one}/files/{{file_id}}"
        batch = f"{one}/file_batches/{{batch_id}}"

        def of(method: Callable[..., dict[str, Any]], *names: str, body: bool = False) -> Handler:
            def handle(call: _Call) -> dict[str, Any]:
                given = [call.ids[name] for name in ("id", *names)]
                return method(*given, call.body) if body else method(*given)

            return handle

        return [
            self._route("POST", "/vector_stores", lambda call: served.create(call.body)),
            self._route("GET", "/vector_stores", lambda call: served.list_all(call.query)),
            self._route("GET", one, of(served.get)),
            self._route("POST", one, of(served.update, body=True)),
            self._route("DELETE", one, of(served.delete)),
            self._route("POST", f"{one}/files", of(served.add_file, body=True)),
            self._route("GET", f"{one}/files", lambda call: served.list_files(call.ids["id"], call.query)),
            self._route("GET", file, of(served.file, "file_id")),
            self._route("POST", file, of(served.update_file, "file_id", body=True)),
            self._route("DELETE", file, of(served.delete_file, "file_id")),
            self._route("POST", f"{one}/file_batches", of(served.create_batch, body=True)),
            self._route("GET", batch, of(served.batch, "batch_id")),
            self._route("POST", f"{batch}/cancel", of(served.cancel_batch, "batch_id")),
            self._route(
                "GET",
                f"{batch}/files",
                lambda call: served.batch_files(call.ids["id"], call.ids["batch_id"], call.query),
            ),
            self._route("POST", f"{one}/search", of(served.search, body=True)),
        ]

    def _batch_routes(self) -> list[Route]:
        served = self.batches
        one = "/batches/{id}"
        return [
            self._route("POST", "/batches", lambda call: served.create(call.body)),
            self._route("GET", "/batches", lambda call: served.list_all(call.query)),
            self._route("GET", one, lambda call: served.get(call.ids["id"])),
            self._route("POST", f"{one}/cancel", lambda call: served.cancel(call.ids["id"])),
        ]

    def _route(self, method: str, path: str, handler: Handler) -> Route:
        endpoint = f"{method} {path}"

        async def serve(request: Request) -> Response:
            started = time.perf_counter()
            record = recorded(request, endpoint)
            self.requests.append(record)
            headers: dict[str, str] = {}
            document: Document
            try:
                raw = await request.body()
                self._authenticate(request.headers.get("authorization"))
                record.body = _parsed(raw, request.headers.get("content-type", ""))
                self.rate_limits.arrive(endpoint, record.body)
                document = await self._handle(request, record, handler)
                record.status = None if isinstance(document, (Dropped, Gone, Silent)) else 200
            except ApiProblem as problem:
                record.status, document = problem.status, problem.body()
                headers = problem.headers
            except ClientDisconnect:  # it left before its request was read
                return Gone()
            spent = round((time.perf_counter() - started) * 1000)
            return _answered(
                record.status or 200,
                document,
                {
                    **self.rate_limits.headers(endpoint, record.body),
                    "openai-processing-ms": str(max(1, spent)),
                    "openai-version": "2020-10-01",
                    "x-request-id": self._state.ids.make("req_"),
                    **headers,
                },
            )

        return Route(f"/v1{path}", serve, methods=[method])

    async def _handle(self, request: Request, record: RecordedRequest, handler: Handler) -> Document:
        self._state.catch_up()
        if not tokens.ready():
            await asyncio.to_thread(tokens.count, "")
        traits = traits_of(record.endpoint, request.path_params, record.query, record.body)
        record.fault, effect = self.faults.due(traits) or (None, None)
        if self._closing is None:
            self._closing = Signal()
        closing = self._closing
        try:
            instead = await self._injection.before(effect, traits, closing)
            if instead is not None:
                return instead
            call = _Call(dict(request.path_params), record.query, record.body, effect, request)
            try:
                with self._injection.during(effect):
                    answer = handler(call)
                document = answer if isinstance(answer, (dict, bytes, Response)) else await answer
            except ApiProblem:
                if not isinstance(effect, Lost):
                    raise
                document = {}
            instead = await self._injection.after(effect, traits, document, closing)
        except Stopped:
            raise ApiProblem(
                503, "Sandbox: the sandbox is closing.", kind="sandbox_error", code="sandbox_closing"
            ) from None
        if instead is not None:
            return instead
        if isinstance(document, EventStream) and isinstance(effect, Cut):
            document.cut = effect
        return document

    def _authenticate(self, authorization: str | None) -> None:
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise ApiProblem(
                401,
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            )
        if self._api_key is not None and key.strip() != self._api_key:
            shown = f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) > 11 else "*" * len(key)
            raise ApiProblem(
                401,
                f"Incorrect API key provided: {shown}. This is a sandbox; its key is in `sandbox.api_key`.",
                code="invalid_api_key",
            )


def _parsed(raw: bytes, content_type: str) -> Any:
    if not raw or content_type.startswith("multipart/"):
        return None
    try:
        return json.loads(raw)
    except ValueError:
        raise ApiProblem(
            400,
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
        ) from None


def _answered(status: int, document: Document, headers: dict[str, str]) -> Response:
    if isinstance(document, Response):
        document.headers.update(headers)
        return document
    if isinstance(document, bytes):
        return Response(document, status, headers, media_type="application/octet-stream")
    content = json.dumps(document, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        message = f"Not allowed to {request.method} on {request.url.path}."
        problem = ApiProblem(405, message, code="method_not_supported")
    else:
        problem = ApiProblem(404, f"Invalid URL ({request.method} {request.url.path})")
    return _answered(problem.status, problem.body(), {})
