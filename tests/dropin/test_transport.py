"""A client with a service behind some of its paths: what reaches the service, and what goes by untouched."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from assistantguard.dropin.client import wrapped
from assistantguard.dropin.wire import WireAnswer, WireRequest
from assistantguard.errors import AssistantGuardError, ConfigurationError
from benchmarks.canned import event_stream, http_library, message, response
from tests.dropin.stub import RUN, Stub, events_of_a_run
from tests.support.world import COLOURS, MODEL, World

BASE = "https://api.openai.test/v1"
CONVERSATION = {"id": "conv_1", "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}
AZURE = "https://mine.openai.azure.test"


class Upstream:
    """A user's client of one colour over a transport that stands for the network."""

    def __init__(self, world: World, http: Any) -> None:
        self.world = world
        self.http = http
        self.requests: list[Any] = []
        self.answers: Callable[[Any], Any] = lambda request: http.Response(200, json=CONVERSATION)
        self.closed = 0
        self.closing = ExitStack()

    def transport(self, answers: Callable[[Any], Any] | None = None) -> Any:
        upstream = self

        def answer(request: Any) -> Any:
            self.requests.append(request)
            return (answers or upstream.answers)(request)

        class Transport(self.http.MockTransport):  # type: ignore[misc, name-defined]  # known only at run time
            def close(self) -> None:
                upstream.closed += 1

            async def aclose(self) -> None:
                upstream.closed += 1

        return Transport(answer)

    def http_client(self, **options: Any) -> Any:
        kind = self.http.AsyncClient if self.world.is_async else self.http.Client
        return kind(**{"transport": self.transport(), "follow_redirects": True, **options})

    def client(self, *, azure: bool = False, http_client: Any = None, **options: Any) -> Any:
        name = f"{'Async' if self.world.is_async else ''}{'Azure' if azure else ''}OpenAI"
        options = {"api_key": "sk-test", "max_retries": 0, **options}
        if not azure:
            options.setdefault("base_url", BASE)
        client = getattr(openai, name)(http_client=http_client or self.http_client(), **options)
        self.closing.callback(lambda: self.world.wait(client.close()))
        return client

    def wrapped(self, stub: Stub, **options: Any) -> Any:
        return wrapped(self.client(**options), lambda _: stub)

    def wait(self, result: Any) -> Any:
        return self.world.wait(result)

    def read(self, manager: Any) -> list[Any]:
        """Everything that a stream in a ``with`` block yields."""

        async def read_async() -> list[Any]:
            async with manager as stream:
                read = [event async for event in stream]
            for _ in range(10):
                # At the last event the SDK drops its generators, and the loop closes them one after another.
                await asyncio.sleep(0)
            return read

        if self.world.is_async:
            return list(self.wait(read_async()))
        with manager as stream:
            return list(stream)


@pytest.fixture(params=COLOURS)
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    with World(request.param) as world:
        upstream = Upstream(world, http_library())
        with upstream.closing:
            yield upstream


@pytest.fixture
def stub() -> Stub:
    return Stub()


