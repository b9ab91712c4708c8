from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

from assistantguard.advice import EventReader, LimitState, read_events
from tests.advice.histories import MODEL, START, Log


def test_a_turn_begins_with_what_the_one_before_left(tmp_path: Path) -> None:
    log = Log(fixed=500)
    log.turn(40, 60, steps=1, tool=100)
    log.turn(30, 20)

    (thread,) = read_events(log.write(tmp_path / "events.jsonl")).threads

    assert thread.fixed == 500
    assert [(turn.context, turn.growth, turn.steps) for turn in thread.turns] == [(500, 220, 1), (720, 50, 0)]
    assert [[call.offset for call in turn.calls] for turn in thread.turns] == [[40, 160], [30]]


def test_instructions_and_tools_are_guessed_where_no_event_tells_them(tmp_path: Path) -> None:
    log = Log(fixed=500)
    log.turn(40, thread="a", fixed_tokens=None)
    log.turn(90, thread="b", fixed_tokens=None)

    history = read_events(log.write(tmp_path / "events.jsonl"))

    assert {thread.fixed for thread in history.threads} == {540 - 16}
    assert not any(thread.fixed_known for thread in history.threads)


def test_usage_that_is_told_late_replaces_the_bound(tmp_path: Path) -> None:
    log = Log()
    log.turn(40)
    bound = log.lines[2]
    bound |= {"estimated_tokens": 590, "response_id": "resp_1", "estimated_input_tokens": 540}
    told: dict[str, Any] = {"run_id": "run_1", "model": MODEL, "input_tokens": 541, "output_tokens": 8, "cost": "0.01"}
    log.tell("usage.corrected", response_id="resp_1", **told)

    ((call,),) = [turn.calls for turn in read_events(log.write(tmp_path / "events.jsonl")).threads[0].turns]

    assert (call.input_tokens, call.output_tokens, call.cost, call.is_estimate) == (541, 8, Decimal("0.01"), False)


def test_attempts_of_a_request_are_no_further_requests(tmp_path: Path) -> None:
    log = Log()
    log.turn(40, steps=1)
    failed = {**log.lines[2], "status": "failed", "output_tokens": 0}
    log.lines[2:3] = [failed, {**log.lines[2], "attempt": 2}]

    ((turn,),) = [thread.turns for thread in read_events(log.write(tmp_path / "events.jsonl")).threads]

    assert [call.request for call in turn.calls] == [0, 0, 1]


def test_bad_lines_are_named_and_skipped(tmp_path: Path) -> None:
    log = Log()
    log.turn(40)
    file = log.write(tmp_path / "events.jsonl")
    file.write_bytes(b"no json\n[1]\n" + file.read_bytes() + b'{"event": "request.settled", "input_tokens": -1}\n')
    reader = EventReader()
    with file.open("rb") as stream:
        reader.read("here", stream)

    assert reader.bad.count == 3
    assert [line.number for line in reader.bad.first] == [1, 2, 7]
    assert reader.history().turns == 1


def test_the_largest_share_of_a_limit_that_was_told_is_kept(tmp_path: Path) -> None:
    log = Log()
    for spent in ("50", "92", "10"):
        log.tell(
            "budget.warned",
            account="user:anna@day:2026-11-22",
            budget="user/day",
            metric="tokens",
            threshold=0.5,
            limit="100",
            committed=spent,
            user="anna",
        )
    log.tell(
        "budget.refused",
        account="user:anna@day:2026-11-22",
        policy="user/day",
        metric="tokens",
        kind="exceeded",
        limit="100",
        committed="99",
        held="0",
        reason="",
        user="anna",
    )

    history = read_events(log.write(tmp_path / "events.jsonl"))

    state = LimitState(
        "user:anna@day:2026-11-22", "user/day", "tokens", Decimal(100), Decimal(99), refusals=1, user="anna"
    )
    assert history.limits == [state]


def test_a_store_that_nobody_used_for_a_day_is_unused_and_one_in_use_is_not(tmp_path: Path) -> None:
    log = Log()
    log.tell("vector_store.created", "idle", vector_store_id="vs_idle", files=1, seconds=1.0, usage_bytes=4_096)
    log.tell("vector_store.created", "busy", vector_store_id="vs_busy", files=1, seconds=1.0)
    log.tell("vector_store.created", "gone", vector_store_id="vs_gone", files=1, seconds=1.0)
    log.turn(40, thread="busy", pause=2 * 86_400.0)
    log.tell("vector_store.deleted", "", vector_store_id="vs_gone")

    (store,) = read_events(log.write(tmp_path / "events.jsonl")).unused_stores

    assert (store.id, store.size_bytes, store.idle_since) == ("vs_idle", 4_096, START)
