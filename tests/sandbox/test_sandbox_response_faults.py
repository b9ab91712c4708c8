from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistantguard import tokens
from assistantguard.sandbox import Answer, Fault, Sandbox
from tests.support.waiting import IMPATIENT

MODEL = "gpt-6-luna"
LONG = " ".join(f"word{number}" for number in range(20))
WHOLE = 5 + 10 + 3
"""Events of a stream that says LONG: before the deltas, the deltas, after them."""
Until = Callable[[Callable[[], object]], None]


def _ask(call: Any, sandbox: Sandbox, **asked: Any) -> Any:
    return call(sandbox, "responses.create", **{"model": MODEL, "input": "Hi", **asked})


def _told(client: openai.OpenAI, **asked: Any) -> tuple[list[Any], Exception | None]:
    """The events of a stream, and what it raised."""
    told: list[Any] = []
    try:
        with client.responses.create(**{"model": MODEL, "input": "Hi", **asked}, stream=True) as events:
            told.extend(events)
    except Exception as error:  # noqa: BLE001 - handed to the test
        return told, error
    return told, None


def _is_dropped(error: Exception | None) -> bool:
    return isinstance(error, openai.APIConnectionError) or type(error).__name__ in {"RemoteProtocolError", "ReadError"}


@pytest.mark.parametrize("after", [0, 1, 6, 1000])
@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("clean", [False, True])
def test_a_stream_is_cut_between_two_events(call: Any, after: int, goes_on: bool, clean: bool, until: Until) -> None:
    with Sandbox([LONG, "fine"], faults=[Fault.cut(after, goes_on=goes_on, clean=clean, at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        told, error = _told(sandbox.client(max_retries=0), conversation=conversation)

        assert len(told) == min(after, WHOLE - 2)
        assert error is None if clean else _is_dropped(error)
        until(lambda: sandbox.billing.calls[0].status != "in_progress")
        (row,) = sandbox.billing.calls
        assert row.status == ("completed" if goes_on else "cancelled")
        assert len(sandbox.conversation(conversation)) == (2 if goes_on else 0)
        if goes_on:
            assert row.output_tokens == 4 + tokens.count(LONG)
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_malformed_chunk_stands_between_two_events(call: Any, goes_on: bool, until: Until) -> None:
    with Sandbox([LONG, "fine"], faults=[Fault.malformed(6, goes_on=goes_on, at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        told, error = _told(sandbox.client(max_retries=0), conversation=conversation)

        assert len(told) == 6
        assert isinstance(error, json.JSONDecodeError)
        until(lambda: sandbox.billing.calls[0].status != "in_progress")
        assert _ask(call, sandbox, conversation=conversation, input="again").output_text == "fine"


def test_a_flat_error_event_is_told_and_ends_the_stream(call: Any) -> None:
    fault = Fault.stream_error(6, code="rate_limit_exceeded", message="too much", at=1)
    with Sandbox([LONG, "fine"], faults=[fault]) as sandbox:
        told, error = _told(sandbox.client(max_retries=0))

        assert error is None
        assert (told[-1].type, told[-1].code, told[-1].message) == ("error", "rate_limit_exceeded", "too much")
        assert [event.sequence_number for event in told] == list(range(7))
        stored = call(sandbox, "responses.retrieve", told[0].response.id)
        assert (stored.status, stored.error.code, stored.usage) == ("failed", "rate_limit_exceeded", None)
        assert [(row.status, row.output_tokens > 4) for row in sandbox.billing.calls] == [("failed", True)]


def test_a_nested_error_event_is_raised_by_the_sdk(call: Any) -> None:
    with Sandbox([LONG, "fine"], faults=[Fault.stream_error(6, nested=True, message="too much", at=1)]) as sandbox:
        told, error = _told(sandbox.client(max_retries=0))

        assert len(told) == 6
        assert type(error) is openai.APIError
        assert error.message == "too much"
        assert [row.status for row in sandbox.billing.calls] == ["failed"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_server_can_go_on_after_an_error_event(call: Any, nested: bool, until: Until) -> None:
    with Sandbox([LONG], faults=[Fault.stream_error(6, nested=nested, goes_on=True, at=1)]) as sandbox:
        _told(sandbox.client(max_retries=0))
        until(lambda: [row.status for row in sandbox.billing.calls] == ["completed"])


@pytest.mark.parametrize("reported", [True, False])
def test_a_response_fails_in_mid_stream(call: Any, reported: bool) -> None:
    fault = Fault.stream_failed(6, code="rate_limit_exceeded", usage_reported=reported, at=1)
    with Sandbox([LONG, "fine"], faults=[fault]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        told, error = _told(sandbox.client(max_retries=0), conversation=conversation)

        assert error is None
        failed = told[-1].response
        assert (told[-1].type, failed.status, failed.error.code) == (
            "response.failed",
            "failed",
            "rate_limit_exceeded",
        )
        assert failed.output_text == "".join(event.delta for event in told[4:6])
        (row,) = sandbox.billing.calls
        assert (row.status, row.output_tokens) == ("failed", 4 + tokens.count(failed.output_text))
        assert (failed.usage is not None) == row.usage_reported == reported
        assert sandbox.conversation(conversation) == []
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


def test_stream_faults_happen_to_streams_only(call: Any) -> None:
    with Sandbox(faults=[Fault.cut(at=1)]) as sandbox:
        assert _ask(call, sandbox).status == "completed"
        assert sandbox.faults_fired == 0
        assert _is_dropped(_told(sandbox.client(max_retries=0))[1])


def test_a_resumed_stream_can_be_cut_too() -> None:
    with Sandbox([LONG], faults=[Fault.cut(5, at=1, endpoint="GET /responses/{id}")]) as sandbox:
        client = sandbox.client(max_retries=0)
        created, _ = _told(client, background=True)
        told: list[Any] = []
        with pytest.raises(Exception, match=r"peer closed|Connection"):
            told.extend(client.responses.retrieve(created[0].response.id, stream=True, starting_after=0))

        again: list[Any] = list(client.responses.retrieve(created[0].response.id, stream=True, starting_after=0))
        assert again[-1].response.status == "completed"


@pytest.mark.parametrize(("billed", "reported"), [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_is_cancelled_by_someone_else(call: Any, streamed: bool, billed: bool, reported: bool) -> None:
    fault = Fault.cancelled_response(text="half", billed=billed, usage_reported=reported, at=1)
    with Sandbox(["fine"], faults=[fault]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        if streamed:
            told, error = _told(sandbox.client(max_retries=0), conversation=conversation)
            assert (told[-1].type, error) == ("response.output_item.done", None)
            response = call(sandbox, "responses.retrieve", told[0].response.id)
        else:
            response = _ask(call, sandbox, conversation=conversation)

        assert (response.status, response.output_text) == ("cancelled", "half")
        assert (response.usage is not None) == reported
        (row,) = sandbox.billing.calls
        assert (row.status, row.billed, row.output_tokens > 0) == ("cancelled", billed, billed)
        assert sandbox.conversation(conversation) == []
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


def test_usage_is_never_reported(call: Any) -> None:
    with Sandbox(["fine"], faults=[Fault.no_usage(at=1)]) as sandbox:
        response = _ask(call, sandbox)

        assert (response.output_text, response.usage) == ("fine", None)
        assert call(sandbox, "responses.retrieve", response.id).usage is None
        assert sandbox.billing.output_tokens > 0


def test_usage_is_told_late(call: Any) -> None:
    with Sandbox(["fine"], faults=[Fault.late_usage(reads=1, at=1)]) as sandbox:
        response = _ask(call, sandbox)
        usages = [response.usage, *(call(sandbox, "responses.retrieve", response.id).usage for _ in range(2))]

        assert usages[:2] == [None, None]
        assert usages[2].total_tokens == sandbox.billing.totals.total_tokens


def test_the_usage_of_a_cancelled_response_is_told_late(call: Any) -> None:
    faults = [Fault.late_usage(seconds=60, on_cancel=True, at=1)]
    with Sandbox([Answer("never", delay=3600)], faults=faults) as sandbox:
        response = _ask(call, sandbox, background=True)
        assert call(sandbox, "responses.cancel", response.id).usage is None
        sandbox.advance(61)

        told = call(sandbox, "responses.retrieve", response.id)
        assert (told.status, told.usage.total_tokens) == ("cancelled", sandbox.billing.totals.total_tokens)


def test_a_response_turns_completed_after_it_was_cancelled(call: Any) -> None:
    with Sandbox(["all of it"], faults=[Fault.completes_after_cancel(reads=1, at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _ask(call, sandbox, background=True, conversation=conversation)
        call(sandbox, "responses.cancel", response.id)
        statuses = [call(sandbox, "responses.retrieve", response.id).status for _ in range(3)]

        assert statuses == ["cancelled", "completed", "completed"]
        assert len(sandbox.conversation(conversation)) == 2


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_background_response_is_stuck(call: Any, status: Any, until: Until) -> None:
    with Sandbox(["never", "fine"], faults=[Fault.stuck(status, at=1)]) as sandbox:
        response = _ask(call, sandbox, background=True)
        until(lambda: call(sandbox, "responses.retrieve", response.id).status == status)
        assert call(sandbox, "responses.cancel", response.id).status == "cancelled"
        assert _ask(call, sandbox).output_text == "fine"


def test_a_response_goes_on_without_its_client(call: Any, until: Until) -> None:
    with Sandbox(["done"], faults=[Fault.unstoppable(delay=2, at=1)]) as sandbox:
        with pytest.raises(openai.APITimeoutError):
            _ask(call, sandbox, timeout=IMPATIENT)
        until(lambda: [row.status for row in sandbox.billing.calls] == ["completed"])


@pytest.mark.parametrize("kind", ["deltas", "comments"])
def test_a_stream_without_end_is_left_by_its_client(kind: Any, until: Until) -> None:
    with Sandbox(["On"], faults=[Fault.endless(kind, pace=0.001, at=1)]) as sandbox:
        client = sandbox.client(max_retries=0)
        with client.responses.create(model=MODEL, input="Hi", stream=True) as events:
            for event in events:
                if event.sequence_number == (30 if kind == "deltas" else 1):
                    break
        until(lambda: [row.status for row in sandbox.billing.calls] == ["cancelled"])

        assert (sandbox.billing.output_tokens > 20) == (kind == "deltas")
