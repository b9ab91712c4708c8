from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from decimal import Decimal
from typing import Any

import pytest

from assistantguard import tokens
from assistantguard.sandbox import Answer, FileSearch, FunctionCall, ModelRequest, Sandbox
from assistantguard.tokens import count

MODEL = "gpt-6-luna"
OLDER = "gpt-4.1"


def test_input_tokens_is_exactly_what_the_request_then_bills(
    call: Any, count_input: Any, lookup: Any, output_for: Any
) -> None:
    with Sandbox([FunctionCall("lookup", {"order": "W1"}), "done", "more", "chained"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        common = {"model": MODEL, "tools": [lookup], "instructions": "Be kind. 请友善。"}
        inputs: list[Any] = ["Where is my order?", None, [{"role": "developer", "content": "Short."}]]
        response: Any = None
        for position, given in enumerate(inputs):
            asked = {**common, "conversation": conversation, "input": given or [output_for(response)]}
            counted = count_input(sandbox, **asked)
            response = call(sandbox, "responses.create", **asked)
            assert counted == response.usage.input_tokens == sandbox.billing.calls[position].input_tokens

        asked = {**common, "previous_response_id": response.id, "input": "again"}
        counted = count_input(sandbox, **asked)
        assert counted == call(sandbox, "responses.create", **asked).usage.input_tokens


def test_tokens_are_those_of_the_text_plus_the_documented_frame(call: Any) -> None:
    text = "Where is order #W2378156? " * 40
    with Sandbox(["It is on its way."]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input=text, instructions="Be kind.")

        assert response.usage.input_tokens == 3 + 4 + count("Be kind.") + 4 + count(text)
        assert response.usage.output_tokens == 4 + count("It is on its way.")
        assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens


@pytest.mark.parametrize("text", ["<|endoftext|>", "\ud83d\ude00", "\ud800", " " * 200_000, "\x00", "א" * 5000])
def test_any_text_can_be_billed(text: str) -> None:
    with Sandbox(["ok"]) as sandbox:
        answer = _posted(sandbox, {"model": MODEL, "input": text})

        assert answer["usage"]["input_tokens"] > 0
        assert answer["usage"]["input_tokens"] == sandbox.billing.input_tokens


def _posted(sandbox: Sandbox, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{sandbox.base_url}/responses",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {sandbox.api_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_a_prefix_seen_before_is_cached_from_1024_tokens_in_steps_of_128(call: Any) -> None:
    long = "alpha beta gamma " * 500
    with Sandbox() as sandbox:
        asked = {"model": OLDER, "instructions": long}
        first = call(sandbox, "responses.create", input="one", **asked).usage
        second = call(sandbox, "responses.create", input="two", **asked).usage
        short = [call(sandbox, "responses.create", model=OLDER, input="tiny", instructions="x").usage for _ in "ab"]

        shared = 4 + count(long)
        assert first.input_tokens_details.cached_tokens == 0
        assert second.input_tokens_details.cached_tokens == shared // 128 * 128 > 1024
        assert [usage.input_tokens_details.cached_tokens for usage in short] == [0, 0]


def test_a_conversation_reads_its_own_beginning_from_the_cache(call: Any) -> None:
    with Sandbox(["beta " * 700, "ok"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        asked = {"model": OLDER, "conversation": conversation}
        first = call(sandbox, "responses.create", input="alpha " * 1500, **asked).usage
        second = call(sandbox, "responses.create", input="now", **asked).usage

        assert second.input_tokens_details.cached_tokens == (first.input_tokens - 3) // 128 * 128


def test_caches_of_two_models_are_apart(call: Any) -> None:
    with Sandbox() as sandbox:
        for model in (OLDER, "gpt-4o"):
            usage = call(sandbox, "responses.create", model=model, input="alpha " * 1500).usage
            assert usage.input_tokens_details.cached_tokens == 0


@pytest.mark.parametrize(
    ("model", "writes"),
    [
        ("gpt-5.6-sol", True),
        ("gpt-6-luna", True),
        ("gpt-6.2-sol", True),
        ("gpt-5.5", False),
        ("gpt-4.1", False),
        ("gpt-4o", False),
        ("o3", False),
    ],
)
def test_cache_writes_are_billed_from_gpt_5_6_on(call: Any, model: str, writes: bool) -> None:
    with Sandbox() as sandbox:
        first = call(sandbox, "responses.create", model=model, input="alpha " * 1500).usage
        second = call(sandbox, "responses.create", model=model, input="alpha " * 1500).usage

        written = [usage.input_tokens_details.model_dump().get("cache_write_tokens") for usage in (first, second)]
        assert written == [first.input_tokens // 128 * 128 if writes else 0, 0]
        assert sandbox.billing.cache_write_tokens == sum(written)


def test_explicit_caching_without_breakpoints_caches_and_writes_nothing(call: Any) -> None:
    with Sandbox() as sandbox:
        for _ in range(2):
            options = {"extra_body": {"prompt_cache_options": {"mode": "explicit"}}}
            call(sandbox, "responses.create", model=MODEL, input="alpha " * 1500, **options)

        assert (sandbox.billing.cached_tokens, sandbox.billing.cache_write_tokens) == (0, 0)


def test_cost_is_the_price_of_each_call(call: Any) -> None:
    with Sandbox(["word " * 1000] * 2) as sandbox:
        for _ in range(2):
            call(sandbox, "responses.create", model=MODEL, input="alpha " * 1500)

        million = Decimal(1_000_000)
        expected = Decimal(0)
        for row in sandbox.billing.calls:
            fresh = row.input_tokens - row.cached_tokens - row.cache_write_tokens
            expected += fresh * Decimal("0.1") / million
            expected += row.cached_tokens * Decimal("0.01") / million
            expected += row.cache_write_tokens * Decimal("0.125") / million
            expected += row.output_tokens * Decimal("0.5") / million
        assert sandbox.billing.cost == expected > 0


def test_a_service_tier_has_its_own_price(call: Any) -> None:
    with Sandbox() as sandbox:
        for tier in ("default", "flex", "ultrafast"):
            call(sandbox, "responses.create", model=MODEL, input="Hi", service_tier=tier)

        standard, flex, unknown = (row.cost for row in sandbox.billing.calls)
        assert standard is not None
        assert flex == standard / 2
        assert unknown is None
        assert sandbox.billing.cost is None


def test_file_searches_cost_a_fee(call: Any) -> None:
    with Sandbox([Answer("ok", file_search=[FileSearch("refunds", results=[])] * 4), "ok"]) as sandbox:
        store = call(sandbox, "vector_stores.create").id
        tools = [{"type": "file_search", "vector_store_ids": [store]}]
        for _ in range(2):
            call(sandbox, "responses.create", model=MODEL, input="Hi", tools=tools)

        searched, plain = sandbox.billing.calls
        assert searched.cost is not None
        assert plain.cost is not None
        tokens = (searched.output_tokens - plain.output_tokens) * Decimal("0.5") / 1_000_000
        assert searched.cost - plain.cost == 4 * Decimal("2.5") / 1000 + tokens


def test_an_unknown_model_has_no_cost(call: Any) -> None:
    with Sandbox() as sandbox:
        call(sandbox, "responses.create", model="our-own-model", input="Hi")

        assert sandbox.billing.cost is None
        assert sandbox.billing.input_tokens > 0


def test_sums_by_model_and_by_conversation_add_up(call: Any) -> None:
    with Sandbox([Answer("a", reasoning_tokens=5)] * 4) as sandbox:
        conversations = [call(sandbox, "conversations.create").id for _ in range(2)]
        for model in (MODEL, OLDER):
            for conversation in conversations:
                call(sandbox, "responses.create", model=model, input="Hi", conversation=conversation)

        billing = sandbox.billing
        assert set(billing.by_model) == {MODEL, OLDER}
        assert set(billing.by_conversation) == set(conversations)
        for sums in (billing.by_model.values(), billing.by_conversation.values()):
            assert sum(one.input_tokens for one in sums) == billing.totals.input_tokens == billing.input_tokens
            assert sum(one.output_tokens for one in sums) == billing.output_tokens
            assert sum((one.cost or Decimal(0) for one in sums), Decimal(0)) == billing.cost
        assert (billing.requests, billing.reasoning_tokens) == (4, 20)


def test_every_usage_reported_is_on_the_bill_under_concurrency() -> None:
    def model(request: ModelRequest) -> str:
        time.sleep(0.001)
        return request.last_user_text * 3

    async def run(sandbox: Sandbox) -> list[Any]:
        async with sandbox.async_client() as client:

            async def turns(number: int) -> list[Any]:
                conversation = (await client.conversations.create()).id
                return [
                    (
                        await client.responses.create(model=MODEL, input=f"user {number}", conversation=conversation)
                    ).usage
                    for _ in range(5)
                ]

            return [usage for usages in await asyncio.gather(*map(turns, range(20))) for usage in usages]

    with Sandbox(model) as sandbox:
        usages = asyncio.run(run(sandbox))

        assert len(usages) == sandbox.billing.requests == 100
        assert sum(usage.input_tokens for usage in usages) == sandbox.billing.input_tokens
        assert sum(usage.output_tokens for usage in usages) == sandbox.billing.output_tokens


def test_a_long_thread_is_counted_incrementally() -> None:
    async def run(sandbox: Sandbox) -> tuple[float, int]:
        responses = sandbox._application._responses
        conversation = sandbox._application._conversations.create({})["id"]

        async def left() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        body = {"model": MODEL, "conversation": conversation, "input": "order W2378156 is late " * 60}
        for _ in range(150):
            await responses.create(body, left)
        started = time.process_time()
        for _ in range(50):
            await responses.create(body, left)
        return (time.process_time() - started) / 50, sandbox.billing.calls[-1].input_tokens

    seconds, context = asyncio.run(run(Sandbox(["It is on its way. " * 20] * 200)))
    assert context > 60_000
    started = time.process_time()
    tokens.count(" ".join(f"order {number} is late" for number in range(context // 6)))
    counted_anew = time.process_time() - started
    assert seconds < counted_anew / 2
