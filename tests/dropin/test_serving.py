from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AssistantEventHandler
from typing_extensions import override

from assistantguard._connections import ABORT
from assistantguard.dropin.listening import Stop, serve
from assistantguard.dropin.serving import AssistantsApp, Keys, Limits
from assistantguard.dropin.wire import DONE, WireAnswer, WireRequest
from assistantguard.errors import ConfigurationError, DatabaseUnavailable, PolicyRefused, TooManyRequests
from assistantguard.policies import TokenCap
from assistantguard.sandbox import Answer, FunctionCall, ModelRequest, Sandbox, ToolCalls
from tests.dropin.stub import Stub, events_of_a_run
from tests.support.serving import KEY, Served, serving

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
    },
}


# Programs that speak to it


def begun(client: openai.OpenAI, text: str = "Hello", **options: Any) -> tuple[str, str]:
    """An assistant, and a thread with a message."""
    assistant = client.beta.assistants.create(model="gpt-6-luna", **options)
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}])
    return assistant.id, thread.id


def said(client: openai.OpenAI, thread_id: str) -> list[str]:
    """What a thread's messages say, oldest first."""
    messages = client.beta.threads.messages.list(thread_id, order="asc")
    return [message.content[0].text.value for message in messages if message.content[0].type == "text"]


