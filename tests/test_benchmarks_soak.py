"""The soak runs to its end, and its judge sees what goes wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from assistantguard import AssistantGuard, MemoryLedger, Reply, RunState, ThreadRotation, ToolCall, Usage
from assistantguard.ledger import Claim, Entry
from assistantguard.sandbox import Fault, Sandbox
from benchmarks import soak
from benchmarks._soak_books import Journal, Move, WatchedLedger, audit
from benchmarks._soak_guards import MODEL, assistant
from benchmarks._soak_judge import Record, Suspicion, Tally, ToolCounter
from benchmarks._soak_kills import Worker
from benchmarks._soak_model import Plan, answer, held_in, message_of, read_reply
from benchmarks._soak_sandbox import Call, SandboxProcess

ASKED = (
    "turns",
    "faults",
    "tokens_billed",
    "tokens_booked",
    "caps_exceeded",
    "threads_unusable",
    "turns_lost",
    "turns_doubled",
    "memory_start",
    "memory_end",
)


def test_a_short_soak_ends_with_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    soak.main(["--minutes", "0.05", "--threads", "12", "--rate", "0", "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert set(ASKED) <= set(figures)
    assert figures["wrong"] == []
    assert figures["turns"] >= figures["turns_answered"] > 12
    assert figures["faults"] == 0
    assert figures["kills"] == 1
    assert figures["tokens_booked"] >= figures["tokens_billed"] > 0
    assert figures["tokens_billed_by_killed"] > 0
    assert figures["requests_billed"] >= figures["requests_booked_exactly"] > 0
    assert figures["memory_end"] > figures["memory_start"] / 2 > 0


def test_the_exit_code_tells_that_something_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "soak", lambda *arguments, **options: {"wrong": ["turns_lost"]})
    with pytest.raises(SystemExit) as ended:
        soak.main(["--minutes", "1", "--json"])
    assert ended.value.code == 1
    assert json.loads(capsys.readouterr().out) == {"wrong": ["turns_lost"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0"], "--minutes is 0, it must be above 0"),
        (["--minutes", "1", "--threads", "9"], "--threads is 9, the least is 10"),
        (["--minutes", "1", "--rate", "0.6"], "--rate is 0.6, it must be between 0 and 0.5"),
    ],
)
def test_values_that_cannot_work_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        soak.main(arguments)
    assert message in capsys.readouterr().err


def test_a_reply_tells_what_the_conversation_holds() -> None:
    with Sandbox(answer, model_in_thread=False) as sandbox:
        bot = AssistantGuard(sandbox.client(), assistant(), [ThreadRotation(2)], sinks=[])
        bot.chat(message_of("4.1", Plan()))
        reply = bot.chat(message_of("4.2", Plan(steps=2, calls=2)))
        assert (reply.run.steps, reply.run.calls) == (2, 4)
        seen = read_reply(reply.text)
        assert seen is not None
        assert (seen.mark, dict(seen.asked), seen.noted) == ("4.2", {"4.1": 1, "4.2": 1}, frozenset())
        held = held_in(sandbox.conversation(seen.conversation))
        assert (dict(held.asked), dict(held.answered)) == ({"4.1": 1, "4.2": 1}, {"4.1": 1, "4.2": 1})
        assert held.open_calls == 0
        sandbox.break_conversation(seen.conversation)
        assert held_in(sandbox.conversation(seen.conversation)).open_calls == 1
        for mark in ("4.3", "4.4"):
            bot.chat(message_of(mark, Plan()))
        carried = read_reply(bot.chat(message_of("4.5", Plan())).text)
        assert carried is not None
        assert carried.conversation != seen.conversation
        assert {"4.3", "4.4", "4.5"} <= set(carried.asked)
        assert "4.1" in carried.noted


def reply_of(mark: str, asked: Sequence[str], conversation: str = "conv_1", noted: str = "") -> Reply:
    seen = " ".join(asked)
    text = f"Answer to [{mark}] in {conversation} seen {{{seen}}} noted {{{noted}}}: two kettles"
    return Reply(text, Usage(), None, RunState("run_1", "thread_1", MODEL, status="completed"), "thread_1")


def record_after(*replies: tuple[Reply, Sequence[Move]]) -> tuple[Record, Tally]:
    tally = Tally()
    record = Record(1, tally)
    for reply, moves in replies:
        record.answered(record.next_mark(), reply, moves)
    return record, tally


def test_turns_that_stand_once_are_not_suspected() -> None:
    record, tally = record_after(
        (reply_of("1.1", ["1.1x1"]), ()),
        (reply_of("1.2", ["1.1x1", "1.2x1"]), ()),
        (reply_of("1.3", ["1.2x1", "1.3x1"], "conv_2", "1.1"), (Move("conv_1", "conv_2", 2, "deleted"),)),
    )
    assert record.take_suspicions() == []
    assert tally.counts == {"turns": 3, "answered": 3}


def test_a_message_that_the_model_saw_twice_is_doubled_once() -> None:
    _, tally = record_after((reply_of("1.1", ["1.1x2"]), ()), (reply_of("1.2", ["1.1x2", "1.2x1"]), ()))
    assert tally.counts["turns_doubled"] == 1


def test_a_message_that_is_gone_is_suspected() -> None:
    record, _ = record_after((reply_of("1.1", ["1.1x1"]), ()), (reply_of("1.2", ["1.2x1"]), ()))
    (suspicion,) = record.take_suspicions()
    assert (suspicion.turns, suspicion.conversations) == (1, ("conv_1",))


def test_the_last_turn_must_be_carried_over() -> None:
    moved = Move("conv_1", "conv_2", 1, "deleted")
    record, _ = record_after((reply_of("1.1", ["1.1x1"]), ()), (reply_of("1.2", ["1.2x1"], "conv_2"), (moved,)))
    (suspicion,) = record.take_suspicions()
    assert suspicion.turns == 1
    assert "conv_1" in suspicion.conversations


def test_a_conversation_that_was_left_as_gone_is_suspected_with_all_its_turns() -> None:
    moved = Move("conv_1", "conv_2", 2, "gone")
    record, _ = record_after(
        (reply_of("1.1", ["1.1x1"]), ()),
        (reply_of("1.2", ["1.1x1", "1.2x1"]), ()),
        (reply_of("1.3", ["1.3x1"], "conv_2"), (moved,)),
    )
    (suspicion,) = record.take_suspicions()
    assert (suspicion.turns, suspicion.conversations) == (2, ("conv_1",))


def test_an_answer_to_another_message_is_wrong() -> None:
    _, tally = record_after((reply_of("7.7", ["1.1x1"]), ()))
    assert tally.counts["answers_wrong"] == 1


def test_what_a_conversation_holds_is_looked_through() -> None:
    record, tally = record_after((reply_of("1.1", ["1.1x1"]), ()), (reply_of("1.2", ["1.1x1", "1.2x1"]), ()))

    def message(role: str, text: str) -> dict[str, Any]:
        return {"type": "message", "role": role, "content": [{"text": text}]}

    held = held_in(
        [
            message("user", message_of("1.2", Plan())),
            message("assistant", reply_of("1.2", []).text),
            message("assistant", reply_of("1.2", []).text),
            {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
        ]
    )
    record.hold_against(held, "conv_1")
    assert tally.counts["turns_doubled"] == 1
    assert tally.counts["calls_open"] == 1
    (suspicion,) = record.take_suspicions()
    assert suspicion.turns == 1
    record.hold_against(None, "conv_1")
    assert [one.turns for one in record.take_suspicions()] == [2]


def test_a_tool_call_that_is_executed_twice_is_counted() -> None:
    tally = Tally()
    tools = ToolCounter(tally)
    tools.note(ToolCall("call_1", "look_up", {"mark": "1.1", "step": 0, "number": 0}))
    tools.note(ToolCall("call_2", "look_up", {"mark": "1.1", "step": 0, "number": 1}))
    assert tally.counts["tools_doubled"] == 0
    tools.note(ToolCall("call_3", "look_up", {"mark": "1.1", "step": 0, "number": 1}))
    assert tally.counts["tools_doubled"] == 1


def entry(tokens: int, *, estimated: bool = False) -> Entry:
    usage = Usage(input_tokens=tokens, estimated_tokens=tokens if estimated else 0)
    return Entry(0.0, "thread_1", "run_1", 1, MODEL, usage, None)


def test_a_cap_that_is_passed_is_counted() -> None:
    ledger = WatchedLedger()

    def reserve(hold_id: str) -> None:
        ledger.reserve(hold_id, [Claim("session:1", "tokens", Decimal(50), Decimal(100))], 1.0)

    reserve("one")
    ledger.commit("one", entry(50, estimated=True))
    reserve("two")
    assert ledger.caps_exceeded == 0
    ledger.correct("one", entry(60))
    assert ledger.caps_exceeded == 1
    ledger.release("two")
    assert ledger.caps_exceeded == 1
    ledger.reserve("three", [Claim("session:1", "tokens", Decimal(40), Decimal(100))], 1.0)
    ledger.commit("three", entry(41))
    assert ledger.caps_exceeded == 2
    assert ledger.tokens_booked == 101
    assert isinstance(ledger, MemoryLedger)


def call(response_id: str, tokens: int, conversation: str | None = "conv_1", *, billed: bool = True) -> Call:
    return Call(response_id, conversation, MODEL, "completed", tokens, 0, billed, reported=True)


def settled(response_id: str | None, tokens: int, *, estimated: bool = False) -> list[Any]:
    return ["settled", "thread_1", response_id, tokens, 0, estimated]


HOME = ["thread", "thread_1", "conv_1"]


def test_books_that_are_exact_or_estimated_above_are_right() -> None:
    rows = [
        settled("resp_1", 10),
        settled(None, 30, estimated=True),
        settled("resp_3", 40, estimated=True),
        ["corrected", "thread_1", "resp_3", 12, 0, False, 40],
        HOME,
    ]
    bill = [call("resp_1", 10), call("resp_2", 20), call("resp_3", 12), call("resp_4", 0, billed=False)]
    found = audit(rows, bill, 0)
    assert (found.wrong, found.calls_exact, found.calls_billed, found.tokens_billed) == (0, 2, 3, 42)


@pytest.mark.parametrize(
    ("rows", "bill", "field"),
    [
        ([settled("resp_1", 9), HOME], [call("resp_1", 10)], "calls_wrong"),
        ([settled("resp_1", 10), settled("resp_1", 10), HOME], [call("resp_1", 10)], "calls_twice"),
        ([settled("resp_1", 10), HOME], [], "calls_unknown"),
        ([settled(None, 9, estimated=True), HOME], [call("resp_1", 10)], "tokens_missing"),
        ([settled("resp_2", 90), HOME], [call("resp_2", 90), call("resp_1", 1)], "tokens_missing"),
        ([settled(None, 9, estimated=True), HOME], [call("resp_1", 10, None)], "tokens_missing"),
    ],
)
def test_books_that_are_not_right_are_told(rows: list[Any], bill: list[Call], field: str) -> None:
    found = audit(rows, bill, 0)
    assert getattr(found, field) == 1
    assert found.wrong == 1
    assert found.details


def test_tokens_of_holds_that_expired_cover_what_no_estimate_does() -> None:
    assert audit([HOME], [call("resp_1", 10)], 9).tokens_missing == 1
    assert audit([HOME], [call("resp_1", 10)], 10).tokens_missing == 0


def test_the_journal_tells_what_a_guard_booked(tmp_path: Path) -> None:
    journal, ledger = Journal(tmp_path / "books.jsonl"), WatchedLedger()
    with Sandbox(answer, model_in_thread=False, faults=[Fault.no_usage(at=2)]) as sandbox:
        bot = AssistantGuard(sandbox.client(), assistant(), [ThreadRotation(1)], sinks=[journal], ledger=ledger)
        for number in range(1, 4):
            bot.chat(message_of(f"1.{number}", Plan()))
        assert [move.turns for move in journal.take_moves(bot.thread_id)] == [1, 1]
        assert journal.take_moves(bot.thread_id) == []
        bill = [
            Call(
                row.response_id,
                row.conversation_id,
                row.model,
                row.status,
                row.input_tokens,
                row.output_tokens,
                True,
                True,
            )
            for row in sandbox.billing.calls
        ]
    found = audit(journal.rows(), bill, 0)
    assert (found.wrong, found.calls_exact, found.calls_billed) == (0, 2, 3)
    assert ledger.tokens_booked >= found.tokens_billed > 0
    assert 0 < journal.tokens_estimated < ledger.tokens_booked


def test_a_sandbox_in_another_process_is_told_what_to_do() -> None:
    sandbox = SandboxProcess(seed=1, rate=0.5)
    try:
        sandbox.begin_faults()
        sandbox.end_faults()
        assert not sandbox.delete("conv_none")
        assert not sandbox.break_open("conv_none")
        assert sandbox.held(["conv_none"]) == {"conv_none": None}
        assert sandbox.vanished(["conv_none"]) == set()
        assert sandbox.bill() == []
        assert sandbox.status().memory > 0
    finally:
        sandbox.close()


def test_a_worker_is_killed_and_what_it_said_is_known() -> None:
    sandbox = SandboxProcess(seed=1, rate=0.0)
    try:
        worker = Worker(sandbox.base_url, 50, 1, background=False)
        asyncio.run(worker.live(0.5))
        held = sandbox.held(list(worker.conversations.values()))
        assert worker.conversations
        assert worker.suspicions == []
        for name, conversation in worker.conversations.items():
            answered = [mark for mark, done in worker.standing[name].items() if done]
            found = held[conversation]
            assert found is not None
            assert all(found.asked[mark] == 1 for mark in answered)
    finally:
        sandbox.close()


def test_turns_of_a_conversation_that_a_worker_left_are_suspected() -> None:
    worker = Worker("http://127.0.0.1:1/v1", 50, 1, background=False)
    worker.note("sent", 50, "50.1")
    worker.note("in", 50, "conv_1")
    worker.note("answered", 50, "50.1")
    worker.note("sent", 50, "50.2")
    worker.note("lost", 50, "conv_1")
    worker.note("in", 50, "conv_2")
    worker.note("answered", 50, "50.2")
    assert worker.suspicions == [Suspicion(1, ("conv_1",), "a worker left conv_1 as gone")]
    assert worker.standing == {50: {"50.2": True}}
    worker.note("left", 50, "conv_2")
    worker.note("in", 50, "conv_3")
    assert len(worker.suspicions) == 1
    assert worker.conversations == {50: "conv_3"}
