"""What passes between a guarded client and a server: bounds, refusals, bytes, users, retries."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import openai
import pytest

import assistantguard
from assistantguard import Budget, BudgetExceeded, CostCap, Pacing, Policy, TokenCap
from assistantguard.events import Event, RequestSettled
from benchmarks.canned import chunked, event_stream, http_library, message, response
from tests.support.world import COLOURS, MODEL, World

HTTP = http_library()
BASE = "https://gateway.test/openai/v1"
CHAT = [{"role": "user", "content": "Hello"}]
STREAM = {"content-type": "text/event-stream"}


def whole() -> Any:
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    return HTTP.Response(200, json={**response(message("Hello")), "usage": usage})


def completion(usage: dict[str, int] | None) -> Any:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice]}
    return HTTP.Response(200, json=body if usage is None else {**body, "usage": usage})


def chunks(*texts: str, usage: bool) -> list[bytes]:
    """A streamed chat completion."""
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    pieces = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    events = [{**frame, "choices": [piece]} for piece in pieces]
    events.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        told = {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}
        events.append({**frame, "choices": [], "usage": told})
    return [*(f"data: {json.dumps(event)}\n\n".encode() for event in events), b"data: [DONE]\n\n"]


class Server:
    """A server in the process, behind a guarded client of one colour."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests: list[Any] = []
        """But for those that count input."""
        self.counts: list[dict[str, Any]] = []
        self.counted: int | None = None
        """What it counts; None where it cannot."""
        self.events: list[Event] = []
        self.closing = ExitStack()
        self.answers: Callable[[Any], Any] = lambda request: whole()

    def guarded(self, policies: Sequence[Policy], *, azure: bool = False, max_retries: int = 0, **options: Any) -> Any:
        """A guarded client."""
        kind = HTTP.AsyncClient if self.world.is_async else HTTP.Client
        name = f"{'Async' if self.world.is_async else ''}{'Azure' if azure else ''}OpenAI"
        where = {"azure_endpoint": "https://mine.test", "api_version": "2026-01-01"} if azure else {"base_url": BASE}
        http_client = kind(transport=HTTP.MockTransport(self._answer), follow_redirects=True)
        client = getattr(openai, name)(api_key="sk-x", http_client=http_client, max_retries=max_retries, **where)
        self.closing.callback(lambda: self.world.wait(client.close()))
        return assistantguard.drop_in(
            client, policies=policies, guard_calls=True, sinks=[self.events.append], **options
        )

    def _answer(self, request: Any) -> Any:
        if request.url.path.endswith("/input_tokens"):
            self.counts.append(json.loads(request.content))
            body = {"object": "response.input_tokens", "input_tokens": self.counted}
            return HTTP.Response(404) if self.counted is None else HTTP.Response(200, json=body)
        self.requests.append(request)
        return self.answers(request)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests]

    @property
    def settled(self) -> list[RequestSettled]:
        return [event for event in self.events if isinstance(event, RequestSettled)]

    def wait(self, result: Any) -> Any:
        return self.world.wait(result)

    def read(self, stream: Any) -> list[Any]:
        """All that a stream yields."""
        if not self.world.is_async:
            return list(stream)

        async def read() -> list[Any]:
            return [piece async for piece in await stream]

        found: list[Any] = self.wait(read())
        return found

    def bytes_of(self, manager: Any) -> bytes:
        """The body that a ``with_streaming_response`` call gives."""
        if not self.world.is_async:
            with manager as answer:
                return b"".join(answer.iter_bytes())

        async def read() -> bytes:
            async with manager as answer:
                return b"".join([chunk async for chunk in answer.iter_bytes()])

        found: bytes = self.wait(read())
        return found

    def streams(self, pieces: Sequence[bytes], **headers: str) -> None:
        self.answers = lambda request: HTTP.Response(200, stream=chunked(HTTP, pieces)(), headers={**STREAM, **headers})


@pytest.fixture(params=COLOURS)
def server(request: pytest.FixtureRequest, warm: None) -> Iterator[Server]:
    with World(request.param) as world:
        server = Server(world)
        with server.closing:
            yield server


def refusal(server: Server, call: Callable[[], Any], kind: type[openai.APIStatusError]) -> openai.APIStatusError:
    with pytest.raises(kind) as raised:
        server.wait(call())
    return raised.value


# Refusals


def test_a_refused_call_is_a_rate_limit_error_that_says_what_is_left_and_is_not_tried_again(server: Server) -> None:
    client = server.guarded([Budget("application", "day", tokens=20)], max_retries=5)
    error = refusal(server, lambda: client.responses.create(model=MODEL, input="Hello"), openai.RateLimitError)
    body: Any = error.body
    assert (error.code, error.type) == ("budget_exceeded", "insufficient_quota")
    assert (body["limit"], body["left"], body["metric"]) == ("20", "20", "tokens")
    assert body["renews_at"] is not None
    assert "it renews" in body["message"]
    assert not server.requests
    assert len([event for event in server.events if event.name == "budget.refused"]) == 1