class Slow:
    """A model that answers when it is let."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, request: ModelRequest) -> str:
        self.asked.set()
        assert self.may_answer.wait(60)
        return "At last."


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.may_answer.set()


def test_a_program_over_http_has_threads_runs_and_tools() -> None:
    script: list[str | ToolCalls] = [ToolCalls(FunctionCall("lookup", {"order": "W1"}, "call_1")), "It is on its way."]
    with Sandbox(script) as sandbox, serving(sandbox) as served, served.client() as client:
        assistant_id, thread_id = begun(client, "Where is W1?", tools=[LOOKUP])
        run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
        assert run.status == "requires_action"
        outputs: Any = [{"tool_call_id": "call_1", "output": "shipped"}]
        run = client.beta.threads.runs.submit_tool_outputs_and_poll(
            thread_id=thread_id, run_id=run.id, tool_outputs=outputs
        )
        assert run.status == "completed"
        assert said(client, thread_id) == ["Where is W1?", "It is on its way."]


def test_the_official_event_handler_reads_a_stream_from_it() -> None:
    heard: list[str] = []

    class Handler(AssistantEventHandler):
        @override
        def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            heard.append(delta.value)

    with Sandbox(["Streamed words here."]) as sandbox, serving(sandbox) as served, served.client() as client:
        assistant_id, thread_id = begun(client)
        handler = Handler()
        with client.beta.threads.runs.stream(
            thread_id=thread_id, assistant_id=assistant_id, event_handler=handler
        ) as stream:
            stream.until_done()
            assert stream.get_final_run().status == "completed"
    assert "".join(heard) == "Streamed words here."
    assert len(heard) > 1


def test_a_reader_that_leaves_does_not_end_the_run() -> None:
    slowly = Answer(text="one two three four five six", delay=0.05, pace=0.1)
    with Sandbox([slowly]) as sandbox, serving(sandbox) as served, served.client() as client:
        assistant_id, thread_id = begun(client)
        with client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as stream:
            for event in stream:
                if event.event == "thread.message.delta":
                    break
        run = client.beta.threads.runs.list(thread_id).data[0]
        assert client.beta.threads.runs.poll(run.id, thread_id=thread_id).status == "completed"
        assert said(client, thread_id)[-1] == slowly.text


def test_what_a_policy_refuses_ends_a_stream_with_its_error_where_that_is_asked_for() -> None:
    options: dict[str, Any] = {"policies": [TokenCap(session=32)], "on_refusal": "raise"}
    with Sandbox() as sandbox, serving(sandbox, **options) as served, served.client() as client:
        assistant_id, thread_id = begun(client, "word " * 100)
        with (
            client.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant_id) as stream,
            pytest.raises(openai.APIError, match="tokens"),
        ):
            stream.until_done()
        assert sandbox.billing.calls == []


def test_a_grace_lets_a_run_end_and_its_caller_know(slow: Slow, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    statuses: list[str] = []
    with Sandbox(slow) as sandbox:
        with serving(sandbox, ledger=url) as served, served.client() as client:
            assistant_id, thread_id = begun(client)

            def poll() -> None:
                run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
                statuses.append(run.status)

            polling = threading.Thread(target=poll)
            polling.start()
            assert slow.asked.wait(60)
            served.stop()
            slow.may_answer.set()
            polling.join(60)
            served.ended()
            with pytest.raises(openai.APIConnectionError):
                client.beta.threads.retrieve(thread_id)
        with serving(sandbox, ledger=url) as served, served.client() as client:
            assert said(client, thread_id) == ["Hello", "At last."]
    assert statuses == ["completed"]


def test_when_the_grace_is_over_runs_end_as_failed_and_polls_are_told(slow: Slow, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'guard.db'}"
    with Sandbox(slow) as sandbox:
        with serving(sandbox, ledger=url, grace=0) as served, served.client() as client:
            assistant_id, thread_id = begun(client)
            run = client.beta.threads.runs.create(thread_id=thread_id, assistant_id=assistant_id)
            assert slow.asked.wait(60)
            served.stop()
            served.ended()
        slow.may_answer.set()
        with serving(sandbox, ledger=url) as served, served.client() as client:
            left = client.beta.threads.runs.retrieve(run.id, thread_id=thread_id)
            assert left.status == "failed"
            assert left.last_error is not None
            again = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
            assert again.status == "completed"


def test_it_does_not_listen_where_others_reach_it_without_keys() -> None:
    with (
        Sandbox() as sandbox,
        pytest.raises(ConfigurationError, match=r"'0\.0\.0\.0'.*has no keys.*--key-file") as told,
    ):
        Served(sandbox, host="0.0.0.0", port=0)
    assert "listen on 127.0.0.1" in str(told.value)


def test_a_port_that_is_taken_is_named_with_the_mend() -> None:
    with Sandbox() as sandbox, serving(sandbox) as served:
        port = httpx.URL(served.base_url).port
        with pytest.raises(ConfigurationError, match=rf"127.0.0.1:{port}: .*give another port"):
            Served(sandbox, port=port)


def test_without_a_key_for_the_models_it_does_not_begin() -> None:
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        serve(port=0)


def test_it_may_be_stopped_before_it_began() -> None:
    stop = Stop()
    stop()
    begun: list[str] = []
    with Sandbox() as sandbox:
        serve(sandbox.async_client(), port=0, sinks=[], stop=stop, on_start=begun.append)
    assert len(begun) == 1


def test_broken_requests_over_the_wire_are_refused_in_the_official_shape() -> None:
    with Sandbox() as sandbox, serving(sandbox) as served:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=served.base_url, headers=headers) as client:
            as_json = {"content-type": "application/json"}
            for path in ("/assistants", "/threads/thread_1/messages"):
                for body in (b"{broken", b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"model": NaN}', b""):
                    answer = client.post(path, content=body, headers=as_json)
                    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
            assert client.head("/assistants").status_code == 405
            assert client.options("/threads").status_code == 405
            assert client.request("BREW", "/threads/t").status_code == 405
            assert client.get("/threads/%00%ff/messages?limit=abc&after=%00").status_code == 404
            assert client.get("/assistants?limit=abc").status_code == 400
            assert client.post("/threads").status_code == 200


# The application, without a socket


def app(stub: Stub, *, keys: tuple[str, ...] = (KEY,), **limits: Any) -> AssistantsApp:
    return AssistantsApp(stub, Keys(keys), Limits(**limits))


def ask(application: AssistantsApp, method: str, path: str, *, key: str | None = KEY, **request: Any) -> httpx.Response:
    headers = {**({} if key is None else {"authorization": f"Bearer {key}"}), **request.pop("headers", {})}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, headers=headers, **request)

    return asyncio.run(send())


def refused(answer: httpx.Response, status: int) -> str:
    """The message of a refusal in the official shape."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    return str(answer.json()["error"]["message"])


