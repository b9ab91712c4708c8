"""Events: as JSON lines, as log lines, and never with content or a key."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
import tenacity

from assistantguard import (
    Assistant,
    AssistantGuardError,
    JsonLinesSink,
    RepeatedCallBreaker,
    StructlogSink,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
    observe,
)
from assistantguard.events import Event, RequestSettled, RunCancelled, RunRetried, RunSettled, RunStarted, TurnStarted
from assistantguard.models import Usage
from assistantguard.sandbox import Answer, Fault, FunctionCall, Sandbox, ToolCalls
from assistantguard.telemetry import Totals, fan_out
from tests.support.models import Lookups, order_desk
from tests.support.world import MODEL, World

SECRETS = {
    "message": "SECRET-MESSAGE-5571",
    "instructions": "SECRET-INSTRUCTIONS-2204",
    "arguments": "SECRET-ARGUMENT-8842",
    "tool output": "SECRET-OUTPUT-1093",
    "tool error": "SECRET-ERROR-3317",
    "answer": "SECRET-ANSWER-7765",
    "metadata": "SECRET-METADATA-9004",
    "file": "SECRET-FILE-4410",
    "server": "SECRET-SERVER-6120",
    "key": "sk-sandbox-SECRET-KEY-0007",
}


def tell(order: str) -> str:
    """Tell a secret."""
    return f"{SECRETS['tool output']} {order}"


def fail(order: str) -> str:
    """Fail with a secret."""
    raise LookupError(f"{SECRETS['tool error']} {order}")


def story(world: World, **options: Any) -> tuple[Sandbox, list[BaseException]]:
    """As much as can happen, every text of it a secret."""
    argument = {"order": SECRETS["arguments"]}
    both = ToolCalls(FunctionCall("tell", argument), FunctionCall("fail", argument))
    answer = Answer(SECRETS["answer"], reasoning_tokens=20)
    script = [answer, both, answer, both, both, both, both, answer, FunctionCall("tell", '{"order": "SECRET'), answer]
    sandbox = world.sandbox(
        [*script, *[answer] * 12],
        api_key=SECRETS["key"],
        faults=[
            Fault.rate_limit(retry_after=0.01, at=2),
            Fault.failed_response(message=SECRETS["server"], text=SECRETS["answer"], appended=True, at=4),
            Fault.http(400, message=SECRETS["server"], type="invalid_request_error", at=13),
        ],
    )
    assistant = Assistant(
        model=MODEL,
        instructions=SECRETS["instructions"],
        tools=[tell, fail],
        metadata={"customer": SECRETS["metadata"]},
        name="desk",
    )
    policies = [
        ThreadRotation(max_turns=4),
        ToolStepCeiling(3),
        observe(RepeatedCallBreaker(1)),
        observe(TokenCap(run=64)),
        TransientRetry(3, wait=tenacity.wait_none()),
        VectorStoreReuse(),
        TokenCap(session=12_000),
    ]
    bot = world.bot(sandbox, policies, assistant=assistant, **options)
    files = bot.guard.client.files
    uploaded = world.wait(files.create(file=(SECRETS["file"], SECRETS["file"].encode()), purpose="assistants"))
    bot.attach_files([uploaded.id])
    errors: list[BaseException] = []
    for number in range(9):
        outcome = bot.try_chat(f"{SECRETS['message']} {number}")
        if isinstance(outcome, AssistantGuardError):
            errors.append(outcome)
    with pytest.raises(AssistantGuardError):
        bot.chat(SECRETS["message"] * 9_000)
    bot.close()
    return sandbox, errors


def no_secret(text: str) -> None:
    for what, secret in SECRETS.items():
        assert secret not in text, f"the {what} is told"
    assert "SECRET" not in text


def test_no_event_holds_content_or_a_key(world: World) -> None:
    events: list[Event] = []
    _, errors = story(world, sinks=[events.append])
    assert errors
    names = {event.name for event in events}
    assert names >= {
        "turn.started",
        "run.started",
        "run.step",
        "run.retried",
        "run.cancelled",
        "run.settled",
        "request.settled",
        "tool.settled",
        "thread.rotated",
        "thread.healed",
        "vector_store.created",
        "budget.refused",
        "policy.observed",
    }
    for event in events:
        no_secret(repr(event))
        no_secret(json.dumps(event.record()))


def test_errors_keep_the_key_and_the_conversation_to_themselves(world: World) -> None:
    _, errors = story(world, sinks=[])
    for error in errors:
        told = f"{error} {error!r}"
        for what in ("key", "message", "instructions", "arguments", "tool output", "answer", "metadata"):
            assert SECRETS[what] not in told


def test_json_lines_hold_every_event_in_order(world: World, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events: list[Event] = []
    sandbox, _ = story(world, sinks=[events.append], events=path)
    text = path.read_text(encoding="utf-8")
    no_secret(text)
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines == [json.loads(json.dumps(event.record())) for event in events]
    settled = [line for line in lines if line["event"] == "request.settled"]
    assert sum(line["input_tokens"] for line in settled) == sandbox.billing.input_tokens
    assert sum(line["output_tokens"] for line in settled) == sandbox.billing.output_tokens
    assert sum(line["cached_tokens"] for line in settled) == sandbox.billing.cached_tokens
    assert len({line["session_id"] for line in lines}) == 1
    times = [line["time"] for line in lines]
    assert times == sorted(times)


def test_log_lines_hold_no_content_either(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        story(world, sinks=[StructlogSink()])
    ours = [record for record in caplog.records if record.name == "assistantguard"]
    assert ours
    for record in ours:
        no_secret(record.getMessage())
    by_level = {record.levelname for record in ours}
    assert by_level == {"DEBUG", "INFO", "WARNING"}


def test_structlog_gets_events_when_the_application_uses_it(world: World) -> None:
    structlog.configure(cache_logger_on_first_use=False)
    try:
        with structlog.testing.capture_logs() as captured:
            bot = world.bot(
                world.sandbox(order_desk), [ToolStepCeiling(1)], tools=[Lookups().lookup], sinks=[StructlogSink()]
            )
            bot.chat("Where is order 1?")
    finally:
        structlog.reset_defaults()
    names = [entry["event"] for entry in captured]
    assert names[0] == "turn.started"
    assert names[-1] == "run.settled"
    assert captured[-1]["log_level"] == "info"
    assert captured[-1]["status"] == "completed"
    assert "time" in captured[-1]


def test_the_library_prints_nothing_unasked(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    bot = world.bot(world.sandbox(), [], sinks=[StructlogSink()])
    bot.chat("Hello")
    bot.close()
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_sink_that_raises_is_logged_and_ends_no_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    def broken(event: Event) -> None:
        raise ZeroDivisionError

    bot = world.bot(world.sandbox(), [], sinks=[broken, seen.append])
    assert bot.chat("Hello").text == "You said: Hello"
    assert seen
    assert "the telemetry sink" in caplog.text
    assert bot.guard.summary()["run_count"] == 1


def test_every_run_that_starts_settles_exactly_once(world: World) -> None:
    events: list[Event] = []
    story(world, sinks=[events.append])
    started = [event.run_id for event in events if isinstance(event, RunStarted)]
    settled = [event.run_id for event in events if isinstance(event, RunSettled)]
    assert started == settled
    assert len(set(started)) == len(started) == 10
    for cancelled in (event for event in events if isinstance(event, RunCancelled)):
        assert cancelled.run_id in settled


def event(kind: type[Event], /, **values: Any) -> Event:
    made: dict[type[Event], dict[str, Any]] = {
        RequestSettled: {
            "run_id": "r",
            "model": "m",
            "purpose": "run",
            "attempt": 1,
            "status": "completed",
            "usage": Usage(10, 4, 0, 2, 1, 0, 1),
            "cost": Decimal("0.5"),
            "seconds": 0.1,
            "estimated_input_tokens": 9,
            "exact": False,
        },
        TurnStarted: {"turn": 1, "generation": 1, "generation_turns": 0, "context_tokens": 0},
    }
    return kind(time=1.0, session_id="s", thread_id="t", **{**made.get(kind, {}), **values})


def test_a_record_is_flat_and_ready_for_json() -> None:
    record = event(RequestSettled).record()
    assert next(iter(record)) == "event"
    assert record["event"] == "request.settled"
    assert (record["input_tokens"], record["output_tokens"], record["cost"]) == (10, 2, "0.5")
    assert "usage" not in record
    assert "response_id" not in record
    assert json.loads(json.dumps(record)) == record


def test_totals_count_what_happened() -> None:
    totals = Totals()
    totals(event(RequestSettled))
    totals(event(RequestSettled, cost=Decimal("0.25"), usage=Usage(1, 0, 0, 1, 0, 2, 1)))
    totals(event(TurnStarted))
    assert totals.usage == Usage(11, 4, 0, 3, 1, 2, 2)
    assert totals.cost == Decimal("0.75")
    totals(event(RequestSettled, cost=None))
    totals(event(RequestSettled))
    assert totals.cost is None


def test_totals_count_a_retried_run_once() -> None:
    totals = Totals()
    retry = {"run_id": "r", "model": "m", "attempt": 1, "kind": "transient", "wait": 0.0, "policy": "p", "reason": "x"}
    totals(event(RunRetried, **retry))
    totals(event(RunRetried, **retry))
    totals(event(RunRetried, **{**retry, "run_id": "other"}))
    assert (totals.retries, totals.retried_runs) == (3, 2)


def test_totals_may_be_fed_from_several_threads() -> None:
    totals = Totals()
    one = event(RequestSettled)

    def feed() -> None:
        for _ in range(500):
            totals(one)

    workers = [threading.Thread(target=feed) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert totals.usage.requests == 2_000
    assert totals.cost == 1_000


def test_one_sink_or_many_get_each_event() -> None:
    first: list[Event] = []
    second: list[Event] = []
    one = event(TurnStarted)
    fan_out([first.append])(one)
    fan_out([first.append, second.append])(one)
    fan_out([])(one)
    assert (first, second) == ([one, one], [one])


def test_a_json_lines_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "earlier"}\n', encoding="utf-8")
    for number in range(2):
        with JsonLinesSink(path) as sink:
            sink(event(TurnStarted, turn=number))
        sink.close()
        sink(event(TurnStarted))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line.get("turn") for line in lines] == [None, 0, 1]


def test_a_line_holds_any_text_that_an_id_may_have(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    texts = ["Größe \u2028 中", "\ud83d", "a\nb\x00"]
    with JsonLinesSink(path) as sink:
        for text in texts:
            sink(event(RequestSettled, run_id=text))
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["run_id"] for line in lines] == texts


def test_what_was_told_so_far_is_in_the_file_after_a_flush(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with JsonLinesSink(path) as sink:
        for number in range(3):
            sink(event(TurnStarted, turn=number))
            sink.flush()
            assert len(path.read_text(encoding="utf-8").splitlines()) == number + 1
    sink.flush()


SCRIPT = """
import sys
from assistantguard import JsonLinesSink, StructlogSink
from assistantguard.events import RunStarted
log, sink = StructlogSink(), JsonLinesSink(sys.argv[1])
for number in range(500):
    for out in (log, sink):
        out(RunStarted(float(number), "s", "t", "r", "m"))
assert "structlog" not in sys.modules
"""


def test_a_program_that_just_ends_has_written_all_and_printed_nothing(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    command = [sys.executable, "-W", "error", "-c", SCRIPT, os.fspath(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(path.read_text(encoding="utf-8").splitlines()) == 500
