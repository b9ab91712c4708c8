"""A guard whose conversations are threads and runs of a server that speaks the Assistants v2 protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest
import tenacity

from assistantguard import (
    Assistant,
    AssistantGuard,
    AsyncAssistantGuard,
    BudgetExceeded,
    CarryOver,
    ConfigurationError,
    CostCap,
    MemoryLedger,
    Policy,
    QuotaExhausted,
    RequestRejected,
    RetriesExhausted,
    RunIncomplete,
    RunStopped,
    RunTimedOut,
    ThreadBroken,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard._asyncio import AsyncioDriver
from assistantguard._blocking import BlockingDriver
from assistantguard.events import RequestSettled, RunCancelled, ThreadHealed, UsageCorrected
from assistantguard.models import TextDelta
from tests.support.assistants_server import AssistantsServer, Calls, Ends, Says, ServerWays
from tests.support.world import COLOURS, Bot, World

RETRY = TransientRetry(3, wait=tenacity.wait_none())
ASK = Calls({"call_a": ("lookup", '{"order": "W1"}')})
LOOKUP_SCHEMA = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {}}}}
QUOTA = "You exceeded your current quota, please check your plan and billing details."
Opened = Callable[..., tuple[Bot, AssistantsServer]]


class Shop:
    """A function, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def lookup(self, order: str) -> str:
        """Look an order up."""
        self.asked.append(order)
        return f"{order} is shipped"


@pytest.fixture(params=COLOURS)
def opened(request: pytest.FixtureRequest, warm: None) -> Iterator[Opened]:
    with ExitStack() as stack:

        def open_(
            *acts: Any,
            ways: ServerWays | None = None,
            policies: list[Policy] | None = None,
            assistant: Assistant | None = None,
            tools: list[Any] | None = None,
            shop: Shop | None = None,
            **options: Any,
        ) -> tuple[Bot, AssistantsServer]:
            fields: dict[str, Any] = {"tools": tools or []}
            if shop is not None:
                fields["tools"] = [LOOKUP_SCHEMA, *fields["tools"]]
                options["tools"] = [shop.lookup]
            server = stack.enter_context(AssistantsServer(*acts, ways=ways, **fields))
            world = stack.enter_context(World(request.param))
            events: list[Any] = []
            ledger = MemoryLedger()
            if world.is_async:
                client = server.async_client()
                stack.callback(lambda: world.wait(client.close()))
                guard: Any = AsyncAssistantGuard(
                    client,
                    assistant,
                    [RETRY] if policies is None else policies,
                    assistant_id="asst_1",
                    sinks=[events.append],
                    ledger=ledger,
                    **options,
                )
            else:
                guard = AssistantGuard(
                    server.client(),
                    assistant,
                    [RETRY] if policies is None else policies,
                    assistant_id="asst_1",
                    sinks=[events.append],
                    ledger=ledger,
                    **options,
                )
            bot = Bot(world, guard, events, ledger)  # type: ignore[arg-type]  # a plain ledger will do
            stack.callback(bot.close)
            return bot, server

        yield open_


def _settled(bot: Bot) -> list[tuple[int, int, bool]]:
    return [
        (each.usage.input_tokens, each.usage.output_tokens, each.usage.estimated) for each in bot.all(RequestSettled)
    ]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_turn_is_a_message_and_a_run(opened: Opened, *, streamed: bool) -> None:
    bot, server = opened(Says("It is shipped."))
    reply = bot.chat("Where is W1?", streamed=streamed)
    assert reply.text == "It is shipped."
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (100, 10, False)
    assert reply.cost == Decimal("0.00035")
    assert server.texts() == [("user", "Where is W1?"), ("assistant", "It is shipped.")]
    (body,) = server.bodies("POST", "/runs")
    assert {"model", "instructions", "tools", "max_completion_tokens", "truncation_strategy"}.isdisjoint(body)
    assert body["assistant_id"] == "asst_1"
    assert not bot.ledger.open_holds()


def test_a_streamed_turn_brings_its_text_in_pieces(opened: Opened) -> None:
    bot, _ = opened(Says("It is shipped."))
    pieces = [event.text for event in bot.stream("Where is W1?") if isinstance(event, TextDelta)]
    assert pieces == ["It", " is", " shipped."]