def test_a_request_reaches_the_service_as_it_was_sent_but_for_its_key() -> None:
    stub = Stub()
    answer = ask(app(stub), "POST", "/v1/threads/a%20b?x=1&x=&y=%C3%A9", json={"a": "ü"}, headers={"x-own": "1"})
    assert answer.status_code == 200
    (request,) = stub.requests
    assert (request.method, request.path, list(request.query)) == (
        "POST",
        "/threads/a b",
        [("x", "1"), ("x", ""), ("y", "é")],
    )
    assert json.loads(request.body) == {"a": "ü"}
    assert request.headers["x-own"] == "1"
    assert KEY not in str(request.headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": "Bearer \xff"},
        {"api-key": KEY},
        {"authorization": f"Bearer wrong, Bearer {KEY}"},
    ],
)
def test_without_a_valid_key_nothing_reaches_the_service(headers: dict[str, str]) -> None:
    stub = Stub()
    application = app(stub)
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path in (("GET", "/v1/threads/t"), ("POST", "/v1/threads"), ("GET", "/v1/models"), ("GET", "/")):
        sent = exchange(application, method, path, encoded)
        assert sent[0]["status"] == 401
        assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
        assert KEY.encode() not in sent[1]["body"]
    assert stub.requests == []


def test_each_of_the_keys_is_let_in_and_two_at_once_are_not() -> None:
    stub = Stub()
    application = app(stub, keys=("first", "second"))
    for key in ("first", "second"):
        assert ask(application, "GET", "/v1/threads/t", key=key).status_code == 200
    twice = [(b"authorization", b"Bearer first"), (b"authorization", b"Bearer second")]
    assert exchange(application, "GET", "/v1/threads/t", twice)[0]["status"] == 401