def test_a_call_that_finds_no_room_in_time_says_when_there_is_some_and_is_not_tried_again(server: Server) -> None:
    client = server.guarded([Pacing(1, burst=1, max_wait=0)], max_retries=5)
    server.wait(client.responses.create(model=MODEL, input="Hello"))
    error = refusal(server, lambda: client.responses.create(model=MODEL, input="Hello"), openai.RateLimitError)
    body: Any = error.body
    assert (error.code, error.type) == ("too_many_requests", "rate_limit_exceeded")
    assert body["lane"] == f"model:{MODEL}"
    assert 1 <= int(error.response.headers["retry-after"]) < 70
    assert len(server.requests) == 1


def test_with_on_refusal_raise_it_is_the_error_of_the_budget_itself(server: Server) -> None:
    client = server.guarded([TokenCap(session=60)], on_refusal="raise", max_retries=5)
    server.wait(client.responses.create(model=MODEL, input="Hello"))
    with pytest.raises(BudgetExceeded):
        server.wait(client.responses.create(model=MODEL, input="Hello"))
    assert len(server.requests) == 1


def test_a_dollar_cap_refuses_a_model_that_has_no_price(server: Server) -> None:
    client = server.guarded([CostCap(session="1.00")])
    error = refusal(
        server, lambda: client.responses.create(model="model-of-tomorrow", input="Hello"), openai.PermissionDeniedError
    )
    assert error.code == "policy_refused"
    assert not server.requests