def test_a_server_that_does_not_stream_is_asked_for_the_end(opened: Opened) -> None:
    bot, _ = opened(Says("It is shipped."), ways=ServerWays(stream_breaks=True))
    assert bot.chat("Where is W1?", streamed=True).text == "It is shipped."


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_run_between_two_rounds_of_one_run(opened: Opened, *, streamed: bool) -> None:
    shop = Shop()
    bot, server = opened(ASK, Says("It is shipped."), shop=shop)
    reply = bot.chat("Where is W1?", streamed=streamed)
    assert (reply.text, shop.asked, reply.run.steps) == ("It is shipped.", ["W1"], 1)
    assert server.statuses == ["completed"]
    (submitted,) = server.bodies("POST", "/submit_tool_outputs")
    assert submitted["tool_outputs"] == [{"tool_call_id": "call_a", "output": "W1 is shipped"}]


def test_what_the_first_round_used_is_an_estimate_until_the_next_turn_and_then_the_books_are_exact(
    opened: Opened,
) -> None:
    bot, _ = opened(ASK, Says("It is shipped."), Says("Gladly."), shop=Shop())
    bot.chat("Where is W1?")
    assert [estimated for _, _, estimated in _settled(bot)] == [True, False]
    bot.chat("Thank you")
    assert len(bot.all(UsageCorrected)) == 1
    tokens = bot.guard.summary()["session_tokens_used"]
    assert (tokens["input"], tokens["output"], bot.guard.summary()["estimated_tokens"]) == (300, 30, 0)


def test_the_books_are_exact_where_steps_tell_nothing(opened: Opened) -> None:
    bot, _ = opened(ASK, Says("It is shipped."), Says("Gladly."), shop=Shop(), ways=ServerWays(lists_steps=False))
    bot.chat("Where is W1?")
    bot.chat("Thank you")
    tokens = bot.guard.summary()["session_tokens_used"]
    assert (tokens["input"], tokens["output"], bot.guard.summary()["estimated_tokens"]) == (300, 30, 0)


def test_usage_is_summed_from_steps_where_runs_tell_none(opened: Opened) -> None:
    bot, _ = opened(Says("It is shipped."), ways=ServerWays(run_usage=False))
    usage = bot.chat("Where is W1?").usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (100, 10, False)


def test_usage_that_is_not_told_is_not_zero(opened: Opened) -> None:
    bot, _ = opened(Says("It is shipped."), ways=ServerWays(usage=False))
    usage = bot.chat("Where is W1?").usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (Ends("failed", {"code": "invalid_prompt", "message": "No."}), RequestRejected),
        (Ends("failed", {"code": "rate_limit_exceeded", "message": QUOTA}), QuotaExhausted),
        (Ends("expired"), ThreadBroken),
        (Ends("incomplete", reason="max_completion_tokens"), RunIncomplete),
    ],
    ids=["failed for good", "quota", "expired", "incomplete without text"],
)
def test_a_run_that_ends_badly_is_told_by_name_and_leaves_the_thread_usable(
    opened: Opened, end: Ends, error: type[Exception]
) -> None:
    bot, server = opened(end)
    with pytest.raises(error):
        bot.chat("Where is W1?")
    assert len(server.runs) == 1
    assert not bot.ledger.open_holds()
    assert bot.chat("Hello").text == "Fine."


@pytest.mark.parametrize(
    "end",
    [
        Ends("failed", {"code": "server_error", "message": "Something went wrong."}),
        Ends("failed", {"code": "rate_limit_exceeded", "message": "Rate limit reached, try again in 1ms."}),
        Ends("failed", {"code": "E42", "message": "The model is temporarily overloaded."}),
        Ends("failed"),
        Ends("cancelled"),
    ],
    ids=["server error", "rate limit", "a code of its own", "no error given", "cancelled by someone else"],
)
def test_a_run_that_fails_in_passing_is_tried_again_with_one_message_in_the_thread(opened: Opened, end: Ends) -> None:
    bot, server = opened(end, Says("It is shipped."))
    assert bot.chat("Where is W1?").text == "It is shipped."
    assert server.statuses == [end.status, "completed"]
    assert server.texts() == [("user", "Where is W1?"), ("assistant", "It is shipped.")]
    assert bot.guard.summary()["session_tokens_used"]["total"] >= 110


def test_an_incomplete_answer_with_text_counts(opened: Opened) -> None:
    bot, _ = opened(Ends("incomplete", reason="max_prompt_tokens", text="It is"))
    reply = bot.chat("Where is W1?")
    assert (reply.text, reply.run.status, reply.run.incomplete_reason) == ("It is", "incomplete", "max_prompt_tokens")


