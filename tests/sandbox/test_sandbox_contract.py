"""Every body the sandbox sends, against the official SDK's response models and the official contract."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import types
from openai.types import conversations, responses, vector_stores
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from assistantguard.sandbox import (
    Answer,
    BatchProcessing,
    Embedding,
    Fault,
    FileSearch,
    FunctionCall,
    Sandbox,
    Scripted,
    ToolCalls,
)
from tests.support.contract import contract_problems, official_contract

MODEL = "gpt-6-luna"
_OLDEST = openai.__version__.startswith("1.")
_OUTPUT: Any = "d" if _OLDEST else [{"type": "input_text", "text": "d"}]  # 1.x knows outputs as texts only

Sent = list[tuple[str, int, Any]]


def _input_tokens() -> Any:
    try:
        from openai.types.responses.input_token_count_response import InputTokenCountResponse
    except ModuleNotFoundError:  # openai 1.101 does not have it
        return dict[str, Any]
    return InputTokenCountResponse


MODELS: dict[str, Callable[[], Any]] = {
    "POST /responses": lambda: responses.Response,
    "GET /responses/{id}": lambda: responses.Response,
    "POST /responses/{id}/cancel": lambda: responses.Response,
    "POST /responses/input_tokens": _input_tokens,
    "GET /responses/{id}/input_items": lambda: responses.ResponseItemList,
    "POST /chat/completions": lambda: ChatCompletion,
    "POST /completions": lambda: types.Completion,
    "POST /conversations": lambda: conversations.Conversation,
    "GET /conversations/{id}": lambda: conversations.Conversation,
    "POST /conversations/{id}": lambda: conversations.Conversation,
    "DELETE /conversations/{id}": lambda: conversations.ConversationDeletedResource,
    "GET /conversations/{id}/items": lambda: conversations.ConversationItemList,
    "POST /conversations/{id}/items": lambda: conversations.ConversationItemList,
    "GET /conversations/{id}/items/{item_id}": lambda: conversations.ConversationItem,
    "DELETE /conversations/{id}/items/{item_id}": lambda: conversations.Conversation,
    "POST /files": lambda: types.FileObject,
    "GET /files/{id}": lambda: types.FileObject,
    "DELETE /files/{id}": lambda: types.FileDeleted,
    "POST /batches": lambda: types.Batch,
    "GET /batches/{id}": lambda: types.Batch,
    "POST /batches/{id}/cancel": lambda: types.Batch,
    "POST /vector_stores": lambda: types.VectorStore,
    "GET /vector_stores/{id}": lambda: types.VectorStore,
    "POST /vector_stores/{id}": lambda: types.VectorStore,
    "DELETE /vector_stores/{id}": lambda: types.VectorStoreDeleted,
    "POST /vector_stores/{id}/files": lambda: vector_stores.VectorStoreFile,
    "GET /vector_stores/{id}/files/{file_id}": lambda: vector_stores.VectorStoreFile,
    "POST /vector_stores/{id}/files/{file_id}": lambda: vector_stores.VectorStoreFile,
    "DELETE /vector_stores/{id}/files/{file_id}": lambda: vector_stores.VectorStoreFileDeleted,
    "POST /vector_stores/{id}/file_batches": lambda: vector_stores.VectorStoreFileBatch,
    "GET /vector_stores/{id}/file_batches/{batch_id}": lambda: vector_stores.VectorStoreFileBatch,
    "POST /vector_stores/{id}/file_batches/{batch_id}/cancel": lambda: vector_stores.VectorStoreFileBatch,
}
PAGES: dict[str, Callable[[], Any]] = {
    "GET /files": lambda: types.FileObject,
    "GET /batches": lambda: types.Batch,
    "GET /vector_stores": lambda: types.VectorStore,
    "GET /vector_stores/{id}/files": lambda: vector_stores.VectorStoreFile,
    "GET /vector_stores/{id}/file_batches/{batch_id}/files": lambda: vector_stores.VectorStoreFile,
    "POST /vector_stores/{id}/search": lambda: types.VectorStoreSearchResponse,
}


class _Recorder:
    """A client of a sandbox that keeps every body it is sent."""

    def __init__(self, sandbox: Sandbox, sent: Sent) -> None:
        def keep(response: Any) -> None:
            response.read()
            streamed = response.headers["content-type"].startswith("text/event-stream")
            endpoint = sandbox.requests[-1].endpoint
            sent.append((f"{endpoint} stream" if streamed else endpoint, response.status_code, response.content))

        self.sandbox = sandbox
        self.client = sandbox.client(
            max_retries=0,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [keep]}, trust_env=False, verify=False),
        )


def _responses(sent: Sent, lookup: dict[str, Any]) -> None:
    script: list[Scripted] = [
        ToolCalls(FunctionCall("lookup", {"order": "W1"}), FunctionCall("lookup", {"order": "W2"})),
        Answer("done", reasoning_tokens=12),
        "word " * 100,
        Answer("found", file_search=[FileSearch("refunds"), FileSearch("bags", results=["Two."])]),
        "last",
    ]
    faults = [
        Fault.failed_response(at=6, text="half"),
        Fault.incomplete(at=7, usage_reported=False),
        Fault.rate_limit(at=8),
        Fault.quota(at=9),
        Fault.server_error(at=10),
    ]
    with Sandbox(script, faults=faults) as sandbox:
        client: Any = _Recorder(sandbox, sent).client
        seed = [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "file_id": "f"}]},
            {"role": "assistant", "content": "b"},
            {"role": "developer", "content": "c"},
            {"type": "function_call", "call_id": "call_a", "name": "lookup", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "call_a", "output": _OUTPUT},
        ]
        conversation = client.conversations.create(items=seed, metadata={"a": "b"}).id
        store = client.vector_stores.create(
            file_ids=[client.files.create(file=("r.txt", b"refunds"), purpose="assistants").id]
        ).id
        tools: Any = [lookup, {"type": "file_search", "vector_store_ids": [store]}, {"type": "web_search_preview"}]
        common: Any = {"model": MODEL, "conversation": conversation, "tools": tools}
        client.post("/responses/input_tokens", body={"input": "Hi", **common}, cast_to=object)
        first = client.responses.create(
            input="Hi",
            instructions="Be kind.",
            metadata={"turn": "1"},
            temperature=0.5,
            text={"verbosity": "low"},
            reasoning={"effort": "low"},
            tool_choice={"type": "function", "name": "lookup"},
            service_tier="flex",
            safety_identifier="u-1",
            prompt_cache_key="k",
            **common,
        )
        outputs: Any = [
            {"type": "function_call_output", "call_id": item.call_id, "output": "ok"}
            for item in first.output
            if item.type == "function_call"
        ]
        second = client.responses.create(input=outputs, **common)
        client.responses.create(input="long", max_output_tokens=30, **common)
        client.responses.create(input="search", include=["file_search_call.results"], max_tool_calls=5, **common)
        client.responses.create(input="chained", model=MODEL, previous_response_id=second.id)
        client.responses.create(input="fails", **common)
        client.responses.create(input="is cut", **common)
        for _ in range(3):
            with pytest.raises(openai.APIStatusError):
                client.responses.create(input="refused", **common)
        client.responses.retrieve(second.id)
        client.responses.input_items.list(second.id, limit=100)
        client.responses.delete(second.id)
        for order in ("asc", "desc"):
            client.conversations.items.list(conversation, order=order, limit=50)
        for item in sandbox.conversation(conversation):
            client.conversations.items.retrieve(item["id"], conversation_id=conversation)
        client.conversations.items.list(client.conversations.create().id)
        added = client.conversations.items.create(conversation, items=[{"role": "user", "content": "x"}])
        client.conversations.items.delete(added.data[0].id, conversation_id=conversation)
        client.conversations.retrieve(conversation)
        client.conversations.update(conversation, metadata={"c": "d"})
        client.conversations.delete(conversation)
        with pytest.raises(openai.NotFoundError):
            client.conversations.retrieve(conversation)


def _files(sent: Sent) -> None:
    with Sandbox(embedding=Embedding(seconds=10, failing=["bad.txt"])) as sandbox:
        client: Any = _Recorder(sandbox, sent).client
        good = client.files.create(
            file=("good.txt", b"refunds take five days"),
            purpose="user_data",
            expires_after={"anchor": "created_at", "seconds": 7200},
        ).id
        bad = client.files.create(file=("bad.txt", b"?"), purpose="assistants").id
        client.files.retrieve(good)
        client.files.list()
        store = client.vector_stores.create(
            name="s", file_ids=[good], expires_after={"anchor": "last_active_at", "days": 3}
        ).id
        client.vector_stores.files.create(store, file_id=bad, attributes={"year": 2026, "kind": "terms", "final": True})
        batch = client.vector_stores.file_batches.create(store, file_ids=[good, bad])
        client.vector_stores.file_batches.retrieve(batch.id, vector_store_id=store)
        client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store)
        sandbox.advance(11)
        client.vector_stores.retrieve(store)
        client.vector_stores.update(store, name="t")
        client.vector_stores.list()
        client.vector_stores.files.list(store)
        client.vector_stores.files.retrieve(bad, vector_store_id=store)
        client.vector_stores.files.update(bad, vector_store_id=store, attributes={"a": "b"})
        client.vector_stores.search(store, query="refunds")
        client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store)
        client.vector_stores.files.delete(bad, vector_store_id=store)
        sandbox.advance(4 * 86_400)
        client.vector_stores.retrieve(store)
        client.vector_stores.delete(store)
        client.files.delete(bad)


def _batches(sent: Sent) -> None:
    processing = BatchProcessing(seconds=100, validating_seconds=10, finalizing_seconds=10, cancelling_seconds=10)
    with Sandbox(batches=processing) as sandbox:
        client: Any = _Recorder(sandbox, sent).client
        line = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {"model": MODEL, "input": "Hi"}}
        files = [
            client.files.create(file=("b.jsonl", content), purpose="batch").id
            for content in (json.dumps(line).encode(), b"{\n[]", json.dumps({**line, "url": "/v1/chat"}).encode())
        ]
        common: Any = {"endpoint": "/v1/responses", "completion_window": "24h", "metadata": {"a": "b"}}
        batches = [client.batches.create(input_file_id=file, **common).id for file in [*files, files[0]]]
        for seconds in (0, 10, 50, 50, 10):
            sandbox.advance(seconds)
            for batch in batches:
                client.batches.retrieve(batch)
            if seconds == 50:
                with contextlib.suppress(openai.ConflictError):
                    client.batches.cancel(batches[-1])
        client.batches.create(input_file_id=files[0], **common)
        sandbox.advance(10)
        client.batches.list()
        sandbox.advance(86_400)
        client.batches.list(limit=2)
        client.batches.list(after=batches[-1])
        client.files.list()


def _streams(sent: Sent, lookup: dict[str, Any]) -> None:
    call = FunctionCall("lookup", {"order": "W1"})
    script = [
        Answer("Let me see what there is.", tool_calls=[call, call], reasoning_tokens=7),
        Answer("found it", file_search=[FileSearch("refunds")]),
        Answer("in the background"),
        Answer("never told", delay=60),
        Answer("word " * 50),
    ]
    faults = [Fault.failed_response(at=5, text="half of it"), Fault.incomplete(at=6)]
    with Sandbox(script, faults=faults) as sandbox:
        client: Any = _Recorder(sandbox, sent).client
        file = client.files.create(file=("r.txt", b"refunds"), purpose="assistants").id
        store = client.vector_stores.create(file_ids=[file]).id
        tools: Any = [lookup, {"type": "file_search", "vector_store_ids": [store]}]
        common: Any = {"model": MODEL, "tools": tools, "input": "Hi"}
        list(client.responses.create(stream=True, **common))
        list(client.responses.create(stream=True, include=["file_search_call.results"], **common))
        told = list(client.responses.create(stream=True, background=True, **common))
        list(client.responses.retrieve(told[0].response.id, stream=True, starting_after=2))
        waiting = client.responses.create(background=True, **common)
        client.responses.retrieve(waiting.id)
        client.responses.cancel(waiting.id)
        client.responses.retrieve(waiting.id)
        list(client.responses.create(stream=True, **common))
        list(client.responses.create(stream=True, **common))
        list(client.responses.create(stream=True, max_output_tokens=20, **common))


def _chats(sent: Sent) -> None:
    calls = ToolCalls(FunctionCall("lookup", {"order": "W1"}), FunctionCall("lookup", {"order": "W2"}))
    with Sandbox([calls, "Sent.", "word " * 50, calls, "Sent.", "Sent.", "Sent."]) as sandbox:
        client: Any = _Recorder(sandbox, sent).client
        function = {"name": "lookup", "parameters": {"type": "object", "properties": {}}}
        common: Any = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Where is it?"}],
            "tools": [{"type": "function", "function": function}],
        }
        client.chat.completions.create(**common)
        client.chat.completions.create(**common)
        client.chat.completions.create(max_completion_tokens=20, **common)
        list(client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **common))
        list(client.chat.completions.create(stream=True, **common))
        client.completions.create(model=MODEL, prompt="Where is it?")
        list(client.completions.create(model=MODEL, prompt="Where is it?", stream=True))


@pytest.fixture(scope="module")
def sent() -> Sent:
    """Every endpoint's bodies: endpoint, status, body."""
    bodies: Sent = []
    lookup = {
        "type": "function",
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    }
    _responses(bodies, lookup)
    _streams(bodies, lookup)
    _files(bodies)
    _batches(bodies)
    _chats(bodies)
    return bodies