def test_the_client_is_of_the_same_class_and_keeps_what_it_was_made_with(upstream: Upstream, stub: Stub) -> None:
    client = upstream.client(
        organization="org_1",
        project="proj_1",
        timeout=7.5,
        max_retries=5,
        webhook_secret="whsec_1",
        default_headers={"x-tenant": "a"},
        default_query={"tier": "b"},
        _strict_response_validation=True,
    )
    given: list[object] = []

    def service(inner: object) -> Stub:
        given.append(inner)
        return stub

    found = wrapped(client, service)
    assert given == [client]
    assert type(found) is type(client)
    assert found is not client
    assert isinstance(found._client, type(client._client))
    kept = {"api_key", "organization", "project", "timeout", "max_retries", "webhook_secret", "default_query"}
    kept |= {"base_url", "default_headers", "_strict_response_validation", "websocket_base_url"}
    for name in kept:
        assert getattr(found, name) == getattr(client, name), name


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("post", "/threads", {"content": b"{}"}),
        ("post", "/threads", {}),
        ("post", "/threads", {"json": {"metadata": {}}}),
        ("get", "/threads/thread_1", {}),
        ("get", "/assistants", {"params": {"limit": "3"}}),
        ("delete", "/threads/thread_1", {}),
        ("post", "/responses", {"content": b"{}"}),
    ],
)
def test_a_request_to_the_service_is_built_as_the_client_itself_builds_it(
    upstream: Upstream, stub: Stub, method: str, path: str, given: dict[str, Any]
) -> None:
    own = {"X-Own": "1", "Accept": "text/plain"}
    client = upstream.client(http_client=upstream.http_client(headers=own, cookies={"tenant": "a"}))
    found = wrapped(client, lambda _: stub)
    headers = [("accept", "application/json"), ("x-twice", "1"), ("X-Twice", "2")]
    first, second = (
        each._client.build_request(
            method=method, url=f"{BASE}{path}", headers=headers, timeout=upstream.http.Timeout(3.0), **given
        )
        for each in (client, found)
    )
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)
    assert first.extensions == second.extensions
    assert first.headers == second.headers


def test_azure_clients_keep_their_deployment_version_and_token_provider(upstream: Upstream, stub: Stub) -> None:
    upstream.answers = lambda _: upstream.http.Response(200, json=response(message("Hello")))

    def token() -> str:
        return "entra-token"

    client = upstream.client(
        azure=True,
        api_key=None,
        azure_ad_token_provider=token,
        azure_endpoint=AZURE,
        azure_deployment="mine",
        api_version="2026-01-01",
    )
    found = wrapped(client, lambda _: stub)
    assert type(found) is type(client)
    for each in (client, found):
        upstream.wait(each.responses.create(model=MODEL, input="Hi"))
        upstream.wait(each.post("/embeddings", body={"model": MODEL}, cast_to=object))
    urls = [str(request.url) for request in upstream.requests]
    assert urls[:2] == urls[2:]
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer entra-token"}

    run = upstream.wait(found.beta.threads.runs.create("thread_1", assistant_id="asst_1"))
    assert (run.path, run.query) == ("/threads/thread_1/runs", [["api-version", "2026-01-01"]])
    assert run.headers["authorization"] == "Bearer entra-token"
    again = upstream.wait(found.with_options(timeout=3).beta.threads.runs.retrieve("run_1", thread_id="thread_1"))
    assert again.path == "/threads/thread_1/runs/run_1"
    assert len(upstream.requests) == 4


def test_azure_without_a_deployment_is_served_below_openai(upstream: Upstream, stub: Stub) -> None:
    found = upstream.wrapped(stub, azure=True, azure_endpoint=AZURE, api_version="2026-01-01")
    run = upstream.wait(found.beta.threads.runs.create("thread_1", assistant_id="asst_1"))
    assert run.path == "/threads/thread_1/runs"
    assert run.headers["api-key"] == "sk-test"


def test_a_key_that_is_a_function_is_asked_anew(upstream: Upstream, stub: Stub) -> None:
    keys = iter(["first", "second"])

    async def key_later() -> str:
        return next(keys)

    asked: Any = key_later if upstream.world.is_async else lambda: next(keys)
    found = upstream.wrapped(stub, api_key=asked)
    if not hasattr(found, "_api_key_provider") and not hasattr(found, "_refresh_api_key"):
        pytest.skip("this release of openai takes no function for a key")
    for key in ("first", "second"):
        run = upstream.wait(found.beta.threads.runs.retrieve("run_1", thread_id="thread_1"))
        assert run.headers["authorization"] == f"Bearer {key}"


def test_a_subclass_comes_back_as_itself(stub: Stub) -> None:
    class Mine(openai.OpenAI):
        pass

    with Mine(api_key="sk-test") as client, wrapped(client, lambda _: stub) as found:
        assert type(found) is Mine


