"""Runs of a drop-in client are answered out of a cache of replies, and look like any other run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

import assistantguard
from assistantguard import Budget, ConfigurationError, ReplyCache, observe
from assistantguard.backends import ResponsesBackend
from assistantguard.events import PolicyObserved
from assistantguard.events.replies import ReplyCached, ReplyCacheFailed
from assistantguard.replies import MemoryReplies
from assistantguard.sandbox import FunctionCall, ModelRequest
from tests.dropin.calling import LOOKUP, application_for, text_of
from tests.dropin.conftest import MakeApplication
from tests.support.world import World


def counting(request: ModelRequest) -> str:
    return f"{request.last_user_text} is message {len(request.items)}."


def test_a_run_ends_completed_with_the_cached_text_and_no_usage(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(scope="everyone")])
    assistant = application.assistant()
    one, other = application.thread("What is it?"), application.thread("What is it?")
    first, second = application.run(one, assistant), application.run(other, assistant)

    assert (first.status, second.status, second.last_error) == ("completed", "completed", None)
    assert application.texts(other) == application.texts(one)
    assert first.usage.total_tokens > 0
    assert (second.usage.prompt_tokens, second.usage.completion_tokens, second.usage.total_tokens) == (0, 0, 0)
    (step,) = application.steps(second)
    assert (step.type, step.status, step.usage.total_tokens) == ("message_creation", "completed", 0)
    assert len(application.requests()) == 1
    (cached,) = [event for event in application.events if isinstance(event, ReplyCached)]
    assert (cached.run_id, cached.thread_id, cached.saved.total_tokens) == (second.id, other, first.usage.total_tokens)


def test_the_conversation_goes_on_after_a_cached_run(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(scope="everyone")])
    assistant = application.assistant()
    one, other = application.thread(), application.thread()
    for thread_id, texts in ((one, ("First?", "Second?")), (other, ("First?", "Second?", "Third?"))):
        for text in texts:
            application.say(thread_id, text)
            assert application.run(thread_id, assistant).status == "completed"

    assert application.texts(other)[:4] == application.texts(one)
    assert application.texts(other)[-1] == ("assistant", "Third? is message 5.")
    assert len(application.requests()) == 3


def test_a_stream_of_a_cached_run_tells_the_official_events(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(scope="everyone")])
    assistant = application.assistant()
    threads = [application.thread("What is it?") for _ in range(2)]
    streams = [
        application.read(application.beta.threads.runs.stream(thread_id=thread_id, assistant_id=assistant.id))
        for thread_id in threads
    ]

    names = [[event.event for event in events if event.event != "thread.message.delta"] for events in streams]
    assert names[0] == names[1]
    assert names[1][-1] == "thread.run.completed"
    (message,) = [event.data for event in streams[1] if event.event == "thread.message.completed"]
    assert text_of(message) == "What is it? is message 1."
    assert len(application.requests()) == 1


def test_assistants_share_one_store_and_not_their_replies(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(scope="everyone")])
    kind, rude = application.assistant(), application.assistant(instructions="Be rude.")
    runs: list[tuple[Any, dict[str, Any]]] = [
        (kind, {}),
        (rude, {}),
        (kind, {"metadata": {"ticket": "7"}}),
        (kind, {"temperature": 0.2}),
        (kind, {"additional_instructions": "In verse."}),
        (rude, {"metadata": {"ticket": "8"}}),
    ]
    for assistant, params in runs:
        assert application.run(application.thread("What is it?"), assistant, **params).status == "completed"

    assert len([event for event in application.events if isinstance(event, ReplyCached)]) == 2
    assert len(application.requests()) == 4


def test_users_are_given_their_own_replies_only(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache()])
    assistant = application.assistant()
    for metadata in ({"user": "ann"}, {"user": "ben"}, {}, {}, {"user": "ann"}):
        application.run(application.thread("What is it?", metadata=metadata), assistant)

    (cached,) = [event for event in application.events if isinstance(event, ReplyCached)]
    assert cached.user == "ann"


def test_a_run_whose_tools_the_application_ran_is_not_kept(app: MakeApplication) -> None:
    def model(request: ModelRequest) -> Any:
        outputs = [item for item in request.items if item.get("type") == "function_call_output"]
        return "It is on its way." if outputs else FunctionCall("lookup", {"order": "W1"})

    application = app(model, policies=[ReplyCache(scope="everyone", tools=True)])
    assistant = application.assistant(tools=[LOOKUP])
    for _ in range(2):
        run = application.run(application.thread("Where is it?"), assistant)
        assert run.status == "requires_action"
        run = application.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=application.outputs(run)
        )
        assert run.status == "completed"

    assert len(application.requests()) == 4


def test_a_deleted_thread_takes_its_cached_replies_with_it(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(scope="everyone")])
    assistant, gone = application.assistant(), application.thread("What is it?")
    application.run(gone, assistant)
    application.beta.threads.delete(gone)
    application.run(application.thread("What is it?"), assistant)

    assert len(application.requests()) == 2


class _Broken(MemoryReplies):
    def get(self, key: str, now: float) -> Any:
        raise ConnectionError("gone")

    def forget(self, thread_id: str) -> int:
        raise ConnectionError("gone")


def test_a_store_that_is_out_of_order_fails_no_run(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(store=_Broken(), scope="everyone")])
    assistant, thread_id = application.assistant(), application.thread("What is it?")

    assert application.run(thread_id, assistant).status == "completed"
    assert application.beta.threads.delete(thread_id).deleted
    failed = [event.operation for event in application.events if isinstance(event, ReplyCacheFailed)]
    assert failed == ["get", "forget"]


def test_a_cached_run_counts_as_a_message_of_its_user(app: MakeApplication) -> None:
    application = app(counting, policies=[ReplyCache(), Budget("user", "day", messages=2)])
    assistant = application.assistant()
    runs = [application.run(application.thread("What is it?", metadata={"user": "ann"}), assistant) for _ in range(3)]

    assert [run.status for run in runs] == ["completed", "completed", "failed"]
    assert runs[2].last_error.code == "rate_limit_exceeded"
    assert len(application.requests()) == 1


def test_an_observed_cache_answers_no_run(app: MakeApplication) -> None:
    application = app(counting, policies=[observe(ReplyCache(scope="everyone"))])
    assistant = application.assistant()
    for _ in range(2):
        application.run(application.thread("What is it?"), assistant)

    assert len(application.requests()) == 2
    (observed,) = [event for event in application.events if isinstance(event, PolicyObserved)]
    assert (observed.policy, observed.decision) == ("ReplyCache", "answer")


@pytest.mark.parametrize(
    ("policies", "named"),
    [
        ([ReplyCache(store="ledger")], "the guard's ledger is in no database"),
        ([ReplyCache(), ReplyCache()], "ReplyCache twice"),
    ],
)
def test_a_cache_that_cannot_work_is_refused_before_any_run(policies: list[Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        assistantguard.drop_in(openai.OpenAI(api_key="sk-none"), policies=policies, sinks=[])


@pytest.mark.parametrize("before", [False, True], ids=["after it was added", "before it was added"])
def test_a_run_whose_process_dies_while_its_reply_is_added_is_finished_by_another(
    warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    add, crashed = ResponsesBackend.add_messages, tmp_path / "crashed.db"

    async def copied(*arguments: Any) -> Any:
        if before:
            _copy(tmp_path / "guard.db", crashed)
        added = await add(*arguments)
        if not before:
            _copy(tmp_path / "guard.db", crashed)
        return added

    with World("sync") as world:
        sandbox, options = world.sandbox(counting), {"lease_seconds": 0.3}
        policies = [ReplyCache(store="ledger", scope="everyone")]
        one = application_for(world, sandbox, f"sqlite:///{tmp_path / 'guard.db'}", policies, **options)
        assistant = one.assistant()
        one.run(one.thread("What is it?"), assistant)
        thread_id = one.thread("What is it?")
        monkeypatch.setattr(ResponsesBackend, "add_messages", copied)
        run = one.run(thread_id, assistant)
        monkeypatch.setattr(ResponsesBackend, "add_messages", add)
        # From here on the first process is as good as dead: the conversation is as it left it, the books are older.
        other = application_for(world, sandbox, f"sqlite:///{crashed}", policies, **options)
        assert other.poll(run).status == "completed"
        assert [role for role, _ in other.texts(thread_id)] == ["user", "assistant"]
        other.say(thread_id, "And then?")
        assert other.run(thread_id, assistant).status == "completed"
        assert other.texts(thread_id)[-1] == ("assistant", "And then? is message 3.")


def _copy(path: Path, to: Path) -> None:
    with closing(sqlite3.connect(path)) as now, closing(sqlite3.connect(to)) as copy:
        now.backup(copy)