@pytest.mark.parametrize("key", ["", "a b", "schlüssel", "tab\t"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="key number 2"):
        Keys(["fine", key])


def test_without_keys_only_this_machine_is_answered_and_no_web_page() -> None:
    stub = Stub()
    application = app(stub, keys=())
    assert ask(application, "GET", "/v1/threads/t", key=None).status_code == 200
    for headers in (
        {"origin": "https://evil.example"},
        {"host": "evil.example"},
        {"host": "[::ffff]:80"},
        {"host": "["},
    ):
        assert "give it keys" in refused(ask(application, "GET", "/v1/threads/t", key=None, headers=headers), 403)
    assert exchange(application, "GET", "/v1/threads/t", [])[0]["status"] == 403
    for host in ("localhost:8000", "[::1]:8000", "127.0.0.2"):
        assert ask(application, "GET", "/v1/threads/t", key=None, headers={"host": host}).status_code == 200


def test_health_needs_no_key() -> None:
    stub = Stub()
    answer = ask(app(stub), "GET", "/health", key=None)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert refused(ask(app(stub), "POST", "/health", key=None), 405)
    assert stub.requests == []


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/models", "/v1/responses", "/threads", "/v1/threadsx", "//"])
def test_other_routes_are_told_what_is_served(path: str) -> None:
    message = refused(ask(app(Stub()), "GET", path), 404)
    assert "/v1/assistants, /v1/threads" in message


def chunks(size: int) -> Callable[[], AsyncGenerator[bytes, None]]:
    async def each() -> AsyncGenerator[bytes, None]:
        for _ in range(size):
            yield b"1"

    return each


def test_a_body_beyond_the_limit_is_refused_however_it_arrives() -> None:
    stub = Stub()
    application = app(stub, max_body=10)
    assert "10 bytes" in refused(ask(application, "POST", "/v1/threads", content=b" " * 11), 413)
    assert "10 bytes" in refused(ask(application, "POST", "/v1/threads", content=chunks(11)()), 413)
    assert stub.requests == []
    fits = ask(application, "POST", "/v1/threads", content=chunks(10)(), headers={"content-type": "application/json"})
    assert fits.status_code == 200


def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    stub = Stub()

    async def never() -> AsyncGenerator[bytes, None]:
        yield b"{"
        await anyio.sleep_forever()

    assert "did not arrive" in refused(ask(app(stub, read_seconds=0.05), "POST", "/v1/threads", content=never()), 408)
    assert stub.requests == []


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"content-type": "application/jsonx"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_a_body_that_is_no_json_by_its_own_account_is_refused(headers: dict[str, str]) -> None:
    stub = Stub()
    refused(ask(app(stub), "POST", "/v1/threads", content=b"{}", headers=headers), 415)
    assert stub.requests == []
    fine = {"content-type": "Application/JSON; charset=utf-8"}
    assert ask(app(stub), "POST", "/v1/threads", content=b"{}", headers=fine).status_code == 200


def test_what_goes_wrong_is_told_without_its_inside() -> None:
    def fail(_: WireRequest) -> WireAnswer:
        raise RuntimeError("a secret")

    def unavailable(_: WireRequest) -> WireAnswer:
        raise DatabaseUnavailable("the database is busy")

    answer = ask(app(Stub(fail)), "GET", "/v1/threads/t")
    assert "secret" not in answer.text
    assert refused(answer, 500).startswith("The server had an error")
    answer = ask(app(Stub(unavailable)), "GET", "/v1/threads/t")
    assert refused(answer, 500) == "the database is busy"
    assert answer.headers["x-should-retry"] == "false"


def test_what_a_policy_refuses_is_answered_with_429_and_not_tried_again() -> None:
    def refuse(_: WireRequest) -> WireAnswer:
        raise PolicyRefused("the budget of ann is spent")

    answer = ask(app(Stub(refuse)), "GET", "/v1/threads/t/runs/r")
    assert refused(answer, 429) == "the budget of ann is spent"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(("wait", "told"), [(20.0, range(1, 21)), (-5.0, (1,)), (None, (None,))])
def test_a_run_that_finds_no_room_says_when_there_is_some(wait: float | None, told: Sequence[int | None]) -> None:
    def refuse(_: WireRequest) -> WireAnswer:
        at = None if wait is None else time.time() + wait
        raise TooManyRequests("no room", lane="model:gpt-6-luna", available_at=at)

    answer = ask(app(Stub(refuse)), "GET", "/v1/threads/t/runs/r")
    assert refused(answer, 429) == "no room"
    assert answer.json()["error"]["type"] == "rate_limit_exceeded"
    assert answer.headers["x-should-retry"] == "false"
    header = answer.headers.get("retry-after")
    assert (None if header is None else int(header)) in told


def test_a_stream_that_breaks_ends_with_an_error() -> None:
    stub = Stub().streams(("thread.run.created", {"id": "run_1"}), ("raise", RuntimeError("a secret")))
    text = ask(app(stub), "POST", "/v1/threads/t/runs").text
    assert "secret" not in text
    assert text.startswith("event: thread.run.created\n")
    assert "event: error\n" in text
    assert text.endswith("event: done\ndata: [DONE]\n\n")
    assert stub.sent[-1] == "closed"


class Exchange:
    """A request; its reader takes so many messages, and then no more."""

    def __init__(self, takes: int = 1000) -> None:
        self.sent: list[Any] = []
        self.left = asyncio.Event()
        self._takes = takes
        self.aborted = False
        self._asked = False

    async def receive(self) -> Any:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if len(self.sent) == self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    def abort(self) -> None:
        self.aborted = True

    async def run(
        self, application: AssistantsApp, method: str = "POST", path: str = "/v1/threads/t/runs", headers: Any = None
    ) -> None:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {KEY}".encode())] if headers is None else headers,
            "extensions": {ABORT: self.abort},
        }
        await application(scope, self.receive, self.send)


