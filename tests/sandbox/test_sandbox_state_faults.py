from __future__ import annotations

import operator
from collections import Counter
from typing import Any

import openai
import pytest

from assistantguard.sandbox import Fault, ModelRequest, Sandbox

MODEL = "gpt-6-luna"


def _ask(call: Any, sandbox: Sandbox, **asked: Any) -> Any:
    return call(sandbox, "responses.create", **{"model": MODEL, "input": "Hi", **asked})


def _refused(call: Any, sandbox: Sandbox, **asked: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        _ask(call, sandbox, **asked)
    return caught.value


def test_a_conversation_is_locked_for_some_requests(call: Any) -> None:
    with Sandbox(["fine"], faults=[Fault.conversation_locked(at=[1, 2])]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        for _ in range(2):
            error = _refused(call, sandbox, conversation=conversation)
            assert (error.code, error.param) == ("conversation_locked", "conversation")
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


def test_a_conversation_is_locked_for_a_time(call: Any) -> None:
    with Sandbox(["elsewhere", "fine"], faults=[Fault.conversation_locked(60, at=1)]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        message = {"role": "user", "content": "x"}
        for _ in range(2):
            assert _refused(call, sandbox, conversation=conversation).code == "conversation_locked"
            with pytest.raises(openai.BadRequestError, match="currently operating"):
                call(sandbox, "conversations.items.create", conversation, items=[message])
        assert _ask(call, sandbox).output_text == "elsewhere"
        sandbox.advance(61)
        assert _ask(call, sandbox, conversation=conversation).output_text == "fine"


@pytest.mark.parametrize("by_fault", [False, True])
def test_a_conversation_is_gone(call: Any, by_fault: bool) -> None:
    with Sandbox() as sandbox:
        conversation = call(sandbox, "conversations.create").id
        if by_fault:
            sandbox.inject(Fault.conversation_gone(at=1))
        else:
            sandbox.delete_conversation(conversation)
        with pytest.raises(openai.NotFoundError, match=conversation):
            _ask(call, sandbox, conversation=conversation)
        assert sandbox.conversations == []


@pytest.mark.parametrize("by_fault", [False, True])
def test_someone_else_leaves_a_call_unanswered(call: Any, by_fault: bool) -> None:
    with Sandbox(["fine"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        if by_fault:
            sandbox.inject(Fault.unanswered_call(at=1))
        else:
            sandbox.break_conversation(conversation)
        error = _refused(call, sandbox, conversation=conversation)
        (open_call,) = sandbox.conversation(conversation)
        assert f"No tool output found for function call {open_call['call_id']}" in error.message

        output = {"type": "function_call_output", "call_id": open_call["call_id"], "output": "none"}
        assert _ask(call, sandbox, conversation=conversation, input=[output]).output_text == "fine"


def test_what_does_not_exist_cannot_be_broken() -> None:
    with Sandbox() as sandbox:
        for breaking in ("break_conversation", "delete_conversation"):
            with pytest.raises(KeyError):
                operator.attrgetter(breaking)(sandbox)("conv_none")


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_model_may_break_a_conversation_while_it_answers(call: Any, in_thread: bool) -> None:
    def model(request: ModelRequest) -> str:
        assert request.conversation is not None
        sandbox.delete_conversation(request.conversation)
        return "gone"

    with Sandbox(model, model_in_thread=in_thread) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        assert _ask(call, sandbox, conversation=conversation).output_text == "gone"
        assert sandbox.conversations == []


def _file(call: Any, sandbox: Sandbox) -> str:
    return str(call(sandbox, "files.create", file=("r.txt", b"refunds"), purpose="assistants").id)


def test_a_vector_store_is_slow(call: Any) -> None:
    with Sandbox(faults=[Fault.store_slow(60, at=1)]) as sandbox:
        file = _file(call, sandbox)
        slow = call(sandbox, "vector_stores.create", file_ids=[file]).id
        assert call(sandbox, "vector_stores.create", file_ids=[file]).status == "completed"
        assert call(sandbox, "vector_stores.retrieve", slow).status == "in_progress"
        sandbox.advance(61)
        assert call(sandbox, "vector_stores.retrieve", slow).status == "completed"


def test_a_vector_store_is_completed_with_failed_files(call: Any) -> None:
    with Sandbox(faults=[Fault.store_failed("unsupported_file", at=2)]) as sandbox:
        file = _file(call, sandbox)
        store = call(sandbox, "vector_stores.create").id
        added = call(sandbox, "vector_stores.files.create", store, file_id=file)

        assert (added.status, added.last_error.code) == ("failed", "unsupported_file")
        shown = call(sandbox, "vector_stores.retrieve", store)
        assert (shown.status, shown.file_counts.failed) == ("completed", 1)


@pytest.mark.parametrize("by_fault", [False, True])
def test_a_vector_store_expires_when_it_is_used(call: Any, by_fault: bool) -> None:
    with Sandbox(["fine"]) as sandbox:
        store = call(sandbox, "vector_stores.create", file_ids=[_file(call, sandbox)]).id
        if by_fault:
            sandbox.inject(Fault.store_expired(at=1))
        else:
            sandbox.expire_store(store)
        tools = [{"type": "file_search", "vector_store_ids": [store]}]
        error = _refused(call, sandbox, tools=tools)

        assert error.code == "vector_store_expired"
        shown = call(sandbox, "vector_stores.retrieve", store)
        assert (shown.status, shown.file_counts.total) == ("expired", 0)


def test_a_vector_store_expires_as_it_is_made(call: Any) -> None:
    with Sandbox(faults=[Fault.store_expired(at=1, endpoint="POST /vector_stores")]) as sandbox:
        store = call(sandbox, "vector_stores.create").id

        assert call(sandbox, "vector_stores.retrieve", store).status == "expired"
        assert call(sandbox, "vector_stores.create").status == "completed"


_NO_WAITING = {"silent_before_work": 0, "silent_after_work": 0, "endless_deltas": 0, "endless_comments": 0, "slow": 0}


def _chaotic(seed: int, **options: Any) -> tuple[list[str | None], Counter[str], Sandbox]:
    with Sandbox(faults=[Fault.chaos(rate=0.6, seed=seed, **options)]) as sandbox:
        client = sandbox.client(max_retries=0)
        conversations: list[str] = []
        for number in range(120):
            try:
                if number % 12 == 0:
                    conversations.append(client.conversations.create().id)
                asked: Any = {"model": MODEL, "input": "Hi", "conversation": conversations[-1:] and conversations[-1]}
                if number % 3 == 0:
                    list(client.responses.create(stream=True, **asked))
                elif number % 3 == 1:
                    # Outside the conversation: while it is made, that would be locked, and how long is left to chance.
                    response = client.responses.create(background=True, model=MODEL, input="Hi")
                    client.responses.cancel(response.id)
                else:
                    client.responses.create(**asked)
            except Exception:  # noqa: BLE001 - that things fail is the point
                continue
        return [request.fault for request in sandbox.requests], sandbox.faults_by_kind, sandbox


def test_chaos_is_the_same_for_a_seed() -> None:
    only = ["rate_limit", "quota", "conflict", "timeout", "failed_response", "incomplete", "no_usage"]
    first, kinds, _ = _chaotic(3, only=only)

    assert _chaotic(3, only=only)[0] == first
    assert _chaotic(4, only=only)[0] != first
    assert set(kinds) <= set(only)


def test_chaos_holds_all_that_can_happen_and_every_work_is_billed() -> None:
    faults, kinds, sandbox = _chaotic(1, weights=_NO_WAITING)

    assert 0.4 < sum(fault is not None for fault in faults) / len(faults) < 0.8
    assert sum(kinds.values()) == sandbox.faults_fired
    assert len(kinds) > 20
    assert [row for row in sandbox.billing.calls if row.status == "in_progress"] == []
    assert len({row.response_id for row in sandbox.billing.calls}) == len(sandbox.billing.calls)