def _events(sent: Sent, resource: str = "/responses") -> list[dict[str, Any]]:
    bodies = [
        body for endpoint, _, body in sent if endpoint.endswith(" stream") and endpoint.split()[1].startswith(resource)
    ]
    lines = [line for body in bodies for line in body.decode().splitlines()]
    told = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [json.loads(text) for text in told if text != "[DONE]"]


def test_every_json_endpoint_is_covered(sent: Sent) -> None:
    routes = {
        f"{method} {route.path.removeprefix('/v1')}" for route in Sandbox().app.routes for method in route.methods
    }
    served = {route for route in routes if not route.startswith("HEAD ")}

    assert served - {"DELETE /responses/{id}", "GET /files/{id}/content"} == MODELS.keys() | PAGES.keys()
    assert MODELS.keys() | PAGES.keys() <= {endpoint for endpoint, status, _ in sent if status == 200}


def test_every_body_validates_strictly_against_the_sdks_models(sent: Sent) -> None:
    for endpoint, status, body in sent:
        if status != 200 or endpoint == "DELETE /responses/{id}" or endpoint.endswith(" stream"):
            continue
        if endpoint in MODELS:
            TypeAdapter(MODELS[endpoint]()).validate_json(body, strict=True)
        else:
            for one in json.loads(body)["data"]:
                TypeAdapter(PAGES[endpoint]()).validate_json(json.dumps(one), strict=True)