def test_a_body_that_is_no_json_is_refused(server: Server) -> None:
    client = server.guarded([TokenCap(session=100)])
    answer = server.wait(client._client.post(f"{BASE}/responses", content=b"{'model': 1}"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unreadable_body")
    assert not server.requests


# Bounds


def test_the_output_of_a_response_is_bounded_by_what_is_left(server: Server) -> None:
    client = server.guarded([TokenCap(session=1_000, counting="never")])
    server.wait(client.responses.create(model=MODEL, input="Hello"))
    server.wait(client.responses.create(model=MODEL, input="Hello", max_output_tokens=50))
    first, second = server.bodies
    assert 900 < first["max_output_tokens"] < 1_000
    assert second["max_output_tokens"] == 50


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_output_of_a_chat_is_bounded_by_the_parameter_that_it_has(server: Server, name: str) -> None:
    server.answers = lambda request: completion({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11})
    client = server.guarded([TokenCap(session=1_000)])
    server.wait(client.chat.completions.create(model=MODEL, messages=CHAT, **{name: 5_000}))
    (sent,) = server.bodies
    assert 900 < sent[name] < 1_000
    assert {"max_tokens", "max_completion_tokens"} & set(sent) == {name}
    assert [event.usage.total_tokens for event in server.settled] == [11]


def test_several_answers_at_once_share_what_is_left(server: Server) -> None:
    server.answers = lambda request: completion(None)
    client = server.guarded([TokenCap(session=1_000)])
    server.wait(client.chat.completions.create(model=MODEL, messages=CHAT, n=10))
    assert 90 <= server.bodies[0]["max_completion_tokens"] < 100


def test_a_request_that_fits_is_sent_as_it_is(server: Server) -> None:
    client = server.guarded([TokenCap(session=100_000)])
    server.wait(client.responses.create(model=MODEL, input="Hællo", max_output_tokens=50))
    with_guard = server.requests[0].content
    plain = server.guarded([])
    server.wait(plain.responses.create(model=MODEL, input="Hællo", max_output_tokens=50))
    assert server.requests[1].content == with_guard


def test_a_compaction_is_refused_where_less_is_left_than_it_may_write(server: Server) -> None:
    usage = {"input_tokens": 9, "output_tokens": 5, "total_tokens": 14}
    server.answers = lambda request: HTTP.Response(
        200, json={"id": "resp_1", "object": "response.compaction", "created_at": 1, "output": [], "usage": usage}
    )
    body = {"model": MODEL, "input": "Hello"}
    small, large = server.guarded([TokenCap(session=1_000)]), server.guarded([TokenCap(session=100_000)])
    error = refusal(
        server, lambda: small.post("/responses/compact", body=body, cast_to=object), openai.PermissionDeniedError
    )
    assert error.code == "policy_refused"
    server.wait(large.post("/responses/compact", body=body, cast_to=object))
    assert [event.usage.total_tokens for event in server.settled] == [14]


def test_input_that_only_the_server_knows_is_counted_by_it_first(server: Server) -> None:
    server.counted = 700
    client = server.guarded([TokenCap(session=1_000)])
    server.wait(client.responses.create(model=MODEL, input="And now?", conversation="conv_1"))
    (count,), (sent,) = server.counts, server.bodies
    assert count["conversation"] == "conv_1"
    assert 280 < sent["max_output_tokens"] <= 300


def test_input_that_nobody_can_count_is_taken_for_a_whole_context_window(server: Server) -> None:
    client = server.guarded([TokenCap(session=500_000)])
    prompt = {"id": "pmpt_1"}
    error = refusal(server, lambda: client.responses.create(model=MODEL, prompt=prompt), openai.RateLimitError)
    assert "1100000 input" in error.message
    server.wait(client.responses.create(model=MODEL, input="Hello"))


def test_what_goes_on_with_a_known_response_needs_no_count(server: Server) -> None:
    client = server.guarded([TokenCap(session=100_000)])
    first = server.wait(client.responses.create(model=MODEL, input="Hello"))
    server.wait(client.responses.create(model=MODEL, input="And now?", previous_response_id=first.id))
    assert len(server.requests) == 2
    assert not server.counts


# Streams


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_a_stream_passes_byte_for_byte_wherever_its_chunks_end(server: Server, size: int) -> None:
    raw = b": hello\n\n" + b"".join(event_stream(["Hæl", "lo \u2028 you"])) + b"data: [DONE]\n\n"
    server.streams([raw[start : start + size] for start in range(0, len(raw), size)])
    client = server.guarded([TokenCap(session=100_000)])
    responses = client.responses.with_streaming_response
    assert server.bytes_of(responses.create(model=MODEL, input="Hello", stream=True)) == raw
    (settled,) = server.settled
    assert (settled.status, settled.usage.estimated) == ("completed", False)


def test_a_compressed_answer_is_read_and_passes_as_it_means(server: Server) -> None:
    raw = b"".join(event_stream(["Hello", " you"]))
    server.streams([gzip.compress(raw)], **{"content-encoding": "gzip"})
    client = server.guarded([TokenCap(session=100_000)])
    responses = client.responses.with_streaming_response
    assert server.bytes_of(responses.create(model=MODEL, input="Hello", stream=True)) == raw
    server.answers = lambda request: HTTP.Response(
        200,
        content=gzip.compress(json.dumps(response(message("Hello"))).encode()),
        headers={"content-encoding": "gzip"},
    )
    assert server.wait(client.responses.create(model=MODEL, input="Hello")).output_text == "Hello"
    assert [event.usage.estimated for event in server.settled] == [False, False]


def test_a_stream_that_passes_its_bound_is_cut_closed_and_booked(server: Server) -> None:
    server.streams(event_stream([" word"] * 500))
    client = server.guarded([TokenCap(session=100_000)])
    with pytest.raises(openai.APIError, match="passed the 20 output tokens") as raised:
        server.read(client.responses.create(model=MODEL, input="Hello", max_output_tokens=20, stream=True))
    assert raised.value.code == "output_limit_passed"
    (settled,) = server.settled
    assert settled.usage.estimated
    assert 20 < settled.usage.output_tokens < 200


def test_a_chat_stream_is_asked_for_its_usage_which_the_application_does_not_see(server: Server) -> None:
    server.streams(chunks("Hello", " you", usage=True))
    client = server.guarded([TokenCap(session=100_000)])
    seen = server.read(client.chat.completions.create(model=MODEL, messages=CHAT, stream=True))
    assert all(chunk.choices for chunk in seen)
    assert server.bodies[0]["stream_options"] == {"include_usage": True}
    assert [event.usage.total_tokens for event in server.settled] == [11]


def test_the_usage_of_a_chat_stream_is_seen_where_it_was_asked_for(server: Server) -> None:
    server.streams(chunks("Hello", usage=True))
    client = server.guarded([TokenCap(session=100_000)])
    options = {"include_usage": True}
    seen = server.read(client.chat.completions.create(model=MODEL, messages=CHAT, stream=True, stream_options=options))
    assert seen[-1].usage.total_tokens == 11


def test_a_server_that_refuses_to_be_asked_for_usage_is_asked_without_and_estimated(server: Server) -> None:
    def answers(request: Any) -> Any:
        if b"stream_options" in request.content:
            error = {"message": "Unrecognized request argument supplied: stream_options", "code": None}
            return HTTP.Response(400, json={"error": error})
        return HTTP.Response(200, stream=chunked(HTTP, chunks("Hello", usage=False))(), headers=STREAM)

    server.answers = answers
    client = server.guarded([TokenCap(session=100_000)])
    for _ in range(2):
        assert server.read(client.chat.completions.create(model="gpt-4o", messages=CHAT, stream=True))
    assert len(server.requests) == 3
    assert all(event.usage.estimated and event.usage.output_tokens < 100 for event in server.settled)


# Attempts


def test_each_of_the_sdks_retries_is_held_and_settled_by_itself(server: Server) -> None:
    def answers(request: Any) -> Any:
        if len(server.requests) == 1:
            return HTTP.Response(500, json={"error": {"message": "oops"}}, headers={"retry-after-ms": "1"})
        if len(server.requests) == 2:
            raise HTTP.ReadTimeout("no answer", request=request)
        return whole()

    server.answers = answers
    client = server.guarded([TokenCap(session=100_000)], max_retries=2)
    server.wait(client.with_options(max_retries=2).responses.create(model=MODEL, input="Hello", max_output_tokens=50))
    first, second, third = server.settled
    assert (first.status, first.usage.total_tokens) == ("error", 0)
    assert (second.status, second.usage.output_tokens, second.usage.estimated) == ("unknown", 50, True)
    assert (third.status, third.usage.estimated) == ("completed", False)
    assert len({event.run_id for event in server.settled}) == 3


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_call_that_the_server_rejects_costs_nothing(server: Server, status: int) -> None:
    server.answers = lambda request: HTTP.Response(status, json={"error": {"message": "no", "code": "x"}})
    client = server.guarded([TokenCap(session=120)])
    for _ in range(5):
        error = refusal(server, lambda: client.responses.create(model=MODEL, input="Hello"), openai.APIStatusError)
        assert error.status_code == status
    assert len(server.requests) == 5


def test_an_answer_that_is_no_response_is_booked_as_an_estimate(server: Server) -> None:
    server.answers = lambda request: HTTP.Response(
        200, text="<html>log in</html>", headers={"content-type": "text/html"}
    )
    client = server.guarded([TokenCap(session=100_000)])
    server.wait(client.responses.create(model=MODEL, input="Hello", max_output_tokens=50))
    (settled,) = server.settled
    assert (settled.usage.output_tokens, settled.usage.estimated) == (50, True)


def test_a_redirected_call_is_counted_where_it_arrives(server: Server) -> None:
    def answers(request: Any) -> Any:
        if request.url.host == "gateway.test":
            return HTTP.Response(307, headers={"location": "https://elsewhere.test/v1/responses"})
        return whole()

    server.answers = answers
    client = server.guarded([TokenCap(session=100_000)])
    assert server.wait(client.responses.create(model=MODEL, input="Hello")).output_text == "Hello"
    (settled,) = server.settled
    assert not settled.usage.estimated


# Whose


@pytest.mark.parametrize(
    "named", [{"metadata": {"user": "maren"}}, {"safety_identifier": "maren"}, {"user": "maren"}], ids=str
)
def test_a_call_counts_on_the_budget_of_the_user_that_it_names(server: Server, named: dict[str, Any]) -> None:
    client = server.guarded([Budget("user", "day", messages=1)])
    extra = {"extra_body": named}
    server.wait(client.responses.create(model=MODEL, input="Hello", **extra))
    error = refusal(server, lambda: client.responses.create(model=MODEL, input="Hello", **extra), openai.RateLimitError)
    body: Any = error.body
    assert body["account"].startswith("user:maren@day")
    server.wait(client.responses.create(model=MODEL, input="Hello", user="jo"))


def test_a_call_that_names_no_user_is_refused_where_a_budget_needs_one(server: Server) -> None:
    client = server.guarded([Budget("user", "day", messages=1)])
    error = refusal(server, lambda: client.responses.create(model=MODEL, input="Hello"), openai.BadRequestError)
    assert "metadata['user']" in error.message
    assert not server.requests


def test_azure_deployments_are_guarded(server: Server) -> None:
    client = server.guarded([TokenCap(session=120)], azure=True)
    server.answers = lambda request: completion({"prompt_tokens": 60, "completion_tokens": 30, "total_tokens": 90})
    server.wait(client.chat.completions.create(model="mine", messages=CHAT))
    assert server.requests[0].url.path == "/openai/deployments/mine/chat/completions"
    refusal(server, lambda: client.chat.completions.create(model="mine", messages=CHAT), openai.RateLimitError)
    assert [event.model for event in server.settled] == ["mine"]


def test_copies_of_another_address_are_guarded_too(server: Server) -> None:
    client = server.guarded([TokenCap(session=60)]).with_options(base_url="https://elsewhere.test/v1")
    server.wait(client.responses.create(model=MODEL, input="Hello"))
    refusal(server, lambda: client.responses.create(model=MODEL, input="Hello"), openai.RateLimitError)