def exchange(application: AssistantsApp, method: str, path: str, headers: Any) -> list[Any]:
    async def run() -> list[Any]:
        one = Exchange()
        await one.run(application, method, path, headers)
        return one.sent

    return asyncio.run(run())


async def until(ready: Callable[[], object]) -> None:
    with anyio.fail_after(60):
        while not ready():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.005)


class Held:
    """A stream whose second event comes when the test lets it."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()
        self.closed = 0
        self.stub = Stub(lambda _: WireAnswer(200, events=self.events()))

    async def events(self) -> AsyncGenerator[tuple[str, Any], None]:
        try:
            yield "thread.run.created", {}
            await self.goes_on.wait()
            yield DONE
        finally:
            self.closed += 1


def test_each_event_is_sent_when_it_happens() -> None:
    async def run() -> None:
        held, one = Held(), Exchange()
        task = asyncio.ensure_future(one.run(app(held.stub)))
        await until(lambda: len(one.sent) == 2)
        assert one.sent[1]["body"] == b"event: thread.run.created\ndata: {}\n\n"
        held.goes_on.set()
        await task
        assert [message.get("more_body", False) for message in one.sent[1:]] == [True, True, False]
        assert held.closed == 1

    asyncio.run(run())


def test_a_reader_that_leaves_between_two_events_is_noticed() -> None:
    async def run() -> None:
        held, one = Held(), Exchange()
        application = app(held.stub)
        task = asyncio.ensure_future(one.run(application))
        await until(lambda: len(one.sent) == 2)
        assert application.running == 1
        one.left.set()
        await task
        assert (application.running, held.closed) == (0, 1)

    asyncio.run(run())


def test_a_reader_that_leaves_is_noticed_while_there_is_more_to_send() -> None:
    class Leaves(Exchange):
        async def send(self, message: Any) -> None:
            await super().send(message)
            self.left.set()

    async def run() -> None:
        stub, one = Stub().streams(*[("thread.message.delta", {})] * 500), Leaves()
        application = app(stub)
        await one.run(application)
        assert len(one.sent) < 10
        assert application.running == 0
        assert stub.sent[-1] == "closed"

    asyncio.run(run())


def test_a_reader_that_takes_nothing_is_cut_off_and_holds_nobody_up() -> None:
    async def run() -> None:
        stub = Stub().streams(*events_of_a_run("Hello"))
        application = app(stub, write_seconds=1.5)
        stuck, other = Exchange(takes=2), Exchange()
        task = asyncio.ensure_future(stuck.run(application))
        await until(lambda: len(stuck.sent) == 2)
        await other.run(application)
        assert other.sent[-1]["body"] == b""
        await task
        assert stuck.aborted
        assert not other.aborted
        assert application.running == 0

    asyncio.run(run())


def test_beyond_the_limit_of_requests_at_once_the_answer_is_503_with_a_time() -> None:
    async def run() -> None:
        held, one, refused_one, later = Held(), Exchange(), Exchange(), Exchange()
        application = app(held.stub, max_concurrent=1)
        task = asyncio.ensure_future(one.run(application))
        await until(lambda: len(one.sent) == 2)
        await refused_one.run(application)
        assert refused_one.sent[0]["status"] == 503
        assert (b"retry-after", b"1") in refused_one.sent[0]["headers"]
        health = Exchange()
        await health.run(application, "GET", "/health", [])
        assert health.sent[0]["status"] == 200
        held.goes_on.set()
        await task
        await later.run(application)
        assert later.sent[0]["status"] == 200

    asyncio.run(run())


def test_a_server_that_ends_tells_those_that_wait() -> None:
    class Waits(Stub):
        async def handle(self, request: WireRequest) -> WireAnswer:
            self.requests.append(request)
            await asyncio.Event().wait()
            raise AssertionError

    async def run() -> None:
        stub, one = Waits(), Exchange()
        application = app(stub)
        task = asyncio.ensure_future(one.run(application))
        await until(lambda: stub.requests)
        task.cancel()
        await task
        assert one.sent[0]["status"] == 503
        assert application.running == 0

    asyncio.run(run())
