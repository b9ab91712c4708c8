from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, Sandbox, ToolCalls
from assistantguard.sandbox.billing import PromptCache

MODEL = "gpt-6-luna"


def _ask(client: openai.OpenAI, **asked: Any) -> Any:
    return client.responses.create(**{"model": MODEL, "input": "Hi", **asked})


@pytest.mark.parametrize(("limit", "kept"), [(5, 5), (0, 0), (None, 12)])
def test_the_log_keeps_the_newest_requests(limit: int | None, kept: int) -> None:
    with Sandbox(log_requests=limit) as sandbox, sandbox.client() as client:
        for number in range(12):
            client.conversations.create(metadata={"number": str(number)})

        numbers = [request.body["metadata"]["number"] for request in sandbox.requests]
        assert numbers == [str(number) for number in range(12 - kept, 12)]


def test_ten_thousand_requests_are_logged_by_default() -> None:
    assert Sandbox()._application.requests.maxlen == 10_000


def test_old_responses_are_forgotten_where_only_so_many_are_kept() -> None:
    with Sandbox(keep_responses=3) as sandbox, sandbox.client() as client:
        ids = [_ask(client).id for _ in range(5)]

        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(ids[1])
        assert [client.responses.retrieve(one).id for one in ids[2:]] == ids[2:]
        assert sandbox.billing.requests == 5


def test_old_rows_count_in_the_sums_only() -> None:
    def run(keep: int | None) -> tuple[Any, Any, int]:
        with Sandbox(keep_calls=keep) as sandbox, sandbox.client() as client:
            for number in range(30):
                _ask(client, model=MODEL if number % 2 else "gpt-5-mini")
            return sandbox.billing.totals, sandbox.billing.by_model, len(sandbox.billing.calls)

    totals, by_model, kept = run(5)
    all_totals, all_by_model, all_kept = run(None)
    assert (totals, by_model) == (all_totals, all_by_model)
    assert totals.cost is not None
    assert (5 <= kept <= 10, all_kept) == (True, 30)


def test_rows_that_may_still_change_are_kept() -> None:
    faults = [Fault.late_usage(reads=1, at=1), Fault.stuck(at=1)]
    with Sandbox(keep_calls=2, faults=faults) as sandbox, sandbox.client() as client:
        late = _ask(client)
        stuck = _ask(client, background=True)
        for _ in range(12):
            _ask(client)

        kept = {row.response_id for row in sandbox.billing.calls}
        assert {late.id, stuck.id} <= kept
        assert len(kept) < 10
        for _ in range(2):
            client.responses.retrieve(late.id)
        client.responses.cancel(stuck.id)
        for _ in range(12):
            _ask(client)
        assert not {late.id, stuck.id} & {row.response_id for row in sandbox.billing.calls}
        assert sandbox.billing.requests == 26


def test_a_response_that_is_forgotten_lets_go_of_its_row() -> None:
    faults = [Fault.late_usage(reads=9, at=1)]
    with Sandbox(keep_calls=2, keep_responses=2, faults=faults) as sandbox, sandbox.client() as client:
        late = _ask(client)
        for _ in range(12):
            _ask(client)

        assert late.id not in {row.response_id for row in sandbox.billing.calls}


def test_the_prompt_cache_forgets_what_was_not_used_for_long() -> None:
    cache = PromptCache(capacity=10)
    hot = [("rules", 1000), ("hello", 10)]
    cache.read("m", hot)
    for number in range(100):
        assert cache.read("m", [(f"prompt {number}", 5)]) == 0
        assert cache.read("m", hot) == 1010
    assert len(cache) <= 22
    assert cache.read("m", [("prompt 1", 5)]) == 0


def test_the_prompt_cache_keeps_models_and_beginnings_apart() -> None:
    cache = PromptCache()
    cache.read("m", [("a", 1), ("b", 2), ("c", 4)])
    assert cache.read("m", [("a", 1), ("b", 2), ("d", 8)]) == 3
    assert cache.read("m", [("b", 2), ("c", 4)]) == 0
    assert cache.read("n", [("a", 1)]) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"log_requests": -1}, "log_requests=-1 is below 0"),
        ({"keep_responses": 0}, "keep_responses=0 is below 1"),
        ({"keep_calls": 0}, "keep_calls=0 is below 1"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(options: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        Sandbox(**options)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_function_cannot_call_tools_where_none_is_allowed(lookup: dict[str, Any], streamed: bool) -> None:
    def model(request: ModelRequest) -> ToolCalls:
        return ToolCalls(FunctionCall("lookup"), FunctionCall("lookup"))

    with Sandbox(model) as sandbox, sandbox.client() as client:
        asked: dict[str, Any] = {"tools": [lookup], "tool_choice": "none"}
        response = list(_ask(client, stream=True, **asked))[-1].response if streamed else _ask(client, **asked)

        assert [item.type for item in response.output] == ["message"]
        assert "allows none" in response.output_text
        assert [item.type for item in _ask(client, tools=[lookup]).output] == ["function_call"] * 2
