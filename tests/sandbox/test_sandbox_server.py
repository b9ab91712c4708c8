from __future__ import annotations

import asyncio
import builtins
import gc
import importlib
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import openai
import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Answer, Fault, Sandbox, serve
from tests.support.waiting import wait_until

MODEL = "gpt-6-luna"


def test_start_and_stop_are_quick_and_leave_nothing_behind() -> None:
    with Sandbox():
        pass  # the first start pays for imports
    threads = threading.enumerate()
    spent: list[float] = []
    url = ""
    while len(spent) < 30 and min(spent, default=1.0) >= 0.3:  # the machine may be busy
        started = time.perf_counter()
        with Sandbox() as sandbox:
            url = sandbox.base_url
        spent.append(time.perf_counter() - started)

    gc.collect()
    assert min(spent) < 0.3
    wait_until(lambda: set(threading.enumerate()) <= set(threads))
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(url.split(":")[2].split("/")[0])), timeout=10)


def test_a_sandbox_ends_while_an_answer_is_still_being_made() -> None:
    async def ask(sandbox: Sandbox, asked: asyncio.Event) -> None:
        async with sandbox.async_client(max_retries=0) as client:
            asked.set()
            with pytest.raises(openai.APIError):
                await client.responses.create(model=MODEL, input="Hi")

    async def run() -> None:
        asked = asyncio.Event()
        sandbox = Sandbox([Answer("never", delay=60)])
        with sandbox:
            task = asyncio.create_task(ask(sandbox, asked))
            await asked.wait()
            while not sandbox.requests:  # noqa: ASYNC110 - the sandbox's log has no event to wait for
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            await asyncio.to_thread(sandbox.__exit__, None, None, None)
        await task

    started = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - started < 30


def test_no_warning_in_development_mode() -> None:
    program = (
        "import asyncio, logging\n"
        "logging.getLogger('asyncio').setLevel('ERROR')\n"  # debug mode notes each slow callback, the SDK's too
        "from assistantguard.sandbox import Sandbox\n"
        "async def ask(client):\n"
        "    async with client:\n"
        "        await client.responses.create(model='gpt-6-luna', input='Hi')\n"
        "with Sandbox() as sandbox:\n"
        "    client = sandbox.client()\n"
        "    client.responses.create(model='gpt-6-luna', input='Hi')\n"
        "    asyncio.run(ask(sandbox.async_client()))\n"
        "    print(sandbox.billing.requests)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("2\n", "")


def test_a_sandbox_is_entered_once() -> None:
    sandbox = Sandbox()
    with sandbox:
        pass
    with pytest.raises(ConfigurationError, match="entered once"), sandbox:
        pass


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name, *args, **options)

    for module in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("app", "server"):
        monkeypatch.delitem(sys.modules, f"assistantguard.sandbox.{module}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)

    with pytest.raises(ConfigurationError, match=rf"'{package}'.*pip install 'assistantguard\[sandbox\]'"):
        Sandbox()


def test_the_key_is_checked_and_never_logged(call: Any) -> None:
    with Sandbox(api_key="sk-own-key-123456") as sandbox:
        assert call(sandbox, "conversations.create").object == "conversation"
        with (
            sandbox.client(api_key="sk-another-key-987654") as client,
            pytest.raises(openai.AuthenticationError, match=r"Incorrect API key provided: sk-\*+7654") as caught,
        ):
            client.conversations.create()

        assert caught.value.code == "invalid_api_key"
        assert sandbox.api_key == "sk-own-key-123456"
        assert "key-" not in str([request.headers for request in sandbox.requests])
        assert [request.status for request in sandbox.requests] == [200, 401]


def test_any_key_will_do_when_none_is_set() -> None:
    with Sandbox(api_key=None) as sandbox, sandbox.client(api_key="whatever") as client:
        assert client.conversations.create().object == "conversation"


def test_requests_are_recorded_with_body_status_and_endpoint(call: Any) -> None:
    with Sandbox(faults=[Fault.quota(at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create", metadata={"a": "b"}).id
        with pytest.raises(openai.RateLimitError):
            call(sandbox, "responses.create", model=MODEL, input="Hi", extra_headers={"X-Mine": "1"})
        call(sandbox, "conversations.items.list", conversation, limit=5)

        created, asked, listed = sandbox.requests
        assert (created.method, created.path, created.body) == (
            "POST",
            "/v1/conversations",
            {"metadata": {"a": "b"}},
        )
        assert (asked.endpoint, asked.status, asked.headers["x-mine"]) == ("POST /responses", 429, "1")
        assert listed.endpoint == "GET /conversations/{id}/items"
        assert listed.query == {"limit": "5"}


def test_answers_carry_request_id_and_timing() -> None:
    with Sandbox() as sandbox, sandbox.client() as client:
        answers = [client.conversations.with_raw_response.create() for _ in range(2)]

        first, second = (answer.headers for answer in answers)
        assert first["x-request-id"].startswith("req_sandbox_")
        assert first["x-request-id"] != second["x-request-id"]
        assert int(first["openai-processing-ms"]) >= 1


def test_the_application_works_in_process() -> None:
    async def run(sandbox: Sandbox) -> str:
        (library,) = [base for base in openai.DefaultAsyncHttpxClient.__mro__ if base.__name__ == "AsyncClient"]
        http: Any = importlib.import_module(library.__module__.partition(".")[0])  # httpx, or httpx2 from openai 3 on
        transport = http.ASGITransport(app=sandbox.app)
        async with openai.AsyncOpenAI(
            base_url="http://sandbox/v1",
            api_key=sandbox.api_key,
            http_client=openai.DefaultAsyncHttpxClient(transport=transport),
        ) as client:
            return (await client.responses.create(model=MODEL, input="Hi")).output_text

    assert asyncio.run(run(Sandbox(["in process"]))) == "in process"


def test_a_request_outside_the_api_is_refused_in_its_shape(call: Any) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(openai.NotFoundError, match=r"Invalid URL \(GET /v1/models\)"):
            call(sandbox, "get", "/models", cast_to=object)
        with pytest.raises(openai.APIStatusError, match="Not allowed to PUT") as caught:
            call(sandbox, "put", "/responses", cast_to=object)
        assert caught.value.status_code == 405


def test_serve_answers_until_it_is_interrupted(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def use(url: str) -> None:
        with openai.OpenAI(base_url=url, api_key="any") as client:
            assert client.responses.create(model=MODEL, input="Hi").output_text == "served"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(port=0, model=["served"], on_start=use)

    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_told_with_the_mend() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rsplit(":", 1)[1].removesuffix("/v1"))
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port}: .*give another port"):
            serve(port=port)
