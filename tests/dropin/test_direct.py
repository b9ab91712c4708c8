"""Model calls of a drop-in: what is sent, what is read, and whose method is called."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from assistantguard._asyncio import AsyncioPort
from assistantguard._blocking import BlockingPort, block_on
from assistantguard.backends.port import ClientPort
from assistantguard.backends.reading import answer_of
from assistantguard.dropin.direct import DirectPort
from benchmarks.canned import TEXT, http_library, message, response
from tests.support.world import COLOURS, MODEL, World

PARAMETERS: dict[str, Any] = {
    "model": MODEL,
    "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Où est-il?"}]}],
    "metadata": {"run": "run_1"},
    "max_output_tokens": 500,
    "extra_headers": {"X-Client-Request-Id": "run_1-1"},
    "extra_body": {"tools": [{"type": "function", "name": "look", "parameters": {}, "strict": False}]},
}


class Side:
    """A client of one colour whose server keeps what it was asked, and both ports over it."""

    def __init__(self, world: World, **options: Any) -> None:
        self._world = world
        self._http = http_library()
        self.requests: list[Any] = []
        self.content = json.dumps(response(message(TEXT))).encode()
        self.content_type = "application/json"
        transport = self._http.MockTransport(self._answer)
        library: Any = self._http.AsyncClient if world.is_async else self._http.Client
        kind: Any = openai.AsyncOpenAI if world.is_async else openai.OpenAI
        self.client = kind(api_key="sk-test", max_retries=0, http_client=library(transport=transport), **options)
        self.plain: ClientPort = AsyncioPort(self.client) if world.is_async else BlockingPort(self.client)
        self.direct = DirectPort(self.plain, self.client)

    def ask(self, port: ClientPort) -> Any:
        work = port.call("responses.create", 5.0, **PARAMETERS)
        return self._world.wait(work) if self._world.is_async else block_on(work)

    def _answer(self, request: Any) -> Any:
        self.requests.append(request)
        return self._http.Response(
            200, content=self.content, headers={"content-type": self.content_type, "x-request-id": "req_1"}
        )


@pytest.fixture(params=COLOURS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Side]]:
    with World(request.param) as world:
        yield functools.partial(Side, world)


def test_the_request_is_the_one_that_the_sdks_method_makes(make: Callable[..., Side]) -> None:
    side = make()
    answers = [answer_of(side.ask(port)) for port in (side.plain, side.direct)]
    first, second = side.requests
    assert (first.method, first.url) == (second.method, second.url)
    assert json.loads(first.content) == json.loads(second.content)
    headers = [{**request.headers, "x-stainless-raw-response": ""} for request in (first, second)]
    assert headers[0] == headers[1]
    for answer in answers:
        assert (answer.text, answer.request_id, answer.id) == (TEXT, "req_1", "resp_1")
    assert answers[0].usage == answers[1].usage


def test_a_method_that_was_instrumented_is_the_one_that_is_called(
    make: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make()
    kind = type(side.client.responses)
    create, seen = kind.create, []

    @functools.wraps(create)
    def instrumented(self: Any, **params: Any) -> Any:
        seen.append(params["model"])
        return create(self, **params)

    monkeypatch.setattr(kind, "create", instrumented)
    assert answer_of(side.ask(side.direct)).text == TEXT
    assert seen == [MODEL]


def test_an_answer_that_is_not_declared_as_json_is_read_as_the_sdk_reads_it(make: Callable[..., Side]) -> None:
    side = make()
    side.content_type = "text/plain"
    assert [answer_of(side.ask(port)).text for port in (side.plain, side.direct)] == [TEXT, TEXT]


def test_a_client_that_checks_answers_goes_on_to_check_them(make: Callable[..., Side]) -> None:
    side = make(_strict_response_validation=True)
    side.content = b'{"id": 7, "output": []}'
    with pytest.raises(openai.APIResponseValidationError):
        side.ask(side.direct)
