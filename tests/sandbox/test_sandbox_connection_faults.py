from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import Fault, Sandbox
from tests.support.waiting import IMPATIENT

MODEL = "gpt-6-luna"
Until = Callable[[Callable[[], object]], None]


def _ask(call: Any, sandbox: Sandbox, **asked: Any) -> Any:
    return call(sandbox, "responses.create", **{"model": MODEL, "input": "Hi", **asked})


def _has_fired(sandbox: Sandbox, times: int) -> bool:
    return sandbox.faults_fired == times


def _listed(sandbox: Sandbox, conversation: str) -> list[str]:
    return [item["role"] for item in sandbox.conversation(conversation)]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_connection_dropped_before_the_work_leaves_nothing(call: Any, capfd: Any, streamed: bool) -> None:
    with Sandbox(["fine"], faults=[Fault.dropped(at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        with pytest.raises(openai.APIConnectionError) as caught:
            _ask(call, sandbox, conversation=conversation, stream=streamed)

        assert not isinstance(caught.value, openai.APITimeoutError)
        assert sandbox.billing.calls == []
        assert sandbox.conversation(conversation) == []
        assert [(request.status, request.fault) for request in sandbox.requests[1:]] == [(None, "dropped_before_work")]
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_connection_dropped_after_the_work_leaves_all_of_it(call: Any, capfd: Any, streamed: bool) -> None:
    with Sandbox(["done", "fine"], faults=[Fault.dropped(at=1, after_work=True)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        with pytest.raises(openai.APIConnectionError):
            _ask(call, sandbox, conversation=conversation, stream=streamed)

        assert [(row.status, row.output_tokens > 0) for row in sandbox.billing.calls] == [("completed", True)]
        assert _listed(sandbox, conversation) == ["user", "assistant"]
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"
    assert capfd.readouterr() == ("", "")


def test_a_background_response_is_made_although_its_creation_was_not_answered(call: Any, until: Until) -> None:
    with Sandbox(["done"], faults=[Fault.dropped(at=1, after_work=True)]) as sandbox:
        with pytest.raises(openai.APIConnectionError):
            _ask(call, sandbox, background=True)
        until(lambda: [row.status for row in sandbox.billing.calls] == ["completed"])


@pytest.mark.parametrize("after_work", [False, True])
def test_a_silent_server_is_left_by_its_client(call: Any, until: Until, after_work: bool) -> None:
    with Sandbox(["done", "fine"], faults=[Fault.silent(at=1, after_work=after_work)]) as sandbox:
        with pytest.raises(openai.APITimeoutError):
            _ask(call, sandbox, timeout=IMPATIENT)

        until(lambda: sandbox.faults_fired)
        assert len(sandbox.billing.calls) == after_work
        assert _ask(call, sandbox).output_text == ("fine" if after_work else "done")


def test_a_sandbox_ends_while_it_is_silent(until: Until) -> None:
    asked = threading.Event()
    errors: list[BaseException] = []

    def ask(client: openai.OpenAI) -> None:
        asked.set()
        try:
            client.responses.create(model=MODEL, input="Hi")
        except openai.APIConnectionError as error:
            errors.append(error)

    sandbox = Sandbox(faults=[Fault.silent(at=1)])
    with sandbox:
        thread = threading.Thread(target=ask, args=(sandbox.client(max_retries=0),))
        thread.start()
        asked.wait()
        until(lambda: sandbox.faults_fired)
    thread.join(60)
    assert len(errors) == 1


@pytest.mark.parametrize(
    ("endpoint", "method", "params"),
    [
        ("POST /conversations", "conversations.create", {}),
        ("GET /conversations/{id}/items", "conversations.items.list", {"conversation_id": "?"}),
        ("POST /vector_stores", "vector_stores.create", {}),
        ("DELETE /conversations/{id}", "conversations.delete", {"conversation_id": "?"}),
        ("GET /files", "files.list", {}),
    ],
)
def test_any_endpoint_can_be_dropped_delayed_and_refused(
    call: Any, until: Until, endpoint: str, method: str, params: Any
) -> None:
    faults = [
        Fault.dropped(at=1, endpoint=endpoint),
        Fault.rate_limit(at=2, endpoint=endpoint),
        Fault.silent(at=3, endpoint=endpoint),
        Fault.slow(30, at=[4, 5], endpoint=endpoint),
    ]
    with Sandbox() as sandbox:
        if params:
            params = {"conversation_id": call(sandbox, "conversations.create").id}
        sandbox.faults = faults
        with pytest.raises(openai.APIConnectionError):
            call(sandbox, method, **params)
        with pytest.raises(openai.RateLimitError):
            call(sandbox, method, **params)
        for fired in (3, 4):
            with pytest.raises(openai.APITimeoutError):
                call(sandbox, method, timeout=IMPATIENT, **params)
            until(partial(_has_fired, sandbox, fired))
        call(sandbox, "get", "/vector_stores", cast_to=object)

        assert [request.fault for request in sandbox.requests[-5:]] == [
            "dropped_before_work",
            "rate_limit",
            "silent_before_work",
            "slow",
            None,
        ]


def test_a_slow_write_takes_effect_although_its_client_left(call: Any, until: Until) -> None:
    with Sandbox(faults=[Fault.slow(2, at=1, endpoint="POST /conversations")]) as sandbox:
        with pytest.raises(openai.APITimeoutError):
            call(sandbox, "conversations.create", timeout=IMPATIENT)
        until(lambda: sandbox.conversations)


@pytest.mark.parametrize("survives", [None, False, True])
def test_a_slow_response_stops_with_its_client_or_not(call: Any, until: Until, survives: bool | None) -> None:
    with Sandbox(["late"], faults=[Fault.slow(2 if survives else 60, at=1, survives_disconnect=survives)]) as sandbox:
        with pytest.raises(openai.APITimeoutError):
            _ask(call, sandbox, timeout=IMPATIENT)
        until(lambda: sandbox.billing.calls[0].status != "in_progress")

        assert sandbox.billing.calls[0].status == ("completed" if survives else "cancelled")


def test_a_slow_response_is_answered_in_the_end(call: Any) -> None:
    with Sandbox(["late"], faults=[Fault.slow(0.2, at=1)]) as sandbox:
        assert _ask(call, sandbox).output_text == "late"


@pytest.mark.parametrize("should_retry", [True, False])
@pytest.mark.parametrize(
    ("make", "status"),
    [
        (Fault.timeout, 408),
        (Fault.conflict, 409),
        (Fault.rate_limit, 429),
        (Fault.quota, 429),
        (Fault.server_error, 500),
        (lambda **options: Fault.http(404, **options), 404),
    ],
)
def test_the_sdk_obeys_x_should_retry_on_any_status(make: Any, status: int, should_retry: bool) -> None:
    fault = make(at=1, should_retry=should_retry)
    with Sandbox(["fine"], faults=[fault]) as sandbox, sandbox.client(max_retries=1) as client:
        if should_retry:
            assert client.responses.create(model=MODEL, input="Hi").output_text == "fine"
            assert [request.status for request in sandbox.requests] == [status, 200]
        else:
            with pytest.raises(openai.APIStatusError) as caught:
                client.responses.create(model=MODEL, input="Hi")
            assert caught.value.status_code == status


@pytest.mark.parametrize("status", [400, 409])
def test_a_cancel_can_be_refused(call: Any, status: int) -> None:
    faults = [Fault.stuck(at=1), Fault.cancel_refused(status, at=1)]
    with Sandbox(["never"], faults=faults) as sandbox:
        response = _ask(call, sandbox, background=True)
        with pytest.raises(openai.APIStatusError) as caught:
            call(sandbox, "responses.cancel", response.id)

        assert caught.value.status_code == status
        assert call(sandbox, "responses.cancel", response.id).status == "cancelled"


def test_faults_are_changed_while_it_runs_and_counted_by_kind(call: Any) -> None:
    with Sandbox() as sandbox:
        _ask(call, sandbox)
        sandbox.inject(Fault.rate_limit(at=1))
        sandbox.inject(Fault.server_error(503, at=[2, 3]))
        for _ in range(3):
            with pytest.raises(openai.APIStatusError):
                _ask(call, sandbox)
        sandbox.faults = [Fault.conflict(at=2)]
        _ask(call, sandbox)
        with pytest.raises(openai.ConflictError):
            _ask(call, sandbox)

        assert sandbox.faults_by_kind == {"rate_limit": 1, "server_error_503": 2, "conflict": 1}
        assert sandbox.faults_fired == 4
        assert [fault.kind for fault in sandbox.faults] == ["conflict"]
        with pytest.raises(ConfigurationError, match="not a Fault"):
            sandbox.inject("rate_limit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Fault.quota(), "give a fault exactly one of them"),  # noqa: PLW0108 - to be called in the test
        (lambda: Fault.quota(at=1, rate=0.5), "give a fault exactly one of them"),
        (lambda: Fault.quota(rate=1.5), "rate=1.5 is not between 0 and 1"),
        (lambda: Fault.quota(at=[1, 0]), "requests are counted from 1"),
        (lambda: Fault.quota(at=1, times=0), "times=0 is below 1"),
        (lambda: Fault.server_error(404, at=1), "status=404 is not between 500 and 599"),
        (lambda: Fault.slow(-1, at=1), "seconds=-1 is below 0"),
        (lambda: Fault.slow(1, at=1, endpoint="*", survives_disconnect=True), "only 'POST /responses'"),
        (lambda: Fault.cut(-1, at=1), "after=-1 is below 0"),
        (lambda: Fault.conversation_locked(-1, at=1), "seconds=-1 is below 0"),
        (lambda: Fault.late_usage(at=1), "names no moment"),
        (lambda: Fault.chaos(rate=0.1, weights={"rain": 1}), "'rain' is no kind of fault; choose from"),
        (lambda: Fault.chaos(rate=0.1, weights={"quota": -1}), "is below 0"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()
