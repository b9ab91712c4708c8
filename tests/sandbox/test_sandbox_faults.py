from __future__ import annotations

from typing import Any

import openai
import pytest

from assistantguard.sandbox import Fault, Sandbox

MODEL = "gpt-6-luna"


def _ask(call: Any, sandbox: Sandbox, **options: Any) -> Any:
    return call(sandbox, "responses.create", **{"model": MODEL, "input": "Hi", **options})


def _failed(call: Any, sandbox: Sandbox) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        _ask(call, sandbox)
    return caught.value


def test_each_refusal_has_its_status_code_and_headers_and_bills_nothing(call: Any) -> None:
    faults = [
        Fault.rate_limit(at=1),
        Fault.rate_limit(at=2, retry_after=0.25),
        Fault.quota(at=3),
        Fault.server_error(at=4),
        Fault.server_error(503, at=5, should_retry=False),
        Fault.http(418, message="short", type="teapot", code="tea", param="pot", headers={"x-tea": "1"}, at=6),
    ]
    with Sandbox(["fine"], faults=faults) as sandbox:
        limited, waiting, quota, broken, busy, other = (_failed(call, sandbox) for _ in faults)

        assert [error.status_code for error in (limited, waiting, quota, broken, busy, other)] == [
            429,
            429,
            429,
            500,
            503,
            418,
        ]
        assert (limited.code, limited.type) == ("rate_limit_exceeded", "requests")
        assert "retry-after" not in limited.response.headers
        assert (waiting.response.headers["retry-after"], waiting.response.headers["retry-after-ms"]) == ("0.25", "250")
        assert (quota.code, quota.type) == ("insufficient_quota", "insufficient_quota")
        assert "retry-after" not in quota.response.headers
        assert broken.type == "server_error"
        assert "x-should-retry" not in broken.response.headers
        assert busy.response.headers["x-should-retry"] == "false"
        assert (other.code, other.param, other.response.headers["x-tea"]) == ("tea", "pot", "1")
        assert sandbox.billing.calls == []
        assert _ask(call, sandbox).output_text == "fine"
        assert sandbox.faults_fired == len(faults)


def test_the_sdk_itself_retries_what_says_so() -> None:
    with Sandbox(["fine"], faults=[Fault.rate_limit(at=1, retry_after=0.01)]) as sandbox:
        assert sandbox.client(max_retries=1).responses.create(model=MODEL, input="Hi").output_text == "fine"
        assert [request.status for request in sandbox.requests] == [429, 200]


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "invalid_prompt"])
def test_a_response_ends_failed_with_its_code(call: Any, code: str) -> None:
    with Sandbox(["fine"], faults=[Fault.failed_response(code, at=1, message="so it is", text="half")]) as sandbox:
        response = _ask(call, sandbox)

        assert response.status == "failed"
        assert (response.error.code, response.error.message) == (code, "so it is")
        assert response.usage.total_tokens == sandbox.billing.totals.total_tokens > 0
        assert _ask(call, sandbox).output_text == "fine"


@pytest.mark.parametrize(("billed", "reported"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("kind", ["failed", "incomplete"])
def test_a_failed_or_cut_response_is_billed_and_reported_as_asked(
    call: Any, kind: str, billed: bool, reported: bool
) -> None:
    make = Fault.failed_response if kind == "failed" else Fault.incomplete
    with Sandbox(faults=[make(at=1, text="half", billed=billed, usage_reported=reported)]) as sandbox:
        response = _ask(call, sandbox)

        (row,) = sandbox.billing.calls
        assert (row.status, row.billed, row.usage_reported) == (kind, billed, reported)
        assert (row.input_tokens > 0, row.output_tokens > 0) == (billed, billed)
        assert (response.usage is not None) == reported
        assert (call(sandbox, "responses.retrieve", response.id).usage is not None) == reported


def test_a_cut_response_tells_its_reason_and_what_it_made(call: Any) -> None:
    with Sandbox(["fine"], faults=[Fault.incomplete("content_filter", at=1, text="half")]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _ask(call, sandbox, conversation=conversation)

        assert (response.status, response.incomplete_details.reason) == ("incomplete", "content_filter")
        assert response.output_text == "half"
        assert [item["status"] for item in sandbox.conversation(conversation)] == ["completed", "incomplete"]
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


def _statuses(call: Any, faults: list[Fault], requests: int) -> list[int | None]:
    with Sandbox(faults=faults) as sandbox:
        for _ in range(requests):
            try:
                _ask(call, sandbox)
            except openai.APIStatusError:
                continue
        return [request.status for request in sandbox.requests]


def test_a_list_of_numbers_is_counted_over_all_requests(call: Any) -> None:
    assert _statuses(call, [Fault.server_error(at=[1, 3, 4])], 5) == [500, 200, 500, 500, 200]


def test_the_first_fault_that_is_due_answers(call: Any) -> None:
    assert _statuses(call, [Fault.quota(at=1), Fault.server_error(at=1), Fault.server_error(503, at=2)], 3) == [
        429,
        503,
        200,
    ]


def test_a_rate_is_drawn_with_its_seed() -> None:
    with Sandbox() as sandbox, sandbox.client(max_retries=0) as client:
        del sandbox, client  # warm

    def draw(seed: int) -> list[int | None]:
        with Sandbox(faults=[Fault.server_error(rate=0.4, seed=seed)]) as sandbox:
            client = sandbox.client(max_retries=0)
            for _ in range(60):
                try:
                    client.responses.create(model=MODEL, input="Hi")
                except openai.InternalServerError:
                    continue
            return [request.status for request in sandbox.requests]

    first = draw(7)
    assert draw(7) == first
    assert draw(8) != first
    assert 10 < first.count(500) < 40


def test_a_fault_happens_no_more_often_than_asked(call: Any) -> None:
    assert _statuses(call, [Fault.server_error(rate=1, times=2)], 4) == [500, 500, 200, 200]