def test_a_run_that_fails_after_its_tools_goes_on_in_another_with_their_outputs(opened: Opened) -> None:
    shop = Shop()
    failed = Ends("failed", {"code": "server_error", "message": "No."})
    bot, server = opened(ASK, failed, Says("It is shipped."), shop=shop)
    assert bot.chat("Where is W1?").text == "It is shipped."
    assert shop.asked == ["W1"]
    assert server.statuses == ["failed", "completed"]
    assert "W1 is shipped" in server.texts()[1][1]


def test_an_unknown_status_is_waited_for_and_named_at_the_deadline(opened: Opened) -> None:
    bot, server = opened(Says("Late.", ("queued", "paused_by_operator", "in_progress")))
    assert bot.chat("Hello").text == "Late."
    server.acts.append(Says("Never.", ("paused_by_operator",) * 10_000))
    with pytest.raises(RunTimedOut) as caught:
        bot.chat("Hello", deadline=1.5)
    assert "paused_by_operator" in str(caught.value.__cause__)
    assert server.statuses[-1] == "cancelled"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(5, [0.005] * 4), (5_000, [5.0] * 4), (3_600_000, [10.0] * 4), (None, [0.05, 0.075, 0.1125, 0.16875])],
    ids=["5 ms", "5 s", "an hour", "nothing"],
)
def test_the_pause_between_two_questions_is_the_servers(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, asked: int | None, expected: list[float]
) -> None:
    bot, _ = opened(Says("Fine.", ("in_progress",) * 4), ways=ServerWays(poll_after_ms=asked))
    pauses: list[float] = []

    async def note(_: Any, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(BlockingDriver, "sleep", note)
    monkeypatch.setattr(AsyncioDriver, "sleep", note)
    assert bot.chat("Hello").text == "Fine."
    assert pauses[-4:] == pytest.approx(expected)


def test_a_ceiling_cancels_a_run_that_waits_for_outputs(opened: Opened) -> None:
    shop = Shop()
    bot, server = opened(
        ASK, Calls({"call_b": ("lookup", '{"order": "W2"}')}), shop=shop, policies=[ToolStepCeiling(1)]
    )
    with pytest.raises(RunStopped):
        bot.chat("Where is W1?")
    assert (shop.asked, server.statuses) == (["W1"], ["cancelled"])
    assert len(server.bodies("POST", "/submit_tool_outputs")) == 1
    assert len(bot.all(RunCancelled)) == 1
    assert bot.chat("Hello").text == "Fine."


def test_where_cancelling_is_refused_the_calls_are_answered_first(opened: Opened) -> None:
    ways = ServerWays(cancels_requires_action=False, cancelled_after=2)
    again = Calls({"call_b": ("lookup", '{"order": "W2"}')})
    bot, server = opened(ASK, again, shop=Shop(), policies=[ToolStepCeiling(1)], ways=ways)
    with pytest.raises(RunStopped):
        bot.chat("Where is W1?")
    assert server.statuses == ["cancelled"]
    assert bot.chat("Hello").text == "Fine."


def test_a_run_that_does_not_end_is_cancelled_at_the_deadline(opened: Opened) -> None:
    bot, server = opened(Says("Never.", ("in_progress",) * 10_000))
    with pytest.raises(RunTimedOut):
        bot.chat("Hello", deadline=1.5)
    assert server.statuses == ["cancelled"]
    assert not bot.ledger.open_holds()
    assert bot.chat("Hello").text == "Fine."
    assert server.texts() == [("user", "Hello"), ("assistant", "Fine.")]


@pytest.mark.parametrize("text", [None, "thread busy"], ids=["official words", "words of its own"])
def test_a_thread_that_somebody_elses_run_locks_is_waited_for(opened: Opened, text: str | None) -> None:
    bot, server = opened(Says("Fine."), ways=ServerWays(lock_text=text))
    bot.chat("Hello")
    (thread_id,) = server.threads
    server.begin(thread_id)
    with pytest.raises(RetriesExhausted) as caught:
        bot.chat("And?")
    assert caught.value.failure is not None
    assert caught.value.failure.code == "conversation_locked"
    assert server.statuses == ["completed", "queued"]
    assert bot.chat("And?").text == "Fine."
    assert len(server.threads) == 2


def test_a_run_of_ours_that_a_dead_process_left_is_ended(opened: Opened) -> None:
    bot, server = opened(Says("Fine."))
    bot.chat("Hello")
    (thread_id,) = server.threads
    server.begin(thread_id, metadata={"assistantguard_request": "run_of_another-0-1"})
    assert bot.chat("And?").text == "Fine."
    assert server.statuses == ["completed", "cancelled", "completed"]


@pytest.mark.parametrize("lost", ["messages", "runs", "submit_tool_outputs"])
def test_what_a_lost_connection_did_is_looked_up_and_nothing_is_done_twice(opened: Opened, lost: str) -> None:
    shop = Shop()
    bot, server = opened(ASK, Says("It is shipped."), shop=shop, ways=ServerWays(loses={lost}))
    assert bot.chat("Where is W1?").text == "It is shipped."
    assert (shop.asked, server.statuses) == (["W1"], ["completed"])
    assert server.texts() == [("user", "Where is W1?"), ("assistant", "It is shipped.")]


@pytest.mark.parametrize("deletes", [True, False])
def test_a_run_that_is_refused_leaves_no_second_message(opened: Opened, *, deletes: bool) -> None:
    refused = (429, {"message": "Rate limit reached.", "code": "rate_limit_exceeded"})
    bot, server = opened(Says("Fine."), ways=ServerWays(refuses_runs=[refused, refused], deletes_messages=deletes))
    assert bot.chat("Hello").text == "Fine."
    assert server.texts() == [("user", "Hello"), ("assistant", "Fine.")]


def test_other_peoples_fields_ids_and_gaps_are_taken_as_they_come(opened: Opened) -> None:
    ways = ServerWays(
        usage=False,
        extra_fields=True,
        lists_steps=False,
        keeps_metadata=False,
        filters_by_run=False,
        tells_run_of_message=False,
        locks=False,
        deletes_messages=False,
    )
    shop = Shop()
    bot, _ = opened(Says("First."), ASK, Says("It is shipped."), shop=shop, ways=ways)
    assert bot.chat("Hello").text == "First."
    assert bot.chat("Where is W1?").text == "It is shipped."
    assert shop.asked == ["W1"]


def test_caps_bound_the_runs_output(opened: Opened) -> None:
    bot, server = opened(policies=[TokenCap(session=1_000)])
    bot.chat("Hello")
    (body,) = server.bodies("POST", "/runs")
    assert 256 <= body["max_completion_tokens"] < 1_000


def test_a_cap_that_leaves_less_than_the_api_can_be_told_refuses_before_anything_is_sent(opened: Opened) -> None:
    bot, server = opened(policies=[TokenCap(session=250)])
    with pytest.raises(RequestRejected, match="256"):
        bot.chat("Hello")
    assert server.runs == {}
    assert server.texts() == []
    assert bot.guard.summary()["session_tokens_used"]["total"] == 0


def test_a_cap_holds_over_many_turns(opened: Opened) -> None:
    bot, _ = opened(policies=[TokenCap(session=1_500)])
    for _ in range(20):
        bot.try_chat("Hello")
    assert bot.guard.summary()["session_tokens_used"]["total"] <= 1_500


def test_a_cost_cap_on_a_model_without_a_price_is_refused_before_anything_is_spent(opened: Opened) -> None:
    bot, server = opened(policies=[CostCap(session=1)])
    server.assistant["model"] = "our-own-model"
    with pytest.raises(ConfigurationError, match="our-own-model"):
        bot.chat("Hello")
    assert server.threads == {}


def test_a_function_of_the_assistant_that_nothing_runs_is_told_before_anything_is_spent(opened: Opened) -> None:
    bot, server = opened(tools=[LOOKUP_SCHEMA])
    with pytest.raises(ConfigurationError, match="lookup"):
        bot.chat("Hello")
    assert server.threads == {}


def test_what_the_assistant_sets_here_goes_before_what_the_server_has(opened: Opened) -> None:
    shop = Shop()
    given = Assistant("gpt-4o-mini", "Be brief.", [shop.lookup], temperature=0.5, max_output_tokens=300)
    bot, server = opened(assistant=given)
    bot.chat("Hello")
    (body,) = server.bodies("POST", "/runs")
    assert (body["model"], body["instructions"], body["temperature"]) == ("gpt-4o-mini", "Be brief.", 0.5)
    assert body["max_completion_tokens"] == 300
    assert [tool["function"]["name"] for tool in body["tools"]] == ["lookup"]


def test_a_rotation_carries_the_conversation_into_a_new_thread(opened: Opened) -> None:
    bot, server = opened(policies=[RETRY, ThreadRotation(max_turns=1)])
    bot.chat("My order is W1.")
    (first,) = server.threads
    bot.chat("Where is it?")
    (second,) = server.threads
    assert first != second
    assert any("W1" in text for _, text in server.texts())


def test_a_thread_that_is_gone_is_left_for_a_new_one(opened: Opened) -> None:
    bot, server = opened()
    bot.chat("Hello")
    server.threads.clear()
    assert bot.chat("Hello again").text == "Fine."


def test_a_stream_that_is_left_early_ends_its_run(opened: Opened) -> None:
    bot, server = opened(Says("One two three four."), ways=ServerWays(stream_breaks=True))
    bot.stream("Hello", until=lambda event: isinstance(event, TextDelta))
    assert server.statuses == ["cancelled"]
    assert not bot.ledger.open_holds()


def test_a_summary_is_made_on_a_thread_of_its_own_and_booked(opened: Opened) -> None:
    carry_over = CarryOver(summary_model="gpt-4o-mini")
    bot, server = opened(
        Says("Noted."),
        Says("The user waits for W1."),
        Says("It is shipped."),
        policies=[RETRY, ThreadRotation(max_turns=1, carry_over=carry_over)],
    )
    bot.chat("My order is W1.")
    bot.chat("Where is it?")
    assert any("The user waits for W1." in text for _, text in server.texts())
    assert [(body.get("model"), body.get("tools")) for body in server.bodies("POST", "/runs")] == [
        (None, None),
        ("gpt-4o-mini", []),
        (None, None),
    ]
    assert len(_settled(bot)) == 3
    assert bot.guard.summary()["estimated_tokens"] == 0


def test_files_are_searched_through_the_thread(opened: Opened) -> None:
    bot, server = opened(policies=[VectorStoreReuse()])
    assert bot.attach_files(["file-1"]) == "vs_1"
    bot.chat("What does it say?")
    bot.chat("And what else?")
    (thread_id,) = server.threads
    resources = {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}}
    assert server.bodies("POST", f"/{thread_id}") == [resources]
    assert [body["tools"] for body in server.bodies("POST", "/runs")] == [[{"type": "file_search"}]] * 2