def test_a_subclass_that_cannot_be_copied_is_told(stub: Stub) -> None:
    class Mine(openai.OpenAI):
        def __init__(self, tenant: str) -> None:
            super().__init__(api_key=f"sk-{tenant}")

    with Mine("a") as client, pytest.raises(ConfigurationError, match="a Mine cannot be copied"):
        wrapped(client, lambda _: stub)


@pytest.mark.parametrize("client", [None, "sk-key", openai, object(), openai.OpenAI])
def test_what_is_no_client_is_told(client: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no client of the openai package; give an OpenAI"):
        wrapped(client, lambda _: Stub())


def test_a_request_reaches_the_service_as_it_was_sent(upstream: Upstream, stub: Stub) -> None:
    found = upstream.wrapped(stub, default_query={"tier": "b"})
    run = upstream.wait(
        found.beta.threads.runs.create(
            "thread_1",
            assistant_id="asst_1",
            include=["step_details.tool_calls[*].file_search.results[*].content"],
            metadata={"name": "Zoë"},
            extra_headers={"X-Mine": "yes"},
        )
    )
    assert (run.method, run.path) == ("POST", "/threads/thread_1/runs")
    assert ["tier", "b"] in run.query
    assert ["include[]", "step_details.tool_calls[*].file_search.results[*].content"] in run.query
    assert run.body == {"assistant_id": "asst_1", "metadata": {"name": "Zoë"}}
    assert run.headers["x-mine"] == "yes"
    assert run.headers["openai-beta"] == "assistants=v2"
    assert run.headers["authorization"] == "Bearer sk-test"
    assert upstream.requests == []


def test_every_way_to_ask_reaches_the_service(upstream: Upstream, stub: Stub) -> None:
    found = upstream.wrapped(stub)
    runs: Callable[[Any], Any] = lambda client: client.beta.threads.runs  # noqa: E731 - said thrice below
    asked = {"run_id": "run_1", "thread_id": "thread_1"}
    raw = upstream.wait(runs(found).with_raw_response.retrieve(**asked))
    assert raw.parse().path == "/threads/thread_1/runs/run_1"
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"].startswith("req_")
    copied = found.copy().with_options(max_retries=1, default_headers={"x-mine": "yes"})
    assert upstream.wait(runs(copied).retrieve(**asked)).headers["x-mine"] == "yes"
    posted = upstream.wait(found.post("/threads/thread_1/runs", body={"a": 1}, cast_to=object))
    assert posted["body"] == {"a": 1}
    absolute = upstream.wait(found.get(f"{BASE}/assistants", cast_to=object))
    assert absolute["path"] == "/assistants"

    async def stream_async() -> bytes:
        async with runs(found).with_streaming_response.retrieve(**asked) as answer:
            return b"".join([part async for part in answer.iter_bytes()])

    if upstream.world.is_async:
        whole = upstream.wait(stream_async())
    else:
        with runs(found).with_streaming_response.retrieve(**asked) as answer:
            whole = b"".join(answer.iter_bytes())
    assert b'"path": "/threads/thread_1/runs/run_1"' in whole
    assert len(stub.requests) == 5
    assert upstream.requests == []


def test_polling_helpers_read_the_headers_of_an_answer(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = iter(["queued", "in_progress", "completed"])
    stub = Stub(lambda _: WireAnswer(200, {**RUN, "status": next(statuses)}, {"openai-poll-after-ms": "7"}))
    found = upstream.wrapped(stub)
    slept: list[float] = []

    async def sleep_later(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(found.beta.threads.runs, "_sleep", sleep_later if upstream.world.is_async else slept.append)
    run = upstream.wait(found.beta.threads.runs.create_and_poll(thread_id="thread_1", assistant_id="asst_1"))
    assert run.status == "completed"
    assert slept == [0.007]
    assert stub.requests[-1].headers["x-stainless-poll-helper"] == "true"


def test_an_error_answer_is_the_sdks_own_error(upstream: Upstream) -> None:
    error = {"message": "No thread found.", "type": "invalid_request_error", "param": None, "code": None}
    stub = Stub(lambda _: WireAnswer(404, {"error": error}, {"X-Request-Id": "req_mine"}))
    with pytest.raises(openai.NotFoundError, match="No thread found") as caught:
        upstream.wait(upstream.wrapped(stub).beta.threads.retrieve("thread_1"))
    assert caught.value.request_id == "req_mine"
    assert caught.value.body == error


@pytest.mark.parametrize("error", [AssistantGuardError("the budget is spent"), KeyError("a bug")])
def test_what_the_service_raises_is_raised_as_it_is_and_not_tried_again(upstream: Upstream, error: Exception) -> None:
    def fail(_: WireRequest) -> WireAnswer:
        raise error

    stub = Stub(fail)
    found = upstream.wrapped(stub, max_retries=2)
    with pytest.raises(type(error)) as caught:
        upstream.wait(found.beta.threads.retrieve("thread_1"))
    assert caught.value is error
    assert len(stub.requests) == 1


def test_the_official_event_handler_reads_the_stream(upstream: Upstream, stub: Stub) -> None:
    stub.streams(*events_of_a_run("Hel", "lo", " wörld\u2028"))
    told: list[str] = []

    class Sync(openai.AssistantEventHandler):
        def on_event(self, event: Any) -> None:
            told.append(event.event)

        def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            told.append(delta.value)

        def on_text_done(self, text: Any) -> None:
            told.append(f"whole: {text.value}")

        def on_end(self) -> None:
            told.append("end")

    class Async(openai.AsyncAssistantEventHandler):
        async def on_event(self, event: Any) -> None:
            told.append(event.event)

        async def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            told.append(delta.value)

        async def on_text_done(self, text: Any) -> None:
            told.append(f"whole: {text.value}")

        async def on_end(self) -> None:
            told.append("end")

    handler = (Async if upstream.world.is_async else Sync)()
    found = upstream.wrapped(stub)
    read = upstream.read(
        found.beta.threads.runs.stream(thread_id="thread_1", assistant_id="asst_1", event_handler=handler)
    )
    assert [event.event for event in read] == [name for name, _ in events_of_a_run("", "", "")[:-1]]
    assert [text for text in told if not text.startswith("thread.")] == [
        "Hel",
        "lo",
        " wörld\u2028",
        "whole: Hello wörld\u2028",
        "end",
    ]
    assert stub.sent[-2:] == ["done", "closed"]
    assert stub.sent.count("closed") == 1
    assert stub.requests[0].path == "/threads/thread_1/runs"


def test_a_thread_is_created_run_and_streamed(upstream: Upstream, stub: Stub) -> None:
    stub.streams(*events_of_a_run("Hello"))
    read = upstream.read(upstream.wrapped(stub).beta.threads.create_and_run_stream(assistant_id="asst_1"))
    assert read[-1].event == "thread.run.completed"
    assert stub.requests[0].path == "/threads/runs"


def opened(upstream: Upstream, stub: Stub) -> Any:
    client = upstream.wrapped(stub)
    return upstream.wait(client.beta.threads.runs.create("thread_1", assistant_id="asst_1", stream=True))


def test_events_are_sent_as_they_come(upstream: Upstream, stub: Stub) -> None:
    stub.streams(*events_of_a_run("Hello"))
    stream = opened(upstream, stub)
    assert stream.response.headers["content-type"] == "text/event-stream"
    assert stub.sent == []
    iterator = aiter(stream) if upstream.world.is_async else iter(stream)
    step: Any = anext if upstream.world.is_async else next
    for count in range(1, 4):
        upstream.wait(step(iterator))
        assert len(stub.sent) == count
    upstream.wait(stream.close())


def test_a_stream_that_is_left_early_is_closed_once(upstream: Upstream, stub: Stub) -> None:
    stub.streams(*events_of_a_run("Hello"))
    stream = opened(upstream, stub)

    async def leave_async() -> None:
        async with stream:
            async for _ in stream:
                break
        await stream.close()

    if upstream.world.is_async:
        upstream.wait(leave_async())
    else:
        with stream:
            for _ in stream:
                break
        stream.close()
    assert stub.sent == ["thread.run.created", "closed"]


def test_a_stream_that_was_never_read_is_closed(upstream: Upstream) -> None:
    closed: list[str] = []

    class Events:
        """No generator: one that never began has nothing to clean up."""

        async def __anext__(self) -> Any:
            raise AssertionError("nothing was read")

        async def aclose(self) -> None:
            closed.append("closed")

    events: Any = Events()
    stream = opened(upstream, Stub(lambda _: WireAnswer(200, events=events)))
    upstream.wait(stream.close())
    upstream.wait(stream.close())
    assert closed == ["closed"]


def test_what_the_service_raises_amid_a_stream_is_raised_as_it_is(upstream: Upstream, stub: Stub) -> None:
    error = AssistantGuardError("the budget is spent")
    stub.streams(("thread.run.created", RUN), ("fails", error))
    stream = opened(upstream, stub)
    with pytest.raises(AssistantGuardError) as caught:
        upstream.read(stream)
    assert caught.value is error
    assert stub.sent == ["thread.run.created", "closed"]


def test_a_stream_that_another_thread_closes_is_closed_by_its_reader() -> None:
    reached, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    class Waits:
        async def __anext__(self) -> Any:
            reached.set()
            assert go_on.wait(60)
            return "thread.run.created", RUN

        async def aclose(self) -> None:
            assert go_on.is_set(), "closed while it runs"
            assert not ended.is_set(), "closed twice"
            ended.set()

    events: Any = Waits()
    with World("sync") as world:
        upstream = Upstream(world, http_library())
        with upstream.closing:
            stream = opened(upstream, Stub(lambda _: WireAnswer(200, events=events)))
            read: list[str] = []
            reader = threading.Thread(target=lambda: read.extend(event.event for event in stream))
            reader.start()
            assert reached.wait(60)
            stream.close()
            assert not ended.is_set()
            go_on.set()
            reader.join(60)
    assert ended.is_set()
    assert read == ["thread.run.created"]


def test_other_requests_go_by_to_the_letter(upstream: Upstream, stub: Stub) -> None:
    seen: list[str] = []
    upstream.answers = lambda _: upstream.http.Response(
        200, headers=[("set-cookie", "a=1"), ("x-twice", "1"), ("x-twice", "2")], json=CONVERSATION
    )

    def hook(request: Any) -> None:
        seen.append(request.url.path)

    async def hook_later(request: Any) -> None:
        seen.append(request.url.path)

    http_client = upstream.http_client(
        headers={"x-every": "request"},
        cookies={"session": "s"},
        event_hooks={"request": [hook_later if upstream.world.is_async else hook]},
    )
    client = upstream.client(http_client=http_client, timeout=11)
    found = wrapped(client, lambda _: stub)
    answers = [
        upstream.wait(each.conversations.with_raw_response.create(metadata={"a": "b"})) for each in (client, found)
    ]
    first, second = ({**answer.headers} for answer in answers)
    assert first == second
    assert answers[1].headers.get_list("x-twice") == ["1", "2"]
    before, after = upstream.requests

    def told(request: Any) -> Any:
        headers = dict(request.headers)
        for name in ("cookie", "idempotency-key", "x-stainless-retry-count"):
            headers.pop(name, None)
        return request.method, str(request.url), request.content, headers, request.extensions["timeout"]

    assert told(after) == told(before)
    assert set(after.headers["cookie"].split("; ")) == {"session=s", "a=1"}
    assert after.headers["x-every"] == "request"
    assert after.extensions["timeout"]["read"] == 11
    assert seen == ["/v1/conversations"] * 2
    assert stub.requests == []


def test_the_users_mounts_choose_the_transport(upstream: Upstream, stub: Stub) -> None:
    mounted = upstream.transport(lambda _: upstream.http.Response(200, json={**CONVERSATION, "id": "conv_mounted"}))
    found = upstream.wrapped(stub, http_client=upstream.http_client(mounts={"https://api.openai.test": mounted}))
    assert upstream.wait(found.conversations.create()).id == "conv_mounted"
    assert upstream.wait(found.beta.threads.retrieve("thread_1")).path == "/threads/thread_1"
    assert len(upstream.requests) == 1


def test_redirects_and_compressed_bodies_are_taken_once(upstream: Upstream, stub: Stub) -> None:
    def answer(request: Any) -> Any:
        if request.url.path == "/v1/conversations":
            return upstream.http.Response(307, headers={"location": f"{BASE}/elsewhere"})
        packed = gzip.compress(b'{"id": "conv_2"}')
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        return upstream.http.Response(200, headers=headers, content=packed)

    upstream.answers = answer
    raw = upstream.wait(upstream.wrapped(stub).conversations.with_raw_response.create())
    assert raw.parse().id == "conv_2"
    assert [each.status_code for each in raw.http_response.history] == [307]


def test_streams_of_others_go_by_piece_by_piece(upstream: Upstream, stub: Stub) -> None:
    pieces = event_stream(["Hel", "lo"])
    sent: list[bytes] = []
    closed: list[str] = []

    class Body(upstream.http.SyncByteStream, upstream.http.AsyncByteStream):  # type: ignore[misc, name-defined]  # known only at run time
        def __iter__(self) -> Any:
            for piece in pieces:
                sent.append(piece)
                yield piece

        async def __aiter__(self) -> Any:
            for piece in pieces:
                sent.append(piece)
                yield piece

        def close(self) -> None:
            closed.append("closed")

        async def aclose(self) -> None:
            closed.append("closed")

    upstream.answers = lambda _: upstream.http.Response(
        200, headers={"content-type": "text/event-stream"}, stream=Body()
    )
    found = upstream.wrapped(stub)
    stream = upstream.wait(found.responses.create(model=MODEL, input="Hi", stream=True))
    iterator = aiter(stream) if upstream.world.is_async else iter(stream)
    step: Any = anext if upstream.world.is_async else next
    assert upstream.wait(step(iterator)).type == "response.created"
    assert len(sent) == 1
    upstream.wait(stream.close())
    assert closed == ["closed"]


def test_a_copy_that_is_pointed_elsewhere_is_not_served(upstream: Upstream, stub: Stub) -> None:
    found = upstream.wrapped(stub)
    moved = found.with_options(base_url="https://self-hosted.test/v1")
    upstream.wait(moved.beta.threads.retrieve("thread_1"))
    upstream.wait(found.get("https://other.test/v1/threads/thread_1", cast_to=object))
    upstream.wait(found.get("https://api.openai.test/threads/thread_1", cast_to=object))
    assert [str(request.url) for request in upstream.requests] == [
        "https://self-hosted.test/v1/threads/thread_1",
        "https://other.test/v1/threads/thread_1",
        "https://api.openai.test/threads/thread_1",
    ]
    assert stub.requests == []


def test_the_users_client_goes_on_to_its_server(upstream: Upstream, stub: Stub) -> None:
    client = upstream.client()
    found = wrapped(client, lambda _: stub)
    upstream.wait(found.beta.threads.retrieve("thread_1"))
    upstream.wait(client.beta.threads.retrieve("thread_1"))
    assert [request.url.path for request in upstream.requests] == ["/v1/threads/thread_1"]
    assert len(stub.requests) == 1


@pytest.mark.parametrize("which", ["found", "client", "http client"])
def test_closing_one_closes_all(upstream: Upstream, stub: Stub, which: str) -> None:
    http_client = upstream.http_client()
    client = upstream.client(http_client=http_client)
    found = wrapped(client, lambda _: stub)
    if which == "http client":
        upstream.wait(http_client.aclose() if upstream.world.is_async else http_client.close())
    else:
        upstream.wait({"found": found, "client": client}[which].close())
    assert upstream.closed == 1
    assert client.is_closed()
    assert found.is_closed()

    def refusal(closed: Any) -> tuple[type[BaseException], str, str]:
        with pytest.raises((openai.APIConnectionError, RuntimeError)) as caught:
            upstream.wait(closed.beta.threads.retrieve("thread_1"))
        return type(caught.value), str(caught.value), str(caught.value.__cause__)

    assert refusal(found) == refusal(client)
    assert "client has been closed" in "".join(refusal(found)[1:])
    assert stub.requests == []
    assert upstream.requests == []


def test_a_client_that_is_dropped_leaves_the_users_open(stub: Stub) -> None:
    with openai.OpenAI(api_key="sk-test") as client:
        wrapped(client, lambda _: stub)
        assert not client.is_closed()


def test_a_client_of_a_client_is_served_by_both(upstream: Upstream) -> None:
    inner, outer = Stub(), Stub()
    outer.serves = lambda path: path.startswith("/assistants")  # type: ignore[method-assign]
    found = wrapped(upstream.wrapped(inner), lambda _: outer)
    upstream.wait(found.beta.threads.retrieve("thread_1"))
    upstream.wait(found.beta.assistants.retrieve("asst_1"))
    assert [request.path for request in inner.requests] == ["/threads/thread_1"]
    assert [request.path for request in outer.requests] == ["/assistants/asst_1"]


def test_the_users_own_class_of_http_client_stays_in_charge(upstream: Upstream, stub: Stub) -> None:
    base = upstream.http.AsyncClient if upstream.world.is_async else upstream.http.Client

    class Mine(base):  # type: ignore[misc, valid-type]  # known only at run time
        tenant = "none"

        def build_request(self, *args: Any, **options: Any) -> Any:
            request = super().build_request(*args, **options)
            request.headers["x-tenant"] = self.tenant
            return request

    http_client = Mine(transport=upstream.transport())
    http_client.tenant = "a"
    found = upstream.wrapped(stub, http_client=http_client)
    upstream.wait(found.conversations.create())
    http_client.tenant = "b"
    upstream.wait(found.beta.threads.retrieve("thread_1"))
    assert upstream.requests[0].headers["x-tenant"] == "a"
    assert stub.requests[0].headers["x-tenant"] == "b"


def test_clients_of_the_older_http_library_are_served_too(stub: Stub) -> None:
    http: Any = pytest.importorskip("httpx")
    with World("sync") as world:
        upstream = Upstream(world, http)
        with upstream.closing:
            stub.streams(*events_of_a_run("Hello"))
            stream = opened(upstream, stub)
            assert isinstance(stream.response, http.Response)
            assert [event.event for event in stream][-1] == "thread.run.completed"


def test_the_sandbox_behind_the_client_works_as_before(upstream: Upstream, stub: Stub) -> None:
    world = upstream.world
    sandbox = world.sandbox(lambda request: "Hello there.")
    found: Any = wrapped(world.client(sandbox), lambda _: stub)
    assert world.wait(found.responses.create(model=MODEL, input="Hi")).output_text == "Hello there."

    async def streamed_async() -> str:
        async with found.responses.stream(model=MODEL, input="Hi") as stream:
            return str((await stream.get_final_response()).output_text)

    if world.is_async:
        text = world.wait(streamed_async())
    else:
        with found.responses.stream(model=MODEL, input="Hi") as stream:
            text = stream.get_final_response().output_text
    assert text == "Hello there."
    stored = world.wait(found.files.create(file=("a.txt", b"some text"), purpose="assistants"))
    assert (stored.filename, stored.bytes) == ("a.txt", 9)
    assert world.wait(found.beta.threads.retrieve("thread_1")).path == "/threads/thread_1"
    assert not any("threads" in request.path for request in sandbox.requests)
    assert len(sandbox.requests) == 3
