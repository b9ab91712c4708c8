from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox import After, Answer, Conduct, ModelRequest, Sandbox

MODEL = "gpt-6-luna"
LONG = " ".join(f"word{number}" for number in range(40))
Until = Callable[[Callable[[], object]], None]


def _start(call: Any, sandbox: Sandbox, **asked: Any) -> Any:
    return call(sandbox, "responses.create", **{"model": MODEL, "input": "Hi", "background": True, **asked})


def _read(call: Any, sandbox: Sandbox, response: Any) -> Any:
    return call(sandbox, "responses.retrieve", response.id)


def test_a_background_response_is_queued_then_in_progress_then_completed(call: Any) -> None:
    with Sandbox([Answer("done", delay=2)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, conversation=conversation)
        seen = [response.status]
        while response.status in {"queued", "in_progress"}:
            response = _read(call, sandbox, response)
            if response.status != seen[-1]:
                seen.append(response.status)

        assert seen[0] == "queued"
        assert seen[-2:] == ["in_progress", "completed"]
        assert (response.output_text, response.background) == ("done", True)
        assert response.usage.total_tokens == sandbox.billing.totals.total_tokens
        assert [item["role"] for item in sandbox.conversation(conversation)] == ["user", "assistant"]


def test_a_conversation_is_locked_while_a_background_response_works_on_it(call: Any) -> None:
    with Sandbox([Answer("never", delay=60), "fine"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, conversation=conversation)
        for background in (True, False):
            with pytest.raises(openai.BadRequestError) as caught:
                _start(call, sandbox, conversation=conversation, background=background)
            assert caught.value.code == "conversation_locked"
        call(sandbox, "responses.cancel", response.id)

        again = call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation)
        assert again.output_text == "fine"


def test_a_cancelled_response_is_billed_for_what_it_made_and_leaves_nothing(call: Any, until: Until) -> None:
    with Sandbox([Answer(LONG, pace=0.5)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, conversation=conversation)
        until(lambda: _read(call, sandbox, response).status == "in_progress")
        cancelled = call(sandbox, "responses.cancel", response.id)

        assert (cancelled.status, cancelled.usage) == ("cancelled", None)
        (row,) = sandbox.billing.calls
        assert (row.status, row.billed, row.usage_reported) == ("cancelled", True, False)
        assert row.input_tokens == 8
        assert row.output_tokens < 100
        assert sandbox.conversation(conversation) == []
        assert call(sandbox, "responses.cancel", response.id) == cancelled == _read(call, sandbox, response)


def test_what_is_billed_reported_and_kept_of_a_cancelled_response_can_be_chosen(call: Any) -> None:
    kept = Conduct(stuck="in_progress", stopped_billed=False, stopped_usage=True, stopped_appended=True)
    with Sandbox([Answer("never", conduct=kept)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, conversation=conversation)
        cancelled = call(sandbox, "responses.cancel", response.id)

        assert cancelled.usage.total_tokens == 0
        assert [(row.billed, row.input_tokens, row.usage_reported) for row in sandbox.billing.calls] == [
            (False, 0, True)
        ]
        assert [item["role"] for item in sandbox.conversation(conversation)] == ["user"]


def test_only_background_responses_can_be_cancelled(call: Any) -> None:
    with Sandbox(["fine"]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi")
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
            call(sandbox, "responses.cancel", response.id)
        with pytest.raises(openai.NotFoundError):
            call(sandbox, "responses.cancel", "resp_none")


def test_cancelling_what_has_completed_changes_nothing(call: Any, until: Until) -> None:
    with Sandbox(["fine"]) as sandbox:
        response = _start(call, sandbox)
        until(lambda: _read(call, sandbox, response).status == "completed")

        assert call(sandbox, "responses.cancel", response.id).output_text == "fine"


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_stuck_response_stays_so_until_it_is_cancelled(call: Any, until: Until, status: Any) -> None:
    with Sandbox([Answer("never", conduct=Conduct(stuck=status))]) as sandbox:
        response = _start(call, sandbox)
        until(lambda: _read(call, sandbox, response).status == status)
        sandbox.advance(3600)
        assert _read(call, sandbox, response).status == status
        assert call(sandbox, "responses.cancel", response.id).status == "cancelled"


@pytest.mark.parametrize("moment", [After(reads=2), After(seconds=30)])
def test_a_cancelled_response_turns_completed(call: Any, moment: After) -> None:
    conduct = Conduct(completes_after_cancel=moment)
    with Sandbox([Answer("all of it", delay=60, conduct=conduct)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, conversation=conversation)
        call(sandbox, "responses.cancel", response.id)
        before = [_read(call, sandbox, response) for _ in range(2)]
        assert [(one.status, one.usage) for one in before] == [("cancelled", None)] * 2
        assert sandbox.conversation(conversation) == []

        sandbox.advance(31)
        after = _read(call, sandbox, response)
        assert (after.status, after.output_text) == ("completed", "all of it")
        assert after.usage.total_tokens == sandbox.billing.totals.total_tokens
        assert [(row.status, row.usage_reported) for row in sandbox.billing.calls] == [("completed", True)]
        assert len(sandbox.conversation(conversation)) == 2


def test_usage_can_come_late(call: Any) -> None:
    with Sandbox([Answer("fine", conduct=Conduct(usage_after=After(reads=1)))]) as sandbox:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi")
        usages = [response.usage, *(_read(call, sandbox, response).usage for _ in range(2))]

        assert usages[:2] == [None, None]
        assert usages[2].total_tokens == sandbox.billing.totals.total_tokens


def test_a_background_stream_is_resumed_where_it_was_left(until: Until) -> None:
    with Sandbox([Answer(LONG, pace=0.01)]) as sandbox, sandbox.client(max_retries=0) as client:
        told: list[Any] = []
        with client.responses.create(model=MODEL, input="Hi", background=True, stream=True) as events:
            for event in events:
                told.append(event)
                if event.type == "response.output_text.delta" and len(told) > 8:
                    break
        assert [event.type for event in told[:3]] == ["response.created", "response.queued", "response.in_progress"]
        response_id = told[0].response.id
        told += client.responses.retrieve(response_id, stream=True, starting_after=told[-1].sequence_number)

        assert [event.sequence_number for event in told] == list(range(len(told)))
        assert "".join(event.delta for event in told if event.type == "response.output_text.delta") == LONG
        assert told[-1].response.status == "completed"
        assert list(client.responses.retrieve(response_id, stream=True, starting_after=len(told) - 2)) == told[-1:]


def test_a_background_stream_ends_without_a_last_event_when_it_is_cancelled() -> None:
    with Sandbox([Answer(LONG, pace=0.3)]) as sandbox, sandbox.client(max_retries=0) as client:
        types: list[str] = []
        response_id = ""
        with client.responses.create(model=MODEL, input="Hi", background=True, stream=True) as events:
            for event in events:
                types.append(event.type)
                if event.type == "response.output_text.delta":
                    response_id = sandbox.billing.calls[0].response_id
                    client.responses.cancel(response_id)

        assert types[-1] == "response.output_text.delta"
        assert client.responses.retrieve(response_id).status == "cancelled"


def test_what_was_not_a_background_stream_cannot_be_streamed_again(call: Any) -> None:
    with Sandbox(["fine"]) as sandbox, sandbox.client() as client:
        response = call(sandbox, "responses.create", model=MODEL, input="Hi")
        with pytest.raises(openai.BadRequestError, match="can be streamed again"):
            client.responses.retrieve(response.id, stream=True)


def test_background_is_refused_where_a_project_does_not_have_it(call: Any) -> None:
    with Sandbox(["fine"], background="refused") as sandbox:
        with pytest.raises(openai.BadRequestError) as caught:
            _start(call, sandbox)
        assert caught.value.param == "background"
        assert sandbox.billing.calls == []
        assert call(sandbox, "responses.create", model=MODEL, input="Hi").output_text == "fine"


def test_background_is_executed_at_once_by_a_server_that_imitates(call: Any) -> None:
    with Sandbox(["fine"], background="foreground") as sandbox:
        response = _start(call, sandbox)

        assert (response.status, response.output_text, response.background) == ("completed", "fine", False)


def test_a_model_that_raises_fails_a_background_response(call: Any, until: Until) -> None:
    def broken(request: ModelRequest) -> str:
        raise ValueError("no")

    with Sandbox(broken) as sandbox:
        response = _start(call, sandbox)
        until(lambda: _read(call, sandbox, response).status == "failed")

        assert "raised ValueError: no" in _read(call, sandbox, response).error.message
        assert sandbox.billing.calls == []


def test_a_script_that_is_used_up_refuses_in_the_background_too(call: Any) -> None:
    with Sandbox([]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        for _ in range(2):
            with pytest.raises(openai.InternalServerError, match="used up"):
                _start(call, sandbox, conversation=conversation)


@pytest.mark.parametrize("options", [{"background": "maybe"}, {"on_disconnect": "shrug"}])
def test_an_unknown_option_is_named(options: Any) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ConfigurationError, match=f"{name}='{value}' is not one of"):
        Sandbox(**options)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: After(), "names no moment"),  # noqa: PLW0108 - to be called in the test
        (lambda: After(seconds=-1), "seconds=-1 is below 0"),
        (lambda: After(reads=0), "reads=0 is below 1"),
        (lambda: Conduct(stuck="there"), "stuck='there'"),  # type: ignore[arg-type]
        (lambda: Conduct(endless="love"), "endless='love'"),  # type: ignore[arg-type]
        (lambda: Answer("x", pace=-1), "pace=-1 is below 0"),
    ],
)
def test_a_conduct_that_cannot_be_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()