def test_an_existing_thread_is_taken_up_with_what_it_holds(opened: Opened) -> None:
    bot, server = opened(Says("Noted."), policies=[RETRY, TokenCap(session=2_000)])
    server.threads["thread_x"] = []
    server.add_message("thread_x", "user", "word " * 300)
    reply = bot.chat("And?", bot.thread(conversation_id="thread_x"))
    assert reply.text == "Noted."
    (body,) = server.bodies("POST", "/runs")
    assert body["max_completion_tokens"] < 1_700
    big = bot.thread(conversation_id="thread_y")
    server.threads["thread_y"] = []
    server.add_message("thread_y", "user", "word " * 3_000)
    with pytest.raises(BudgetExceeded):
        bot.chat("And?", big)


def test_a_thread_that_was_left_waiting_for_outputs_is_healed(opened: Opened) -> None:
    bot, server = opened(ASK, shop=Shop())
    server.threads["thread_x"] = []
    server.add_message("thread_x", "user", "Where is W1?")
    run = server.begin("thread_x")
    while run["status"] != "requires_action":
        server.look(run)
    assert bot.chat("Hello", bot.thread(conversation_id="thread_x")).text == "Fine."
    assert server.statuses == ["cancelled", "completed"]
    assert len(bot.all(ThreadHealed)) == 1


def test_wrapping_up_ends_the_run_with_an_answer(opened: Opened) -> None:
    shop = Shop()
    again = Calls({"call_b": ("lookup", '{"order": "W2"}')})
    ceiling = ToolStepCeiling(1, then="wrap_up")
    bot, server = opened(ASK, again, Says("W1 is shipped."), shop=shop, policies=[ceiling])
    assert bot.chat("Where are W1 and W2?").text == "W1 is shipped."
    assert (shop.asked, server.statuses) == (["W1"], ["completed"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "assistant_id"),
        ({"assistant_id": ""}, "assistant_id is ''"),
        ({"assistant_id": "asst_1", "background": False}, "background"),
        ({"assistant": Assistant("gpt-4o"), "assistant_id": "asst_1", "tools": [Shop().lookup]}, "both assistant and"),
    ],
)
def test_arguments_that_cannot_work_are_named(options: dict[str, Any], text: str) -> None:
    import openai

    with openai.OpenAI(api_key="sk-test") as client, pytest.raises(ConfigurationError, match=text):
        AssistantGuard(client, **options)
