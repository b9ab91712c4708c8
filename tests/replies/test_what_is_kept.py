"""A reply is kept for the question that it answers, and for no other one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from assistantguard import (
    Assistant,
    AssistantGuard,
    ConfigurationError,
    Fallback,
    ModelRouting,
    ReplyCache,
    ThreadState,
    ToolStepCeiling,
)
from assistantguard.engine.input import new_run
from assistantguard.engine.ports import ModelAnswer
from assistantguard.engine.questions import look
from assistantguard.replies import MemoryReplies
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest
from benchmarks.canned import CannedServer
from tests.replies.conftest import Open
from tests.replies.stage import ASK, made, numbered
from tests.support.checks import paths
from tests.support.models import Lookups
from tests.support.threads import NASTY, of_user
from tests.support.world import MODEL, World

ASSISTANT = Assistant(MODEL, "Be brief.")
CHANGES: dict[str, Any] = {
    "model": "gpt-6-terra",
    "instructions": "Be brief!",
    "tools": [{"type": "web_search"}],
    "max_output_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.5,
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "tool_choice": "none",
    "parallel_tool_calls": False,
    "service_tier": "flex",
    "extra_body": {"seed": 7},
}
NOT_ASKED_WITH = {"name", "metadata"}


@pytest.fixture
def keys() -> Iterator[Any]:
    """The key of a question that an assistant is asked."""
    client = CannedServer().client()

    def key_of(assistant: Assistant = ASSISTANT, text: Any = "What?", **chosen: Any) -> str:
        thread = ThreadState("t", **{name: chosen.pop(name) for name in ("user", "tenant") if name in chosen})
        with AssistantGuard(client, assistant, [ReplyCache()], sinks=[]) as bot:
            engine = bot._engine
            run = new_run(thread, engine.session, text, 0.0)
            for name, value in chosen.items():
                setattr(run, name, value)
            assert engine.cached is not None
            asked = engine.cached._question(thread, run)
        assert asked is not None
        return asked.key

    yield key_of
    client.close()


def test_all_that_an_assistant_is_asked_with_makes_another_question(keys: Any) -> None:
    assert CHANGES.keys() | NOT_ASKED_WITH == {field.name for field in fields(Assistant)}
    found = [keys(replace(ASSISTANT, **{name: value})) for name, value in CHANGES.items()]
    assert len({keys(), *found}) == len(CHANGES) + 1
    assert keys(replace(ASSISTANT, name="Ann", metadata={"of": "another"})) == keys()


def test_what_is_chosen_for_a_run_makes_another_question(keys: Any) -> None:
    chosen: list[dict[str, Any]] = [{"model": "gpt-5"}, {"reasoning_effort": "high"}, {"service_tier": "flex"}]
    whose: list[dict[str, Any]] = [{"user": "ann"}, {"user": "ann", "tenant": "x"}, {"user": "x", "tenant": "ann"}]
    assert len({keys(), *(keys(**each) for each in [*chosen, *whose])}) == 7


def test_an_image_or_a_file_in_the_message_makes_another_question(keys: Any) -> None:
    text = {"type": "input_text", "text": "What?"}
    files = [{"type": "input_file", "file_id": file_id} for file_id in ("file_1", "file_2")]
    assert keys(text=[text]) == keys()
    assert len({keys(), *(keys(text=[text, file]) for file in files)}) == 3


def test_what_another_model_answered_is_not_kept_for_the_first(world: World) -> None:
    routing = ModelRouting([Fallback("gpt-6-terra", after=1)])
    sandbox, bot = made(
        world, ReplyCache(scope="everyone"), routing, faults=[Fault.server_error(at=1, endpoint=ASK)], model=numbered()
    )
    replies = [bot.chat("What is it?", bot.thread()) for _ in range(3)]
    assert [reply.cached for reply in replies] == [False, False, True]
    assert [reply.run.model for reply in replies] == ["gpt-6-terra"] * 3
    assert replies[2].text == replies[1].text != replies[0].text
    assert paths(sandbox, ASK) == 3


def test_what_a_model_said_that_had_to_do_without_its_tools_is_not_kept(world: World) -> None:
    def model(request: ModelRequest) -> Any:
        outputs = [item for item in request.items if item.get("type") == "function_call_output"]
        return "I could not look." if len(outputs) > 1 else FunctionCall("lookup", {"order": f"W{len(outputs)}"})

    policies = [ReplyCache(tools=True, scope="everyone"), ToolStepCeiling(1, then="wrap_up")]
    _, bot = made(world, *policies, model=model, tools=[Lookups().lookup])
    replies = [bot.chat("Where is it?", bot.thread()) for _ in range(2)]
    assert [(reply.text, reply.cached) for reply in replies] == [("I could not look.", False)] * 2


@pytest.mark.parametrize(
    ("output", "plain", "refuses"),
    [
        ([{"type": "message", "content": [{"type": "output_text", "text": "x"}]}], True, False),
        ([{"type": "reasoning"}, {"type": "message", "content": None}], True, False),
        ([{"type": "message", "content": [{"type": "refusal", "refusal": "x"}]}], True, True),
        ([{"type": "mcp_call"}, {"type": "message", "content": []}], False, False),
        ([{"type": "image_generation_call"}], False, False),
        ([{}], False, False),
    ],
)
def test_an_answer_is_plain_where_the_model_said_all_of_it(
    output: list[dict[str, Any]], *, plain: bool, refuses: bool
) -> None:
    answer = ModelAnswer("r", "completed", "x", (), None, MODEL, output=output)
    assert look(answer, ()) == (plain, refuses)


def test_no_account_is_given_another_s_reply_in_any_store(world: World, another: Open) -> None:
    sandbox, tenants = world.sandbox(numbered()), (None, "x", None)
    bots = [world.bot(sandbox, [ReplyCache(store=another())]) for _ in tenants]
    threads = [
        ((user, tenant), of_user(bot, user, topic, tenant=tenant))
        for user in NASTY[:2]
        for bot, tenant in zip(bots, tenants, strict=True)
        for topic in ("one", "two")
    ]
    replies = world.at_once(*(lambda thread=thread: thread.chat("What is it?") for _, thread in threads))
    said: dict[tuple[str, str | None], set[str]] = {}
    for (account, _), reply in zip(threads, replies, strict=True):
        said.setdefault(account, set()).add(reply.text)
    assert all(len(texts) == 1 for texts in said.values())
    assert len(set.union(*said.values())) == len(said) == paths(sandbox, ASK) == 4


def test_a_store_must_say_whether_it_returns_at_once() -> None:
    vague: Any = MemoryReplies()
    vague.in_process = None
    with pytest.raises(ConfigurationError, match="whose in_process is not True or False"):
        ReplyCache(store=vague)