def test_every_event_validates_strictly_against_the_sdks_models(sent: Sent) -> None:
    events = _events(sent)
    for event in events:
        TypeAdapter(responses.ResponseStreamEvent).validate_json(json.dumps(event), strict=True)

    assert {event["type"] for event in events} == {
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.completed",
        "response.failed",
        "response.incomplete",
    }


@pytest.mark.parametrize(
    ("resource", "model"), [("/chat/completions", ChatCompletionChunk), ("/completions", types.Completion)]
)
def test_every_chunk_of_a_completion_validates_strictly_against_the_sdks_models(
    sent: Sent, resource: str, model: Any
) -> None:
    chunks = _events(sent, resource)
    if resource == "/completions":  # the SDK's type does not know that all but the last have no finish_reason
        chunks = [chunk for chunk in chunks if chunk["choices"][0]["finish_reason"]]
    assert chunks
    for chunk in chunks:
        TypeAdapter(model).validate_json(json.dumps(chunk), strict=True)


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    return official_contract()


def _schema(contract: dict[str, Any], endpoint: str) -> Any:
    method, path = endpoint.split(" ")
    wanted = [part if not part.startswith("{") else "{}" for part in path.split("/")]
    for template, operations in contract["paths"].items():
        if [part if not part.startswith("{") else "{}" for part in template.split("/")] == wanted:
            operation = operations[method.lower()]
            return operation["responses"]["200"]["content"]["application/json"]["schema"]
    raise KeyError(endpoint)


_NOT_IN_THE_CONTRACT = {
    "DELETE /responses/{id}",
    "POST /chat/completions",
    "POST /completions",
    "POST /batches",
    "GET /batches",
    "GET /batches/{id}",
    "POST /batches/{id}/cancel",
}
"""What the document says nothing of, or nothing of its body."""


def _problems(contract: dict[str, Any], sent: Sent) -> Iterator[str]:
    for endpoint, status, body in sent:
        if endpoint in _NOT_IN_THE_CONTRACT or endpoint.endswith(" stream"):
            continue
        schema = _schema(contract, endpoint) if status == 200 else {"$ref": "#/components/schemas/ErrorResponse"}
        document = json.loads(body)
        yield from _wrong(schema, document, f"{endpoint} {status}")


def _wrong(schema: Any, document: Any, name: str) -> Iterator[str]:
    response = document.get("response", document)
    if response.get("object") == "response" and response["usage"] is None:
        del response["usage"]  # the contract's own examples of failed responses carry null, its schema does not
    for problem in contract_problems(schema, document):
        yield f"{name} {problem}"


def test_every_body_keeps_the_official_contract(sent: Sent, contract: dict[str, Any]) -> None:
    assert list(_problems(contract, sent)) == []


def _schemas_of_events(contract: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, schema in contract["components"]["schemas"].items():
        for kind in schema.get("properties", {}).get("type", {}).get("enum", ()):
            if name.startswith("Response") and name.endswith("Event"):
                found[kind] = {"$ref": f"#/components/schemas/{name}"}
    return found


def test_every_event_keeps_the_official_contract(sent: Sent, contract: dict[str, Any]) -> None:
    schemas = _schemas_of_events(contract)
    events = _events(sent)

    assert [
        problem
        for event in events
        for problem in _wrong(schemas[event["type"]], event, f"{event['type']} {event['sequence_number']}")
    ] == []
    assert len(events) > 60


def test_a_body_that_breaks_the_contract_is_found(contract: dict[str, Any]) -> None:
    broken: Sent = [("GET /conversations/{id}", 200, b'{"id": "conv_1", "object": "chat", "created_at": 1}')]

    assert list(_problems(contract, broken))
